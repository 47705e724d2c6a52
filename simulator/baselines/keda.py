"""KEDA: a poller that goes between zero and one, and the HPA that it generates for everything above.

Upstream: KEDA at 8b4f083 (2026-08-20), ``pkg/scaling/executor/scale_scaledobjects.go``, ``pkg/fallback/fallback.go``,
``pkg/scalers/prometheus_scaler.go``, ``controllers/keda/hpa.go``. What is reproduced, and easily got wrong:

- Two loops that know nothing of each other: the executor every 30 s, the HPA every 15 s on an External metric held
  against an AverageValue: ⌈sum/threshold⌉, whoever is ready (see ``hpa``).
- From zero the executor sets max(1, minReplicaCount), never what demand needs: the HPA comes up to 15 s later for that.
- To zero it goes from any number of replicas in one step, past the HPA's stabilization and rates, when the trigger was
  inactive for longer than the cooldown (300 s); at once if no trigger was ever active and initialCooldown (0) is over.
- Active is a value strictly above activationThreshold (0).
- A Prometheus answer that is empty, NaN or infinite counts as 0 (``ignoreNullValues``): lost series look like idleness.
- A query that fails holds the executor. The HPA's metric is lost then, unless there is a fallback: after more than
  failureThreshold failed queries it is fed threshold times the fallback's replicas. A fallback to 0 replicas does not
  hold the executor, which then scales to zero.

Left out: several triggers and scalingModifiers, useCachedMetrics, the Value metric type, pausing and forced activation
by annotation, the strict cooldown of newer releases, and the executor's and the HPA's phases. Where both are due at
once, the executor goes first, and if it writes, the HPA's turn comes 15 s later.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Presence, Signals
from simulator.baselines import hpa
from simulator.baselines.hpa import HpaMemory, HpaSpec
from simulator.baselines.hpa_metrics import Counts, Metric, Source, of_average_value
from simulator.baselines.hpa_rules import DEFAULT_BEHAVIOR, Behavior
from simulator.baselines.sight import PodsMetric, summed, verdict

UNBORN = HpaMemory()


class FallbackBehavior(StrEnum):
    """Which count a fallback stands for: its own, the current one, or the larger or smaller of the two."""

    STATIC = "static"
    CURRENT = "currentReplicas"
    HIGHER = "currentReplicasIfHigher"
    LOWER = "currentReplicasIfLower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What the HPA is fed after more than ``failure_threshold`` failed queries in a row."""

    failure_threshold: int
    replicas: int
    behavior: FallbackBehavior = FallbackBehavior.STATIC


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaSpec:
    """A ScaledObject with one Prometheus trigger: a ``sum`` over the pods and what the gateway holds."""

    metric: PodsMetric
    threshold: float
    max_replicas: int
    min_replicas: int = 0
    idle_replicas: int | None = None
    activation_threshold: float = 0.0
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    initial_cooldown_s: float = 0.0
    ignore_null_values: bool = True
    fallback: Fallback | None = None
    behavior: Behavior = DEFAULT_BEHAVIOR

    @property
    def hpa(self) -> HpaSpec:
        """The HPA that KEDA generates: its minimum is 1 where KEDA's is 0."""
        metric = Metric(metric=self.metric, target=self.threshold, source=Source.EXTERNAL)
        least = max(1, self.min_replicas)
        return HpaSpec(metrics=(metric,), min_replicas=least, max_replicas=self.max_replicas, behavior=self.behavior)


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaMemory:
    """The HPA's memory, the instants of both loops, and what the ScaledObject's status keeps.

    ``created_at`` is the first tick; ``failures`` are the HPA's failed queries in a row.
    """

    hpa: HpaMemory = UNBORN
    created_at: float | None = None
    last_active_at: float | None = None
    failures: int = 0
    poll_at: float = 0.0
    sync_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What the executor knows at one poll."""

    at: float
    replicas: int
    active: bool
    error: bool = False
    created_at: float = 0.0
    last_active_at: float | None = None


def scaler_value(answer: float | None, *, ignore_null_values: bool) -> float | None:
    """Return a Prometheus answer as the scaler reads it: an empty or infinite one is 0, or None (an error)."""
    if answer is not None and isfinite(answer):
        return answer
    return 0.0 if ignore_null_values else None


def executed(spec: KedaSpec, poll: Poll) -> tuple[int | None, float | None]:
    """Return the replicas that the executor sets (None: it leaves them) and when the trigger was last active."""
    idle, last = spec.idle_replicas, poll.last_active_at
    if poll.active:
        if poll.replicas == 0 or (idle is not None and poll.replicas < spec.min_replicas):
            return max(1, spec.min_replicas), poll.at
        # With a trigger in error, the activity of the others is not noted.
        return None, last if poll.error else poll.at
    if poll.error and (spec.fallback is None or spec.fallback.replicas != 0):
        return None, last
    if (idle is not None and poll.replicas > idle) or (poll.replicas > 0 and spec.min_replicas == 0):
        lowest = spec.min_replicas if idle is None else idle
        return (lowest if _cooled_down(spec, poll) else None), last
    return (spec.min_replicas if idle is None and poll.replicas < spec.min_replicas else None), last


def _cooled_down(spec: KedaSpec, poll: Poll) -> bool:
    if poll.last_active_at is None:
        return poll.created_at + spec.initial_cooldown_s < poll.at
    return poll.last_active_at + spec.cooldown_s < poll.at


def fallback_value(spec: KedaSpec, failures: int, current: int) -> float | None:
    """Return the sum that the HPA is fed after so many failures, None where it gets an error instead."""
    fallback = spec.fallback
    if fallback is None or min(fallback.failure_threshold, fallback.replicas) < 0:
        return None
    if failures <= fallback.failure_threshold:
        return None
    replicas = {
        FallbackBehavior.STATIC: fallback.replicas,
        FallbackBehavior.CURRENT: current,
        FallbackBehavior.HIGHER: max(current, fallback.replicas),
        FallbackBehavior.LOWER: min(current, fallback.replicas),
    }[fallback.behavior]
    return spec.threshold * replicas


def query(spec: KedaSpec, signals: Signals) -> float | None:
    """Return what the trigger's query gives at an instant, None if it fails.

    A source that warns and shows nothing is down; without a warning, nothing is an empty answer.
    """
    seen = any(sample.presence in {Presence.PRESENT, Presence.INVALID} for sample in signals.samples)
    if signals.warnings and not seen:
        return None
    return scaler_value(summed(spec.metric, signals), ignore_null_values=spec.ignore_null_values)


def decide(spec: KedaSpec, memory: KedaMemory, signals: Signals) -> tuple[KedaMemory, Decision]:
    """Take the executor's poll, the HPA's sync, or both, whichever is due."""
    at, current = signals.at, signals.spec_replicas
    polls, syncs = memory.poll_at <= at, memory.sync_at <= at
    memory = replace(
        memory,
        created_at=at if memory.created_at is None else memory.created_at,
        poll_at=at + spec.polling_s if polls else memory.poll_at,
        sync_at=at + spec.hpa.sync_s if syncs else memory.sync_at,
    )
    next_at = min(memory.poll_at, memory.sync_at)
    if current is None:
        detail = "/scale cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    value = query(spec, signals)
    if polls:
        memory, target = _poll(spec, memory, signals, value=value, current=current)
        if target is not None and target != current:
            why = Why.MIN_REPLICAS if target < current else Why.CONCURRENCY
            detail = f"the executor: {spec.metric} is {_shown(value)}"
            return memory, verdict(signals, target=target, why=why, detail=detail, next_at=next_at)
    if syncs and current > 0:
        memory, decision = _sync(spec, memory, signals, value)
        return memory, replace(decision, next_at=next_at)
    return memory, verdict(signals, target=current, why=Why.SETTLED, detail="the executor: no change", next_at=next_at)


def _poll(
    spec: KedaSpec, memory: KedaMemory, signals: Signals, *, value: float | None, current: int
) -> tuple[KedaMemory, int | None]:
    poll = Poll(
        at=signals.at,
        replicas=current,
        active=value is not None and value > spec.activation_threshold,
        error=value is None,
        created_at=memory.created_at or 0.0,
        last_active_at=memory.last_active_at,
    )
    target, last_active_at = executed(spec, poll)
    return replace(memory, last_active_at=last_active_at), target


def _sync(spec: KedaSpec, memory: KedaMemory, signals: Signals, value: float | None) -> tuple[KedaMemory, Decision]:
    """Take the HPA's sync; a failed query counts towards the fallback."""
    failures = memory.failures + 1 if value is None else 0

    def wish(have: Counts) -> int | None:
        fed = fallback_value(spec, failures, have.spec) if value is None else value
        return of_average_value(fed, spec.threshold, have, spec.hpa.tolerances)

    seen = (f"{spec.metric} {_shown(value)} in all against {spec.threshold:g}", {} if value is None else {"sum": value})
    hpa_memory, decision = hpa.sync(spec.hpa, memory.hpa, signals, wish=wish, seen=lambda: seen)
    return replace(memory, hpa=hpa_memory, failures=failures), decision


def _shown(value: float | None) -> str:
    return "in error" if value is None else f"{value:.1f}"
