"""Traffic made from traffic, piece by piece: more of it, less of it, a part of it.

*More*: whole copies are laid over one another. In every copy each arrival moves by its own uniform draw of ±jitter
(mirrored at both ends), and takes both lengths together from a request close by, so that no two copies are alike; where
there are prefix blocks lengths and blocks stay, and every copy has blocks of its own. In windows longer than the jitter
copies rise and fall together, so that the index of dispersion grows with their number; what is shorter is blurred.

*Less*: requests are kept by chance (thinning). If D is the index of dispersion before, it is 1 + p·(D - 1) after, for
every window: thinned traffic is closer to a Poisson process than the traffic that it comes from.

A factor that is no whole number is the next whole number of copies, thinned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from simulator.traces.pieces import joined, of_copy, recut, taken
from simulator.traces.shaping import superpose
from simulator.traces.source import Source
from simulator.traces.trace import PIECE_REQUESTS, Trace, TraceError, Traffic

_NEIGHBOURS = 100
"""How far away a request may be that lends its lengths."""
_MOST_COPIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """By how much, and how."""

    ratio: float
    jitter_s: float = 30.0
    seed: int = 0


def scaled(source: Source, scaling: Scaling) -> Source:
    """Return a source that is `ratio` times as busy, with a note on how that was done.

    Raises:
        TraceError: a ratio of 0 or below, or one beyond reason.
    """
    ratio, name = scaling.ratio, source.traffic.name
    if not 0 < ratio <= _MOST_COPIES or not scaling.jitter_s >= 0:
        raise TraceError(f"{name}: cannot scale by {ratio:g}; give a factor above 0, up to {_MOST_COPIES:,}")
    if source.at_ratio is not None:
        return source.at_ratio(ratio)
    copies = ceil(ratio - 1e-9)
    share = ratio / copies
    traffic, notes, requests = source.traffic, list(source.notes), source.requests
    if copies > 1:
        traffic = _superposed(traffic, copies, scaling)
        kept = "lengths and prefix blocks kept" if source.block_tokens else "lengths from requests close by"
        jitter = f"each arrival moved by up to ±{scaling.jitter_s:g} s"
        notes.append(f"{copies} copies laid over one another, {jitter}, {kept} (seed {scaling.seed})")
        requests = None if requests is None else requests * copies
    if share < 1 - 1e-9:
        traffic = _thinned(traffic, share, scaling.seed)
        notes.append(f"thinned: each request kept with probability {share:.4g} (seed {scaling.seed})")
        requests = None
    traffic = replace(traffic, name=f"{name}×{ratio:.4g}")
    return replace(source, traffic=traffic, notes=tuple(notes), requests=requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laying:
    copies: int
    jitter_s: float
    span_s: float
    seed: int


def _superposed(traffic: Traffic, copies: int, scaling: Scaling) -> Traffic:
    laying = _Laying(copies=copies, jitter_s=scaling.jitter_s, span_s=traffic.span_s, seed=scaling.seed)
    # The last arrival of all cannot be known without the others; it lies at most a jitter before the end.
    return replace(traffic, pieces=lambda: _laid_over(traffic, laying))


def _laid_over(traffic: Traffic, laying: _Laying) -> Iterator[Trace]:
    rng = np.random.Generator(np.random.PCG64(laying.seed))
    held: list[Trace] = []
    for piece in recut(traffic.pieces(), max(1000, PIECE_REQUESTS // laying.copies)):
        held.extend(_copy(piece, number, laying, rng) for number in range(laying.copies))
        whole = _merged(held)
        # Whatever comes later lies at most a jitter before the end of this piece.
        cut = int(np.searchsorted(whole.arrival_s, piece.span_s - laying.jitter_s))
        if cut:
            yield whole.rows(0, cut)
        held = [whole.rows(cut, len(whole))]
    yield from (piece for piece in held if len(piece))


def _copy(piece: Trace, number: int, laying: _Laying, rng: np.random.Generator) -> Trace:
    size = len(piece)
    moved = np.abs(piece.arrival_s + rng.uniform(-laying.jitter_s, laying.jitter_s, size))
    moved = np.clip(np.where(moved > laying.span_s, 2 * laying.span_s - moved, moved), 0.0, laying.span_s)
    order = np.argsort(moved, kind="stable")
    # Prefix blocks and lengths belong together: a request that is there twice would be one that is reused.
    away = _NEIGHBOURS if piece.block_ids is None else 0
    near = rng.integers(-away, away, size, endpoint=True)
    copied = taken(piece, np.clip(order + near, 0, size - 1), moved[order])
    if copied.block_ids is None:
        return copied
    return replace(copied, block_ids=of_copy(copied.block_ids, number, laying.copies))


def _merged(pieces: list[Trace]) -> Trace:
    arrival_s = np.concatenate([piece.arrival_s for piece in pieces])
    order = np.argsort(arrival_s, kind="stable")
    return taken(joined([replace(piece, arrival_s=np.zeros(len(piece))) for piece in pieces]), order, arrival_s[order])


def _thinned(traffic: Traffic, share: float, seed: int) -> Traffic:
    def pieces() -> Iterator[Trace]:
        # Another stream than the jitter's, which begins with the same seed.
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 1))))
        for piece in traffic.pieces():
            kept = np.flatnonzero(rng.random(len(piece)) < share)
            if kept.size:
                yield taken(piece, kept, piece.arrival_s[kept])

    return replace(traffic, pieces=pieces)


def sliced(source: Source, start_s: float, end_s: float | None) -> Source:
    """Return the requests that arrive in [start_s, end_s), times counted from start_s; to the end without one.

    Raises:
        TraceError: the part is empty or reversed, or begins after the end.
    """
    traffic = source.traffic
    last_s = np.nextafter(traffic.span_s, np.inf) if end_s is None else end_s
    if not 0 <= start_s < last_s or start_s > traffic.span_s:
        raise TraceError(
            f"{traffic.name}: no request between {start_s:g} and {last_s:g} s; the trace spans 0 to"
            f" {traffic.span_s:g} s"
        )

    def pieces() -> Iterator[Trace]:
        for piece in traffic.pieces():
            if not len(piece) or piece.arrival_s[0] >= last_s:
                return
            low, high = np.searchsorted(piece.arrival_s, [start_s, last_s])
            if low < high:
                yield piece.rows(int(low), int(high), None, start_s)

    note = f"the part from {start_s:g} to {min(last_s, traffic.span_s):g} s"
    name = f"{traffic.name}[{start_s:g}:{min(last_s, traffic.span_s):g}]"
    cut = replace(traffic, name=name, span_s=float(min(last_s, traffic.span_s)) - start_s, pieces=pieces)
    return replace(source, traffic=cut, requests=None, notes=(*source.notes, note), at_ratio=None)


def copied(trace: Trace | Traffic, copies: int, seed: int) -> Trace | Traffic:
    """Return copies laid over one another: of a trace in memory as a trace, of traffic piece by piece.

    Raises:
        TraceError: fewer than one copy.
    """
    if copies == 1:
        return trace
    if isinstance(trace, Trace):
        return superpose(trace, copies=copies, seed=seed)
    return scaled(_source(trace), Scaling(ratio=float(copies), seed=seed)).traffic


def part_of(trace: Trace | Traffic, start_s: float, end_s: float | None) -> Trace | Traffic:
    """Return the requests that arrive in [start_s, end_s), times counted from start_s; to the end without one.

    Raises:
        TraceError: the part is empty or reversed.
    """
    if isinstance(trace, Trace):
        return trace.slice(start_s, float(np.nextafter(trace.span_s, np.inf)) if end_s is None else end_s)
    return sliced(_source(trace), start_s, end_s).traffic


def _source(traffic: Traffic) -> Source:
    return Source(traffic=traffic, form="native", requests=None)
