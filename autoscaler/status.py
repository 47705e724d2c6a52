"""The status of a ScalingPolicy: what the controller tells the user of one tick, as the API server stores it.

Pure: ``status_of`` turns a journal entry into a value, the adapter writes it. The models are the schema of ``.status``
in the CustomResourceDefinition, so that ``kubectl explain scalingpolicy.status`` and the code cannot disagree.

Conditions follow metav1.Condition. ``True`` is the good state for all but the two that name a trouble:

================  ====================================================================  =============
condition         question it answers                                                   good state
================  ====================================================================  =============
Accepted          Is the policy valid?                                                  True
TargetFound       Does the target exist, with a readable /scale?                        True
ScalingActive     Is a count computed from present metrics?                             True
AbleToScale       May the count be written, and did the last write succeed?             True
ScalingLimited    Did a bound of the policy clip what demand asks for?                  False
Conflicted        Does somebody else hold the same target?                              False
Ready             All of it: does the policy do now what its mode says?                 True
================  ====================================================================  =============

A condition of the decision itself (a stuck start, an unreachable objective) is added under its own name while it
lasts. ``lastTransitionTime`` moves only when ``status`` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy_parts import Mode
from autoscaler.core.signals import Presence, Signals
from autoscaler.journal import Entry, OutcomeStatus

MESSAGE_LIMIT = 1024
CONDITION_LIMIT = 32


class Truth(StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class StatusPart(BaseModel):
    """A frozen part of the status; unknown fields are dropped, since an older controller may have written it."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class StatusCondition(StatusPart):
    """One condition in the shape of metav1.Condition."""

    type: str = Field(
        min_length=1, max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$", description="CamelCase name of the condition."
    )
    status: Truth = Field(description="True, False or Unknown.")
    observed_generation: int | None = Field(None, ge=0, description="Generation of the policy that this was said of.")
    last_transition_time: datetime = Field(description="When status last changed.")
    reason: str = Field(
        min_length=1,
        max_length=256,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="CamelCase word for why it is so.",
    )
    message: str = Field(max_length=MESSAGE_LIMIT, description="One sentence for a person.")


class ColdStartStatus(StatusPart):
    """The cold start as measured so far: from the order of a replica to its first Ready."""

    p50_seconds: float | None = Field(None, ge=0, description="Median of the next cold start, in seconds.")
    p75_seconds: float | None = Field(None, ge=0, description="Its 0.75 quantile, which sets the forecast's horizon.")
    samples: int = Field(0, ge=0, description="Cold starts measured; 0 means that all of it is the prior.")


