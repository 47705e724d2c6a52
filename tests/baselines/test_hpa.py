"""Stories of the HPA baseline: what it sees, remembers and does, sync by sync."""

from dataclasses import replace

import pytest

from autoscaler.core.decision import Why
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from simulator.baselines.hpa import HpaMemory, HpaSpec, PodsMetric, decide, of_one
from simulator.baselines.hpa_metrics import Metric, Source, Target, grouped
from simulator.baselines.hpa_rules import DEFAULT_DOWN, DEFAULT_UP, Behavior

T0 = 1_700_000_000.0
QUEUE_5 = of_one(PodsMetric.WAITING, 5.0, min_replicas=2, max_replicas=20)
PLAIN = replace(QUEUE_5, behavior=None)


def replica(number: int, state: ReplicaState = ReplicaState.READY, started_at: float | None = T0) -> Replica:
    """Return a replica whose container runs, unless said otherwise."""
    return Replica(pod=f"p{number}", uid=str(number), state=state, ordered_at=T0, started_at=started_at)


def seen(at_s: float, waiting: list[float], *, spec: int | None = None, others: tuple[Replica, ...] = ()) -> Signals:
    """Return signals with one ready replica for each queue, and other replicas without samples."""
    ready = tuple(replica(number) for number in range(len(waiting)))
    samples = tuple(PodSample(pod=f"p{i}", at=T0 + at_s, waiting=value) for i, value in enumerate(waiting))
    count = len(ready) + len(others) if spec is None else spec
    return Signals(at=T0 + at_s, spec_replicas=count, replicas=ready + others, samples=samples)


def test_a_pod_that_waits_for_its_node_is_unready_and_one_that_loads_is_missing() -> None:
    """Pending counts as unready, Running without a sample as missing; terminating, failed and gone ones not at all."""
    others = (
        replica(10, ReplicaState.STARTING, started_at=None),
        replica(11, ReplicaState.STARTING),
        replica(12),
        replica(13, ReplicaState.DRAINING),
        replica(14, ReplicaState.FAILED),
        replica(15, ReplicaState.GONE),
    )
    pods = grouped(PodsMetric.WAITING, seen(0, [3.0, 4.0], others=others))
    assert (pods.values, pods.missing, pods.unready) == ((3.0, 4.0), 2, 1)


def test_a_pending_pod_does_not_hold_back_a_scale_down_but_a_loading_one_does() -> None:
    """Of two pods at half the target one goes beside a pending pod; a loading pod is taken to be at the target."""
    pending = replica(10, ReplicaState.STARTING, started_at=None)
    loading = replica(10, ReplicaState.STARTING)
    spec = of_one(PodsMetric.WAITING, 4.0, min_replicas=1, max_replicas=20)
    _, alone = decide(spec, HpaMemory(), seen(0, [2.0, 2.0], others=(pending,)))
    _, beside = decide(spec, HpaMemory(), seen(0, [2.0, 2.0], others=(loading,)))
    assert (alone.want, beside.want) == (1, 2)


def test_pods_that_start_dampen_a_scale_up() -> None:
    """Eight waiting on each of two pods mean four pods; with two that load the ratio turns to 0.8: stay."""
    loading = tuple(replica(number, ReplicaState.STARTING) for number in (10, 11))
    _, alone = decide(QUEUE_5, HpaMemory(), seen(0, [8.0, 8.0]))
    _, beside = decide(QUEUE_5, HpaMemory(), seen(0, [8.0, 8.0], others=loading))
    assert (alone.target, beside.target) == (4, 4)
    assert beside.why is Why.SETTLED


def test_concurrency_is_running_plus_waiting_and_half_a_sample_is_none() -> None:
    """Only a present sample with both numbers has a concurrency."""
    samples = (
        PodSample(pod="p0", at=T0, running=30.0, waiting=2.0),
        PodSample(pod="p1", at=T0, running=30.0),
        PodSample(pod="p2", at=T0, running=30.0, waiting=2.0, presence=Presence.TARGET_DOWN),
    )
    signals = Signals(at=T0, spec_replicas=3, replicas=tuple(map(replica, range(3))), samples=samples)
    pods = grouped(PodsMetric.CONCURRENCY, signals)
    assert (pods.values, pods.missing) == ((32.0,), 2)


