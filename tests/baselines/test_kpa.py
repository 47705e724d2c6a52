"""Stories of the KPA baseline: windows, panic, zero."""

from dataclasses import replace

from autoscaler.core.decision import Why
from autoscaler.core.signals import Signals
from simulator.baselines.kpa import KpaMemory, KpaSpec, decide
from simulator.baselines.sight import Bounds
from tests.baselines.pools_seen import T0, pool, replica

# Ten requests in flight a pod are aimed at.
SPEC = KpaSpec(target=10.0, utilization=1.0, bounds=Bounds(least=0, most=50))


def test_it_ticks_every_two_seconds_and_averages_over_both_windows() -> None:
    """After a minute at 20 in flight, six seconds at 50: the panic window sees 50, the stable one little of it."""
    memory = KpaMemory()
    for second in range(0, 60, 2):
        memory, decision = decide(SPEC, memory, pool(second, [20.0]))
    for second in (60, 62, 64):
        memory, decision = decide(SPEC, memory, pool(second, [50.0]))
    assert decision.next_at == T0 + 66
    assert decision.numbers["concurrency_panic"] == 50.0
    assert decision.numbers["concurrency_stable"] == (27 * 20 + 3 * 50) / 30


def test_it_halves_at_most_and_never_goes_down_in_panic() -> None:
    """Trap (f): eight idle pods become four, and during a minute of panic none goes."""
    memory = KpaMemory(initialized=True)
    # It starts over one ready pod, so it does not panic; then eight stand idle.
    memory, _ = decide(SPEC, memory, pool(0, [0.0]))
    _, calm = decide(SPEC, memory, pool(70, [0.0] * 8))
    assert calm.target == 4
    memory, burst = decide(SPEC, memory, pool(70, [40.0] * 8))
    assert burst.target == 32
    for second in range(72, 131, 2):
        memory, decision = decide(SPEC, memory, pool(second, [0.0] * 8))
        assert (decision.target, decision.why) == (32, Why.STABILIZATION)
    # The panic window saw the burst for some seconds longer, and each of them prolonged the panic.
    for second in range(132, 142, 2):
        memory, decision = decide(SPEC, memory, pool(second, [0.0] * 8))
    assert decision.target == 4


def test_a_controller_that_starts_over_a_fleet_keeps_it_for_a_stable_window() -> None:
    """It starts in panic over more than one ready pod: the first empty windows take nothing away."""
    memory = KpaMemory()
    for second in range(0, 62, 2):
        memory, decision = decide(SPEC, memory, pool(second, [0.0] * 6))
        assert decision.target == 6
    assert decide(SPEC, memory, pool(62, [0.0] * 6))[1].target == 3


def test_to_zero_it_waits_the_grace_period_and_one_held_request_brings_it_back() -> None:
    """Sixty seconds of standing idle, then thirty; from zero one held request is enough at the next tick."""
    memory, targets = KpaMemory(), []
    for second in range(0, 92, 2):
        memory, decision = decide(SPEC, memory, pool(second, [0.0]))
        targets.append(decision.target)
    assert targets == [1] * 45 + [0]
    memory, awake = decide(SPEC, memory, pool(92, held=1.0, spec=0))
    assert awake.target == 1


def test_zero_is_held_back_for_thirty_seconds_after_it_is_first_wished_for() -> None:
    """The stable window empties at 60 s; at 88 s the pod still stands, at 90 s it goes."""
    memory, decision = decide(SPEC, KpaMemory(), pool(0, [9.0]))
    targets = {}
    for second in range(2, 94, 2):
        memory, decision = decide(SPEC, memory, pool(second, [0.0]))
        targets[second] = decision.target
    assert (targets[88], targets[90]) == (1, 0)


def test_without_data_it_does_nothing() -> None:
    """No pod serves metrics and no gateway is known."""
    dark = Signals(at=T0, spec_replicas=3, replicas=tuple(map(replica, range(3))))
    _, decision = decide(SPEC, KpaMemory(), dark)
    assert (decision.target, decision.why) == (3, Why.BLIND)


def test_the_delay_keeps_the_largest_wish_of_its_window() -> None:
    """With a scale-down delay of five minutes what a peak asked for stands five minutes longer."""
    spec = replace(SPEC, scale_down_delay_s=300.0, stable_window_s=6.0)
    memory, _ = decide(spec, KpaMemory(), pool(0, [60.0]))
    for second in range(2, 300, 2):
        memory, decision = decide(spec, memory, pool(second, [10.0] * 6))
        assert decision.target == 6
    assert len(memory.concurrencies) <= 3
    assert memory.panic is not None
    assert len(memory.panic.delayed) <= 10


def test_it_aims_at_seventy_percent_of_the_annotation() -> None:
    """A target of ten means seven a pod."""
    _, decision = decide(replace(SPEC, utilization=0.7), KpaMemory(), pool(0, [14.1]))
    assert decision.target == 3
