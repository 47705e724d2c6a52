"""Laws of the decision: what holds for every valid policy, memory and signals, tried with generated ones."""

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoscaler import journal
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from tests.core.pods_seen import policy, replica, sample, steady

SPECS = (
    policy(),
    policy(mode="Enforce", replicas={"min": 2, "max": 6}, objectives={"ttftSeconds": 0.05, "itlSeconds": 0.001}),
    policy(engine={}, accelerator={"class": "unheard-of"}, prewarm={"min": 1, "max": 2, "quantile": 0.99}),
    policy(engine={"preset": "tgi"}, failSafe={"replicas": 9, "afterSeconds": 30}),
    policy(
        replicas={"min": 0, "max": 5},
        scaleToZero={"enabled": True},
        metrics={"queries": [{"signal": "heldRequests", "promql": "held"}]},
    ),
)
PODS = ("a", "b", "c", "d")
NUMBERS = (
    "running",
    "waiting",
    "kv_ratio",
    "kv_capacity_tokens",
    "prompt_tokens",
    "generation_tokens",
    "finished_requests",
    "steps",
    "ttft_count",
    "itl_sum_s",
    "itl_count",
    "tpot_count",
)
# A gauge or counter as the contract has it: None where unknown; nothing about its size is promised.
counts = st.none() | st.floats(0, 1e6) | st.sampled_from([0.0, 1e300, math.inf, math.nan, -1.0])
instants = st.floats(0, 4000)
# A broken source may tell any time of a pod or a sample; that of the signals is the caller's own clock.
told_instants = instants | st.sampled_from([math.nan, math.inf, -math.inf, -1e300])
buckets = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e6)), max_size=2).map(tuple)
samples = st.builds(
    PodSample,
    pod=st.sampled_from(PODS),
    at=told_instants,
    presence=st.sampled_from(Presence),
    ttft_within=buckets,
    tpot_within=buckets,
    **dict.fromkeys(NUMBERS, counts),
)
replicas = st.builds(
    Replica,
    pod=st.sampled_from(PODS),
    uid=st.sampled_from(PODS),
    state=st.sampled_from(ReplicaState),
    ordered_at=told_instants,
    scheduled_at=st.none() | told_instants,
    started_at=st.none() | told_instants,
    ready_at=st.none() | told_instants,
    reason=st.none() | st.just("CrashLoopBackOff"),
)
anything = st.builds(
    Signals,
    at=instants,
    spec_replicas=st.none() | st.integers(0, 60),
    replicas=st.lists(replicas, max_size=6).map(tuple),
    samples=st.lists(samples, max_size=5).map(tuple),
    held_requests=counts,
    surge_replicas=st.integers(0, 3),
    warnings=st.lists(st.just("partial"), max_size=1).map(tuple),
)
LEFT_ALONE = {Why.PAUSED, Why.TARGET_UNKNOWN, Why.CONTESTED, Why.ZEROED_BY_OWNER}


def told(spec: PolicySpec, story: list[Signals]) -> list[tuple[Signals, Memory, Decision]]:
    """Fold a story and return each tick with the memory and the decision that it left."""
    memory, ticks = initial(spec), []
    for signals in story:
        memory, decision = decide(spec, memory, signals)
        ticks.append((signals, memory, decision))
    return ticks


PLAIN: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Memory, Decision)}


