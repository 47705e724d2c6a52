"""The prefix cache: what prompts share is computed once, stays until memory is needed, and nothing is counted twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.engine.records import BLOCK_TOKENS, PrefixCaches, Records
from simulator.engine.results import RequestTable
from simulator.traces import Trace, TraceError, Traffic
from tests.simulator.prefix_traces import conversations, with_blocks
from tests.simulator.reference_engine import NaiveEngine
from tests.simulator.simulated_pools import (
    FIXED_120_S,
    EngineNumbers,
    drain_all,
    engine,
    engines,
    pool,
    requests,
)

A, B, C = 0.0115, 70e-6, 35e-6


def counters(cluster: Cluster) -> Records:
    """The engine's counters of the first replica."""
    row: Records = cluster.snapshot().engine[0]
    return row


def served(trace: Trace, numbers: EngineNumbers) -> tuple[Cluster, RequestTable]:
    """One replica that has served a trace, and what became of it."""
    cluster = drain_all(pool(trace, profile=engine(**numbers)))
    return cluster, cluster.requests()


def caches_of(cluster: Cluster) -> PrefixCaches:
    """The arrays of a pool's caches."""
    caches = cluster._lifecycle.pool.caches
    assert caches is not None
    return caches


def test_a_prefix_that_was_computed_is_not_computed_again() -> None:
    """Of the second prompt only what the first did not have is computed, and the cached rest is read."""
    trace = with_blocks(requests((0.0, 1024, 1), (1.0, 1100, 1)), [[1, 2], [1, 2, 3]], 512)
    cluster, table = served(trace, {"d_s": 0.0})
    assert table.ttft_s[0] == pytest.approx(A + B * 1024, abs=1e-12)
    assert table.ttft_s[1] == pytest.approx(A + B * (1100 - 1024), abs=1e-12)
    assert counters(cluster)["prefix_queries"] == 2124
    assert counters(cluster)["prefix_hits"] == 1024
    assert counters(cluster)["prefill_tokens"] == 1100
    assert counters(cluster)["prompt_tokens"] == 2124


def test_the_last_token_is_computed_even_if_all_is_cached() -> None:
    """A prompt sent again costs one block of the engine, as in vLLM: a step that computes nothing yields nothing."""
    trace = with_blocks(requests((0.0, 1024, 1), (1.0, 1024, 1)), [[1, 2], [1, 2]], 512)
    cluster, table = served(trace, {"d_s": 0.0})
    assert table.ttft_s[1] == pytest.approx(A + B * BLOCK_TOKENS, abs=1e-12)
    assert counters(cluster)["prefix_hits"] == 1024 - BLOCK_TOKENS


def test_equal_ids_behind_different_ones_are_different_text() -> None:
    """A block is known together with all before it."""
    trace = with_blocks(requests((0.0, 1024, 1), (1.0, 1024, 1)), [[1, 2], [3, 2]], 512)
    assert counters(served(trace, {})[0])["prefix_hits"] == 0


def test_shared_blocks_are_used_once_and_remain_until_memory_is_needed() -> None:
    """Two that decode at once hold their common prefix once; afterwards it is free, and found by a third."""
    trace = with_blocks(requests((0.0, 1024, 300), (0.5, 1024, 300), (60.0, 1024, 1)), [[1, 2]] * 3, 512)
    cluster = pool(trace)
    cluster.advance(1.0)
    assert counters(cluster)["decoding"] == 2
    assert 64 < counters(cluster)["kv_blocks"] < 64 + 2 * 20
    cluster.advance(50.0)
    assert counters(cluster)["kv_blocks"] == 0
    assert counters(drain_all(cluster))["prefix_hits"] == 2 * (1024 - BLOCK_TOKENS)


def test_first_freed_is_first_evicted() -> None:
    """A cache of 1,296 tokens has room for two of three prompts: the oldest is gone, the other still there."""
    trace = with_blocks(
        requests((0.0, 513, 1), (1.0, 513, 1), (2.0, 513, 1), (3.0, 513, 1), (4.0, 513, 1)),
        [[1, 9], [2, 9], [3, 9], [3, 9], [1, 9]],
        512,
    )
    cluster, _ = served(trace, {"kv_tokens": 1296})
    assert counters(cluster)["prefix_hits"] == 512