def test_an_empty_queue_takes_the_fleet_to_its_minimum_after_five_minutes() -> None:
    """The first recommendation is what stood there; when it leaves the window, queue depth sees no work at all."""
    memory, targets = HpaMemory(), []
    for at_s in range(0, 331, 15):
        memory, decision = decide(QUEUE_5, memory, seen(at_s, [0.0] * 10))
        targets.append((at_s, decision.target, decision.why))
    assert all(step[1:] == (10, Why.STABILIZATION) for step in targets if step[0] < 300)
    assert targets[20] == (300, 2, Why.MIN_REPLICAS)


def test_a_burst_lifts_the_fleet_by_four_or_by_double_every_fifteen_seconds() -> None:
    """The rate is 4 pods or 100 % in 15 s, and what was added within the last 15 s counts against it."""
    memory, first = decide(QUEUE_5, HpaMemory(), seen(0, [100.0] * 2))
    assert first.target == 6
    memory, hurried = decide(QUEUE_5, memory, seen(5, [100.0] * 6))
    assert (hurried.target, hurried.moves) == (6, False)
    memory, second = decide(QUEUE_5, memory, seen(15, [100.0] * 6))
    assert second.target == 12
    _, third = decide(QUEUE_5, memory, seen(30, [100.0] * 12))
    assert (third.target, third.why) == (20, Why.MAX_REPLICAS)


def test_without_behavior_it_goes_up_more_slowly() -> None:
    """From two replicas to four, where the default behavior allows six."""
    _, decision = decide(PLAIN, HpaMemory(), seen(0, [100.0] * 2))
    assert decision.target == 4


def test_nothing_is_done_and_nothing_remembered_without_a_sample() -> None:
    """All metrics lost: the replicas stay, and blind syncs leave no recommendation behind."""
    memory, _ = decide(QUEUE_5, HpaMemory(), seen(0, [5.0] * 4))
    dark = Signals(at=T0 + 15, spec_replicas=4, replicas=tuple(map(replica, range(4))))
    after, decision = decide(QUEUE_5, memory, dark)
    assert (decision.target, decision.why, decision.moves) == (4, Why.BLIND, False)
    assert after == memory


@pytest.mark.parametrize(("stands", "target", "why"), [(30, 20, Why.MAX_REPLICAS), (1, 2, Why.MIN_REPLICAS)])
def test_replicas_beyond_the_bounds_are_put_back_without_metrics(stands: int, target: int, why: Why) -> None:
    """TooManyReplicas and TooFewReplicas of upstream: no metric is read, no recommendation is made."""
    signals = Signals(at=T0, spec_replicas=stands)
    memory, decision = decide(QUEUE_5, HpaMemory(), signals)
    assert (decision.target, decision.why) == (target, why)
    assert memory.recommendations == ((T0, stands),)


@pytest.mark.parametrize(("stands", "why"), [(0, Why.ZEROED_BY_OWNER), (None, Why.TARGET_UNKNOWN)])
def test_it_writes_nothing_at_zero_or_where_scale_cannot_be_read(stands: int | None, why: Why) -> None:
    """ZeroReplicas of upstream: scaling is disabled; and nobody can scale what he cannot read."""
    _, decision = decide(QUEUE_5, HpaMemory(), Signals(at=T0, spec_replicas=stands))
    assert (decision.target, decision.why) == (None, why)


def test_its_memory_stays_small() -> None:
    """A day of syncs keeps five minutes of recommendations and no old changes."""
    memory = HpaMemory()
    for sync in range(5760):
        memory, _ = decide(QUEUE_5, memory, seen(sync * 15.0, [float(sync % 11)] * (3 + sync % 5)))
    assert len(memory.recommendations) <= 22
    assert len(memory.changes.ups) + len(memory.changes.downs) <= 2


