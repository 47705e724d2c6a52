"""The status: what one tick tells the user, and what it does not."""

import dataclasses
from typing import Any

import pytest

from autoscaler.core.decision import Condition, Decision, Why
from autoscaler.core.policy_parts import Mode
from autoscaler.core.signals import PodSample, Presence, Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus
from autoscaler.status import (
    PolicyStatus,
    StatusCondition,
    Truth,
    read_status,
    refused_status,
    sample_age_s,
    status_of,
    status_patch,
)

AT = 1_764_000_000.0
NUMBERS = {"coldstart_p50_s": 121.26, "coldstart_p75_s": 150.0, "coldstart_samples": 7.0}


def entry(
    why: Why = Why.BURST,
    *,
    at: float = AT,
    target: int | None = 5,
    spec_replicas: int | None = 3,
    outcome: OutcomeStatus = OutcomeStatus.SCALED,
    numbers: dict[str, float] | None = None,
    conditions: tuple[Condition, ...] = (),
    samples: tuple[PodSample, ...] = (),
) -> Entry:
    """A tick: 3 replicas ready, 5 wanted."""
    decision = Decision(
        at=at,
        target=target,
        spec_replicas=spec_replicas,
        why=why,
        detail=f"because of {why.value}.",
        next_at=at + 15,
        ready=3,
        warming=2,
        prewarm=1,
        numbers=NUMBERS if numbers is None else numbers,
        conditions=conditions,
    )
    return Entry(
        policy="prod/chat",
        policy_digest="d",
        at=at,
        signals=Signals(at=at, spec_replicas=spec_replicas, samples=samples),
        decision=decision,
        outcome=Outcome(status=outcome),
    )


def said(status: PolicyStatus, name: str) -> tuple[str, str]:
    """The status and reason of a condition."""
    condition = status.condition(name)
    assert condition is not None, name
    return str(condition.status), condition.reason


def test_a_tick_that_scaled_is_ready_and_says_all() -> None:
    """Counts, the cold start with its samples, and the reason are read off the decision."""
    sample = PodSample(pod="a", at=AT - 12.0)
    status = status_of(entry(samples=(sample,)), mode=Mode.ENFORCE, generation=4, target="Deployment/chat")
    assert (status.desired, status.ready, status.warming, status.prewarm) == (5, 3, 2, 1)
    assert status.cold_start is not None
    assert (status.cold_start.p50_seconds, status.cold_start.samples) == (121.3, 7)
    assert (status.reason, status.observed_generation) == ("burst", 4)
    assert status.last_sample_age_seconds == 12.0
    names = [condition.type for condition in status.conditions]
    assert names == [
        "Ready",
        "Accepted",
        "TargetFound",
        "ScalingActive",
        "AbleToScale",
        "ScalingLimited",
        "Conflicted",
    ]
    assert said(status, "Ready") == ("True", "Enforce")


def test_observe_publishes_no_count() -> None:
    """In mode Observe no target is there for others to see; what was seen is."""
    status = status_of(entry(outcome=OutcomeStatus.DRY_RUN), mode=Mode.OBSERVE)
    assert status.desired is None
    assert status.ready == 3


def test_recommend_is_ready_though_it_writes_nothing() -> None:
    """Not writing is what the user asked for: it is said, and it is no trouble."""
    status = status_of(entry(outcome=OutcomeStatus.DRY_RUN), mode=Mode.RECOMMEND)
    assert said(status, "AbleToScale") == ("False", "ModeRecommend")
    assert said(status, "Ready") == ("True", "Recommend")


@pytest.mark.parametrize(
    ("why", "condition", "expected"),
    [
        (Why.BLIND, "ScalingActive", ("False", "Blind")),
        (Why.PAUSED, "ScalingActive", ("False", "Paused")),
        (Why.MAX_REPLICAS, "ScalingLimited", ("True", "TooManyReplicas")),
        (Why.MIN_REPLICAS, "ScalingLimited", ("True", "TooFewReplicas")),
        (Why.CONTESTED, "Conflicted", ("True", "Contested")),
    ],
    ids=lambda value: str(value) if isinstance(value, Why) else "",
)
def test_a_reason_speaks_through_its_condition(why: Why, condition: str, expected: tuple[str, str]) -> None:
    """Each reason that is not plain demand shows in the condition that people look at for it."""
    assert said(status_of(entry(why), mode=Mode.ENFORCE), condition) == expected


