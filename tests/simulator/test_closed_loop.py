"""Closed-loop clients: the next request leaves when the last one is answered."""

import numpy as np
import pytest

from benchmarks.closed_loop import LoadTest, run_load_test
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import RequestStatus
from tests.simulator.simulated_pools import engine, pool

A, B, C = 0.0115, 70e-6, 35e-6


def test_one_client_is_always_alone() -> None:
    """With one client every request has the same TTFT and the same time per token."""
    result = run_load_test(engine(d_s=0.0), LoadTest(clients=1, prompt_tokens=100, output_tokens=11, rounds=5))
    assert result.ttft_s == pytest.approx(A + 100 * B)
    assert result.tpot_s == pytest.approx(A + C)


def test_a_pause_leaves_the_engine_idle_and_the_answers_as_they_were() -> None:
    """A client that thinks finds an engine with nothing to do."""
    test = LoadTest(clients=1, prompt_tokens=100, output_tokens=11, rounds=5, pause_s=3.0)
    assert run_load_test(engine(d_s=0.0), test).ttft_s == pytest.approx(A + 100 * B)


def test_the_first_round_is_a_rush() -> None:
    """All clients start at once, so the first round waits for all prompts; later ones meet fewer."""
    result = run_load_test(engine(), LoadTest(clients=32, prompt_tokens=1000, output_tokens=100, shortest=0.8))
    first, later = result.ttft_s[:32].mean(), result.ttft_s[32:].mean()
    assert first > 2 * later


@pytest.mark.parametrize("profile", [engine(), engine(kv_tokens=4800), engine(async_scheduling=True)])
def test_it_is_exact_to_the_step(profile: EngineProfile) -> None:
    """The arrivals that it made, replayed as a trace, give the same times."""
    test = LoadTest(clients=8, prompt_tokens=500, output_tokens=60, rounds=6, pause_s=0.01, shortest=0.7, seed=3)
    result = run_load_test(profile, test)
    again = pool(profile=profile)
    again.submit_many(result.arrival_s, result.prompt_tokens, result.output_tokens)
    again.advance(1e5)
    table = again.requests()
    assert np.all(table.status == RequestStatus.FINISHED)
    assert table.ttft_s == pytest.approx(result.ttft_s, abs=1e-6)
    assert table.tpot_s == pytest.approx(result.tpot_s, abs=1e-6)


def test_a_request_that_fits_no_cache_is_refused_before_the_clients_wait_for_ever() -> None:
    """The message names the capacity."""
    with pytest.raises(ValueError, match="holds 4800 tokens"):
        run_load_test(engine(kv_tokens=4800), LoadTest(clients=1, prompt_tokens=5000, output_tokens=1))