def external(metric: PodsMetric, target: float, kind: Target = Target.AVERAGE_VALUE) -> Metric:
    """Return an External metric."""
    return Metric(metric=metric, target=target, source=Source.EXTERNAL, kind=kind)


def test_an_average_value_knows_nothing_of_readiness_and_a_value_multiplies_ready_pods() -> None:
    """Trap (a): sixty in flight are ten pods of six whoever is ready; as a Value they multiply only the ready ones."""
    loading = tuple(replica(number, ReplicaState.STARTING) for number in (10, 11, 12))
    seen_now = seen(0, [30.0, 30.0], others=loading)
    average = HpaSpec(metrics=(external(PodsMetric.WAITING, 6.0),), min_replicas=1, max_replicas=50)
    whole = HpaSpec(metrics=(external(PodsMetric.WAITING, 30.0, Target.VALUE),), min_replicas=1, max_replicas=50)
    assert decide(average, HpaMemory(), seen_now)[1].want == 10
    assert decide(whole, HpaMemory(), seen_now)[1].want == 4


def test_loading_pods_that_export_zeros_dilute_the_mean_of_a_pods_metric() -> None:
    """Trap (b): once a pod has a sample it is ready for the HPA, with an empty queue."""
    _, alone = decide(QUEUE_5, HpaMemory(), seen(0, [10.0, 10.0]))
    _, diluted = decide(QUEUE_5, HpaMemory(), seen(0, [10.0, 10.0, 0.0, 0.0]))
    assert (alone.want, diluted.want) == (4, 4)
    assert not diluted.moves


@pytest.mark.parametrize(("stands", "target"), [(1, 5), (10, 20)])
def test_the_larger_of_the_default_up_policies_counts(stands: int, target: int) -> None:
    """Trap (h): from one replica four more in fifteen seconds, from ten twice as many."""
    spec = replace(QUEUE_5, min_replicas=1, max_replicas=100)
    assert decide(spec, HpaMemory(), seen(0, [1000.0] * stands))[1].target == target


def test_of_several_metrics_the_largest_counts_and_a_lost_one_blocks_only_the_way_down() -> None:
    """A queue that asks for four beats a KV cache that asks for one; with the KV cache lost, only down is blocked."""
    metrics = (Metric(metric=PodsMetric.WAITING, target=5.0), Metric(metric=PodsMetric.KV_USE, target=0.6))
    at_once = Behavior(down=replace(DEFAULT_DOWN, stabilization_s=0))
    spec = replace(QUEUE_5, metrics=metrics, min_replicas=1, behavior=at_once)
    ready = tuple(replica(number) for number in range(2))

    def pool(waiting: float, kv: float | None) -> Signals:
        samples = tuple(PodSample(pod=r.pod, at=T0, waiting=waiting, kv_ratio=kv) for r in ready)
        return Signals(at=T0, spec_replicas=2, replicas=ready, samples=samples)

    assert decide(spec, HpaMemory(), pool(10.0, 0.3))[1].want == 4
    assert decide(spec, HpaMemory(), pool(10.0, None))[1].want == 4
    assert decide(spec, HpaMemory(), pool(1.0, 0.2))[1].target == 1
    lost = decide(spec, HpaMemory(), pool(1.0, None))[1]
    assert (lost.target, lost.why) == (2, Why.BLIND)


def test_each_direction_has_a_tolerance_of_its_own() -> None:
    """Fifteen percent above the target is acted on by default and not with a tolerance of 20 % upwards."""
    wide = replace(QUEUE_5, behavior=Behavior(up=replace(DEFAULT_UP, tolerance=0.2)))
    signals = seen(0, [5.75] * 4)
    assert decide(QUEUE_5, HpaMemory(), signals)[1].want == 5
    assert decide(wide, HpaMemory(), signals)[1].want == 4
