"""The values that every form of trace is turned into: a `Trace` in memory, and `Traffic` of any length in pieces.

Times are seconds from the trace's own start. A piece of traffic keeps them: its first arrival is not 0.

Prefix blocks. Some traces say which prompts begin alike: each prompt is cut into blocks of `block_tokens` tokens, and
equal ids at the front of two prompts mean equal text there. All ids of a trace lie in one array; those of request i are
`block_ids[block_offsets[i] : block_offsets[i + 1]]`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_TOKENS = 2**31 - 1


class TraceError(ValueError):
    """A trace that cannot be used; the message is one sentence with file, line and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """N requests in order of arrival. Arrays are read-only.

    Raises:
        TraceError: arrays of different lengths, unordered or negative times, or negative lengths.
    """

    name: str
    arrival_s: NDArray[np.float64]
    """(N,) seconds from the start of the trace, never falling."""
    prompt_tokens: NDArray[np.int32]
    """(N,)"""
    output_tokens: NDArray[np.int32]
    """(N,)"""
    block_offsets: NDArray[np.int64] | None = None
    """(N + 1,) where the prefix blocks of each request begin in `block_ids`; None where the trace has none."""
    block_ids: NDArray[np.int64] | None = None
    block_tokens: int = 0
    """Tokens of a prefix block; 0 where the trace has none."""

    def __post_init__(self) -> None:
        size = self.arrival_s.size
        if not size == self.prompt_tokens.size == self.output_tokens.size:
            raise TraceError(f"{self.name}: arrays of different lengths; give one time and two lengths per request")
        if size and not np.all(np.isfinite(self.arrival_s)):
            raise TraceError(f"{self.name}: a time is not finite; give seconds")
        if size and (self.arrival_s[0] < 0 or np.any(np.diff(self.arrival_s) < 0)):
            raise TraceError(f"{self.name}: times fall or are negative; sort the requests by arrival")
        if size and min(int(self.prompt_tokens.min()), int(self.output_tokens.min())) < 0:
            raise TraceError(f"{self.name}: a length is negative; give token counts")
        self._refuse_blocks(size)
        for field, dtype in (("arrival_s", np.float64), ("prompt_tokens", np.int32), ("output_tokens", np.int32)):
            array = np.ascontiguousarray(getattr(self, field), dtype=dtype).view()
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    def _refuse_blocks(self, size: int) -> None:
        if (self.block_offsets is None) != (self.block_ids is None):
            raise TraceError(f"{self.name}: prefix blocks without offsets, or the reverse; give both or neither")
        if self.block_offsets is None or self.block_ids is None:
            return
        offsets = self.block_offsets
        if self.block_tokens < 1 or offsets.size != size + 1 or offsets[0] != 0 or offsets[-1] != self.block_ids.size:
            raise TraceError(f"{self.name}: prefix blocks do not match the requests; give N + 1 offsets")
        if np.any(np.diff(offsets) < 0):
            raise TraceError(f"{self.name}: offsets of prefix blocks fall; give them in the order of the requests")

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def span_s(self) -> float:
        """Seconds from the start of the trace to its last arrival; 0 for an empty one."""
        return float(self.arrival_s[-1]) if len(self) else 0.0

    @property
    def mean_rps(self) -> float:
        """Requests per second over the span."""
        return len(self) / self.span_s if self.span_s > 0 else 0.0

    def slice(self, start_s: float, end_s: float) -> "Trace":
        """The requests that arrive in [start_s, end_s), with times counted from start_s.

        Raises:
            TraceError: the window is empty or reversed.
        """
        low, high = np.searchsorted(self.arrival_s, [start_s, end_s], side="left")
        if not start_s < end_s or low == high:
            raise TraceError(
                f"{self.name}: no request between {start_s:g} and {end_s:g} s; the trace spans 0 to {self.span_s:g} s"
            )
        return self.rows(int(low), int(high), f"{self.name}[{start_s:g}:{end_s:g}]", start_s)

    def rows(self, low: int, high: int, name: str | None = None, start_s: float = 0.0) -> "Trace":
        """Requests low to high (without it), times counted from start_s, under another name if one is given."""
        offsets, ids = self.block_offsets, self.block_ids
        if offsets is not None and ids is not None:
            ids, offsets = ids[offsets[low] : offsets[high]], offsets[low : high + 1] - offsets[low]
        return Trace(
            name=self.name if name is None else name,
            arrival_s=self.arrival_s[low:high] - start_s,
            prompt_tokens=self.prompt_tokens[low:high],
            output_tokens=self.output_tokens[low:high],
            block_offsets=offsets,
            block_ids=ids,
            block_tokens=self.block_tokens,
        )

    def pieces(self, requests: int) -> Iterator["Trace"]:
        """Yield the trace in pieces of so many requests, times counted from the trace's start.

        Raises:
            ValueError: fewer than one request a piece.
        """
        for low in range(0, len(self), requests):
            yield self.rows(low, min(low + requests, len(self)))


PIECE_REQUESTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of any number, as pieces in order of arrival: nobody needs to hold more than one at a time.

    `pieces` begins anew at every call and yields the same requests each time. Times count from the traffic's start.
    """

    name: str
    span_s: float
    """Seconds from the start to the last arrival."""
    pieces: Callable[[], Iterator[Trace]]

    @classmethod
    def of(cls, trace: Trace, *, piece_requests: int = PIECE_REQUESTS) -> "Traffic":
        """A trace in memory as traffic."""
        return cls(name=trace.name, span_s=trace.span_s, pieces=lambda: trace.pieces(piece_requests))


def traffic_of(trace: Trace | Traffic) -> Traffic:
    """Return a trace as traffic; traffic as it is."""
    return Traffic.of(trace) if isinstance(trace, Trace) else trace
