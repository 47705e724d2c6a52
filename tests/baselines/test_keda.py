"""Stories of the KEDA baseline: two loops, zero, and what it takes for idleness."""

from dataclasses import replace

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import PodSample, Presence, Signals
from simulator.baselines.keda import Fallback, KedaMemory, KedaSpec, decide
from simulator.baselines.sight import PodsMetric
from tests.baselines.pools_seen import T0, pool, replica

SPEC = KedaSpec(metric=PodsMetric.CONCURRENCY, threshold=10.0, max_replicas=50)


def second(decision: Decision) -> float:
    """Return the second of the next tick."""
    return decision.next_at - T0


def test_the_executor_polls_every_thirty_seconds_and_the_hpa_every_fifteen() -> None:
    """The next tick is that of whichever loop comes first."""
    memory, first = decide(SPEC, KedaMemory(), pool(0, [10.0]))
    memory, second_tick = decide(SPEC, memory, pool(15, [10.0]))
    assert (second(first), second(second_tick)) == (15, 30)
    assert (memory.poll_at - T0, memory.sync_at - T0) == (30, 30)


def test_from_zero_it_goes_to_one_and_the_hpa_follows_fifteen_seconds_later() -> None:
    """Trap (c): eighty held requests get one replica first, the HPA's five more only at its next sync."""
    memory, first = decide(SPEC, KedaMemory(), pool(0, held=80.0))
    assert (first.target, first.why) == (1, Why.CONCURRENCY)
    _, later = decide(SPEC, memory, pool(15, loading=1, held=80.0))
    assert (second(first), later.target) == (15, 5)


def test_to_zero_it_goes_from_any_number_past_the_stabilization() -> None:
    """Trap (d): with a cooldown of a minute ten idle replicas go in one step, while the HPA holds them for five."""
    spec = replace(SPEC, cooldown_s=60.0)
    memory, decision = decide(spec, KedaMemory(), pool(0, [10.0] * 10))
    for at_s in range(15, 90, 15):
        memory, decision = decide(spec, memory, pool(at_s, [0.0] * 10))
        assert decision.target == 10
    assert decision.why is Why.STABILIZATION
    _, decision = decide(spec, memory, pool(90, [0.0] * 10))
    assert (decision.target, decision.why) == (0, Why.MIN_REPLICAS)


def test_an_empty_answer_is_taken_for_idleness_and_scales_a_busy_pool_to_zero() -> None:
    """Trap (e): the series of a serving pool are lost for longer than the cooldown; told not to ignore it, it holds."""

    def blind(at_s: float) -> Signals:
        ready = tuple(map(replica, range(4)))
        samples = tuple(PodSample(pod=r.pod, at=T0 + at_s, presence=Presence.ABSENT) for r in ready)
        return Signals(at=T0 + at_s, spec_replicas=4, replicas=ready, samples=samples)

    def last(spec: KedaSpec) -> Decision:
        memory, decision = decide(spec, KedaMemory(), pool(0, [10.0] * 4))
        for at_s in range(15, 331, 15):
            memory, decision = decide(spec, memory, blind(at_s))
        return decision

    assert last(SPEC).target == 0
    assert last(replace(SPEC, ignore_null_values=False)).target == 4


def test_one_nan_makes_the_whole_sum_zero() -> None:
    """Prometheus adds NaN to anything as NaN, and the scaler takes that for 0."""
    signals = pool(0, [50.0, 50.0])
    broken = replace(signals.samples[1], presence=Presence.INVALID, running=None)
    _, decision = decide(SPEC, KedaMemory(), replace(signals, samples=(signals.samples[0], broken)))
    assert decision.numbers["sum"] == 0.0


def test_a_nan_in_a_series_that_is_not_read_changes_nothing() -> None:
    """The KV use of a pod is NaN: a sum of requests does not know."""
    signals = pool(0, [50.0, 50.0])
    odd = replace(signals.samples[1], presence=Presence.INVALID, kv_ratio=None)
    _, decision = decide(SPEC, KedaMemory(), replace(signals, samples=(signals.samples[0], odd)))
    assert decision.numbers["sum"] == decide(SPEC, KedaMemory(), signals)[1].numbers["sum"] > 0


def test_a_failed_query_feeds_the_hpa_the_fallback_after_the_threshold() -> None:
    """Two failures are an error, which holds; from the third on eight replicas are asked for."""
    spec = replace(SPEC, min_replicas=1, fallback=Fallback(failure_threshold=2, replicas=8))
    memory, targets = KedaMemory(), []
    for at_s in (0, 15, 30, 45):
        signals = Signals(at=T0 + at_s, spec_replicas=4, replicas=tuple(map(replica, range(4))), warnings=("down",))
        memory, decision = decide(spec, memory, signals)
        targets.append((decision.target, decision.why))
    assert targets[:2] == [(4, Why.BLIND), (4, Why.BLIND)]
    assert [target for target, _ in targets[2:]] == [8, 8]


def test_a_trigger_that_was_never_active_is_given_only_the_initial_cooldown() -> None:
    """A fresh object over an idle pool goes to zero at its second poll, or after initialCooldown."""
    idle = [0.0] * 3
    memory, _ = decide(SPEC, KedaMemory(), pool(0, idle))
    assert decide(SPEC, memory, pool(30, idle))[1].target == 0
    patient = replace(SPEC, initial_cooldown_s=60.0)
    memory, _ = decide(patient, KedaMemory(), pool(0, idle))
    memory, held = decide(patient, memory, pool(30, idle))
    memory, still = decide(patient, memory, pool(60, idle))
    assert (held.target, still.target, decide(patient, memory, pool(90, idle))[1].target) == (3, 3, 0)