@cache
def settled(ready: int, rate_rps: float) -> Memory:
    """Return the memory of a target that has been steady for half an hour."""
    memory = initial(SPECS[0])
    for tick in range(120):
        memory, _ = decide(SPECS[0], memory, steady(15.0 * tick, ready=ready, rate_rps=rate_rps))
    return memory


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SPECS), st.lists(anything, min_size=1, max_size=5))
def test_it_decides_on_anything_within_the_bounds_and_survives_json(spec: PolicySpec, story: list[Signals]) -> None:
    """Total; min ≤ target ≤ max unless the count is left to its owner; memory and decision are plain JSON values."""
    for signals, memory, decision in told(spec, story):
        if decision.why in LEFT_ALONE:
            assert decision.target in {None, signals.spec_replicas}
        else:
            assert decision.target is not None
            least = spec.replicas.min if spec.replicas.min > 0 else 0
            assert least <= decision.target <= spec.replicas.max
        assert decision.detail.endswith(".")
        assert decision.next_at > signals.at
        assert all(math.isfinite(number) for number in decision.numbers.values())
        for value in (memory, decision):
            # Strict JSON: a NaN would be written as null, and read back as unknown.
            json.dumps(PLAIN[type(value)].dump_python(value, mode="json"), allow_nan=False)
        assert journal.decode(Memory, journal.encode(memory)) == memory
        assert journal.decode(Decision, journal.encode(decision)) == decision


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(SPECS), st.lists(anything, min_size=1, max_size=4))
def test_the_same_memory_and_signals_give_the_same_decision(spec: PolicySpec, story: list[Signals]) -> None:
    """No clock, no chance, no hidden state: a story told twice ends alike, also through JSON between its ticks."""
    once = told(spec, story)
    memory = initial(spec)
    for signals, left, decision in once:
        memory, again = decide(spec, journal.decode(Memory, journal.encode(memory)), signals)
        assert (memory, again) == (left, decision)


@settings(max_examples=150, deadline=None)
@given(st.lists(anything, min_size=1, max_size=6))
def test_nothing_goes_down_on_missing_or_partial_data(story: list[Signals]) -> None:
    """Stale, absent, invalid, down, warned or mute: the count never falls, unless max orders it."""
    spec = SPECS[0]
    for signals, _, decision in told(spec, story):
        fresh = [
            one.pod
            for one in signals.samples
            if one.presence is Presence.PRESENT and signals.at - 90 <= one.at <= signals.at + 60
        ]
        spec_replicas = signals.spec_replicas
        if (signals.warnings or not fresh) and decision.target is not None and spec_replicas is not None:
            assert decision.target >= min(spec_replicas, spec.replicas.max)


@settings(max_examples=60, deadline=None)
@given(ready=st.integers(1, 8), extra=st.integers(1, 8), age_s=st.floats(0, 100), rate_rps=st.floats(0, 100))
def test_nothing_goes_down_while_a_healthy_replica_starts(
    ready: int, extra: int, age_s: float, rate_rps: float
) -> None:
    """Whatever demand asks for, the count stays at least where it is: its owner would delete what is starting."""
    seen = steady(1800.0, ready=ready, rate_rps=rate_rps)
    starting = tuple(replica(f"new-{index}", ordered_at=1800.0 - age_s, ready_at=None) for index in range(extra))
    seen = replace(seen, spec_replicas=ready + extra, replicas=(*seen.replicas, *starting))
    _, decision = decide(SPECS[0], settled(2, 8.0), seen)
    assert decision.target is not None
    assert decision.target >= ready + extra


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 300), st.floats(0, 300), st.floats(0, 5000), st.floats(0, 5000))
def test_more_load_never_lowers_the_target(one: float, other: float, queue: float, longer: float) -> None:
    """From the same steady memory, more arrivals of the same mix and a longer queue ask for at least as much.

    It is a law of the formula at a given belief. Over time it is not one: residuals and dispersion are learnt, so an
    hour of more load may teach a smaller error.
    """
    targets = []
    for more_rps, waiting in zip(sorted((one, other)), sorted((queue, longer)), strict=True):
        served = 2800 * 8.0 / 2 + more_rps * 15 / 2
        pods = tuple(sample(f"llm-{index}", 1795.0, served - 5 * 4, waiting=waiting / 2) for index in range(2))
        seen = replace(steady(1800.0), samples=pods)
        _, decision = decide(SPECS[0], settled(2, 8.0), seen)
        targets.append(decision.target or 0)
    assert targets[0] <= targets[1]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPECS[:1]), st.floats(91, 10_000), st.integers(1, 50), st.data())
def test_stale_metrics_hold(spec: PolicySpec, age_s: float, stands: int, data: Any) -> None:
    """A newest sample beyond the limit freezes the count, wherever it stands within the bounds."""
    ready = data.draw(st.integers(1, stands))
    seen = steady(1800.0, ready=ready, stands=stands)
    old = tuple(replace(one, at=1800.0 - age_s) for one in seen.samples)
    _, decision = decide(spec, settled(2, 8.0), replace(seen, samples=old))
    assert decision.why is Why.BLIND
    assert decision.target == stands
