"""One replica: batching, paging, preemption, and what it counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.engine.records import TPOT_EDGES_S, TTFT_EDGES_S, RequestStatus, cumulative
from simulator.engine.results import RequestTable
from tests.simulator.reference_engine import NaiveEngine
from tests.simulator.simulated_pools import (
    FIXED_120_S,
    EngineNumbers,
    drain_all,
    engine,
    engines,
    pool,
    random_trace,
    requests,
)

A, B, C, D = 0.0115, 70e-6, 35e-6, 80e-9


def served(cluster: Cluster) -> RequestTable:
    """The table once everything is finished."""
    return drain_all(cluster).requests()


def test_a_request_alone_takes_what_the_formula_says() -> None:
    """One prefill step a + b·p, then o − 1 decode steps a + c + d·K with K growing by one a step."""
    table = served(pool(requests((1.0, 100, 4))))
    first_s = 1.0 + A + B * 100
    decode_s = 3 * (A + C) + D * (100 + 101 + 102)
    assert table.first_token_s[0] == pytest.approx(first_s, abs=1e-12)
    assert table.finish_s[0] == pytest.approx(first_s + decode_s, abs=1e-12)
    assert table.tpot_s[0] == pytest.approx(decode_s / 3, abs=1e-12)


def test_a_long_prompt_is_computed_in_chunks() -> None:
    """5,000 prompt tokens at a budget of 2,048 take three steps, and each later one reads the context so far."""
    table = served(pool(requests((0.0, 5000, 1))))
    assert table.ttft_s[0] == pytest.approx(3 * A + B * 5000 + D * (2048 + 4096), abs=1e-12)


def test_attention_of_a_prompt_does_not_depend_on_the_chunks() -> None:
    """The attention term adds up to len²/2 whatever the budget."""
    for budget in (256, 1000, 8192):
        cluster = pool(requests((0.0, 5000, 1)), d_s=0.0, attention_s=1e-9, max_num_batched_tokens=budget)
        steps = -(-5000 // budget)
        assert served(cluster).ttft_s[0] == pytest.approx(steps * A + B * 5000 + 1e-9 * 5000**2 / 2, abs=1e-12)


def test_an_arrival_waits_for_the_step_in_progress_and_slows_the_others() -> None:
    """Decoding continues while a foreign prompt is computed, in steps that are longer by that prompt."""
    alone = served(pool(requests((0.0, 100, 50))))
    table = served(pool(requests((0.0, 100, 50), (0.1, 1000, 1))))
    step_s = A + C
    assert B * 1000 + A <= table.ttft_s[1] <= B * 1000 + A + 2 * step_s
    assert table.finish_s[0] - alone.finish_s[0] == pytest.approx(B * 1000, abs=1e-4)


def test_an_engine_that_schedules_ahead_makes_an_arrival_wait_one_step_more() -> None:
    """Its next step was decided before the arrival; only an engine with nothing to run takes it at once."""
    trace = requests((0.0, 100, 50), (0.1, 1000, 1), (9.0, 1000, 1))
    waits, ahead = (served(pool(trace, async_scheduling=flag, d_s=0.0)) for flag in (False, True))
    assert ahead.ttft_s[1] - waits.ttft_s[1] == pytest.approx(A + C, abs=1e-12)
    assert ahead.ttft_s[2] == pytest.approx(A + B * 1000, abs=1e-12)


def test_no_more_run_than_max_num_seqs() -> None:
    """The third request of two places waits until one is free."""
    table = served(pool(requests((0.0, 10, 10), (0.001, 10, 50), (0.002, 10, 10)), max_num_seqs=2))
    assert table.first_token_s[2] > table.finish_s[0]
    assert table.first_token_s[2] < table.finish_s[1]


def test_preempted_requests_are_computed_again_and_finish() -> None:
    """Two requests that outgrow the cache together: the later one is preempted, both finish, tokens count once."""
    cluster = pool(requests((0.0, 100, 400), (0.01, 100, 400)), kv_tokens=640)
    table = served(cluster)
    counters = cluster.snapshot().engine[0]
    assert table.preemptions.tolist() == [0, 1]
    assert counters["preemptions"] == 1
    assert counters["generation_tokens"] == 800
    assert counters["prompt_tokens"] == 200
    assert counters["prefill_tokens"] > 200
    assert table.finish_s[0] < table.finish_s[1]


def test_a_request_that_fits_no_cache_is_refused() -> None:
    """It is rejected at once, and those behind it are served."""
    cluster = pool(requests((0.0, 700, 1), (0.1, 100, 5)), kv_tokens=640)
    table = served(cluster)
    assert table.status.tolist() == [RequestStatus.REJECTED, RequestStatus.FINISHED]
    assert cluster.snapshot().rejected_total == 1


def test_zero_lengths_count_as_one_token() -> None:
    """An engine computes at least one token and yields at least one."""
    table = served(pool(requests((0.0, 0, 0))))
    assert table.ttft_s[0] == pytest.approx(A + B, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(numbers=engines, seed=st.integers(0, 10_000), size=st.integers(1, 150), span_s=st.floats(0.1, 60))
def test_the_engine_equals_a_naive_one(numbers: EngineNumbers, seed: int, size: int, span_s: float) -> None:
    """Compiled, paged by phases and in closed form, it gives the times of an engine that does every token by hand."""
    trace = random_trace(seed, size, span_s=span_s)
    table = served(pool(trace, profile=engine(**numbers)))
    naive = NaiveEngine(engine(**numbers), trace).run()
    assert np.abs(table.first_token_s - [s.first_token_s for s in naive]).max() < 1e-6
    assert np.abs(table.finish_s - [s.finish_s for s in naive]).max() < 1e-6
    assert table.preemptions.tolist() == [s.preemptions for s in naive]


@settings(max_examples=30, deadline=None)
@given(
    numbers=engines, seed=st.integers(0, 10_000), replicas=st.integers(1, 3), tick_s=st.sampled_from((0.7, 15.0, 1e4))
)
def test_closed_form_equals_stepping(numbers: EngineNumbers, seed: int, replicas: int, tick_s: float) -> None:
    """With the closed form off, and however time is divided into calls, every time is the same to 1e-6 s."""
    trace = random_trace(seed, 120)
    fast, slow = (
        Cluster(
            profile=engine(**numbers),
            startup=FIXED_120_S,
            seed=0,
            trace=trace,
            initial_replicas=replicas,
            stepwise=stepwise,
        )
        for stepwise in (False, True)
    )
    drain_all(fast, tick_s=tick_s)
    drain_all(slow, tick_s=1e4)
    assert np.abs(fast.requests().first_token_s - slow.requests().first_token_s).max() < 1e-6
    assert np.abs(fast.requests().finish_s - slow.requests().finish_s).max() < 1e-6
    ours, theirs = fast.snapshot().engine, slow.snapshot().engine
    for field in ("steps", "generation_tokens", "prompt_tokens", "prefill_tokens", "preemptions", "requests_finished"):
        assert np.array_equal(ours[field], theirs[field]), field
    # A step time within rounding of an edge may fall on either side of it.
    assert np.abs(ours["itl_buckets"] - theirs["itl_buckets"]).sum() <= 2 * trace.output_tokens.max()


@settings(max_examples=30, deadline=None)
@given(numbers=engines, seed=st.integers(0, 10_000), size=st.integers(1, 200))
def test_what_goes_in_comes_out(numbers: EngineNumbers, seed: int, size: int) -> None:
    """Tokens and requests are conserved, histograms hold every observation, and the cache is empty at the end."""
    trace = random_trace(seed, size)
    cluster = drain_all(pool(trace, profile=engine(**numbers)))
    table, counters = cluster.requests(), cluster.snapshot().engine[0]
    outputs = int(trace.output_tokens.sum())
    assert counters["requests_finished"] == size
    assert counters["generation_tokens"] == outputs
    assert counters["prompt_tokens"] == trace.prompt_tokens.sum()
    assert counters["itl_count"] == outputs - size == counters["itl_buckets"].sum()
    assert counters["ttft_count"] == size == counters["tpot_count"] == counters["e2e_count"]
    assert counters["kv_tokens"] == counters["kv_blocks"] == counters["outstanding"] == 0
    assert np.all(counters["block_phase"] == 0)
    assert counters["ttft_sum_s"] == pytest.approx(table.ttft_s.sum())
    assert counters["itl_sum_s"] == pytest.approx((table.finish_s - table.first_token_s).sum())
    assert cumulative(counters["ttft_buckets"])[:-1].tolist() == [int((table.ttft_s <= e).sum()) for e in TTFT_EDGES_S]
    assert cumulative(counters["tpot_buckets"])[:-1].tolist() == [int((table.tpot_s <= e).sum()) for e in TPOT_EDGES_S]


def test_counters_at_a_tick_are_those_of_that_instant() -> None:
    """In the middle of a long decode run the counters show the steps that have ended, not the run's start or end."""
    cluster = pool(requests((0.0, 100, 1000)))
    cluster.advance(5.0)
    counters = cluster.snapshot().engine[0]
    tokens = int(counters["generation_tokens"])
    end_s = A + B * 100 + (tokens - 1) * (A + C) + D * sum(range(100, 100 + tokens - 1))
    assert end_s <= 5.0 < end_s + A + C + D * (100 + tokens)
    assert counters["steps"] == tokens
    assert counters["kv_tokens"] == 100 + tokens - 1


def test_busy_time_is_the_time_with_requests() -> None:
    """Two requests far apart: busy from arrival to finish of each, counted up to now while one runs."""
    cluster = pool(requests((1.0, 100, 100), (50.0, 100, 100)))
    cluster.advance(50.5)
    table = cluster.requests()
    first_s = float(table.finish_s[0]) - 1.0
    assert cluster.snapshot().engine["busy_s"][0] == pytest.approx(first_s + 0.5, abs=1e-9)
    drain_all(cluster)
    table = cluster.requests()
    both_s = float((table.finish_s - table.arrival_s).sum())
    assert cluster.snapshot().engine["busy_s"][0] == pytest.approx(both_s, abs=1e-9)
