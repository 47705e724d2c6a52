"""A file of requests looked through once: how many, over which span, how finely stamped, what was wrong.

Many traces carry times that are cut to whole seconds. Replayed as they stand they are bursts that never were: all
requests of a second at once. Such times are recognised and every request is moved by its own uniform draw within its
quantum; requests of one quantum keep their order. The quantum is the greatest common divisor of the distances between
times, each to 10 ms (Mooncake's 3 s are at times 2.998 s), if that is a second or more and some requests share a time.
One time that is no whole second would make that divisor nothing; so where there is none, the largest of some usual
quanta counts on which 99 of 100 times lie.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

from simulator.traces.lines import Batch
from simulator.traces.pieces import joined
from simulator.traces.trace import Trace, TraceError, Traffic

NAMED_LINES = 3
"""Broken lines that are told one by one."""
_SECOND_NS = 10**9
_TOLERANCE_NS = 10**7
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_ENOUGH_TO_JUDGE = 20
"""Below so many requests it is chance whether all times are whole seconds."""
_USUAL_NS = tuple(seconds * _SECOND_NS for seconds in (1, 2, 3, 5, 10, 15, 20, 30, 60, 300, 900, 3600))
_ON_GRID_LEAST = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found in a file."""

    requests: int
    first_ns: int
    last_ns: int
    last_together: int
    """Requests that share the last time."""
    quantum_ns: int
    """What the times are cut to; 0 where they are taken as they stand."""
    off_quantum: int
    """Requests whose times are no whole quanta."""
    has_blocks: bool
    left_out: int
    broken: int
    named: tuple[tuple[int, str], ...]
    """The first broken lines, each with its reason."""


def surveyed(
    place: str, read: Callable[[], Iterator[Batch]], *, strict: bool = False, least_quantum_ns: int = 0
) -> Survey:
    """Look through a file. `least_quantum_ns` is what times of its form are cut to, if these are whole numbers of it.

    Raises:
        TraceError: no request, times that fall, a request twice, more broken lines than whole ones, or any if strict.
    """
    found = _Found(place)
    for batch in read():
        found.add(batch)
        if strict:
            found.refuse_broken()
    return found.survey(least_quantum_ns)


