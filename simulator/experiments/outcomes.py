"""What became of the requests of a run, folded as they finish: shares in time and quantiles, whatever their number.

Where the journal counts first tokens as the engines do, this counts requests as their senders do: from the arrival at
the gateway, a wait for a cold start included. A request is *in time* if its first token came within the TTFT objective
and, where there is one, its own mean time per output token was within the other. One that was refused is late. One
that is not finished when the run ends counts with the time that it has taken so far.

Quantiles come from logarithmic bins, each 1 % wider than the one before, so they are right to within 0.5 % and the
same whatever pieces the requests come in.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
from numpy.typing import NDArray

from simulator.engine.records import RequestStatus
from simulator.engine.results import RequestTable

_LEAST_S, _GROWTH = 1e-4, 1.01
_BINS = ceil(log(1e6 / _LEAST_S) / log(_GROWTH))


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a request may expect: seconds to its first token, and per output token (None: nothing is promised)."""

    ttft_s: float
    tpot_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Counts of requests, and quantiles in seconds; None where there was nothing to take one of.

    ``ttft_in_time`` kept the first promise, ``in_time`` both. ``refused`` fitted no replica's memory; ``lost``
    ones were in an engine that crashed, and are late.
    """

    requests: int
    ttft_in_time: int
    in_time: int
    refused: int
    lost: int
    unfinished: int
    preemptions: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    tpot_p95_s: float | None
    tpot_p99_s: float | None

    @property
    def attainment(self) -> float:
        """Share of requests that kept both promises; of nothing at all, nothing was late."""
        return self.in_time / self.requests if self.requests else 1.0

    @property
    def ttft_attainment(self) -> float:
        """Share of requests whose first token was in time."""
        return self.ttft_in_time / self.requests if self.requests else 1.0


class LogHistogram:
    """Counts of durations in logarithmic bins."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, dtype=np.int64)

    def add(self, values_s: NDArray[np.float64]) -> None:
        """Count durations in seconds; those that are not known (NaN) are left out."""
        known = values_s[np.isfinite(values_s)]
        bins = (np.log(np.maximum(known, _LEAST_S) / _LEAST_S) / log(_GROWTH)).astype(np.int64)
        self._counts += np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)

    def quantile(self, probability: float) -> float | None:
        """Return the quantile by nearest rank, as the geometric middle of its bin; None of nothing."""
        total = int(self._counts.sum())
        if total == 0:
            return None
        rank = max(1, ceil(probability * total))
        return float(_LEAST_S * _GROWTH ** int(np.searchsorted(np.cumsum(self._counts), rank)) * sqrt(_GROWTH))


class RequestTally:
    """Folds tables of requests; those that arrived before ``since_s`` are served but not scored."""

    def __init__(self, promise: Promise, *, since_s: float = 0.0) -> None:
        self._promise = promise
        self._since_s = since_s
        self._counts = dict.fromkeys(
            ("requests", "ttft_in_time", "in_time", "refused", "lost", "unfinished", "preemptions"), 0
        )
        self._ttft, self._tpot = LogHistogram(), LogHistogram()

    def add(self, table: RequestTable) -> None:
        """Fold requests in, each once: finished and refused ones as they come, all others when the run has ended."""
        scored = table.arrival_s >= self._since_s
        refused = table.status == int(RequestStatus.REJECTED)
        lost = table.status == int(RequestStatus.LOST)
        served = ~refused & ~lost
        unfinished = served & (table.status != int(RequestStatus.FINISHED))
        first_in_time = served & (table.waited_s <= self._promise.ttft_s)
        tpot_s = _tpot_so_far(table)
        both = first_in_time
        if self._promise.tpot_s is not None:
            both = first_in_time & ~(tpot_s > self._promise.tpot_s)
        self._counts["requests"] += int(scored.sum())
        for name, which in (
            ("refused", refused),
            ("lost", lost),
            ("unfinished", unfinished),
            ("ttft_in_time", first_in_time),
            ("in_time", both),
        ):
            self._counts[name] += int((scored & which).sum())
        self._counts["preemptions"] += int(table.preemptions[scored].sum())
        self._ttft.add(table.waited_s[scored & served])
        self._tpot.add(tpot_s[scored & served & (table.output_tokens > 1)])

    def outcomes(self) -> Outcomes:
        """Return what has been folded so far."""
        return Outcomes(
            **self._counts,
            ttft_p50_s=self._ttft.quantile(0.5),
            ttft_p95_s=self._ttft.quantile(0.95),
            ttft_p99_s=self._ttft.quantile(0.99),
            tpot_p50_s=self._tpot.quantile(0.5),
            tpot_p95_s=self._tpot.quantile(0.95),
            tpot_p99_s=self._tpot.quantile(0.99),
        )


def _tpot_so_far(table: RequestTable) -> NDArray[np.float64]:
    """Mean seconds per output token after the first; NaN for requests that have not yet one or never will.

    Of a request that still decodes nobody knows how many tokens it has; it is judged by all that it will have, which
    counts it as late only when it is already certain to be.
    """
    end_s = np.where(np.isnan(table.finish_s), table.at_s, table.finish_s)
    return np.where(
        table.output_tokens > 1, (end_s - table.first_token_s) / np.maximum(table.output_tokens - 1, 1), np.nan
    )
