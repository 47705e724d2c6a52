"""Prefill and decode roles: a prompt is computed in one pool, its KV cache travels, another pool yields the tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import RequestStatus
from simulator.engine.results import RequestTable
from simulator.handover import Handover, KvTransfer
from simulator.traces import Trace, Traffic
from tests.simulator.simulated_pools import FIXED_120_S, engine, random_trace, requests

TRANSFER = KvTransfer(latency_s=0.5, token_s=0.001)


class Pair:
    """A prefill and a decode pool, advanced together, and what became of every request that has left them."""

    def __init__(
        self,
        trace: Trace,
        *,
        prefill: EngineProfile | None = None,
        decode: EngineProfile | None = None,
        replicas: tuple[int, int] = (1, 1),
        transfer: KvTransfer = TRANSFER,
        piece_requests: int = 100_000,
        stepwise: bool = False,
    ) -> None:
        self.ended: list[RequestTable] = []
        self.handover = Handover(transfer, self.ended.append)
        traffic = Traffic.of(trace, piece_requests=piece_requests)
        prefill, decode = prefill or engine(), decode or engine()
        self.prefill = Cluster(
            profile=prefill, startup=FIXED_120_S, seed=1, traffic=traffic, sends=self.handover,
            initial_replicas=replicas[0], stepwise=stepwise,
        )  # fmt: skip
        self.decode = Cluster(
            profile=decode, startup=FIXED_120_S, seed=1, receives=self.handover, initial_replicas=replicas[1],
            stepwise=stepwise,
        )  # fmt: skip

    def advance(self, until_s: float) -> None:
        """Let both live to an instant, the sender first."""
        self.prefill.advance(until_s)
        self.decode.advance(until_s)

    def rows(self) -> np.ndarray:
        """Arrival, first token, finish, status of all requests, by arrival, (N, 4); NaN for what has not happened."""
        tables = [*self.ended, self.decode.requests(), self.handover.on_the_way(self.decode.now_s)]
        columns = [
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("arrival_s", "first_token_s", "finish_s", "status")
        ]
        rows = np.stack(columns, axis=1)
        return rows[np.lexsort((rows[:, 3], rows[:, 0]))]


def test_a_request_alone_takes_prefill_transfer_and_decode_as_computed_by_hand() -> None:
    """1,600 prompt tokens in one step; 0.5 s + 1.6 s on the way; one token of the prompt again; 3 decode steps."""
    a, b, c, d = 0.0115, 70e-6, 35e-6, 80e-9
    pair = Pair(requests((2.0, 1600, 4)))
    pair.advance(20.0)
    prefilled_s = 2.0 + a + b * 1600
    first_s = prefilled_s + 0.5 + 1.6 + (a + b * 1 + d * 1599)
    decode_s = sum(a + c + d * (1600 + step) for step in range(3))
    (row,) = pair.rows()
    assert row[1:3] == pytest.approx([first_s, first_s + decode_s], abs=1e-9)
    assert row[3] == int(RequestStatus.FINISHED)


def test_each_pool_counts_its_own_part_of_the_work() -> None:
    """The prefill pool computes prompts, for one token each; the decode pool computes one token of each prompt."""
    pair = Pair(requests((0.0, 1600, 4), (1.0, 800, 10)))
    pair.advance(30.0)
    prefill, decode = (pool.snapshot().engine[0] for pool in (pair.prefill, pair.decode))
    assert (prefill["prefill_tokens"], prefill["generation_tokens"], prefill["requests_finished"]) == (2400, 2, 2)
    assert (decode["prefill_tokens"], decode["generation_tokens"], decode["requests_finished"]) == (2, 14, 2)
    assert prefill["kv_tokens"] == decode["kv_tokens"] == prefill["kv_blocks"] == decode["kv_blocks"] == 0


def test_what_was_received_takes_its_blocks_and_waits_where_there_are_none() -> None:
    """Room for 100 blocks: two prompts of 800 tokens and their answers do not fit at once, so the second one waits."""
    tight = engine(kv_tokens=1600)
    pair = Pair(requests((0.0, 800, 200), (0.0, 800, 200)), decode=tight, transfer=KvTransfer(latency_s=0.0))
    pair.advance(1.0)
    at_1_s = pair.decode.snapshot().engine[0]
    assert (at_1_s["decoding"], at_1_s["waiting"]) == (1, 1)
    assert at_1_s["kv_blocks"] == -(-int(at_1_s["kv_tokens"]) // 16)
    pair.advance(30.0)
    assert np.all(pair.rows()[:, 3] == int(RequestStatus.FINISHED))


def test_what_a_preemption_loses_is_computed_anew_where_it_decodes() -> None:
    """Two answers grow until the blocks are full: one gives way, and its prompt is no longer one that was received."""
    tight = engine(kv_tokens=1024)
    pair = Pair(requests((0.0, 400, 300), (0.0, 400, 300)), decode=tight, transfer=KvTransfer(latency_s=0.0))
    pair.advance(60.0)
    counted = pair.decode.snapshot().engine[0]
    assert counted["preemptions"] == 1
    assert counted["prefill_tokens"] > 2 + 400
    assert np.all(pair.rows()[:, 3] == int(RequestStatus.FINISHED))


def test_a_decode_replica_that_goes_takes_what_it_received_with_it() -> None:
    """The request starts anew on the other replica, which computes the whole prompt."""
    pair = Pair(requests((0.0, 1000, 500)), replicas=(1, 2), transfer=KvTransfer(latency_s=0.0))
    pair.advance(1.0)
    (busy,) = [int(i) for i, n in zip(pair.decode.snapshot().ids, pair.decode.snapshot().running, strict=True) if n]
    pair.decode.remove_replica(busy)
    pair.advance(60.0)
    assert pair.decode.snapshot().engine[0]["prefill_tokens"] == 1000
    assert pair.decode.requests().retries.tolist() == [1]


def test_a_prompt_that_no_prefill_replica_holds_and_an_answer_that_no_decode_replica_holds_are_refused_once() -> None:
    """The first is refused at the first gateway, the second after its prompt was computed."""
    pair = Pair(requests((0.0, 900, 10), (1.0, 100, 600)), prefill=engine(kv_tokens=800), decode=engine(kv_tokens=640))
    pair.advance(30.0)
    assert pair.rows()[:, 3].tolist() == [int(RequestStatus.REJECTED)] * 2


def test_requests_are_told_of_wherever_they_are_when_a_run_ends() -> None:
    """One decodes, one travels, one computes its prompt; none of the last two has a first token for its sender."""
    pair = Pair(requests((0.0, 1600, 4000), (9.0, 1600, 10), (9.9, 1600, 10)))
    pair.advance(10.0)
    rows = pair.rows()
    assert len(rows) == 3
    assert not np.isnan(rows[0, 1])
    assert np.isnan(rows[1:, 1]).all()
    assert np.isnan(rows[:, 2]).all()


def test_the_decode_pool_may_not_run_ahead_of_what_feeds_it() -> None:
    """It would miss requests: that is a mistake of the caller, and told as one."""
    pair = Pair(requests((0.0, 100, 10)))
    with pytest.raises(ValueError, match="prefill pool must be advanced"):
        pair.decode.advance(1.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), piece=st.sampled_from([7, 50, 100_000]), step_s=st.sampled_from([0.37, 5.0, 500.0]))
def test_how_time_and_traffic_are_cut_changes_no_result(seed: int, piece: int, step_s: float) -> None:
    """Laws: every request ends once; pieces, ticks and closed forms change results by rounding alone."""
    trace = random_trace(seed, 150)
    plain = Pair(trace, replicas=(2, 3), stepwise=True)
    plain.advance(500.0)
    cut = Pair(trace, replicas=(2, 3), piece_requests=piece)
    for until_s in np.arange(step_s, 500.0 + step_s, step_s):
        cut.advance(min(float(until_s), 500.0))
    assert len(cut.rows()) == len(trace)
    np.testing.assert_allclose(cut.rows(), plain.rows(), atol=1e-6)


def test_a_first_token_is_never_sooner_than_prefill_and_transfer_allow() -> None:
    """Law: with a slower link every first token is later by at least what the link adds for an idle decode pool."""
    trace = random_trace(3, 80)
    quick, slow = Pair(trace, replicas=(4, 8)), Pair(trace, replicas=(4, 8), transfer=KvTransfer(latency_s=5.0))
    for pair in (quick, slow):
        pair.advance(500.0)
    least_s = 0.5 + 0.001 * trace.prompt_tokens
    assert np.all(quick.rows()[:, 1] - trace.arrival_s > least_s)
    assert np.all(slow.rows()[:, 1] - trace.arrival_s > 5.0)
