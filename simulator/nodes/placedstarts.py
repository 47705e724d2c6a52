"""Starts on nodes as they came about: where each replica went, and why its start took what it took.

    ordered ─ schedule, pending ─▶ scheduled ─pull─▶ started ─load─▶ loaded ─warm-up─▶ ready

A run's folder keeps them as ``starts.csv``, one row a replica that came to Ready; its ``run.json`` and its page tell
how many went which way.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from statistics import median

from simulator.journalfile import whole
from simulator.nodes.node import Tier


class Room(StrEnum):
    """Where the room came from."""

    FOUND = "found"
    """A node had room at once."""
    FREED = "freed"
    """Another replica had to go first."""
    PROVISIONED = "provisioned"
    """A node had to come first, whether it was asked for because of this replica or was on its way already."""


class ImageCame(StrEnum):
    """Where the image came from. One that is pulled already for another replica is PULLED."""

    CACHED = "cached"
    PULLED = "pulled"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedStart:
    """One start that came to Ready; instants in seconds of the simulation.

    ``image`` and ``weights`` (the tier that they were read from) are None where the replica needs none, or has them as
    it wakes. ``woken``: a server of its kind slept on the node.
    """

    pool: str
    replica_id: int
    node: int
    group: str
    ordered_s: float
    scheduled_s: float
    started_s: float
    loaded_s: float
    ready_s: float
    room: Room
    image: ImageCame | None
    weights: Tier | None
    woken: bool

    @property
    def total_s(self) -> float:
        """Ordered to Ready."""
        return self.ready_s - self.ordered_s

    @property
    def way(self) -> tuple[str, str, str]:
        """Room, image and weights in words, empty where there is none."""
        if self.woken:
            return self.room.value, "woken", self.weights.value if self.weights else ""
        return self.room.value, self.image.value if self.image else "", self.weights.value if self.weights else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Starts that went the same way: how many, and seconds from order to Ready."""

    room: str
    image: str
    weights: str
    starts: int
    median_s: float
    longest_s: float


def ways(starts: Iterable[PlacedStart]) -> tuple[Way, ...]:
    """Return the ways that starts went, the most frequent first."""
    totals: dict[tuple[str, str, str], list[float]] = {}
    for start in starts:
        totals.setdefault(start.way, []).append(start.total_s)
    found = (
        Way(
            room=room, image=image, weights=weights, starts=len(taken), median_s=median(taken), longest_s=max(taken)
        )
        for (room, image, weights), taken in totals.items()
    )  # fmt: skip
    return tuple(sorted(found, key=lambda way: (-way.starts, way.room, way.image, way.weights)))


HEADING = (
    "replica", "node", "group", "room", "image", "weights", "ordered_s", "schedule_s", "pull_s", "load_s", "warmup_s"
)  # fmt: skip


def write_csv(path: Path, starts: Iterable[PlacedStart]) -> None:
    """Write one row for each start: its way, when it was ordered, and its phases in seconds, rounded to milliseconds.

    The phases' columns are those that a cluster file's ``{csv: …}`` reads. They hold waiting and transfers too, so a
    file that reads them names neither image nor weights.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADING)
        for start in starts:
            instants = (start.ordered_s, start.scheduled_s, start.started_s, start.loaded_s, start.ready_s)
            phases = (f"{end - begin:.3f}" for begin, end in pairwise(instants))
            rows.writerow(
                (start.replica_id, start.node, start.group, *start.way, f"{start.ordered_s:.3f}", *phases)
            )  # fmt: skip
