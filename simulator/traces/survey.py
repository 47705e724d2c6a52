"""A file of requests looked through once: how many, over which span, how finely stamped, what was wrong.

Many traces carry times that are cut to whole seconds. Replayed as they stand they are bursts that never were: all
requests of a second at once. Such times are recognised (``quantum``) and every request is moved by its own uniform draw
within its quantum; requests of one quantum keep their order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.traces.lines import Batch
from simulator.traces.pieces import joined
from simulator.traces.quantum import SECOND_NS, Quanta
from simulator.traces.trace import Trace, TraceError, Traffic

NAMED_LINES = 3
"""Broken lines that are told one by one."""
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


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
        self._quanta = Quanta()
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
        self._quanta.add(batch.at_ns)
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
        if self._twice_line is None and not np.diff(at_ns).all():
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
        quantum_ns, off = self._quanta.found(least_quantum_ns)
        if self._twice_line is not None and not quantum_ns:
            raise TraceError(
                f"{self._place}, line {self._twice_line}: a request that is there twice; remove the duplicate line"
            )
        return replace(now, quantum_ns=quantum_ns, off_quantum=off)


def traffic_from(
    name: str, read: Callable[[], Iterator[Batch]], found: Survey, *, seed: int, block_tokens: int = 0
) -> Traffic:
    """Return the requests of a file that was looked through, times spread within their quantum from a seed."""
    quantum_s = found.quantum_ns / SECOND_NS
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
    return since_ns / SECOND_NS


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