@pytest.mark.parametrize("why", list(Why), ids=str)
def test_every_reason_gives_a_status_that_a_server_takes(why: Why) -> None:
    """Whatever the core decides, the models accept the words made of it."""
    assert status_of(entry(why), mode=Mode.ENFORCE).reason == why.value


def test_a_bound_that_clips_does_not_make_a_policy_unready() -> None:
    """A bound is an order of the user, obeyed."""
    assert said(status_of(entry(Why.MAX_REPLICAS), mode=Mode.ENFORCE), "Ready")[0] == "True"


def test_a_target_that_is_gone_is_said() -> None:
    """TargetFound and Ready turn false, and no count is made up."""
    status = status_of(entry(Why.TARGET_UNKNOWN, target=None, spec_replicas=None), mode=Mode.ENFORCE)
    assert said(status, "TargetFound") == ("False", "Unreadable")
    assert said(status, "Ready")[0] == "False"
    assert status.desired is None


def test_another_controller_on_the_target_is_named() -> None:
    """The sentence that names the HPA is the condition's message, and Ready repeats it."""
    status = status_of(entry(), mode=Mode.ENFORCE, conflict="HorizontalPodAutoscaler chat scales it too.")
    assert said(status, "Conflicted") == ("True", "TargetHeld")
    ready = status.condition("Ready")
    assert ready is not None
    assert "HorizontalPodAutoscaler chat" in ready.message


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(OutcomeStatus.ERROR, "WriteFailed"), (OutcomeStatus.REFUSED, "Refused"), (OutcomeStatus.CONFLICT, "Retrying")],
    ids=str,
)
def test_a_write_that_failed_is_said_in_enforce(outcome: OutcomeStatus, reason: str) -> None:
    """AbleToScale is about the last write."""
    assert said(status_of(entry(outcome=outcome), mode=Mode.ENFORCE), "AbleToScale") == ("False", reason)


def test_the_transition_time_moves_only_with_the_status() -> None:
    """A condition that stays keeps its time though its message changes; one that turns gets the new time."""
    first = status_of(entry(), mode=Mode.ENFORCE)
    second = status_of(entry(Why.BLIND, at=AT + 60), mode=Mode.ENFORCE, previous=first)
    third = status_of(entry(Why.PAUSED, at=AT + 120), mode=Mode.ENFORCE, previous=second)
    times = {
        name: [
            found.last_transition_time.timestamp()
            for status in (first, second, third)
            if (found := status.condition(name)) is not None
        ]
        for name in ("Accepted", "ScalingActive")
    }
    assert times == {"Accepted": [AT, AT, AT], "ScalingActive": [AT, AT + 60, AT + 60]}


def test_a_condition_of_the_decision_comes_and_goes() -> None:
    """What a person should know stands among the conditions as long as it lasts, once for each name."""
    stuck = Condition(name="StuckColdStart", message="2 starts hang")
    first = status_of(entry(conditions=(stuck, stuck)), mode=Mode.ENFORCE)
    assert said(first, "StuckColdStart") == ("True", "StuckColdStart")
    assert [c.type for c in first.conditions].count("StuckColdStart") == 1
    assert status_of(entry(), mode=Mode.ENFORCE, previous=first).condition("StuckColdStart") is None


def test_a_policy_that_is_not_valid_loses_its_counts() -> None:
    """Old counts beside a refusal would look like a decision that still holds."""
    status = refused_status(["spec.model.name: required."], at=AT, generation=2)
    assert said(status, "Accepted") == ("False", "Invalid")
    assert (status.desired, status.reason) == (None, None)


def test_a_merge_patch_removes_what_is_absent() -> None:
    """Nulls are written out, since a merge patch keeps what it does not name."""
    patch = status_patch(refused_status(["no"], at=AT))["status"]
    assert patch["desired"] is None
    assert patch["coldStart"] is None
    assert patch["conditions"][0]["lastTransitionTime"].endswith("Z")
    assert "observedGeneration" not in patch["conditions"][0]


