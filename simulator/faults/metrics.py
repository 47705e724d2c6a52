"""Faults between the engines' metrics and a decision: what a scrape copies, and what a query is then told.

What a fault does to a scrape is as Prometheus and the controller's reading of it have it: a target that is down has no
sample and ``up`` is 0; a value that is not a number is in no field, and the sample is called invalid; a sample that
repeats keeps its old time, is stale beyond the policy's limit, and is gone after Prometheus' look-back of 5 minutes; a
Prometheus that does not answer leaves nothing but a warning. So the decision core sees here what it sees in production.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoscaler.core.signals import PodSample, Presence, Signals
from simulator.faults.kinds import (
    CounterReset,
    DelayedScrapes,
    NanMetrics,
    PartialMetrics,
    PrometheusDown,
    Series,
    StaleMetrics,
    TargetDown,
)
from simulator.faults.plan import Occurrence
from simulator.faults.victims import Victims

LOOKBACK_S = 300.0
"""For how long Prometheus gives the last sample of a series that has no newer one and no end (its default)."""

_OF_SAMPLES = (TargetDown, StaleMetrics, NanMetrics, PartialMetrics)
_COUNTERS = (
    *("prompt_tokens", "generation_tokens", "finished_requests", "steps"),
    *("ttft_count", "itl_sum_s", "itl_count", "tpot_count"),
)
_HISTOGRAMS = ("ttft_within", "tpot_within")
_FIELD_OF: dict[Series, str] = {
    Series.RUNNING: "running",
    Series.WAITING: "waiting",
    Series.KV_RATIO: "kv_ratio",
    Series.KV_CAPACITY: "kv_capacity_tokens",
    Series.PROMPT_TOKENS: "prompt_tokens",
    Series.GENERATION_TOKENS: "generation_tokens",
    Series.FINISHED_REQUESTS: "finished_requests",
    Series.STEPS: "steps",
    Series.TTFT_COUNT: "ttft_count",
    Series.ITL_SUM: "itl_sum_s",
    Series.ITL_COUNT: "itl_count",
    Series.TPOT_COUNT: "tpot_count",
}


class MetricFaults:
    """What befalls the metrics of one pool."""

    def __init__(
        self, occurrences: Sequence[Occurrence], victims: Victims, *, stale_after_s: float, epoch_at: float
    ) -> None:
        kinds = (TargetDown, PrometheusDown, StaleMetrics, NanMetrics, PartialMetrics, CounterReset, DelayedScrapes)
        self._occurrences = [one for one in occurrences if isinstance(one.fault, kinds)]
        self._resets = [one for one in self._occurrences if isinstance(one.fault, CounterReset)]
        self._victims = victims
        self._stale_after_s = stale_after_s
        self._epoch_at = epoch_at
        self._last: dict[str, PodSample] = {}
        self._raw: dict[str, PodSample] = {}
        self._began: dict[str, PodSample] = {}

    def lag_s(self, at_s: float) -> float:
        """Return by how much samples come late at an instant, beyond the usual."""
        lag_s = 0.0
        for one in self._now(at_s):
            if isinstance(one.fault, DelayedScrapes):
                self._victims.note(one, f"{at_s:g}")
                lag_s = max(lag_s, one.fault.lag_seconds)
        return lag_s

    def scraped(self, samples: Sequence[PodSample], at_s: float) -> tuple[PodSample, ...]:
        """Return what a scrape at an instant really copies of what the replicas expose."""
        self._note_resets(samples, at_s)
        now = self._now(at_s)
        copied = [self._copied(now, self._since_reset(sample)) for sample in samples]
        return tuple(sample for sample in copied if sample is not None)

    def told(self, signals: Signals) -> Signals:
        """Return what the queries of this instant are answered, from the samples of the scrape that is visible."""
        at_s = signals.at - self._epoch_at
        down = [one for one in self._now(at_s) if isinstance(one.fault, PrometheusDown)]
        if down:
            self._victims.note_all(down, f"{at_s:g}")
            silence = 'Prometheus "default" does not answer: connection refused'
            return replace(signals, samples=(), held_requests=None, warnings=(*signals.warnings, silence))
        return replace(signals, samples=tuple(self._aged(sample, signals.at) for sample in signals.samples))

    def _now(self, at_s: float) -> list[Occurrence]:
        return [one for one in self._occurrences if one.at(at_s)]

    def _note_resets(self, samples: Sequence[PodSample], at_s: float) -> None:
        """Take down what counters stood at when they were set to 0: as far as it is known, at the scrape before."""
        due = [one for one in self._resets if one.begins_s <= at_s]
        self._resets = [one for one in self._resets if one.begins_s > at_s]
        for sample in samples:
            reset = [one for one in due if sample.pod in self._raw and one.hits(_number(sample.pod))]
            if reset:
                self._victims.note_all(reset, sample.pod)
                self._began[sample.pod] = self._raw[sample.pod]
        self._raw = {sample.pod: sample for sample in samples}

    def _since_reset(self, sample: PodSample) -> PodSample:
        began = self._began.get(sample.pod)
        if began is None:
            return sample
        since: dict[str, Any] = {name: getattr(sample, name) - getattr(began, name) for name in _COUNTERS}
        if any(value < 0 for value in since.values()):
            # The engine itself began anew since: its own counters are below what they were.
            del self._began[sample.pod]
            return sample
        for name in _HISTOGRAMS:
            pairs = zip(getattr(sample, name), getattr(began, name), strict=True)
            since[name] = tuple((edge, count - before) for (edge, count), (_, before) in pairs)
        return replace(sample, **since)

    def _copied(self, now: Sequence[Occurrence], sample: PodSample) -> PodSample | None:
        """Return what is copied of one pod; None: nothing, not even that nothing was found."""
        befalling = [one for one in now if isinstance(one.fault, _OF_SAMPLES) and one.hits(_number(sample.pod))]
        self._victims.note_all(befalling, sample.pod)
        hit = [one.fault for one in befalling]
        if any(isinstance(fault, StaleMetrics) for fault in hit):
            if sample.pod not in self._last:
                return None
            sample = self._last[sample.pod]
        else:
            self._last[sample.pod] = sample
        for fault in hit:
            if isinstance(fault, NanMetrics):
                sample = replace(sample, presence=Presence.INVALID, **_without(fault.series))
            elif isinstance(fault, PartialMetrics) and fault.series:
                sample = replace(sample, **_without(fault.series))
        if any(isinstance(fault, TargetDown) for fault in hit):
            return PodSample(pod=sample.pod, at=sample.at, presence=Presence.TARGET_DOWN)
        if any(isinstance(fault, PartialMetrics) and not fault.series for fault in hit):
            return PodSample(pod=sample.pod, at=sample.at, presence=Presence.ABSENT)
        return sample

    def _aged(self, sample: PodSample, at: float) -> PodSample:
        """Return a sample with its presence at an instant; of what is not there the time is the query's."""
        if sample.presence in {Presence.TARGET_DOWN, Presence.ABSENT}:
            return replace(sample, at=at)
        age_s = at - sample.at
        if age_s > LOOKBACK_S:
            return PodSample(pod=sample.pod, at=at, presence=Presence.ABSENT)
        return replace(sample, presence=Presence.STALE) if age_s > self._stale_after_s else sample


def _number(pod: str) -> int:
    """Return the id of the replica that a pod carries: its name ends in it."""
    return int(pod.rpartition("-")[2])


def _without(series: Sequence[Series]) -> dict[str, Any]:
    """Return the fields of a sample that are not known without these series."""
    missing: dict[str, Any] = {_FIELD_OF[one]: None for one in series}
    if "ttft_count" in missing:
        missing["ttft_within"] = ()
    if "tpot_count" in missing:
        missing["tpot_within"] = ()
    return missing
