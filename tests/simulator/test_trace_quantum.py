"""What times are cut to is recognised, though single ones are not, and never where times are continuous."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.traces.quantum import Quanta

SECOND_NS = 10**9
QUANTA_S = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 60.0)


def found(at_s: NDArray[np.float64], *, pieces: int = 1, least_ns: int = 0) -> tuple[int, int]:
    """Return what times are cut to, and how many are not, looked through in pieces."""
    quanta = Quanta()
    for piece in np.array_split(np.sort(np.rint(at_s * SECOND_NS).astype(np.int64)), pieces):
        if piece.size:
            quanta.add(piece)
    return quanta.found(least_ns)


def bursty(rng: np.random.Generator, requests: int, rate_rps: float, shape: float) -> NDArray[np.float64]:
    """Return continuous times: Poisson at a shape of 1, in ever tighter bursts below."""
    arrival_s: NDArray[np.float64] = np.cumsum(rng.gamma(shape, 1 / (shape * rate_rps), requests))
    return arrival_s


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    requests=st.integers(2, 2000),
    rate_rps=st.floats(0.01, 5000),
    shape=st.sampled_from((0.01, 0.1, 0.3, 1.0, 5.0)),
    stamp_s=st.sampled_from((1e-9, 1e-6, 1e-3)),
    pieces=st.integers(1, 4),
)
def test_continuous_times_are_never_recognised(
    seed: int, requests: int, rate_rps: float, shape: float, stamp_s: float, pieces: int
) -> None:
    """However few, however bursty, and stamped as finely as clocks stamp: to milliseconds many share a time."""
    times_s = bursty(np.random.default_rng(seed), requests, rate_rps, shape)
    assert found(np.rint(times_s / stamp_s) * stamp_s, pieces=pieces) == (0, 0)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    quantum_s=st.sampled_from(QUANTA_S),
    requests=st.integers(200, 2000),
    off=st.integers(0, 9),
    a_place=st.floats(2.0, 20.0),
    begins_s=st.floats(0, 1e4),
    pieces=st.integers(1, 3),
)
def test_times_that_are_cut_are_recognised_though_some_are_not(
    seed: int, quantum_s: float, requests: int, off: int, a_place: float, begins_s: float, pieces: int
) -> None:
    """Up to 9 of at least 200 lie anywhere; where the grid begins is of no matter, nor how the file is read."""
    rng = np.random.default_rng(seed)
    places = np.floor(np.sort(rng.uniform(0, requests / a_place, requests)))
    times_s = begins_s + quantum_s * places
    others_s = begins_s + rng.uniform(0, quantum_s * requests / a_place, off)
    quantum_ns, off_quantum = found(np.concatenate([times_s, others_s]), pieces=pieces)
    assert quantum_ns == quantum_s * SECOND_NS
    assert off_quantum <= off


@pytest.mark.parametrize("quantum_s", [0.1, 0.4, 0.5, 0.7, 1.3])
def test_a_quantum_that_is_not_usual_is_told_by_the_divisor_of_the_distances(quantum_s: float) -> None:
    """As long as all times are whole numbers of it."""
    times_s = np.repeat(np.arange(50.0), 2) * quantum_s
    assert found(times_s) == (round(quantum_s * SECOND_NS), 0)


def test_a_single_time_on_a_finer_grid_does_not_make_the_quantum_finer() -> None:
    """One at 7.2 s among halves of seconds: all are tenths, and all the others halves."""
    assert found(np.append(np.repeat(np.arange(100.0), 2) * 0.5, 7.2)) == (5 * 10**8, 1)


def test_a_burst_at_one_instant_is_no_quantum() -> None:
    """A load test sends nearly all at once: they are on every grid, up to that of an hour, and so say nothing."""
    rng = np.random.default_rng(1)
    assert found(np.concatenate([np.zeros(9600), rng.uniform(0, 4000, 400)])) == (0, 0)
    assert found(np.zeros(500)) == (0, 0)
    assert found(np.repeat([0.0, 7.31], 250)) == (0, 0)


def test_a_period_is_no_quantum() -> None:
    """Who sends exactly once a second shares no time with anybody."""
    assert found(np.arange(500.0)) == (0, 0)


def test_finer_than_a_tenth_of_a_second_is_taken_as_it_stands() -> None:
    """Stamps of hundredths hold bursts that no engine could tell from those that were."""
    assert found(np.repeat(np.arange(500.0), 3) * 0.01) == (0, 0)


def test_a_form_that_is_known_to_be_cut_is_so_with_few_requests_too() -> None:
    """BurstGPT counts seconds: five requests of whole ones are enough, and none that is not."""
    few_s = np.array([1.0, 5.0, 5.0, 9.0, 12.0])
    assert found(few_s, least_ns=SECOND_NS) == (SECOND_NS, 0)
    assert found(few_s) == (0, 0)
    assert found(few_s + np.array([0.0, 0.25, 0.5, 0.3, 0.9]), least_ns=SECOND_NS) == (0, 0)
