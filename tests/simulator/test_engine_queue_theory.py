"""The engine as a plain queue, against the formulas of queueing theory."""

from math import factorial

import numpy as np
import pytest

from simulator.traces import Trace, load_trace
from tests.simulator.simulated_pools import drain_all, pool


def poisson(rate_rps: float, size: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Arrival times of a Poisson process."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, size))


def erlang_c_wait_s(rate_rps: float, service_s: float, servers: int) -> float:
    """Mean wait of M/M/c."""
    load = rate_rps * service_s
    tail = load**servers / factorial(servers) * servers / (servers - load)
    waits = tail / (sum(load**k / factorial(k) for k in range(servers)) + tail)
    return waits * service_s / (servers - load)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_one_place_and_constant_steps_are_an_m_d_1_queue(utilisation: float) -> None:
    """One request at a time, one step of constant length each: mean wait ρ·s/(2(1 − ρ)) (Pollaczek and Khinchine)."""
    size, service_s = 200_000, 0.1
    trace = Trace(
        name="M/D/1",
        arrival_s=poisson(utilisation / service_s, size, seed=1),
        prompt_tokens=np.ones(size, dtype=np.int32),
        output_tokens=np.ones(size, dtype=np.int32),
    )
    cluster = drain_all(pool(trace, a_s=service_s, b_s=0, c_s=0, d_s=0, max_num_seqs=1), tick_s=5e4)
    wait_s = cluster.requests().ttft_s.mean() - service_s
    assert wait_s == pytest.approx(utilisation * service_s / (2 * (1 - utilisation)), rel=0.04)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.7), (4, 0.8), (8, 0.9)])
def test_c_places_and_geometric_answers_are_an_m_m_c_queue(servers: int, utilisation: float) -> None:
    """Some places, answers of geometric length: Erlang C, but for the wait for the end of a step."""
    size, step_s, mean_steps = 200_000, 0.001, 500
    service_s = step_s * mean_steps
    rate_rps = utilisation * servers / service_s
    trace = Trace(
        name="M/M/c",
        arrival_s=poisson(rate_rps, size, seed=2),
        prompt_tokens=np.ones(size, dtype=np.int32),
        output_tokens=np.random.default_rng(3).geometric(1 / mean_steps, size).astype(np.int32),
    )
    cluster = drain_all(pool(trace, a_s=step_s, b_s=0, c_s=0, d_s=0, max_num_seqs=servers), tick_s=5e4)
    wait_s = cluster.requests().ttft_s.mean() - step_s
    expected_s = erlang_c_wait_s(rate_rps, service_s, servers)
    assert wait_s == pytest.approx(expected_s, rel=0.08, abs=step_s)


def test_littles_law_holds_on_real_traffic() -> None:
    """Mean number inside = arrival rate × mean time inside; the number is read from gauges at random instants."""
    trace = load_trace("azure-conv-2023")
    cluster = pool(trace, replicas=2)
    rng = np.random.default_rng(4)
    inside = []
    for at_s in np.sort(rng.uniform(0, 3500, 4000)):
        cluster.advance(float(at_s))
        inside.append(int(cluster.snapshot().engine["outstanding"].sum()))
    table = drain_all(cluster).requests()
    time_inside = np.minimum(table.finish_s, 3500) - table.arrival_s
    expected = float(time_inside[table.arrival_s < 3500].sum()) / 3500
    assert float(np.mean(inside)) == pytest.approx(expected, rel=0.03)
