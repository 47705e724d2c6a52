"""Faults as data: what may go wrong in a simulation, when, and whom it befalls.

A fault begins at ``startSeconds`` of the trace, or by chance ``perHour`` times an hour: then its beginnings are a
Poisson process. Whatever chance decides is drawn from the seed in a stream of its own, keyed by the kind of the fault,
its place among those of its kind in the file, the number of the occurrence and the id of the replica (of a write: its
second). Nothing that an autoscaler does draws from these streams, so all that are compared meet the same faults: the
third replica that anybody orders crashes at its start under each of them, or under none.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log1p

from simulator.faults.kinds import Fault, Kind
from simulator.startup.distributions import uniforms


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that a fault happens: ``number`` counts those of one line of the file, ``place`` the lines of a kind."""

    fault: Fault
    begins_s: float
    ends_s: float
    seed: int
    place: int
    number: int

    @property
    def order(self) -> tuple[float, str, int]:
        """By what those of a run are sorted: beginning, kind, place."""
        return self.begins_s, str(self.fault.fault), self.place

    def at(self, at_s: float) -> bool:
        """Return whether it goes on at an instant."""
        return self.begins_s <= at_s < self.ends_s

    def hits(self, ordinal: int) -> bool:
        """Return whether it befalls the replica with this id (or the write of this second)."""
        share: float = getattr(self.fault, "share", 1.0)
        return share >= 1 or self.luck(ordinal) < share

    def luck(self, ordinal: int) -> float:
        """Return the number in [0, 1) that chance gives a replica (or a write) in this occurrence."""
        return _luck(self.seed, str(self.fault.fault), self.place, self.number, ordinal)


@lru_cache(maxsize=65_536)
def _luck(seed: int, kind: str, place: int, number: int, ordinal: int) -> float:
    return uniforms(seed, "fault", kind, place, number, ordinal)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """The faults of a file. ``skipped_s``: the run begins at this second of the trace for which they were written."""

    faults: tuple[Fault, ...]
    skipped_s: float = 0.0

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of all that it says."""
        text = "\n".join(fault.model_dump_json(by_alias=True) for fault in self.faults)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def after(self, seconds: float) -> "FaultPlan":
        """Return the same faults for a run that begins so many seconds later."""
        return replace(self, skipped_s=self.skipped_s + seconds)

    def occurrences(self, *, seed: int, span_s: float) -> tuple[Occurrence, ...]:
        """Return what happens in a run of ``span_s`` seconds, by its beginning; what lasts longer is cut at its end."""
        found: list[Occurrence] = []
        places: dict[Kind, int] = {}
        for fault in self.faults:
            place = places[fault.fault] = places.get(fault.fault, -1) + 1
            for number, second in enumerate(self._beginnings(fault, seed, place, span_s)):
                begins_s = second - self.skipped_s
                ends_s = min(begins_s + fault.lasts_s, span_s)
                if begins_s < span_s and (begins_s >= 0 or ends_s > 0):
                    found.append(
                        Occurrence(fault=fault, begins_s=begins_s, ends_s=ends_s, seed=seed, place=place, number=number)
                    )
        return tuple(sorted(found, key=lambda one: one.order))

    def _beginnings(self, fault: Fault, seed: int, place: int, span_s: float) -> list[float]:
        if fault.start_seconds is not None:
            return [fault.start_seconds]
        rate = (fault.per_hour or 0.0) / 3600
        found: list[float] = []
        begins_s = _gap_s(rate, seed, fault, place, 0)
        while begins_s < span_s + self.skipped_s:
            found.append(begins_s)
            begins_s += _gap_s(rate, seed, fault, place, len(found))
        return found


def _gap_s(rate: float, seed: int, fault: Fault, place: int, number: int) -> float:
    (u,) = uniforms(seed, "fault", str(fault.fault), place, number)
    return -log1p(-u) / rate
