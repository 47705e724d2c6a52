"""Traces made from traces: copies laid over one another, and one after the other."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.traces.pieces import joined, of_copy, taken
from simulator.traces.trace import Trace, TraceError


def superpose(
    trace: Trace, *, copies: int, jitter_s: float = 30.0, length_resample_window: int = 100, seed: int = 0
) -> Trace:
    """Lay `copies` of a trace over one another: more traffic of the same kind.

    In every copy each arrival moves by its own uniform draw from ±jitter_s (times beyond an end are mirrored
    into the trace, so that neither end is piled up), and takes both lengths together from a request at most
    `length_resample_window` places away. Rates are `copies` times as high; the minute-scale shape stays. Where there
    are prefix blocks, lengths and blocks stay with their request, and every copy has blocks of its own.

    Raises:
        TraceError: copies below 1, a negative jitter or window.
    """
    if copies < 1 or jitter_s < 0 or length_resample_window < 0:
        raise TraceError(
            f"{trace.name}: cannot lay {copies} copies with jitter {jitter_s:g} s; give 1 or more and 0 or more"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    size = len(trace)
    length_resample_window = length_resample_window if trace.block_ids is None else 0
    times, sources = [], []
    for _ in range(copies):
        times.append(_mirror(trace.arrival_s + rng.uniform(-jitter_s, jitter_s, size), trace.span_s))
        offsets = rng.integers(-length_resample_window, length_resample_window, size, endpoint=True)
        sources.append(np.clip(np.arange(size) + offsets, 0, max(size - 1, 0)))
    arrival_s, source = np.concatenate(times), np.concatenate(sources)
    order = np.argsort(arrival_s, kind="stable")
    laid = replace(taken(trace, source[order], arrival_s[order]), name=f"{trace.name}×{copies}")
    if laid.block_ids is None or laid.block_offsets is None:
        return laid
    return replace(
        laid, block_ids=of_copy(laid.block_ids, np.repeat(order // size, np.diff(laid.block_offsets)), copies)
    )


def _mirror(times_s: NDArray[np.float64], span_s: float) -> NDArray[np.float64]:
    """Reflect times below 0 and above the span back inside; clip what jitter longer than the trace leaves."""
    inside = np.abs(times_s)
    inside = np.where(inside > span_s, 2 * span_s - inside, inside)
    return np.clip(inside, 0.0, span_s)


def chain(traces: Sequence[Trace], *, period_s: float) -> Trace:
    """Traces one after the other, each starting period_s after the one before.

    Raises:
        TraceError: none given, or one is longer than the period.
    """
    if not traces or any(trace.span_s > period_s for trace in traces):
        raise TraceError(
            f"cannot chain {len(traces)} traces every {period_s:g} s; give traces no longer than the period"
        )
    shifted = [replace(trace, arrival_s=trace.arrival_s + i * period_s) for i, trace in enumerate(traces)]
    return replace(joined(shifted), name="+".join(dict.fromkeys(trace.name for trace in traces)))
