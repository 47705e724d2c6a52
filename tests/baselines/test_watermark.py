"""Stories of the watermark baseline: a band, limits, and windows that every change closes."""

from dataclasses import replace

from autoscaler.core.decision import Why
from simulator.baselines.sight import Bounds, PodsMetric
from simulator.baselines.watermark import Converge, WatermarkMemory, WatermarkSpec, decide
from tests.baselines.pools_seen import T0, pool

SPEC = WatermarkSpec(metric=PodsMetric.CONCURRENCY, high=20.0, low=10.0, bounds=Bounds(least=1, most=50))


def test_inside_the_band_and_its_tolerance_nothing_moves() -> None:
    """From 9 to 22 in flight a replica."""
    for load in (9.0, 15.0, 22.0):
        assert not decide(SPEC, WatermarkMemory(), pool(0, [load] * 4))[1].moves


def test_one_change_goes_half_up_or_a_fifth_down_at_most() -> None:
    """Four replicas at five times their mark become six, ten idle ones eight."""
    assert decide(SPEC, WatermarkMemory(), pool(0, [100.0] * 4))[1].target == 6
    assert decide(SPEC, WatermarkMemory(), pool(0, [1.0] * 10))[1].target == 8


def test_a_change_closes_both_windows() -> None:
    """After a scale-up none follows for a minute, and no scale-down for five."""
    memory, first = decide(SPEC, WatermarkMemory(), pool(0, [100.0] * 4))
    assert memory.changed_at == T0
    memory, held = decide(SPEC, memory, pool(45, [100.0] * 6))
    assert (first.target, held.target, held.why) == (6, 6, Why.STABILIZATION)
    assert decide(SPEC, memory, pool(60, [100.0] * 6))[1].target == 9
    assert decide(SPEC, memory, pool(285, [1.0] * 6))[1].target == 6
    assert decide(SPEC, memory, pool(300, [1.0] * 6))[1].target == 5


def test_pods_that_load_hold_back_further_scale_ups() -> None:
    """Two serve at twice their mark and two load: four in ready pods are what stands there."""
    assert not decide(SPEC, WatermarkMemory(), pool(0, [40.0, 40.0], loading=2))[1].moves


def test_a_sum_of_zero_is_not_believed_unless_told_so() -> None:
    """An idle pool stays as large as it is ready, until ``tolerateZero`` is set."""
    idle = pool(0, [0.0] * 5)
    assert not decide(SPEC, WatermarkMemory(), idle)[1].moves
    assert decide(replace(SPEC, tolerate_zero=True), WatermarkMemory(), idle)[1].target == 4


def test_it_converges_towards_a_watermark_one_at_a_time() -> None:
    """Inside the band with the high watermark wanted: eight at 11 become seven."""
    spec = replace(SPEC, converge=Converge.HIGH)
    assert decide(spec, WatermarkMemory(), pool(0, [11.0] * 8))[1].target == 7


def test_without_a_ready_pod_it_holds() -> None:
    """The gateway holds requests, and nobody serves."""
    _, decision = decide(SPEC, WatermarkMemory(), pool(0, loading=2, held=30.0))
    assert (decision.target, decision.why) == (2, Why.BLIND)
