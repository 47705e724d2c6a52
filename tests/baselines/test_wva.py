"""Stories of the WVA baseline: one replica at a time, and an HPA between the wish and the deed."""

from dataclasses import replace

from simulator.baselines.hpa_rules import Behavior
from simulator.baselines.sight import Bounds
from simulator.baselines.wva import SAMPLE_BEHAVIOR, WvaMemory, WvaSpec, decide
from tests.baselines.pools_seen import pool

SPEC = WvaSpec(bounds=Bounds(least=1, most=50))


def test_it_adds_one_and_waits_until_that_one_gives_metrics() -> None:
    """Two saturated pods ask for a third; while it loads, nothing more is asked for."""
    full = [0.9, 0.9]
    memory, first = decide(SPEC, WvaMemory(), pool(0, [50.0, 50.0], kv=full))
    assert first.target == 3
    for second in range(15, 150, 15):
        memory, decision = decide(SPEC, memory, pool(second, [50.0, 50.0], kv=full, loading=1))
        assert decision.target == 3
    _, later = decide(SPEC, memory, pool(150, [50.0] * 3, kv=[0.9] * 3))
    assert later.target == 4


def test_a_peak_of_the_last_minute_counts_as_now() -> None:
    """The maximum over a minute: half a minute after a peak the pods are still saturated."""
    memory, _ = decide(SPEC, WvaMemory(), pool(0, [50.0, 50.0], kv=[0.5, 0.5]))
    memory, _ = decide(SPEC, memory, pool(15, [50.0, 50.0], kv=[0.95, 0.95]))
    _, decision = decide(SPEC, memory, pool(30, [50.0, 50.0], kv=[0.5, 0.5]))
    assert decision.target == 3


def test_beyond_ten_replicas_the_hpas_tolerance_swallows_its_steps() -> None:
    """Twelve saturated pods: the wish for a thirteenth is within 10 %; without tolerance it comes."""
    saturated = pool(0, [50.0] * 12, kv=[0.9] * 12)
    memory, stuck = decide(SPEC, WvaMemory(), saturated)
    assert (memory.desired, stuck.target) == (13, 12)
    mended = Behavior(up=replace(SAMPLE_BEHAVIOR.up, tolerance=0.0), down=replace(SAMPLE_BEHAVIOR.down, tolerance=0.0))
    assert decide(replace(SPEC, behavior=mended), WvaMemory(), saturated)[1].target == 13


def test_it_removes_one_where_the_rest_can_take_the_load() -> None:
    """Four nearly idle pods become three."""
    memory, decision = decide(SPEC, WvaMemory(), pool(0, [1.0] * 4, kv=[0.05] * 4))
    assert (memory.desired, decision.target) == (3, 3)


def test_its_memory_stays_small() -> None:
    """A minute of readings of each pod."""
    memory = WvaMemory()
    for step in range(200):
        memory, _ = decide(SPEC, memory, pool(15 * step, [10.0] * 3, kv=[0.5] * 3))
    assert len(memory.readings) <= 4 * 3
