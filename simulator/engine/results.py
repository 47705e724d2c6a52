"""What became of the requests: one table, columns as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.records import Records, RequestStatus


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestTable:
    """Every request that has arrived by at_s, by request id. (N,) each; NaN where it has not happened (yet)."""

    at_s: float
    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    replica: NDArray[np.int32]
    """Replica id; -1 where it never reached one."""
    status: NDArray[np.int8]
    """`RequestStatus` values."""
    first_token_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    preemptions: NDArray[np.int16]
    retries: NDArray[np.int8]
    """Times a replica was taken away under it; it then starts anew from the gateway, its arrival stays."""

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def ttft_s(self) -> NDArray[np.float64]:
        """Arrival at the gateway to first token."""
        return self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> NDArray[np.float64]:
        """Mean time per output token after the first; 0 for answers of one token."""
        return (self.finish_s - self.first_token_s) / np.maximum(self.output_tokens - 1, 1)

    @property
    def waited_s(self) -> NDArray[np.float64]:
        """TTFT, or the waiting so far of those without a first token; 0 for rejected ones. Never NaN."""
        first_token_s = np.where(np.isnan(self.first_token_s), self.at_s, self.first_token_s)
        return np.where(self.status == RequestStatus.REJECTED, 0.0, first_token_s - self.arrival_s)

    def waited_for_coldstart(self, *, starting: NDArray[np.float64], objective_s: float) -> NDArray[np.bool_]:
        """Requests that a cold start made late, (N,).

        True if the request waited longer than objective_s for its first token (so far, if it has none yet)
        *and* at least one replica was starting at some moment between its arrival and its first token. A
        request that waited but was in time is not counted, nor one that was late while no replica was on its
        way: that is under-provisioning, not a cold start.

        Args:
            starting: (n, 2) intervals [ordered, ready or deleted) as `Cluster.starting_intervals` gives them.
            objective_s: the TTFT objective.
        """
        waited_s = self.waited_s
        late = waited_s > objective_s
        if not len(starting):
            return np.zeros(len(self), dtype=np.bool_)
        begin_s, end_s = _union(starting)
        until_s = self.arrival_s + waited_s
        # The last interval that begins before the first token overlaps if it ends after the arrival.
        last = np.searchsorted(begin_s, until_s, side="left") - 1
        overlaps = (last >= 0) & (end_s[np.maximum(last, 0)] > self.arrival_s)
        return np.asarray(late & overlaps, dtype=np.bool_)


def table_of(rows: Records, at_s: float) -> RequestTable:
    """What became by at_s of the requests of these REQUEST records. A copy."""
    finished = rows["status"] == int(RequestStatus.FINISHED)
    return RequestTable(
        at_s=at_s,
        arrival_s=rows["arrival_s"].copy(),
        prompt_tokens=rows["prompt_tokens"].copy(),
        output_tokens=rows["output_tokens"].copy(),
        replica=rows["replica"].copy(),
        status=rows["status"].copy(),
        first_token_s=rows["first_token_s"].copy(),
        finish_s=np.where(finished, rows["last_token_s"], np.nan),
        preemptions=rows["preemptions"].copy(),
        retries=rows["retries"].copy(),
    )


def _union(intervals: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Disjoint intervals, in order, that cover the same times: their beginnings and ends."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return ordered[first, 0], reach[last]