def test_a_preempted_request_finds_its_own_prefix() -> None:
    """What it computes again is what was evicted, and a preemption counts as no query."""
    rows = requests((0.0, 160, 400), (0.01, 160, 400))
    plain, cached = rows, with_blocks(rows, [list(range(10)), list(range(100, 110))], 16)
    without, with_cache = (drain_all(pool(trace, kv_tokens=640)) for trace in (plain, cached))
    assert counters(with_cache)["preemptions"] == counters(without)["preemptions"] == 1
    assert counters(with_cache)["prefill_tokens"] < counters(without)["prefill_tokens"]
    assert counters(with_cache)["prefix_queries"] == 320
    assert counters(with_cache)["prefix_hits"] == 0


def test_a_new_replica_begins_with_an_empty_cache() -> None:
    """A replica's cache goes with it, also where the next one takes its place in memory."""
    trace = with_blocks(requests((0.0, 1024, 1), (5.0, 1024, 1), (9.0, 1024, 1)), [[1, 2]] * 3, 512)
    cluster = pool(trace)
    cluster.advance(6.0)
    assert counters(cluster)["prefix_hits"] > 0
    cluster.remove_replica(0)
    cluster.add_ready_replica()
    assert counters(drain_all(cluster))["prefix_hits"] == 0


def test_requests_of_a_replica_that_is_lost_hold_nothing() -> None:
    """They start anew elsewhere, and nothing is freed twice there."""
    trace = with_blocks(requests((0.0, 1024, 300), (0.1, 1024, 300)), [[1, 2]] * 2, 512)
    cluster = pool(trace, replicas=2)
    cluster.advance(1.0)
    cluster.remove_replica(0)
    drain_all(cluster)
    assert counters(cluster)["requests_finished"] == 2
    assert counters(cluster)["kv_blocks"] == 0
    assert counters(cluster)["prefix_hits"] == 1024 - BLOCK_TOKENS


def test_blocks_that_are_no_whole_engine_blocks_are_refused() -> None:
    """The engine caches blocks of 16 tokens; others would be counted wrongly."""
    with pytest.raises(TraceError, match="give a multiple of that"):
        pool(with_blocks(requests((0.0, 30, 1)), [[1, 2]], 20))


def test_names_of_prompts_that_ended_take_no_room() -> None:
    """Of a long trace in pieces only those prompts are known that have not ended, beside the piece at hand."""
    trace = conversations(3, 2000, 16, span_s=2000.0)
    assert trace.block_ids is not None
    cluster = Cluster(
        profile=engine(),
        startup=FIXED_120_S,
        seed=0,
        traffic=Traffic.of(trace, piece_requests=50),
        initial_replicas=1,
    )
    most = 0
    for tick in range(200):
        cluster.advance(10.0 * tick)
        most = max(most, len(caches_of(cluster).keys))
    assert 0 < most < len(trace.block_ids) / 10


@settings(max_examples=60, deadline=None)
@given(
    numbers=engines,
    seed=st.integers(0, 10_000),
    size=st.integers(1, 120),
    block_tokens=st.sampled_from((16, 48, 512)),
    span_s=st.floats(0.1, 60),
)
def test_the_cache_equals_a_naive_one(
    numbers: EngineNumbers, seed: int, size: int, block_tokens: int, span_s: float
) -> None:
    """Evicting late and by entries, it gives the times and hits of one that takes every block by hand when needed."""
    trace = conversations(seed, size, block_tokens, span_s=span_s)
    cluster, table = served(trace, numbers)
    naive = NaiveEngine(engine(**numbers), trace)
    sequences = naive.run()
    assert np.abs(table.first_token_s - [s.first_token_s for s in sequences]).max() < 1e-6
    assert np.abs(table.finish_s - [s.finish_s for s in sequences]).max() < 1e-6
    assert table.preemptions.tolist() == [s.preemptions for s in sequences]
    assert counters(cluster)["prefix_queries"] == naive.queries
    assert counters(cluster)["prefix_hits"] == naive.hits


