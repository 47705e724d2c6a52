"""The speed benchmarks measure what they say: the same requests each time, all of them, and a fleet that scales."""

import numpy as np
import pytest

from benchmarks import aisimulate, simulator_scale, simulator_speed
from simulator.engine.profiles import load_profile
from simulator.engine.records import RequestStatus
from simulator.traces import load_trace


def test_two_weeks_are_made_piece_by_piece_and_the_same_each_time() -> None:
    """Every request once, in order, with the waves that the benchmark speaks of."""
    traffic = simulator_scale.traffic(100_000, 14.0, seed=1)
    once, again = list(traffic.pieces()), list(traffic.pieces())
    assert len(once) == 14 * 24
    arrival_s = np.concatenate([piece.arrival_s for piece in once])
    assert len(arrival_s) == 100_000
    assert np.all(np.diff(arrival_s) >= 0)
    assert all(np.array_equal(one.prompt_tokens, other.prompt_tokens) for one, other in zip(once, again, strict=True))
    by_day = np.bincount((arrival_s // 86_400).astype(int))
    assert by_day[9] > 1.8 * by_day[8]
    assert by_day[5] < 0.7 * by_day[4]


def test_cost_is_measured_on_requests_that_were_served() -> None:
    """A part tells what its run came to; nothing is fast because nothing happened."""
    part = simulator_scale.simulated(20_000, 1 / 24, seed=1)
    assert part.ticks == pytest.approx(240, abs=5)
    assert part.attainment > 0.5
    assert part.coldstarts >= 0
    assert part.peak_replicas > 10
    figures = simulator_scale.figures([part, part], 1)
    assert (figures["seconds"], figures["largest_over_smallest"]) == (part.seconds, 1.0)


def test_the_trivial_decider_scales() -> None:
    """The engine's speed is that of a fleet which grows and shrinks, and every request is served."""
    trace = load_trace(simulator_speed.TRACE)
    pool = simulator_speed.loaded(trace, load_profile(simulator_speed.SCALED), simulator_speed.SLOTS)
    orders = simulator_speed.scaled(pool, trace.span_s + 120.0, 15.0, 120.0, simulator_speed.IN_FLIGHT)
    assert orders > 5
    assert np.all(pool.requests["status"] == int(RequestStatus.FINISHED))
    assert np.unique(pool.requests["replica"]).size > 2


def test_the_peer_is_pinned_by_hash() -> None:
    """What is compared with is the same package on every machine."""
    lock = aisimulate.LOCK.read_text(encoding="utf-8")
    assert lock.count("--hash=sha256:") > lock.count("==")
