"""Requests from counters: what production counted, drawn as traffic that would have been counted so.

Counters say how many requests, prompt tokens and output tokens came between two samples, and nothing of single
requests. So this is what is done with them:

- A counter that fell was reset: what it shows then came since. Between two samples it is taken to grow evenly, a gap
  included: a missing sample is not zero traffic. Pods are added up after that, for their samples differ in time.
- Requests in flight are added to those finished: arrivals = Δfinished + Δ(running + waiting). Without the gauges
  requests are placed where they ended, which `info` says.
- In each cell of the grid the requests are counted, the rounding carried on so that none is lost, and placed by
  uniform draws: finer than the samples nothing is known, and traffic is Poisson there.
- Lengths are drawn from the geometric distribution, which assumes nothing but a mean (of all on 1, 2, 3, … with that
  mean it has the highest entropy). The mean is tokens over requests in the ten minutes around, for tokens of long
  requests are counted in other cells than the requests, and scaled so that all tokens together are kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.traces.pieces import drawn
from simulator.traces.trace import PIECE_REQUESTS, Trace, TraceError, Traffic

SMOOTH_S = 600.0
_CELLS_A_PIECE = 240

Samples = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times (M,), growing, and values (M,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What had come by each edge of an even grid, cumulative and never falling. Arrays are (C + 1,)."""

    step_s: float
    requests: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The series of a pool, one of each for every pod and label; `in_flight` are gauges, the others counters."""

    finished: tuple[Samples, ...]
    prompt_tokens: tuple[Samples, ...]
    output_tokens: tuple[Samples, ...]
    in_flight: tuple[Samples, ...] = ()
    step_s: float
    """The usual distance of two samples in time."""
    longest_s: float
    """The longest."""


def flow_of(name: str, counted: Counted) -> Flow:
    """Return what was counted on a grid from the first sample of finished requests to the last.

    Raises:
        TraceError: nothing was counted, or something is missing that lengths need.
    """
    for what, series in (
        ("finished requests", counted.finished),
        ("prompt tokens", counted.prompt_tokens),
        ("output tokens", counted.output_tokens),
    ):
        if not any(times.size > 1 for times, _ in series):
            raise TraceError(f"{name}: no two samples of {what}; export a counter of them over a longer time")
    first_s = min(times[0] for times, _ in counted.finished if times.size)
    last_s = max(times[-1] for times, _ in counted.finished if times.size)
    step_s = counted.step_s
    edges = first_s + step_s * np.arange(int(np.ceil((last_s - first_s) / step_s)) + 1)
    arrived = _sum_at(edges, map(without_resets, counted.finished)) + _sum_at(edges, counted.in_flight)
    return Flow(
        step_s=step_s,
        requests=np.maximum.accumulate(arrived - arrived[0]),
        prompt_tokens=_sum_at(edges, map(without_resets, counted.prompt_tokens)),
        output_tokens=_sum_at(edges, map(without_resets, counted.output_tokens)),
    )


def without_resets(samples: Samples) -> Samples:
    """Return a counter as it would stand had it never begun anew, from 0 at its first sample."""
    times, values = samples
    steps = np.diff(values)
    return times, np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[1:], steps))])[: values.size]


def _sum_at(edges: NDArray[np.float64], series: Iterable[Samples]) -> NDArray[np.float64]:
    """Return the sum of all series at each edge; before its first sample and after its last a series stands still."""
    total = np.zeros(edges.size)
    for times, values in series:
        if times.size:
            total += np.interp(edges, times, values)
    return total


def flow_traffic(name: str, flow: Flow, *, seed: int) -> Traffic:
    """Return traffic that would have been counted so, drawn piece by piece from a seed.

    Raises:
        TraceError: no request was counted.
    """
    by_edge = np.floor(flow.requests - flow.requests[0] + 0.5)
    counts = np.diff(by_edge).astype(np.int64)
    total = int(by_edge[-1])
    if not total:
        raise TraceError(f"{name}: no request was counted; export more")
    pool = _Cells(
        step_s=flow.step_s,
        counts=counts,
        prompts=_means(flow.prompt_tokens, flow, counts),
        outputs=_means(flow.output_tokens, flow, counts),
    )
    # As many cells to a piece as keep it small, however busy the pool is.
    cells = max(1, min(_CELLS_A_PIECE, 2 * PIECE_REQUESTS * counts.size // total))
    return drawn(name, range(-(-counts.size // cells)), lambda number: _piece(name, pool, cells, seed, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """What is drawn from: requests and mean lengths of each cell. Arrays are (C,)."""

    step_s: float
    counts: NDArray[np.int64]
    prompts: NDArray[np.float64]
    outputs: NDArray[np.float64]


def _means(tokens: NDArray[np.float64], flow: Flow, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean length (C,) of the requests of each cell."""
    half = max(1, round(SMOOTH_S / flow.step_s / 2))
    cells = np.arange(counts.size)
    low, high = np.maximum(0, cells - half), np.minimum(counts.size, cells + half + 1)
    around = flow.requests[high] - flow.requests[low]
    total = tokens[-1] - tokens[0]
    overall = total / max(1.0, float(flow.requests[-1] - flow.requests[0]))
    means = np.where(around >= 1, (tokens[high] - tokens[low]) / np.maximum(around, 1.0), overall)
    told = float((means * counts).sum())
    return np.asarray(np.maximum(1.0, means * (total / told if told > 0 else 1.0)))


def _piece(name: str, pool: _Cells, cells: int, seed: int, number: int) -> Trace:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, number))))
    cell = np.repeat(np.arange(pool.counts.size)[number * cells :][:cells], pool.counts[number * cells :][:cells])
    arrival_s = np.sort((cell + rng.random(cell.size)) * pool.step_s)
    return Trace(
        name=name,
        arrival_s=arrival_s,
        prompt_tokens=_lengths(rng, pool.prompts[cell]),
        output_tokens=_lengths(rng, pool.outputs[cell]),
    )


def _lengths(rng: np.random.Generator, means: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.minimum(rng.geometric(1.0 / means), 2**31 - 1).astype(np.int32)
