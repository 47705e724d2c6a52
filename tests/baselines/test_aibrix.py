"""Stories of AIBrix' strategies: what they do, and what they were meant to do."""

from dataclasses import replace

from autoscaler.core.decision import Why
from autoscaler.core.signals import Signals
from simulator.baselines.aibrix import AibrixMemory, AibrixSpec, Strategy, decide
from simulator.baselines.sight import Bounds, PodsMetric
from tests.baselines.pools_seen import T0, pool, replica

APA = AibrixSpec(strategy=Strategy.APA, metric=PodsMetric.CONCURRENCY, target=10.0, bounds=Bounds(least=1, most=50))
KPA = replace(APA, strategy=Strategy.KPA)


def test_kpa_wishes_for_a_pod_or_two_whatever_the_load_and_as_meant_for_what_the_load_needs() -> None:
    """Eight pods at their target: as it is, it halves them; as it was meant, it stays."""
    busy = pool(0, [10.0] * 8)
    assert decide(KPA, AibrixMemory(), busy)[1].target == 4
    assert decide(replace(KPA, intended=True), AibrixMemory(), busy)[1].target == 8


def test_the_cooldown_hastens_a_scale_down_and_as_meant_delays_it() -> None:
    """A dip of one reading asks for half the fleet; minutes later a mere 15 % below the target takes half of it."""

    def after_dip(spec: AibrixSpec) -> int | None:
        memory, _ = decide(spec, AibrixMemory(), pool(0, [1.0] * 8))
        _, decision = decide(replace(spec, stable_window_s=5.0), memory, pool(100, [8.5] * 8))
        return decision.target

    assert after_dip(APA) == 4
    assert after_dip(replace(APA, intended=True)) == 7


def test_apa_doubles_every_ten_seconds_while_pods_load_and_as_meant_waits() -> None:
    """Two pods serve at twice their target; the two that it ordered load, and it orders four more."""
    loading = pool(10, [20.0, 20.0], loading=2)
    assert decide(APA, AibrixMemory(), loading)[1].target == 8
    assert decide(replace(APA, intended=True), AibrixMemory(), loading)[1].target == 4


def test_kpa_goes_down_in_panic_and_as_meant_does_not() -> None:
    """While the panic lasts, a reading asks for half of what the one before did."""
    calm = tuple((T0 - 170 + 10 * i, 0.1) for i in range(16))
    meant = replace(KPA, intended=True, panic_window_s=5.0, down_cooldown_s=0.0)
    memory, burst = decide(meant, AibrixMemory(means=calm), pool(0, [20.0] * 4))
    less = pool(10, [5.0] * 8)
    assert burst.target == 8
    assert decide(meant, memory, less)[1].target == 8
    assert decide(replace(meant, intended=False), memory, less)[1].target == 4


def test_without_a_value_it_holds() -> None:
    """No pod can be scraped: nothing is decided, nothing remembered."""
    dark = Signals(at=T0, spec_replicas=3, replicas=tuple(map(replica, range(3))))
    memory, decision = decide(APA, AibrixMemory(), dark)
    assert (decision.target, decision.why, memory) == (3, Why.BLIND, AibrixMemory())


def test_its_memory_stays_small() -> None:
    """Three minutes of readings and five of wishes."""
    memory = AibrixMemory()
    for step in range(500):
        memory, _ = decide(APA, memory, pool(10 * step, [float(step % 20)] * 4))
    assert len(memory.means) <= 18
    assert len(memory.wishes) <= 30
