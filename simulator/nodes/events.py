"""What happens on nodes, as values, and the agenda of what is to come."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from heapq import heappop, heappush
from math import inf

from simulator.nodes.node import Key


class What(Enum):
    """What happens to a replica, or (RESTORE) to a pool."""

    UNSCHEDULABLE = "no node has room"
    SCHEDULED = "placed on a node"
    STARTED = "its image is there"
    LOADED = "its weights are loaded"
    READY = "ready"
    DRAIN = "its node is about to go"
    LOST = "its node is gone"
    RESTORE = "replicas that were lost are ordered anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happens at one instant. ``node`` is a number, -1 where it is of no matter.

    One that is SCHEDULED is told whether it finds its image there, and whether it is a server that slept there.
    """

    at_s: float
    pool: str
    replica_id: int
    what: What
    node: int = -1
    grace_s: float = 0.0
    cached: bool = False
    woken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFault:
    """A node that goes at ``at_s``, at once or (``notice_s`` above 0: a spot reclaim) announced then.

    Which one: of the nodes that are ready then, of ``group`` (None: of any, of spot groups if it is a reclaim), the one
    at the share ``pick`` in [0, 1) of them, oldest first. Where there is none, nothing happens. The replicas that are
    lost are ordered anew ``replaced_after_s`` later: what Kubernetes takes to notice.
    """

    at_s: float
    pick: float = 0.0
    group: str | None = None
    notice_s: float = 0.0
    replaced_after_s: float = 0.0


class Due(IntEnum):
    """Kinds of events, in the order in which those of one instant happen."""

    RELEASE = 0
    SLEPT = 1
    FAULT = 2
    LOSE = 3
    RESTORE = 4
    NODE_READY = 5
    PULL = 6
    STARTED = 7
    LOADED = 8
    READY = 9
    PLACEABLE = 10


class Agenda:
    """Events to come: by time, then kind, then key, so that the order in which they were entered is of no matter."""

    def __init__(self) -> None:
        self._events: list[tuple[float, Due, Key]] = []

    @property
    def next_s(self) -> float:
        """The time of the next event; infinity if there is none."""
        return self._events[0][0] if self._events else inf

    def enter(self, at_s: float, due: Due, key: Key) -> None:
        """Enter an event."""
        heappush(self._events, (at_s, due, key))

    def take(self) -> tuple[Due, Key]:
        """Take out the next event."""
        _, due, key = heappop(self._events)
        return due, key
