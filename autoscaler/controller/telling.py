"""What is told of a tick: one log line for each change, metrics, the status, and Events where something moved."""

import logging
from collections.abc import Callable
from dataclasses import replace

from autoscaler.controller.announcer import Announcer
from autoscaler.controller.fleet import Member
from autoscaler.controller.holders import target_of
from autoscaler.controller.metrics import ControllerMetrics
from autoscaler.controller.world import ClusterWorld
from autoscaler.core.decision import Condition
from autoscaler.core.policy import ScalingPolicy
from autoscaler.journal import Entry, OutcomeStatus
from autoscaler.status import PolicyStatus, refused_status, status_of

logger = logging.getLogger(__name__)

_WORTH_A_LINE = frozenset({OutcomeStatus.SCALED, OutcomeStatus.CONFLICT, OutcomeStatus.ERROR})
_NOT_SCALED = frozenset({OutcomeStatus.REFUSED, OutcomeStatus.ERROR})


class Teller:
    """Tells what became of each policy. ``leads``: followers tell metrics and log, and leave the rest to the leader.

    ``trouble`` returns what is wrong with the store, "" for nothing.
    """

    def __init__(
        self,
        announcer: Announcer,
        metrics: ControllerMetrics,
        leads: Callable[[], bool],
        *,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._announcer = announcer
        self._metrics = metrics
        self._leads = leads
        self._trouble = trouble

    def tell(self, member: Member, at: float) -> None:
        """Tell what became of a member in the tick at an instant; its entries are used up."""
        entries, member.entries = member.entries, []
        if member.policy is None:
            previous = member.status
            # What was decided for the valid policy before would look as if it still held.
            self._metrics.forget(member.who.namespace, member.who.name)
            member.status = refused_status(member.problems, at=at, generation=member.generation, previous=previous)
            self._announcer.status(member.who, member.status, previous=previous)
            if _changed(member.status, previous):
                logger.warning("%s is not valid, its target is left as it is: %s", member.key, member.status.detail)
            return
        for entry in entries:
            self._tell_entry(member, member.policy, entry)

    def forget(self, member: Member) -> None:
        """Stop telling of a policy that is no more."""
        logger.info("%s was deleted; its target is left as it is", member.key)
        self._announcer.forget(member.who.uid)
        self._metrics.remove(member.who.namespace, member.who.name)

    def _tell_entry(self, member: Member, policy: ScalingPolicy, entry: Entry) -> None:
        previous = member.status
        self._metrics.tell(member.who.namespace, member.who.name, policy.spec.mode, entry)
        member.status = status_of(
            _with_conditions(entry, _probe_warning(member.world), _store_warning(self._trouble())),
            mode=policy.spec.mode,
            generation=member.generation,
            previous=previous,
            conflict=member.conflict,
            target=str(target_of(member.body)),
        )
        moved = entry.decision.target != member.told_target
        if moved or _changed(member.status, previous) or entry.outcome.status in _WORTH_A_LINE:
            logger.info("%s", line(entry))
        if self._leads():
            self._announcer.status(member.who, member.status, previous=previous)
            self._tell_events(member, entry, moved=moved)
        member.told_target = entry.decision.target

    def _tell_events(self, member: Member, entry: Entry, *, moved: bool) -> None:
        decision, outcome, at = entry.decision, entry.outcome, entry.at
        text = f"{decision.spec_replicas} → {decision.target} replicas ({decision.why}): {decision.detail}"
        if outcome.status is OutcomeStatus.SCALED:
            self._announcer.event(member.who, reason="Scaled", message=text, warning=False, at=at)
        elif outcome.status is OutcomeStatus.DRY_RUN and moved and decision.moves and member.status.desired is not None:
            self._announcer.event(member.who, reason="Recommended", message=text, warning=False, at=at)
        refusal = outcome.detail if outcome.status in _NOT_SCALED else ""
        if refusal and refusal not in {member.told_refusal, member.conflict}:
            self._announcer.event(member.who, reason="NotScaled", message=refusal, warning=True, at=at)
        member.told_refusal = refusal


def line(entry: Entry) -> str:
    """Return one log line that tells an entry."""
    decision, outcome = entry.decision, entry.outcome
    target = "no target" if decision.target is None else f"{decision.spec_replicas} → {decision.target}"
    end = f": {outcome.detail}" if outcome.detail else ""
    return f"{entry.policy}: {target} ({decision.why}) [{outcome.status}{end}] {decision.detail}"


def _changed(status: PolicyStatus, previous: PolicyStatus) -> bool:
    """Whether the reason or a condition changed; numbers inside sentences change with every tick."""
    told = [(one.type, one.status, one.reason) for one in status.conditions]
    return status.reason != previous.reason or told != [(o.type, o.status, o.reason) for o in previous.conditions]


def _with_conditions(entry: Entry, *conditions: Condition | None) -> Entry:
    """Add what the decision cannot know of."""
    added = tuple(condition for condition in conditions if condition is not None)
    return replace(entry, decision=replace(entry.decision, conditions=(*entry.decision.conditions, *added)))


def _store_warning(trouble: str) -> Condition | None:
    return Condition(name="StoreTrouble", message=trouble) if trouble else None


def _probe_warning(world: ClusterWorld | None) -> Condition | None:
    """Return the condition that tells of pods whose Ready says nothing."""
    if world is None or not world.unprobed:
        return None
    count = len(world.unprobed)
    message = (
        f"{count} {'pod has' if count == 1 else 'pods have'} no readiness probe (e.g. {world.unprobed[0]}): "
        "each counts as ready at its first engine sample; add a readinessProbe on the engine's health path, so that "
        "cold starts are measured"
    )
    return Condition(name="NoReadinessProbe", message=message)
