"""Stories of the two bounds: a fleet that never changes, and one that knows the future."""

import numpy as np
import pytest

from autoscaler.core.decision import Why
from autoscaler.core.signals import Signals
from simulator.baselines import oracle, static
from simulator.baselines.sight import Bounds
from simulator.startup.model import StartupModel
from simulator.traces import Trace, Traffic
from tests.baselines.pools_seen import T0, pool
from tests.simulator.simulated_pools import engine, requests

BOUNDS = Bounds(least=1, most=50)


def steps(*rates: float, minutes: int = 10) -> Trace:
    """Return traffic of equal requests at a rate a second, ``minutes`` each."""
    spans = [np.arange(0, 60 * minutes, 1 / rate) + 60 * minutes * i for i, rate in enumerate(rates)]
    arrival_s = np.concatenate(spans)
    return Trace(
        name="steps",
        arrival_s=arrival_s,
        prompt_tokens=np.full(arrival_s.size, 1000, dtype=np.int32),
        output_tokens=np.full(arrival_s.size, 200, dtype=np.int32),
    )


def test_a_static_fleet_asks_for_the_same_and_puts_it_back() -> None:
    """Whatever the load, whatever somebody else set."""
    spec = static.StaticSpec(replicas=7)
    _, decision = static.decide(spec, None, pool(0, [99.0] * 3))
    assert (decision.target, decision.why, decision.next_at) == (7, Why.PIN, T0 + 15)
    assert static.decide(spec, None, Signals(at=T0, spec_replicas=None))[1].target is None


def test_work_is_spread_over_the_time_that_a_request_takes() -> None:
    """One request of 30 s: all of its work is in the bins of its stay, none is lost."""
    arrival, stay, work = np.array([10.0]), np.array([30.0]), np.array([6.0])
    found = oracle._spread(arrival, stay, work, 4)
    assert found.tolist() == pytest.approx([1.0, 3.0, 2.0, 0.0])


def test_need_is_the_works_share_of_the_utilization() -> None:
    """Steady traffic: work a second over the utilization, as the core reckons it."""
    need = oracle.needed(steps(10.0), engine(), 0.5)
    work_s = 70e-6 * 1000 + (35e-6 + 80e-9 * 1100) * 200
    assert need[10] == int(np.ceil(10 * work_s / 0.5))
    pieces = Traffic.of(steps(10.0), piece_requests=7)
    assert oracle.needed(pieces, engine(), 0.5).tolist() == need.tolist(), "an oracle reads a long trace in pieces"


def test_it_orders_a_cold_start_before_the_need_and_keeps_what_will_be_needed_again() -> None:
    """Ten minutes calm, ten busy, ten calm: the order comes one cold start and a tick before, removal at the end."""
    known = oracle.foreseen(steps(2.0, 20.0, 2.0), engine(), start_s=120.0, utilization=0.5, bounds=BOUNDS, begin_at=T0)

    def target(at_s: float, current: int) -> int | None:
        return oracle.decide(known, None, pool(at_s, [1.0] * current))[1].target

    calm, busy = target(0, 1), target(900, 1)
    assert calm is not None
    assert busy is not None
    assert busy > calm
    assert target(440, calm) == calm
    assert target(480, calm) == busy
    # A lull shorter than two cold starts would be kept through; the end of the trace is not.
    assert target(1300, busy) == calm


def test_a_lull_shorter_than_two_cold_starts_is_kept_through() -> None:
    """Three minutes calm between busy times, with cold starts of two: nothing is removed."""
    trace = steps(20.0, 2.0, 20.0, minutes=3)
    known = oracle.foreseen(trace, engine(), start_s=120.0, utilization=0.5, bounds=BOUNDS, begin_at=T0)
    busy = oracle.decide(known, None, pool(60, [1.0]))[1].target
    assert busy is not None
    _, decision = oracle.decide(known, None, pool(240, [1.0] * busy))
    assert (decision.target, decision.why) == (busy, Why.STABILIZATION if decision.want != busy else Why.SETTLED)


def test_it_plans_with_the_starts_that_the_scenario_has_in_store() -> None:
    """The mean of a fixed start is itself; with stragglers it is above the median."""
    fixed = StartupModel.of_total(100.0, sigma=0.0, straggler_ratio=0.0)
    assert oracle.mean_start_s(fixed, 1) == pytest.approx(100.0)
    assert oracle.mean_start_s(StartupModel.of_total(100.0), 1) > 100.0


def test_it_knows_an_almost_empty_trace() -> None:
    """Two requests in an hour need one replica at a time, and the minimum between."""
    known = oracle.foreseen(
        requests((0.0, 10, 10), (3600.0, 10, 10)), engine(), start_s=60.0, utilization=0.5, bounds=BOUNDS, begin_at=T0
    )
    assert oracle.decide(known, None, pool(1800, [0.0] * 5))[1].target == 1