class _Found:
    def __init__(self, place: str) -> None:
        self._place = place
        self._tail: Columns | None = None
        """Times, identities and lines of the requests that share the last time, for another of them may follow."""
        self._twice_line: int | None = None
        self._divisor = 0
        """In units of the tolerance."""
        self._shared = False
        self._grids = [_Grid(quantum_ns) for quantum_ns in _USUAL_NS]
        self._now = Survey(
            requests=0, first_ns=0, last_ns=0, last_together=0, quantum_ns=0, off_quantum=0,
            has_blocks=False, left_out=0, broken=0, named=(),
        )  # fmt: skip

    def add(self, batch: Batch) -> None:
        now = self._now
        self._now = now = replace(
            now,
            requests=now.requests + batch.lines.size,
            has_blocks=now.has_blocks or batch.block_ids.size > 0,
            left_out=now.left_out + batch.left_out,
            broken=now.broken + len(batch.broken),
            named=(now.named + batch.broken)[:NAMED_LINES],
        )
        if not batch.lines.size:
            return
        self._order(batch)
        for grid in self._grids:
            # Who is on a coarser grid is on that of a second too.
            if not grid.add(batch.at_ns):
                break
        first_ns = now.first_ns if self._tail is not None else int(batch.at_ns[0])
        at_ns, identities, lines = self._with_tail(batch)
        self._doubles(at_ns, identities, lines)
        together = int(np.count_nonzero(at_ns == at_ns[-1]))
        self._now = replace(now, first_ns=first_ns, last_ns=int(at_ns[-1]), last_together=together)
        self._tail = at_ns[-together:], identities[-together:], lines[-together:]

    def _order(self, batch: Batch) -> None:
        before = batch.at_ns[0] if self._tail is None else self._now.last_ns
        falls = np.flatnonzero(np.diff(batch.at_ns, prepend=before) < 0)
        if falls.size:
            line = int(batch.lines[falls[0]])
            raise TraceError(f"{self._place}, line {line}: earlier than the line before; sort the file by time")

    def _with_tail(self, batch: Batch) -> Columns:
        own = batch.at_ns, batch.identities, batch.lines
        if self._tail is None:
            return own
        at_ns, identities, lines = (np.concatenate(pair) for pair in zip(self._tail, own, strict=True))
        return at_ns, identities, lines

    def _doubles(self, at_ns: NDArray[np.int64], identities: NDArray[np.int64], lines: NDArray[np.int64]) -> None:
        steps = np.diff(at_ns)
        if not steps.size:
            return
        rounded = (steps[steps > 0] + _TOLERANCE_NS // 2) // _TOLERANCE_NS
        self._divisor = gcd(self._divisor, int(np.gcd.reduce(rounded)) if rounded.size else 0)
        if steps.all():
            return
        self._shared = True
        if self._twice_line is None:
            order = np.lexsort((lines, identities, at_ns))
            same = (np.diff(at_ns[order]) == 0) & (np.diff(identities[order]) == 0)
            if same.any():
                self._twice_line = int(lines[order][1:][same].min())

    def refuse_broken(self) -> None:
        if self._now.named:
            line, reason = self._now.named[0]
            raise TraceError(f"{self._place}, line {line}: {reason}")

    def survey(self, least_quantum_ns: int) -> Survey:
        now = self._now
        if now.broken > now.requests + now.left_out:
            self.refuse_broken()
        if not now.requests:
            raise TraceError(f"{self._place}: no request after the header; give one line per request")
        quantum_ns, off = self._quantum(least_quantum_ns)
        if self._twice_line is not None and not quantum_ns:
            raise TraceError(
                f"{self._place}, line {self._twice_line}: a request that is there twice; remove the duplicate line"
            )
        return replace(now, quantum_ns=quantum_ns, off_quantum=off)

    def _quantum(self, least_quantum_ns: int) -> tuple[int, int]:
        """Return what the times are cut to, 0 for nothing, and how many of them are not."""
        requests = self._now.requests
        judged = self._shared and requests >= _ENOUGH_TO_JUDGE
        divisor_ns = self._divisor * _TOLERANCE_NS
        if divisor_ns >= _SECOND_NS and judged:
            return max(divisor_ns, least_quantum_ns), 0
        whole = [grid for grid in self._grids if grid.on >= _ON_GRID_LEAST * requests]
        if whole and judged:
            return max(whole[-1].quantum_ns, least_quantum_ns), requests - whole[-1].on
        of_its_form = next((grid for grid in whole if grid.quantum_ns == least_quantum_ns), None)
        return (0, 0) if of_its_form is None else (least_quantum_ns, requests - of_its_form.on)


class _Grid:
    """How many times are whole numbers of a quantum, counted from where most of the first ones are."""

    def __init__(self, quantum_ns: int) -> None:
        self.quantum_ns = quantum_ns
        self.on = 0
        self._from_ns: int | None = None

    def add(self, at_ns: NDArray[np.int64]) -> bool:
        """Count times; whether most of these are on the grid."""
        phases = (at_ns + _TOLERANCE_NS // 2) // _TOLERANCE_NS * _TOLERANCE_NS % self.quantum_ns
        if self._from_ns is None:
            values, counts = np.unique(phases, return_counts=True)
            self._from_ns = int(values[np.argmax(counts)])
        off_ns = (phases - self._from_ns) % self.quantum_ns
        on = int(np.count_nonzero((off_ns <= _TOLERANCE_NS) | (off_ns >= self.quantum_ns - _TOLERANCE_NS)))
        self.on += on
        return 2 * on >= at_ns.size


def traffic_from(
    name: str, read: Callable[[], Iterator[Batch]], found: Survey, *, seed: int, block_tokens: int = 0
) -> Traffic:
    """Return the requests of a file that was looked through, times spread within their quantum from a seed."""
    quantum_s = found.quantum_ns / _SECOND_NS
    span_s = float(_seconds(np.array([found.last_ns]), found)[0])
    if quantum_s:
        # The draws are one a request, in order: those of the last time can be had without the others.
        bits = np.random.PCG64(seed).advance(found.requests - found.last_together)
        span_s += quantum_s * float(np.random.Generator(bits).random(found.last_together).max())

    def pieces() -> Iterator[Trace]:
        plain = (_piece(name, batch, found, block_tokens) for batch in read() if batch.lines.size)
        return _spread(plain, quantum_s, np.random.Generator(np.random.PCG64(seed))) if quantum_s else plain

    return Traffic(name=name, span_s=span_s, pieces=pieces)


def _seconds(at_ns: NDArray[np.int64], found: Survey) -> NDArray[np.float64]:
    """Return seconds from the first time, whole quanta where there is one."""
    since_ns = at_ns - found.first_ns
    if found.quantum_ns:
        since_ns = (since_ns + found.quantum_ns // 2) // found.quantum_ns * found.quantum_ns
    return since_ns / _SECOND_NS


def _piece(name: str, batch: Batch, found: Survey, block_tokens: int) -> Trace:
    return Trace(
        name=name,
        arrival_s=_seconds(batch.at_ns, found),
        prompt_tokens=batch.prompt_tokens,
        output_tokens=batch.output_tokens,
        block_offsets=batch.block_offsets if found.has_blocks else None,
        block_ids=batch.block_ids if found.has_blocks else None,
        block_tokens=block_tokens if found.has_blocks else 0,
    )


def _spread(pieces: Iterator[Trace], quantum_s: float, rng: np.random.Generator) -> Iterator[Trace]:
    """Yield the pieces with times spread; a piece is held until the quantum at its end is whole."""
    held: list[Trace] = []
    for piece in pieces:
        held.append(piece)
        if piece.arrival_s[-1] > held[0].arrival_s[0]:
            whole = joined(held)
            cut = int(np.searchsorted(whole.arrival_s, whole.arrival_s[-1]))
            yield _moved(whole.rows(0, cut), quantum_s, rng)
            held = [whole.rows(cut, len(whole))]
    if held:
        yield _moved(joined(held), quantum_s, rng)


def _moved(piece: Trace, quantum_s: float, rng: np.random.Generator) -> Trace:
    # Quanta do not overlap, so sorting all is sorting within each: requests keep their order.
    return replace(piece, arrival_s=np.sort(piece.arrival_s + quantum_s * rng.random(len(piece))))
