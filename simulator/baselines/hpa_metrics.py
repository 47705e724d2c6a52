"""The HPA's metrics: how many replicas each of them asks for, and what comes of several.

Upstream: kubernetes v1.36, ``pkg/controller/podautoscaler/replica_calculator.go`` (``calcPlainMetricReplicas``,
``groupPods``, ``GetObjectMetricReplicas``, ``GetExternalMetricReplicas`` and their per-pod twins) and
``computeReplicasForMetrics`` of ``horizontal.go``. Values and their mean are whole thousandths: a value is rounded up,
the mean is cut off.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autoscaler.core.signals import Replica, ReplicaState, Signals
from simulator.baselines.hpa_rules import Tolerances
from simulator.baselines.sight import PodsMetric, alive, summed, value_of


class Source(StrEnum):
    """Where the controller gets a metric from: pod by pod, or as one number of an object or of something outside."""

    PODS = "Pods"
    OBJECT = "Object"
    EXTERNAL = "External"


class Target(StrEnum):
    """What the number is held against: a whole, or so much a pod."""

    VALUE = "Value"
    AVERAGE_VALUE = "AverageValue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One entry of the HPA's ``metrics``. A Pods metric has an AverageValue only."""

    metric: PodsMetric
    target: float
    source: Source = Source.PODS
    kind: Target = Target.AVERAGE_VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The pods as the HPA groups them: values of those that have one, counts of the others."""

    values: tuple[float, ...]
    missing: int = 0
    unready: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Replicas as the three places tell them: ``spec`` asked for, ``status`` existing, ``ready`` Running and Ready."""

    spec: int
    status: int
    ready: int


def grouped(metric: PodsMetric, signals: Signals) -> Pods:
    """Return the pods in their groups (``groupPods``, for a metric that is not CPU)."""
    here = alive(signals)
    running = {replica.pod for replica in here if not _is_pending(replica)}
    values = [value_of(metric, sample) for sample in signals.samples if sample.pod in running]
    known = tuple(value for value in values if value is not None)
    return Pods(values=known, missing=len(running) - len(known), unready=len(here) - len(running))


def _is_pending(replica: Replica) -> bool:
    """A pod is Pending until its container has been started."""
    return replica.state is ReplicaState.STARTING and replica.started_at is None


def counts(signals: Signals, spec: int) -> Counts:
    """Return the replica counts that the calculations use."""
    return Counts(spec=spec, status=len(alive(signals)), ready=signals.count(ReplicaState.READY))


def of_pods(pods: Pods, target: float, current: int, tolerances: Tolerances) -> int | None:
    """Return the replicas that the ratio of metric to target asks for; None if no pod has a sample."""
    if not pods.values:
        return None
    goal = _milli(target)
    known = [_milli(value) for value in pods.values]
    ratio = _ratio(known, goal)
    unready = pods.unready if ratio > 1 else 0
    if not pods.missing and not unready:
        return current if tolerances.within(ratio) else math.ceil(ratio * len(known))
    if ratio != 1:
        known += [goal if ratio < 1 else 0] * pods.missing
    known += [0] * unready
    new_ratio = _ratio(known, goal)
    turned = (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio)
    if tolerances.within(new_ratio) or turned:
        return current
    proposed = math.ceil(new_ratio * len(known))
    against = (new_ratio < 1 and proposed > current) or (new_ratio > 1 and proposed < current)
    return current if against else proposed


def of_value(value: float | None, target: float, have: Counts, tolerances: Tolerances) -> int | None:
    """Return the replicas for an Object or External metric held against a ``Value``; None where there is no value."""
    if value is None or math.isnan(value):
        return None
    ratio = _milli(value) / _milli(target)
    if have.spec == 0:
        return math.ceil(ratio)
    # The ratio multiplies the ready pods, though what is compared is the whole.
    return have.spec if tolerances.within(ratio) else math.ceil(ratio * have.ready)


def of_average_value(value: float | None, target: float, have: Counts, tolerances: Tolerances) -> int | None:
    """Return the replicas for an Object or External metric held against an ``AverageValue``.

    Readiness plays no part: a pod that loads counts as one that serves.
    """
    if value is None or math.isnan(value):
        return None
    whole, goal = _milli(value), _milli(target)
    if have.status and tolerances.within(whole / (goal * have.status)):
        return have.status
    return math.ceil(whole / goal)


def proposal(metric: Metric, signals: Signals, have: Counts, tolerances: Tolerances) -> int | None:
    """Return what one metric asks for, None where it is lost."""
    if metric.source is Source.PODS:
        return of_pods(grouped(metric.metric, signals), metric.target, have.spec, tolerances)
    of = of_value if metric.kind is Target.VALUE else of_average_value
    return of(summed(metric.metric, signals), metric.target, have, tolerances)


def together(proposals: Sequence[int | None], current: int) -> int | None:
    """Return the largest proposal; None where all are lost, or one is and the others would scale down."""
    known = [proposed for proposed in proposals if proposed is not None]
    if not known or (len(known) < len(proposals) and max(known) < current):
        return None
    return max(known)


def _milli(value: float) -> int:
    """Return whole thousandths, rounded up as Quantity.MilliValue does; binary dust below 1e-9 is no fraction."""
    return -(-round(value * 1e9) // 1_000_000)


def _ratio(values: list[int], target: int) -> float:
    return sum(values) // len(values) / target