@settings(max_examples=40, deadline=None)
@given(
    numbers=engines,
    seed=st.integers(0, 10_000),
    replicas=st.integers(1, 3),
    tick_s=st.sampled_from((0.7, 15.0, 1e4)),
    piece=st.sampled_from((7, 1000)),
)
def test_closed_form_equals_stepping_with_the_cache_too(
    numbers: EngineNumbers, seed: int, replicas: int, tick_s: float, piece: int
) -> None:
    """With the closed form off, in other ticks, and taken in pieces: every time is the same to 1e-6 s."""
    trace = conversations(seed, 120, 48)
    ended: list[RequestTable] = []
    common = {"profile": engine(**numbers), "startup": FIXED_120_S, "seed": 0, "initial_replicas": replicas}
    slow = drain_all(Cluster(trace=trace, stepwise=True, **common), tick_s=1e4)  # type: ignore[arg-type]
    traffic = Traffic.of(trace, piece_requests=piece)
    fast = Cluster(traffic=traffic, on_ended=ended.append, **common)  # type: ignore[arg-type]
    while fast.now_s < slow.now_s:
        fast.advance(fast.now_s + tick_s)
    tables = [*ended, fast.requests()]
    arrival_s, first_token_s, finish_s = (
        np.concatenate([getattr(table, name) for table in tables])
        for name in ("arrival_s", "first_token_s", "finish_s")
    )
    order = np.argsort(arrival_s, kind="stable")
    assert np.abs(first_token_s[order] - slow.requests().first_token_s).max() < 1e-6
    assert np.abs(finish_s[order] - slow.requests().finish_s).max() < 1e-6
    for field in ("steps", "prefill_tokens", "preemptions", "prefix_queries", "prefix_hits"):
        assert np.array_equal(fast.snapshot().engine[field], slow.snapshot().engine[field]), field


@settings(max_examples=40, deadline=None)
@given(
    numbers=engines, seed=st.integers(0, 10_000), block_tokens=st.sampled_from((16, 48, 512)), tick_s=st.floats(0.1, 5)
)
def test_blocks_are_conserved(numbers: EngineNumbers, seed: int, block_tokens: int, tick_s: float) -> None:
    """At every instant each block is somebody's own, shared or free, and hits stay below what was asked for."""
    cluster = pool(conversations(seed, 80, block_tokens), profile=engine(**numbers))
    while cluster.now_s < 60:
        cluster.advance(cluster.now_s + tick_s)
        assert_sound(cluster)
    drain_all(cluster)
    caches, row = caches_of(cluster), counters(cluster)
    assert row["kv_blocks"] == row["kv_tokens"] == 0
    assert np.all(caches.prompts["held"] == 0)
    assert np.all(caches.entries["users"] == 0)
    assert row["prefix_hits"] <= row["prefix_queries"] == row["prompt_tokens"]


def assert_sound(cluster: Cluster) -> None:
    """The cache of a single replica, looked at from outside."""
    caches, row = caches_of(cluster), counters(cluster)
    state, entries = caches.states[0], caches.entries[0]
    queued = queue_of(state, entries)
    in_queue = np.zeros(len(entries), dtype=bool)
    in_queue[queued] = True
    used = entries["users"] > 0
    assert np.all(entries["users"] >= 0)
    assert not np.any(used & in_queue)
    assert entries["users"].sum() == caches.prompts["held"].sum()
    assert state["evictable_blocks"] == entries["blocks"][queued].sum()
    assert entries["blocks"][used].sum() <= row["kv_blocks"] <= row["kv_capacity_blocks"]
    assert np.all(entries["blocks"][queued] > 0)
    keys = entries["key"][(used | in_queue) & (entries["key"] != 0)]
    assert len(set(keys.tolist())) == len(keys)
    assert row["prefix_hits"] <= row["prefix_queries"]


def queue_of(state: Records, entries: Records) -> list[int]:
    """The rows in the queue, first to last, both links agreeing."""
    rows, index, before = [], int(state["oldest"]), 0
    while index:
        assert entries["older"][index] == before
        rows.append(index)
        before, index = index, int(entries["newer"][index])
    assert state["newest"] == before
    return rows
