"""Requests on their way from replicas that compute prompts to replicas that decode: prefill and decode roles.

A request comes to a replica of the prefill pool, which computes its prompt as a request for one token. Its KV cache
then travels to the decode pool, whose gateway picks a replica that yields all of its tokens, the first included. So it
is with vLLM's connectors, where the prefill engine is asked for one token, which is dropped, and the decode engine
computes the last token of the prompt again, since a step that yields a token has to compute one
(v1/core/sched/scheduler.py, `_update_waiting_for_remote_kv`).

Nothing comes back from the decode pool to the prefill pool. So the prefill pool may always be advanced first, and what
it has sent up to an instant is all that the decode pool has to know of it: no order of events across the two is lost.

Not modelled: blocks that a prefill replica holds until they are sent, blocks that a decode replica reserves while they
arrive, links that transfers share, and prefix caches of decode replicas. What a decode replica loses by preemption or
with its replica it computes anew, as vLLM does without a remote cache.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.records import REQUEST, Pool, Records, RequestStatus
from simulator.engine.results import RequestTable, table_of
from simulator.engine.storage import with_received, with_trace
from simulator.intake import ENDED, without_ended
from simulator.lifecycle import Lifecycle
from simulator.traces import Trace

FINISHED, HANDED_ON = int(RequestStatus.FINISHED), int(RequestStatus.HANDED_ON)
WAITING = int(RequestStatus.WAITING)

FORGET_BEYOND = 1 << 16
"""Requests that the decode pool keeps at least before those that have ended are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvTransfer:
    """How long the KV cache of a prompt travels: a latency in seconds, then so many seconds for each of its tokens."""

    latency_s: float = 0.01
    token_s: float = 0.0

    def seconds(self, prompt_tokens: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the seconds that prompts of so many tokens take, (N,)."""
        return self.latency_s + self.token_s * prompt_tokens.astype(np.float64)


def asked_for_prompts(pool: Pool, piece: Trace) -> Pool:
    """Return the prefill pool with a piece of traffic appended, each request asked for one token instead of its own."""
    first = int(pool.gateway["submitted"][0])
    pool = with_trace(pool, piece)
    new = pool.requests[first : first + len(piece)]
    new["elsewhere"] = new["output_tokens"]
    new["output_tokens"] = 1
    return pool


class Handover:
    """What left the prefill pool, and feeds the decode pool; ``on_ended`` is told of each request where it ends."""

    def __init__(self, transfer: KvTransfer, on_ended: Callable[[RequestTable], object]) -> None:
        self._transfer = transfer
        self._on_ended = on_ended
        self._sender: Lifecycle | None = None
        self._sent: Records = np.zeros(0, dtype=REQUEST)
        """In transfer, by the time at which they reach the decode pool's gateway (``enqueued_s``)."""

    def connect(self, sender: Lifecycle) -> None:
        """Take requests from this pool, which must always be advanced before the decode pool is."""
        self._sender = sender

    def ended(self, rows: Records, at_s: float) -> None:
        """Take what leaves the prefill pool's records: what has finished goes on, all else ends here."""
        self._send(rows[rows["status"] == FINISHED])
        ends = rows[(rows["status"] != FINISHED) & (rows["status"] != HANDED_ON)]
        if len(ends):
            self._on_ended(table_of(ends, at_s))

    def feed(self, pool: Pool, until_s: float) -> Pool:
        """Return the decode pool with what reaches it up to ``until_s`` appended, and much of what ended forgotten.

        Raises:
            ValueError: no prefill pool is connected, or it has not been advanced so far.
        """
        if self._sender is None or self._sender.now_s < until_s:
            raise ValueError(f"the prefill pool must be advanced to {until_s:g} s before the decode pool")
        self._collect(self._sender.pool)
        due = int(np.searchsorted(self._sent["enqueued_s"], until_s, side="right"))
        if not due:
            return pool
        pool, arrived = self._forgotten(pool, until_s), self._sent[:due]
        self._sent = self._sent[due:]
        return with_received(pool, arrived)

    def on_the_way(self, at_s: float) -> RequestTable:
        """Return the requests that are in transfer, or still in the prefill pool, at the end of a run. A copy."""
        rest = self._sent
        if self._sender is not None:
            self._collect(self._sender.pool)
            requests = self._sender.pool.requests[: int(self._sender.pool.gateway["next_arrival"][0])]
            here = requests[requests["status"] != HANDED_ON].copy()
            here["output_tokens"] = here["elsewhere"]
            rest = np.concatenate([self._sent, here])
        return table_of(rest, at_s)

    def _collect(self, sending: Pool) -> None:
        """Take over what the prefill pool has finished since it was asked last."""
        arrived = int(sending.gateway["next_arrival"][0])
        finished = np.flatnonzero(sending.requests["status"][:arrived] == FINISHED)
        if len(finished):
            self._send(sending.requests[finished])
            sending.requests["status"][finished] = HANDED_ON

    def _send(self, finished: Records) -> None:
        """Enter requests whose prompts are computed; their senders have seen no token yet."""
        if not len(finished):
            return
        sent = finished.copy()
        sent["enqueued_s"] = finished["last_token_s"] + self._transfer.seconds(finished["prompt_tokens"])
        sent["first_token_s"] = sent["last_token_s"] = np.nan
        sent["status"] = WAITING
        sent["received"] = np.maximum(finished["prompt_tokens"] - 1, 0)
        sent["output_tokens"] = finished["elsewhere"]
        merged = np.concatenate([self._sent, sent])
        # At a tie the one that its sender sent first goes first, however often this is called.
        self._sent = merged[np.lexsort((merged["arrival_s"], merged["enqueued_s"]))]

    def _forgotten(self, pool: Pool, at_s: float) -> Pool:
        submitted = int(pool.gateway["submitted"][0])
        if submitted < FORGET_BEYOND or np.isin(pool.requests["status"][:submitted], ENDED).mean() < 0.5:
            return pool
        pool, ended = without_ended(pool)
        self._on_ended(table_of(ended, at_s))
        return pool
