"""Faults as data: what may go wrong in a simulation, when, and whom it befalls.

A fault begins at ``startSeconds`` of the trace, or by chance ``perHour`` times an hour: then its beginnings are a
Poisson process. Whatever chance decides is drawn from the seed in a stream of its own, keyed by the kind of the fault,
its place among those of its kind in the file, the number of the occurrence and the id of the replica (of a write: its
second). Nothing that an autoscaler does draws from these streams, so all that are compared meet the same faults: the
third replica that anybody orders crashes at its start under each of them, or under none.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from math import log1p

from pydantic import Field, model_validator

from simulator.distributions import uniforms
from simulator.inputfile import Part


class Kind(StrEnum):
    """What faults are called in a file."""

    TARGET_DOWN = "targetDown"
    PROMETHEUS_DOWN = "prometheusDown"
    STALE_METRICS = "staleMetrics"
    NAN_METRICS = "nanMetrics"
    PARTIAL_METRICS = "partialMetrics"
    COUNTER_RESET = "counterReset"
    DELAYED_SCRAPES = "delayedScrapes"
    SCALE_CONFLICT = "scaleConflict"
    SCALE_REFUSED = "scaleRefused"
    SLOW_API = "slowApi"
    CONTROLLER_RESTART = "controllerRestart"
    LEADER_CHANGE = "leaderChange"


class Series(StrEnum):
    """Engine metrics that may be missing or not a number, as the fields of a sample, in camel case."""

    RUNNING = "running"
    WAITING = "waiting"
    KV_RATIO = "kvRatio"
    KV_CAPACITY = "kvCapacityTokens"
    PROMPT_TOKENS = "promptTokens"
    GENERATION_TOKENS = "generationTokens"
    FINISHED_REQUESTS = "finishedRequests"
    STEPS = "steps"
    TTFT_COUNT = "ttftCount"
    ITL_SUM = "itlSumS"
    ITL_COUNT = "itlCount"
    TPOT_COUNT = "tpotCount"


class Fault(Part):
    """One line of a fault file: a kind, and when it begins."""

    fault: Kind
    start_seconds: float | None = Field(None, ge=0, description="seconds from the trace's beginning.")
    per_hour: float | None = Field(None, gt=0, le=60)

    @model_validator(mode="after")
    def _one_beginning(self) -> "Fault":
        if (self.start_seconds is None) == (self.per_hour is None):
            raise ValueError("give startSeconds, the second at which it begins, or perHour, how often; one of the two")
        return self

    @property
    def lasts_s(self) -> float:
        """How long one occurrence lasts; 0 for what happens at an instant."""
        return 0.0


class Lasting(Fault):
    """A fault with a duration."""

    duration_seconds: float = Field(gt=0, le=31_536_000, description="how long it lasts, e.g. 300.")

    @property
    def lasts_s(self) -> float:
        """How long one occurrence lasts."""
        return self.duration_seconds


SHARE = Field(1.0, gt=0, le=1)


class TargetDown(Lasting):
    """The scrape of a share of the replicas fails: all their samples are gone and ``up`` is 0."""

    share: float = SHARE


class PrometheusDown(Lasting):
    """Prometheus does not answer: no sample of any replica, nothing of the gateway, and a warning that says so."""


class StaleMetrics(Lasting):
    """The last sample of a share of the replicas is repeated with its old time; after 5 minutes it is gone."""

    share: float = SHARE


class NanMetrics(Lasting):
    """Series of a share of the replicas are not a number."""

    share: float = SHARE
    series: tuple[Series, ...] = Field((Series.RUNNING, Series.WAITING, Series.KV_RATIO), min_length=1)


class PartialMetrics(Lasting):
    """A share of the replicas has no series at all, or where ``series`` are named, not those."""

    share: float = SHARE
    series: tuple[Series, ...] = ()


class CounterReset(Fault):
    """The counters of a share of the replicas begin at 0 again, though the replica goes on."""

    share: float = SHARE


class DelayedScrapes(Lasting):
    """What is seen is older than usual."""

    lag_seconds: float = Field(gt=0, le=86_400, description="seconds that samples come late, e.g. 60.")


class ScaleConflict(Lasting):
    """A share of the writes to /scale meets an object that somebody else has changed since it was read (409)."""

    share: float = SHARE


class ScaleRefused(Lasting):
    """The API server refuses every write to /scale (403)."""


class SlowApi(Lasting):
    """The API server takes its time: a write counts so much later, and beyond 3 s nothing is answered in time."""

    delay_seconds: float = Field(gt=0, le=600, description="seconds that each request takes, e.g. 2.")


class ControllerRestart(Fault):
    """The controller ends, and another one takes up its memory from the journal after some seconds without ticks."""

    down_seconds: float = Field(30.0, gt=0, le=604_800)

    @property
    def lasts_s(self) -> float:
        """How long nobody ticks."""
        return self.down_seconds


class LeaderChange(Fault):
    """The leader is gone: a follower, which has decided along, may not write until the lease has run out."""

    lease_seconds: float = Field(17.0, gt=0, le=3600)

    @property
    def lasts_s(self) -> float:
        """How long nobody may write."""
        return self.lease_seconds


MODELS: dict[Kind, type[Fault]] = {
    Kind.TARGET_DOWN: TargetDown,
    Kind.PROMETHEUS_DOWN: PrometheusDown,
    Kind.STALE_METRICS: StaleMetrics,
    Kind.NAN_METRICS: NanMetrics,
    Kind.PARTIAL_METRICS: PartialMetrics,
    Kind.COUNTER_RESET: CounterReset,
    Kind.DELAYED_SCRAPES: DelayedScrapes,
    Kind.SCALE_CONFLICT: ScaleConflict,
    Kind.SCALE_REFUSED: ScaleRefused,
    Kind.SLOW_API: SlowApi,
    Kind.CONTROLLER_RESTART: ControllerRestart,
    Kind.LEADER_CHANGE: LeaderChange,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that a fault happens: ``number`` counts those of one line of the file, ``place`` the lines of a kind."""

    fault: Fault
    begins_s: float
    ends_s: float
    seed: int
    place: int
    number: int

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
        return tuple(sorted(found, key=lambda one: (one.begins_s, str(one.fault.fault), one.place)))

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
