"""Traffic in pieces: the engine cannot tell, memory stays flat, and every request is counted once."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.cluster import Cluster, ClusterError, Routing
from simulator.engine.records import RequestStatus
from simulator.engine.results import RequestTable
from simulator.experiments.outcomes import Promise, RequestTally
from simulator.traces import Trace, Traffic
from tests.simulator.prefix_traces import conversations
from tests.simulator.simulated_pools import FIXED_120_S, EngineNumbers, engine, engines, pool, random_trace

PROMISE = Promise(ttft_s=1.0, tpot_s=0.05)
COLUMNS = ("prompt_tokens", "output_tokens", "replica", "status", "first_token_s", "finish_s", "preemptions", "retries")


def streamed(
    trace: Trace, numbers: EngineNumbers, routing: Routing, *, piece: int, replicas: int
) -> tuple[Cluster, list[RequestTable]]:
    """A pool that takes the trace in pieces, and the list of what it hands out."""
    ended: list[RequestTable] = []
    cluster = Cluster(
        profile=engine(**numbers),
        startup=FIXED_120_S,
        seed=3,
        traffic=Traffic.of(trace, piece_requests=piece),
        on_ended=ended.append,
        initial_replicas=replicas,
        routing=routing,
        grace_s=20.0,
    )
    return cluster, ended


def whole(trace: Trace, numbers: EngineNumbers, routing: Routing, *, replicas: int) -> Cluster:
    """The same pool with the whole trace in memory."""
    return Cluster(
        profile=engine(**numbers),
        startup=FIXED_120_S,
        seed=3,
        trace=trace,
        initial_replicas=replicas,
        routing=routing,
        grace_s=20.0,
    )


def column(tables: list[RequestTable], name: str) -> NDArray[np.float64]:
    """One column of all tables, in the order of arrival."""
    order = np.argsort(np.concatenate([table.arrival_s for table in tables]), kind="stable")
    joined: NDArray[np.float64] = np.concatenate([getattr(table, name) for table in tables])[order]
    return joined


@settings(max_examples=25)
@given(
    numbers=engines,
    seed=st.integers(0, 10_000),
    piece=st.integers(1, 40),
    replicas=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    routing=st.sampled_from(["least_outstanding", "round_robin", "random", "prefix_aware"]),
    named=st.booleans(),
)
def test_pieces_change_nothing_not_even_a_bit(
    numbers: EngineNumbers, seed: int, piece: int, replicas: list[int], routing: Routing, named: bool
) -> None:
    """Whole or in pieces of any size: the same replicas, counters and requests, through holds, drains and evictions."""
    trace = conversations(seed, 120, 48) if named else random_trace(seed, 120)
    one = whole(trace, numbers, routing, replicas=replicas[0])
    other, ended = streamed(trace, numbers, routing, piece=piece, replicas=replicas[0])
    for tick, wanted in enumerate(replicas * 3, start=1):
        for cluster in (one, other):
            cluster.advance(15.0 * tick)
            cluster.set_replicas(wanted)
        ours, theirs = one.snapshot(), other.snapshot()
        assert (ours.held, ours.arrived_total, ours.rejected_total) == (
            theirs.held,
            theirs.arrived_total,
            theirs.rejected_total,
        )
        assert ours.life.tobytes() == theirs.life.tobytes()
        for field in ("steps", "clock_s", "kv_blocks", "waiting", "outstanding", "ttft_sum_s", "itl_sum_s", "busy_s"):
            assert np.array_equal(ours.engine[field], theirs.engine[field])
    tables = [*ended, other.requests()]
    for name in COLUMNS:
        assert np.array_equal(column([one.requests()], name), column(tables, name), equal_nan=True), name


def test_what_ended_is_handed_out_once_and_the_rest_stays() -> None:
    """Requests that still run are not told of before they end."""
    trace = random_trace(1, 500)
    cluster, ended = streamed(trace, {}, "least_outstanding", piece=50, replicas=2)
    for tick in range(1, 200):
        cluster.advance(15.0 * tick)
    assert len(ended) > 3
    assert all(np.isin(table.status, (RequestStatus.FINISHED, RequestStatus.REJECTED)).all() for table in ended)
    arrivals = np.sort(np.concatenate([table.arrival_s for table in [*ended, cluster.requests()]]))
    assert np.array_equal(arrivals, trace.arrival_s)


def test_outcomes_are_those_of_the_whole_trace() -> None:
    """What is folded in pieces equals what is folded at once."""
    trace = random_trace(2, 800)
    one = pool(trace, replicas=3)
    cluster, ended = streamed(trace, {}, "least_outstanding", piece=64, replicas=3)
    for each in (one, cluster):
        each.advance(trace.span_s)
    at_once, piecewise = RequestTally(PROMISE, since_s=5.0), RequestTally(PROMISE, since_s=5.0)
    at_once.add(one.requests())
    for table in [*ended, cluster.requests()]:
        piecewise.add(table)
    assert at_once.outcomes() == piecewise.outcomes()


def test_only_what_is_needed_is_held() -> None:
    """A piece is asked for when the one before it has arrived, and what ended takes no room."""
    asked: list[int] = []

    def pieces() -> Iterator[Trace]:
        for number in range(200):
            asked.append(number)
            arrival_s = 100.0 * number + np.arange(100.0)
            yield Trace(
                name="steady",
                arrival_s=arrival_s,
                prompt_tokens=np.full(100, 100, dtype=np.int32),
                output_tokens=np.full(100, 10, dtype=np.int32),
            )

    cluster = Cluster(
        profile=engine(),
        startup=FIXED_120_S,
        seed=0,
        traffic=Traffic(name="steady", span_s=20_000.0, pieces=pieces),
        initial_replicas=1,
    )
    cluster.advance(150.0)
    assert asked == [0, 1]
    cluster.advance(19_950.0)
    assert len(cluster.requests()) <= 200
    assert cluster.submitted_total == 20_000
    cluster.advance(30_000.0)
    assert cluster.snapshot().arrived_total == 20_000


def test_requests_come_from_one_place() -> None:
    """Two sources would have to be put in order; that is left to who makes the traffic."""
    trace = random_trace(0, 10)
    cluster, _ = streamed(trace, {}, "least_outstanding", piece=5, replicas=1)
    with pytest.raises(ClusterError, match="come from its traffic"):
        cluster.submit(1.0, 10, 10)
    with pytest.raises(ClusterError, match="give one of them"):
        Cluster(profile=engine(), startup=FIXED_120_S, seed=0, trace=trace, traffic=Traffic.of(trace))
