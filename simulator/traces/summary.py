"""What a trace is, in figures, counted piece by piece: rate, burstiness, lengths, reuse of prefixes.

Burstiness is told in three ways, for none of them alone says enough:

- the coefficient of variation of the distances between arrivals: 1 for a Poisson process, above for bursts;
- the index of dispersion of counts at a window w, IDC(w) = Var[N(w)] / E[N(w)]: 1 for a Poisson process at every w,
  and growing with w where the rate itself moves (Cox and Lewis, The Statistical Analysis of Series of Events, 1966);
- the highest count in a window over the mean count.

Memory does not grow with the number of requests: counts are kept by window and by length, the windows of the finest
width as sums only. What grows, by a byte each, are the distinct prefix blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from simulator.traces.trace import Trace, Traffic

WINDOWS_S = (1.0, 10.0, 60.0, 600.0)
CURVE_POINTS = 720
_CURVE_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_EXACT_TOKENS = 2**20
"""Lengths below are counted one by one, the few above as if they were as long as this."""
_DENSE_IDS = 2**28
_EDGES = np.unique(np.append(0, np.round(2 ** np.arange(0, 21.26, 0.25)))).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Counts in windows of one width; None where the trace has fewer than two whole windows."""

    width_s: float
    dispersion: float | None
    peak_over_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of all requests on one side."""

    mean: float
    p50: int
    p99: int
    longest: int
    edges: NDArray[np.int64]
    """(K + 1,) edges of classes of lengths, four to a doubling."""
    requests: NDArray[np.int64]
    """(K,) requests with edges[k] <= length < edges[k + 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Prefix blocks that an endless cache would have held already."""

    block_tokens: int
    blocks: int
    distinct: int
    reused_ratio: float
    """Blocks seen before as a share of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Means over consecutive windows of `width_s`, the last one cut off at the trace's end."""

    width_s: float
    arrival_rps: NDArray[np.float64]
    prompt_tokens_per_s: NDArray[np.float64]
    output_tokens_per_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a trace."""

    requests: int
    span_s: float
    mean_rps: float
    interarrival_cv: float | None
    """None for fewer than three requests."""
    windows: tuple[Window, ...]
    prompt: Lengths
    output: Lengths
    reuse: Reuse | None
    """None where the trace has no prefix blocks."""
    curve: Curve


def summarise(traffic: Traffic, *, on_share: Callable[[float], object] = lambda _: None) -> Summary:
    """Look through all of a traffic once; `on_share` is told how much of the span is done."""
    width_s = next((w for w in _CURVE_WIDTHS_S if traffic.span_s / w <= CURVE_POINTS), _CURVE_WIDTHS_S[-1])
    curve = [_Binned(width_s, traffic.span_s) for _ in range(3)]
    counts, gaps, blocks = [_Counts(w) for w in WINDOWS_S], _Gaps(), _Blocks()
    prompts, outputs = _Tokens(), _Tokens()
    for piece in traffic.pieces():
        for window in counts:
            window.add(piece.arrival_s)
        gaps.add(piece.arrival_s)
        prompts.add(piece.prompt_tokens)
        outputs.add(piece.output_tokens)
        blocks.add(piece)
        for bins, weight in zip(curve, (None, piece.prompt_tokens, piece.output_tokens), strict=True):
            bins.add(piece.arrival_s, weight)
        on_share(min(1.0, piece.span_s / traffic.span_s) if traffic.span_s else 1.0)
    rates = [bins.per_second() for bins in curve]
    return Summary(
        requests=gaps.arrivals,
        span_s=traffic.span_s,
        mean_rps=gaps.arrivals / traffic.span_s if traffic.span_s else 0.0,
        interarrival_cv=gaps.cv(),
        windows=tuple(window.told() for window in counts),
        prompt=prompts.told(),
        output=outputs.told(),
        reuse=blocks.told(),
        curve=Curve(width_s=width_s, arrival_rps=rates[0], prompt_tokens_per_s=rates[1], output_tokens_per_s=rates[2]),
    )


class _Gaps:
    """Distances between arrivals: their number, sum and sum of squares."""

    def __init__(self) -> None:
        self.arrivals, self._sum, self._squares, self._last_s = 0, 0.0, 0.0, None

    def add(self, arrival_s: NDArray[np.float64]) -> None:
        if not arrival_s.size:
            return
        gaps = np.diff(arrival_s) if self._last_s is None else np.diff(arrival_s, prepend=self._last_s)
        self.arrivals += arrival_s.size
        self._sum += float(gaps.sum())
        self._squares += float((gaps**2).sum())
        self._last_s = arrival_s[-1]

    def cv(self) -> float | None:
        many = self.arrivals - 1
        if many < 2 or not self._sum:
            return None
        mean = self._sum / many
        return sqrt(max(0.0, self._squares / many - mean**2)) / mean


class _Counts:
    """Arrivals in whole windows of one width: their number, sum, sum of squares and highest."""

    def __init__(self, width_s: float) -> None:
        self._width_s = width_s
        self._whole, self._sum, self._squares, self._most = 0, 0, 0, 0
        self._open, self._open_count = 0, 0

    def add(self, arrival_s: NDArray[np.float64]) -> None:
        if not arrival_s.size:
            return
        index = (arrival_s / self._width_s).astype(np.int64)
        if index[0] > self._open:
            self._close(np.array([self._open_count]), int(index[0]) - self._open)
            self._open, self._open_count = int(index[0]), 0
        # Arrivals come in order, so windows with any are runs of equal indices.
        starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
        counts = np.diff(np.append(starts, index.size))
        counts[0] += self._open_count
        self._close(counts[:-1], int(index[-1]) - self._open)
        self._open, self._open_count = int(index[-1]), int(counts[-1])

    def _close(self, counts: NDArray[np.int64], windows: int) -> None:
        """Count windows that are over, of which all but those given are empty."""
        self._whole += windows
        self._sum += int(counts.sum())
        self._squares += int((counts**2).sum())
        self._most = max(self._most, int(counts.max(initial=0)))

    def told(self) -> Window:
        if self._whole < 2 or not self._sum:
            return Window(width_s=self._width_s, dispersion=None, peak_over_mean=None)
        mean = self._sum / self._whole
        variance = (self._squares - self._sum * mean) / (self._whole - 1)
        return Window(width_s=self._width_s, dispersion=variance / mean, peak_over_mean=self._most / mean)


class _Tokens:
    """How often each length came."""

    def __init__(self) -> None:
        self._counts = np.zeros(1024, dtype=np.int64)
        self._sum, self._longest = 0, 0

    def add(self, tokens: NDArray[np.int32]) -> None:
        self._sum += int(tokens.sum(dtype=np.int64))
        self._longest = max(self._longest, int(tokens.max(initial=0)))
        counts = np.bincount(np.minimum(tokens, _EXACT_TOKENS))
        if counts.size > self._counts.size:
            self._counts = np.pad(self._counts, (0, counts.size - self._counts.size))
        self._counts[: counts.size] += counts

    def told(self) -> Lengths:
        edges = _EDGES[: int(np.searchsorted(_EDGES, min(self._longest, _EXACT_TOKENS), side="right")) + 1]
        return Lengths(
            mean=self._sum / max(1, int(self._counts.sum())),
            p50=self._quantile(0.5),
            p99=self._quantile(0.99),
            longest=self._longest,
            edges=edges,
            requests=np.add.reduceat(np.append(self._counts, 0), np.minimum(edges[:-1], self._counts.size)),
        )

    def _quantile(self, share: float) -> int:
        """Return the smallest length that at least so large a share does not exceed."""
        below = np.cumsum(self._counts)
        return int(np.searchsorted(below, ceil(share * int(below[-1]))))


class _Blocks:
    """Which prefix blocks were seen."""

    def __init__(self) -> None:
        self._tokens, self._blocks, self._distinct = 0, 0, 0
        self._dense = np.zeros(0, dtype=np.bool_)
        self._sparse: set[int] = set()

    def add(self, piece: Trace) -> None:
        if piece.block_ids is None or not piece.block_ids.size:
            return
        self._tokens = piece.block_tokens
        self._blocks += piece.block_ids.size
        ids = np.unique(piece.block_ids)
        dense = ids[ids < _DENSE_IDS]
        if dense.size and dense[-1] >= self._dense.size:
            self._dense = np.pad(self._dense, (0, int(dense[-1]) + 1 - self._dense.size))
        self._distinct += int(np.count_nonzero(~self._dense[dense]))
        self._dense[dense] = True
        sparse = set(ids[dense.size :].tolist()) - self._sparse
        self._distinct += len(sparse)
        self._sparse |= sparse

    def told(self) -> Reuse | None:
        if not self._blocks:
            return None
        return Reuse(
            block_tokens=self._tokens,
            blocks=self._blocks,
            distinct=self._distinct,
            reused_ratio=1 - self._distinct / self._blocks,
        )


class _Binned:
    """Sums over consecutive windows from 0 to the trace's end."""

    def __init__(self, width_s: float, span_s: float) -> None:
        self._width_s, self._span_s = width_s, span_s
        self._sums = np.zeros(max(1, ceil(span_s / width_s)))

    def add(self, at_s: NDArray[np.float64], weight: NDArray[np.int32] | None) -> None:
        index = np.minimum((at_s / self._width_s).astype(np.int64), self._sums.size - 1)
        self._sums += np.bincount(index, weights=weight, minlength=self._sums.size)

    def per_second(self) -> NDArray[np.float64]:
        widths_s = np.full(self._sums.size, float(self._width_s))
        widths_s[-1] = self._span_s - (self._sums.size - 1) * self._width_s if self._span_s else 1.0
        # The last window may be a sliver that holds the last request alone: its rate would be no rate.
        widths_s[-1] = max(widths_s[-1], self._width_s / 2)
        return np.asarray(self._sums / widths_s)
