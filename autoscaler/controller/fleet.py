"""The policies in hand: raw objects parsed once per change, each with its driver, its world and its last status.

A policy that changes keeps its memory: what was learnt of cold starts and demand is as true as before. A policy that
becomes invalid keeps its place and loses its driver, so its target is left untouched until it is valid again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from autoscaler.controller.announcer import Identity
from autoscaler.controller.holders import target_of
from autoscaler.controller.world import ClusterWorld
from autoscaler.core.policy import GROUP, KIND, VERSION, PolicySpec, ScalingPolicy
from autoscaler.driver import Decider, Driver, Recorder
from autoscaler.journal import Entry, digest
from autoscaler.policywords import message
from autoscaler.recall import carried
from autoscaler.status import PolicyStatus, read_status

KubeObject = Mapping[str, Any]
Memory = Any


@dataclass(slots=True)
class Member:
    """One policy in hand. ``policy`` is None exactly if there are ``problems``."""

    who: Identity
    body: KubeObject
    policy: ScalingPolicy | None = None
    problems: tuple[str, ...] = ()
    world: ClusterWorld | None = None
    driver: Driver[PolicySpec, Memory] | None = None
    next_at: float = 0.0
    conflict: str | None = None
    status: PolicyStatus = field(default_factory=PolicyStatus)
    entries: list[Entry] = field(default_factory=list)
    told_target: int | None = None
    told_refusal: str = ""
    recalled: bool = False  # Whether it is known what the store holds of it; set by ``Recaller``, which reads it.
    unrecalled_since: float | None = None

    @property
    def key(self) -> str:
        """The policy's identity, ``namespace/name``."""
        return f"{self.who.namespace}/{self.who.name}"

    @property
    def generation(self) -> int | None:
        """The generation of the spec in hand."""
        number = self.body["metadata"].get("generation")
        return None if number is None else int(number)

    def is_due(self, at: float, *, slack_s: float) -> bool:
        """Whether the policy is valid and to be stepped in the tick at an instant.

        Nobody is due later than one of his ticks from now, unless the wall clock was set back since: then at once,
        for nothing would be decided until it has caught up.
        """
        if self.policy is None:
            return False
        wait_s = self.next_at - at
        return wait_s <= slack_s or wait_s > self.policy.spec.timing.tick_seconds + slack_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What members are made with: a world for a policy, a first memory, the decider, who records."""

    world: Callable[[Member], ClusterWorld]
    first: Callable[[PolicySpec], Memory]
    decide: Decider[PolicySpec, Memory]
    record: Callable[[Member], Recorder[Memory]]


class Fleet:
    """All policies in hand, by uid."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> list[Member]:
        """Return every member, valid or not."""
        return list(self._members.values())

    def refresh(self, bodies: Iterable[KubeObject]) -> list[Member]:
        """Take in the policies as they stand; return the members that are no more."""
        present = {str(body["metadata"]["uid"]): body for body in bodies}
        gone = [self._members.pop(uid) for uid in list(self._members) if uid not in present]
        for uid, body in present.items():
            member = self._members.get(uid)
            if member is None:
                metadata = body["metadata"]
                who = Identity(namespace=str(metadata["namespace"]), name=str(metadata["name"]), uid=uid)
                member = self._members[uid] = Member(who=who, body=body, status=read_status(body.get("status")))
                self._arm(member)
            elif member.body["spec"] != body["spec"]:
                member.body = body
                self._arm(member)
            else:
                member.body = body
        return gone

    def _arm(self, member: Member) -> None:
        """Parse a member's spec and give it what it needs to be stepped, at once."""
        member.next_at = 0.0
        member.policy, member.problems = parsed(member.body)
        if member.policy is None:
            return
        spec = member.policy.spec
        target = target_of(member.body)
        if member.world is None or member.world.target != target:
            member.world = self._making.world(member)
        member.world.mode = spec.mode
        memory = self._making.first(spec)
        if member.driver is not None:
            memory = carried(member.driver.memory, was=member.driver.policy, now=spec, first=memory)
        member.driver = Driver(
            name=member.key,
            digest=digest(spec),
            policy=spec,
            memory=memory,
            decide=self._making.decide,
            world=member.world,
            record=self._making.record(member),
        )


def parsed(body: KubeObject) -> tuple[ScalingPolicy | None, tuple[str, ...]]:
    """Return the policy in a raw object, or what is wrong with it, a sentence each."""
    whole = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": body["metadata"],
        "spec": body.get("spec") or {},
    }
    try:
        return ScalingPolicy.model_validate(whole), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, tuple(f"{'.'.join(str(part) for part in one['loc'])}: {message(one)}" for one in details)