class PolicyStatus(StatusPart):
    """What the controller observed and decided at its last tick."""

    observed_generation: int | None = Field(None, ge=0, description="Generation of the policy that was acted on.")
    desired: int | None = Field(
        None, ge=0, description="Replicas wanted now; absent in mode Observe and while nothing is decided."
    )
    ready: int | None = Field(None, ge=0, description="Replicas that are Ready.")
    warming: int | None = Field(None, ge=0, description="Replicas asked for that are not Ready yet.")
    prewarm: int | None = Field(None, ge=0, description="Part of desired that is held above present need.")
    cold_start: ColdStartStatus | None = Field(None, description="The measured cold start.")
    reason: str | None = Field(None, max_length=63, description="The one rule that bound the count, e.g. burst.")
    detail: str | None = Field(None, max_length=MESSAGE_LIMIT, description="The decision in one sentence.")
    last_sample_age_seconds: float | None = Field(
        None, ge=0, description="Age of the newest engine sample at the last decision; absent: none was seen."
    )
    last_decision_at: datetime | None = Field(None, description="When the last decision was made.")
    conditions: tuple[StatusCondition, ...] = Field(
        (),
        max_length=CONDITION_LIMIT,
        description="Ready, Accepted, TargetFound, ScalingActive, AbleToScale, ScalingLimited, Conflicted.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )

    def condition(self, name: str) -> StatusCondition | None:
        """Return the condition of a type, or None if it is not there."""
        return next((condition for condition in self.conditions if condition.type == name), None)


_LIMITING = {
    Why.MIN_REPLICAS: "TooFewReplicas",
    Why.MAX_REPLICAS: "TooManyReplicas",
    Why.PREWARM_MIN: "PrewarmMin",
    Why.PREWARM_MAX: "PrewarmMax",
    Why.PIN: "Pinned",
    Why.FAIL_SAFE: "FailSafe",
}
_INACTIVE = {Why.BLIND, Why.CONTRADICTORY, Why.NO_DEMAND_YET, Why.PAUSED, Why.ZEROED_BY_OWNER, Why.TARGET_UNKNOWN}
_WRITE_FAILED = {
    OutcomeStatus.REFUSED: "Refused",
    OutcomeStatus.ERROR: "WriteFailed",
    OutcomeStatus.CONFLICT: "Retrying",
}
_Said = tuple[str, Truth, str, str]


def read_status(raw: Mapping[str, Any] | None) -> PolicyStatus:
    """Return the status that the API server holds; a status that cannot be read is as none."""
    try:
        return PolicyStatus.model_validate(dict(raw or {}))
    except ValidationError:
        return PolicyStatus()


def status_of(
    entry: Entry,
    *,
    mode: Mode,
    generation: int | None = None,
    previous: PolicyStatus | None = None,
    conflict: str | None = None,
    target: str = "the target",
) -> PolicyStatus:
    """Return the status after one tick.

    ``conflict`` is a sentence that names who else holds the target (an HPA, a ScaledObject, another policy), or
    None. ``target`` names the target for people, e.g. "Deployment/chat". ``previous`` is the last status, for the
    transition times.
    """
    decision, signals = entry.decision, entry.signals
    found = signals.spec_replicas is not None
    said = [
        ("Accepted", Truth.TRUE, "Valid", "The policy is valid."),
        _target_found(signals, decision, target),
        _scaling_active(decision),
        _able_to_scale(entry, mode, conflict),
        _scaling_limited(decision),
        _conflicted(decision, conflict),
    ]
    extra = [(condition.name, Truth.TRUE, condition.name, condition.message) for condition in decision.conditions]
    if signals.warnings:
        extra.append(("PartialSight", Truth.TRUE, "SourcesIncomplete", "; ".join(signals.warnings)))
    return PolicyStatus(
        observed_generation=generation,
        desired=None if mode is Mode.OBSERVE else decision.target,
        ready=decision.ready if found else None,
        warming=decision.warming if found else None,
        prewarm=decision.prewarm if found else None,
        cold_start=_cold_start(decision.numbers),
        reason=str(decision.why),
        detail=decision.detail[:MESSAGE_LIMIT],
        last_sample_age_seconds=sample_age_s(signals, decision),
        last_decision_at=_instant(entry.at),
        conditions=_stamped([_ready(said, mode), *said, *extra], at=entry.at, generation=generation, previous=previous),
    )


def refused_status(
    problems: Sequence[str], *, at: float, generation: int | None = None, previous: PolicyStatus | None = None
) -> PolicyStatus:
    """Return the status of a policy that is not valid: nothing is decided, and the problems say why.

    The counts of the last valid policy are dropped: they would look like a decision that still holds.
    """
    message = " ".join(problems) or "The policy is not valid."
    said: list[_Said] = [
        ("Ready", Truth.FALSE, "Invalid", message),
        ("Accepted", Truth.FALSE, "Invalid", message),
        ("ScalingActive", Truth.FALSE, "Invalid", "Nothing is decided for a policy that is not valid."),
    ]
    return PolicyStatus(
        observed_generation=generation,
        detail=message[:MESSAGE_LIMIT],
        conditions=_stamped(said, at=at, generation=generation, previous=previous),
    )


def status_patch(status: PolicyStatus) -> dict[str, Any]:
    """Return the merge patch for /status. Absent values are null, which in a merge patch removes the old ones."""
    body = status.model_dump(mode="json", by_alias=True)
    body["conditions"] = [condition.model_dump(mode="json", by_alias=True) for condition in status.conditions]
    for condition in body["conditions"]:
        if condition["observedGeneration"] is None:
            del condition["observedGeneration"]
    return {"status": body}


def sample_age_s(signals: Signals, decision: Decision) -> float | None:
    """Return the age in seconds of the newest engine sample ever seen, or None if there was none."""
    remembered_s = decision.numbers.get("sample_age_s")
    if remembered_s is not None:
        return max(0.0, round(remembered_s, 3))
    seen = [sample.at for sample in signals.samples if sample.presence in {Presence.PRESENT, Presence.STALE}]
    return max(0.0, round(signals.at - max(seen), 3)) if seen else None


def _target_found(signals: Signals, decision: Decision, target: str) -> _Said:
    if signals.spec_replicas is None:
        message = decision.detail if target in decision.detail else f"{target}: {decision.detail}"
        return ("TargetFound", Truth.FALSE, "Unreadable", message)
    return ("TargetFound", Truth.TRUE, "Found", f"{target} has {signals.spec_replicas} replicas in its spec.")


def _scaling_active(decision: Decision) -> _Said:
    why = decision.held_by or decision.why
    if why in _INACTIVE:
        return ("ScalingActive", Truth.FALSE, _camel(why), decision.detail)
    return ("ScalingActive", Truth.TRUE, "Deciding", decision.detail)


def _able_to_scale(entry: Entry, mode: Mode, conflict: str | None) -> _Said:
    outcome = entry.outcome
    if mode is not Mode.ENFORCE:
        return ("AbleToScale", Truth.FALSE, f"Mode{mode}", f"Mode is {mode}: /scale is never written.")
    if conflict is not None:
        return ("AbleToScale", Truth.FALSE, "TargetHeld", conflict)
    if entry.signals.spec_replicas is None:
        return ("AbleToScale", Truth.FALSE, "Unreadable", "The target's /scale cannot be read.")
    if outcome.status in _WRITE_FAILED:
        message = outcome.detail or f"The last write to /scale came back as {outcome.status}."
        return ("AbleToScale", Truth.FALSE, _WRITE_FAILED[outcome.status], message)
    return ("AbleToScale", Truth.TRUE, _camel(outcome.status), outcome.detail or "/scale may be written.")


def _scaling_limited(decision: Decision) -> _Said:
    if decision.why in _LIMITING:
        return ("ScalingLimited", Truth.TRUE, _LIMITING[decision.why], decision.detail)
    return ("ScalingLimited", Truth.FALSE, "WithinBounds", "Demand asks for a count within the policy's bounds.")


def _conflicted(decision: Decision, conflict: str | None) -> _Said:
    if conflict is not None:
        return ("Conflicted", Truth.TRUE, "TargetHeld", conflict)
    if decision.why is Why.CONTESTED:
        return ("Conflicted", Truth.TRUE, "Contested", decision.detail)
    return ("Conflicted", Truth.FALSE, "NoOtherController", "Nobody else holds the target.")


def _ready(said: Sequence[_Said], mode: Mode) -> _Said:
    """Return the summary: the gravest condition that is not in its good state speaks for all of them.

    A mode that does not write is what the user asked for, and so is a bound: neither makes a policy unready.
    """
    troubled = {"Accepted": Truth.FALSE, "TargetFound": Truth.FALSE, "Conflicted": Truth.TRUE}
    if mode is Mode.ENFORCE:
        troubled["AbleToScale"] = Truth.FALSE
    troubled["ScalingActive"] = Truth.FALSE
    found = {name: (status, reason, message) for name, status, reason, message in said}
    for name, bad in troubled.items():
        status, reason, message = found[name]
        if status is bad:
            return ("Ready", Truth.FALSE, reason, message)
    return ("Ready", Truth.TRUE, f"{mode}", f"The policy does what its mode {mode} says.")


def _cold_start(numbers: Mapping[str, float]) -> ColdStartStatus | None:
    p50_s, p75_s = numbers.get("coldstart_p50_s"), numbers.get("coldstart_p75_s")
    if p50_s is None and p75_s is None:
        return None
    samples = int(numbers.get("coldstart_samples", 0))
    return ColdStartStatus(
        p50_seconds=None if p50_s is None else round(p50_s, 1),
        p75_seconds=None if p75_s is None else round(p75_s, 1),
        samples=samples,
    )


def _stamped(
    said: Iterable[_Said], *, at: float, generation: int | None, previous: PolicyStatus | None
) -> tuple[StatusCondition, ...]:
    stamped: dict[str, StatusCondition] = {}
    for name, truth, reason, message in said:
        before = previous.condition(name) if previous is not None else None
        kept = before is not None and before.status is truth
        stamped.setdefault(
            name,
            StatusCondition(
                type=name,
                status=truth,
                observed_generation=generation,
                last_transition_time=before.last_transition_time if before and kept else _instant(at),
                reason=reason,
                message=message[:MESSAGE_LIMIT],
            ),
        )
    return tuple(stamped.values())[:CONDITION_LIMIT]


def _camel(text: str) -> str:
    return "".join(part.capitalize() for part in text.split("-"))


def _instant(at: float) -> datetime:
    """Return unix seconds as a time, whole seconds as metav1.Time stores them."""
    return datetime.fromtimestamp(int(at), tz=UTC)
