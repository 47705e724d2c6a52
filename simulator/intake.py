"""Requests on their way into a pool and out of it: piece by piece, so that memory is flat in the length of the traffic.

A pool holds the requests of one piece of a `Traffic` and those of earlier ones that have not ended. When the last
arrival of a piece has been routed, the rows of requests that ended are handed to whoever counts them, the others move
to the front, in their order, and the next piece follows. Whatever the pieces, the engine sees the same requests at the
same times, so its results are the same to the bit.
"""

from collections.abc import Callable
from math import inf

import numpy as np
from numpy.typing import NDArray

from simulator.engine import routing as gateway_code
from simulator.engine.cache_storage import without_prompts
from simulator.engine.paging import REQUEST_MASK
from simulator.engine.records import Pool, Records, RequestStatus
from simulator.engine.storage import with_trace
from simulator.traces import Trace, Traffic

ENDED = tuple(
    int(status)
    for status in (RequestStatus.FINISHED, RequestStatus.REJECTED, RequestStatus.LOST, RequestStatus.HANDED_ON)
)
"""What a pool has to do with no more."""


class Intake:
    """Feeds a pool with traffic, a piece at a time as ``append`` does.

    ``on_ended`` gets the record of every request once, as it leaves the pool, with the instant of that.
    """

    def __init__(
        self,
        traffic: Traffic,
        on_ended: Callable[[Records, float], object],
        append: Callable[[Pool, Trace], Pool] = with_trace,
    ) -> None:
        self._pieces = traffic.pieces()
        self._on_ended = on_ended
        self._append = append
        self._last_s = -inf
        """The last arrival that the pool knows; infinity after the last of all."""

    def feed(self, pool: Pool, until_s: float) -> Pool:
        """Let arrivals be routed until the pool knows all up to ``until_s``; return it, with its requests exchanged.

        The pool's replicas are not brought to an instant by this: ``routing.advance`` does.
        """
        while self._last_s <= until_s:
            gateway_code.arrive(pool, self._last_s)
            pool = self._exchanged(pool, self._last_s)
        return pool

    def _exchanged(self, pool: Pool, at_s: float) -> Pool:
        piece = next(self._pieces, None)
        if piece is None:
            self._last_s = inf
            return pool
        pool, ended = without_ended(pool)
        if len(ended):
            self._on_ended(ended, at_s)
        if len(piece):
            self._last_s = float(piece.arrival_s[-1])
        return self._append(pool, piece)


def without_ended(pool: Pool) -> tuple[Pool, Records]:
    """Return the pool without the requests that ended, the others in their order, and the REQUEST records of those.

    All requests of the pool must have arrived.
    """
    gateway = pool.gateway
    rows = pool.requests[: int(gateway["submitted"][0])]
    ends = np.isin(rows["status"], ENDED)
    kept, ended = rows[~ends], rows[ends]
    new_place = np.where(ends, -1, np.cumsum(~ends) - 1)
    for field in ("held_head", "held_tail"):
        gateway[field] = _moved(gateway[field], new_place)
    kept["next"] = _moved(kept["next"], new_place)
    _renumber(pool, new_place)
    gateway["submitted"] = gateway["next_arrival"] = len(kept)
    gateway["ended"] += len(ended)
    caches = None if pool.caches is None else without_prompts(pool.caches, ends)
    return pool._replace(requests=kept, caches=caches), ended


def _renumber(pool: Pool, new_place: NDArray[np.int64]) -> None:
    """Let replicas refer to their requests by their new places. Heaps stay heaps, since the order stays."""
    for slot in range(int(pool.gateway["slots"][0])):
        replica, work = pool.replicas[slot], pool.work[slot]
        for field in ("queue_head", "queue_tail"):
            replica[field] = _moved(replica[field], new_place)
        keys = work["decoding"][: int(replica["decoding"])]
        keys[:] = (keys & ~REQUEST_MASK) | new_place[keys & REQUEST_MASK]
        prefilling = work["prefill_request"][: int(replica["prefilling"])]
        prefilling[:] = new_place[prefilling]


def _moved(places: NDArray[np.int64], new_place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return new places; -1 for one that ended: such a link is a remnant that nobody follows."""
    if not len(new_place):
        return places
    return np.where(places >= 0, new_place[places], -1)
