"""Pieces of traffic put together, cut anew, and requests taken out of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.traces.trace import PIECE_REQUESTS, Trace, TraceError, Traffic

MOST_IN_MEMORY = 30_000_000
"""Requests that are held at once where somebody needs all of them: half a gigabyte."""


def joined(pieces: Sequence[Trace]) -> Trace:
    """Return consecutive pieces of one traffic as one, under the first one's name.

    Raises:
        TraceError: they are out of order, or only some have prefix blocks.
    """
    if len(pieces) == 1:
        return pieces[0]
    offsets = [piece.block_offsets for piece in pieces if piece.block_offsets is not None]
    ids = [piece.block_ids for piece in pieces if piece.block_ids is not None]
    if ids and len(ids) < len(pieces):
        raise TraceError(f"{pieces[0].name}: only some pieces have prefix blocks; give blocks to all or to none")
    counts = [np.diff(each) for each in offsets]
    return Trace(
        name=pieces[0].name,
        arrival_s=np.concatenate([piece.arrival_s for piece in pieces]),
        prompt_tokens=np.concatenate([piece.prompt_tokens for piece in pieces]),
        output_tokens=np.concatenate([piece.output_tokens for piece in pieces]),
        block_offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if ids else None,
        block_ids=np.concatenate(ids) if ids else None,
        block_tokens=pieces[0].block_tokens,
    )


def taken(piece: Trace, rows: NDArray[np.int64], arrival_s: NDArray[np.float64]) -> Trace:
    """Return the requests in some rows (N,), any of them any number of times, as arriving at other times (N,).

    Raises:
        TraceError: the times fall.
    """
    offsets, ids = piece.block_offsets, piece.block_ids
    if offsets is not None and ids is not None:
        counts = np.diff(offsets)[rows]
        first = np.repeat(offsets[:-1][rows], counts)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        ids = ids[first + np.arange(first.size) - np.repeat(offsets[:-1], counts)]
    return Trace(
        name=piece.name,
        arrival_s=arrival_s,
        prompt_tokens=piece.prompt_tokens[rows],
        output_tokens=piece.output_tokens[rows],
        block_offsets=offsets,
        block_ids=ids,
        block_tokens=piece.block_tokens,
    )


def of_copy(block_ids: NDArray[np.int64], number: int | NDArray[np.int64], copies: int) -> NDArray[np.int64]:
    """Return other ids for the blocks of one of several copies of a trace: a copy is another conversation.

    Ids may be hashes of any size; those wrap around, which is as good as any other renaming.
    """
    return np.asarray((block_ids * copies + number) & np.int64(2**63 - 1))


def recut(pieces: Iterable[Trace], requests: int) -> Iterator[Trace]:
    """Yield the same requests in pieces of so many each, however they were cut before; the last may be shorter."""
    held: list[Trace] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= requests:
            whole = joined(held)
            cut = len(whole) // requests * requests
            yield from whole.rows(0, cut).pieces(requests)
            held = [whole.rows(cut, len(whole))] if cut < len(whole) else []
    if held:
        yield joined(held)


def drawn(name: str, numbers: Sequence[int], draw: Callable[[int], Trace]) -> Traffic:
    """Return traffic whose pieces can each be drawn alone, by their number, with times that count from one start.

    Raises:
        TraceError: every piece is empty.
    """
    last = next((piece for number in reversed(numbers) if len(piece := draw(number))), None)
    if last is None:
        raise TraceError(f"{name}: no request comes of so low a rate; give a higher rate or a longer trace")

    def pieces() -> Iterator[Trace]:
        for number in numbers:
            piece = draw(number)
            yield from piece.pieces(PIECE_REQUESTS)

    return Traffic(name=name, span_s=last.span_s, pieces=pieces)


def in_memory(traffic: Traffic) -> Trace:
    """Return all requests of a traffic at once.

    Raises:
        TraceError: there are none, or more than memory should be given to.
    """
    pieces, requests = [], 0
    for piece in traffic.pieces():
        requests += len(piece)
        if requests > MOST_IN_MEMORY:
            raise TraceError(
                f"{traffic.name}: more than {MOST_IN_MEMORY:,} requests, too many to hold at once;"
                " take a part by simulator trace slice, or a share by simulator trace scale"
            )
        pieces.append(piece)
    if not requests:
        raise TraceError(f"{traffic.name}: no request; give a longer part")
    return joined(pieces)