def test_what_the_server_holds_is_read_back() -> None:
    """Status to patch to status is the identity, nulls dropped as a server drops them."""
    status = status_of(entry(), mode=Mode.ENFORCE, generation=1)
    stored = {key: value for key, value in status_patch(status)["status"].items() if value is not None}
    assert read_status(stored) == status


@pytest.mark.parametrize("raw", [None, {}, {"conditions": "x"}, {"desired": -1, "conditions": [{}]}, {"new": 1}])
def test_a_status_that_cannot_be_read_is_as_none(raw: dict[str, Any] | None) -> None:
    """Another version's status, or a hand's, never stops the controller."""
    assert read_status(raw) == PolicyStatus()


@pytest.mark.parametrize(
    ("presence", "age_s"),
    [(Presence.PRESENT, 30.0), (Presence.STALE, 30.0), (Presence.ABSENT, None), (Presence.TARGET_DOWN, None)],
    ids=str,
)
def test_the_age_is_that_of_a_sample_and_not_of_its_absence(presence: Presence, age_s: float | None) -> None:
    """A pod without a sample has none to be old."""
    sample = PodSample(pod="a", at=AT - 30, presence=presence)
    signals = Signals(at=AT, spec_replicas=1, samples=(sample,))
    assert sample_age_s(signals, entry().decision) == age_s


def test_while_blind_the_age_of_the_last_sample_goes_on_growing() -> None:
    """An alert on the age fires exactly when nothing is seen: the core remembers the newest sample."""
    blind = dataclasses.replace(entry().decision, numbers={"sample_age_s": 480.0})
    assert sample_age_s(Signals(at=AT, spec_replicas=1), blind) == 480.0


def test_a_bound_does_not_hide_that_the_controller_is_blind() -> None:
    """Clamped while blind, a policy is still not deciding."""
    seen = entry()
    held = dataclasses.replace(seen.decision, why=Why.MAX_REPLICAS, held_by=Why.BLIND)
    status = status_of(dataclasses.replace(seen, decision=held), mode=Mode.ENFORCE)
    assert said(status, "ScalingActive") == ("False", "Blind")


def test_a_long_sentence_is_cut_to_what_the_schema_takes() -> None:
    """A message longer than the schema allows would lose the whole status."""
    status = refused_status(["x" * 5000], at=AT)
    assert len(status.conditions[0].message) == 1024


def test_conditions_have_the_shape_of_the_standard_one() -> None:
    """Type, status, reason and message are what metav1.Condition asks for."""
    condition = status_of(entry(), mode=Mode.ENFORCE).conditions[0]
    assert isinstance(condition, StatusCondition)
    assert condition.status in set(Truth)


def test_a_target_that_cannot_be_read_has_no_counts() -> None:
    """Missing is not zero: nobody knows how many of its replicas are ready, and nothing can be written to it."""
    tick = entry(Why.TARGET_UNKNOWN, target=None, spec_replicas=None, outcome=OutcomeStatus.UNCHANGED)
    status = status_of(tick, mode=Mode.ENFORCE)

    assert (status.ready, status.warming, status.prewarm) == (None, None, None)
    assert said(status, "AbleToScale") == ("False", "Unreadable")


def test_a_target_that_somebody_holds_is_why_the_policy_is_not_ready() -> None:
    """The gravest condition speaks for all of them, also while no move is due."""
    tick = entry(Why.NO_DEMAND_YET, target=3, outcome=OutcomeStatus.UNCHANGED)
    status = status_of(tick, mode=Mode.ENFORCE, conflict="the HPA chat holds the target")

    assert said(status, "AbleToScale") == ("False", "TargetHeld")
    assert said(status, "Ready") == ("False", "TargetHeld")


def test_sources_that_answer_in_part_are_a_condition() -> None:
    """What is not seen is told, also where it changes nothing at the moment."""
    tick = entry()
    tick = dataclasses.replace(tick, signals=dataclasses.replace(tick.signals, warnings=("no status.selector",)))

    found = status_of(tick, mode=Mode.ENFORCE).condition("PartialSight")

    assert found is not None
    assert found.message == "no status.selector"
