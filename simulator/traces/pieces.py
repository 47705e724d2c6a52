"""Pieces of traffic put together."""

from collections.abc import Sequence

import numpy as np

from simulator.traces.trace import Trace, TraceError, Traffic

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
