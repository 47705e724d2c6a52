"""The Kubernetes HorizontalPodAutoscaler on a custom Pods metric, as kube-controller-manager computes it.

Upstream: kubernetes v1.36, ``pkg/controller/podautoscaler/replica_calculator.go`` (``calcPlainMetricReplicas``,
``groupPods``) and ``horizontal.go`` (``reconcileAutoscaler``). What is reproduced, and easily got wrong:

- A pod that is Running counts as ready whatever its readiness says: for Pods metrics only a Pending one is *unready*.
  One that is Running and still loads has no sample: it is *missing*. Failed and terminating pods are left out.
- Missing pods count as 0 when the ratio asks for more and as the target when it asks for less; unready ones as 0 when
  it asks for more and not at all when it asks for less. So pods that load dampen a scale-up, but only until they export
  their first zeros.
- No move inside the tolerance (10 %), nor where counting those pods turns the direction round. Where there are none,
  the ratio multiplies the number of pods with a sample, not the replicas that were asked for.
- Values and their mean are whole thousandths: a value is rounded up, the mean is cut off.
- Replicas outside [min, max] are put back at once, without a look at metrics. Without any sample nothing is done and
  nothing is recommended. Zero replicas disable the HPA.
- Stabilization and rates: see ``hpa_rules``. The default here is ``behavior`` with all its defaults (up at once by the
  larger of 4 pods and 100 % in 15 s; down to the largest recommendation of 300 s). An HPA without ``behavior`` goes up
  to the larger of 4 and twice the replicas, which is never more. So ours is compared with the quicker one.

Left out: several metrics, metrics other than Pods, per-direction tolerances, scale to zero (Pods metrics cannot), the
delays of informers and of the metrics adapter beyond the scrape's own (they would make the HPA slower), and the
per-HPA phase of the sync. Nothing here knows of a cold start: that is the point of the comparison.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from autoscaler.core.decision import Decision, Term, Why
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from simulator.baselines.hpa_rules import (
    DEFAULT_BEHAVIOR,
    UNCHANGED,
    Behavior,
    Changes,
    Dated,
    limited,
    stabilized,
    stabilized_plainly,
)

TOLERANCE = 0.1


class PodsMetric(StrEnum):
    """The per-pod metric that the HPA averages."""

    WAITING = "queue"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSpec:
    """An autoscaling/v2 HPA with one Pods metric.

    ``target`` is the average value per pod; ``sync_s`` the controller's period; ``down_stabilization_s`` the
    controller's own flag, which counts where ``behavior`` is None.
    """

    metric: PodsMetric
    target: float
    min_replicas: int
    max_replicas: int
    behavior: Behavior | None = DEFAULT_BEHAVIOR
    sync_s: float = 15.0
    down_stabilization_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaMemory:
    """Recommendations as (instant, replicas), newest last, and what was changed by them."""

    recommendations: Dated = ()
    changes: Changes = UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The pods as the HPA groups them: values of those that have one, counts of the others."""

    values: tuple[float, ...]
    missing: int = 0
    unready: int = 0


def value_of(metric: PodsMetric, sample: PodSample) -> float | None:
    """Return a pod's value of the metric, or None where the adapter would give none."""
    if sample.presence is not Presence.PRESENT or sample.waiting is None:
        return None
    if metric is PodsMetric.WAITING:
        return sample.waiting
    return None if sample.running is None else sample.running + sample.waiting


def grouped(metric: PodsMetric, signals: Signals) -> Pods:
    """Return the pods in their groups (``groupPods``, for a metric that is not CPU)."""
    alive = [r for r in signals.replicas if r.state in {ReplicaState.READY, ReplicaState.STARTING}]
    running = {replica.pod for replica in alive if not _is_pending(replica)}
    values = [value_of(metric, sample) for sample in signals.samples if sample.pod in running]
    known = tuple(value for value in values if value is not None)
    return Pods(values=known, missing=len(running) - len(known), unready=len(alive) - len(running))


def _is_pending(replica: Replica) -> bool:
    """A pod is Pending until its container has been started."""
    return replica.state is ReplicaState.STARTING and replica.started_at is None


def recommend(pods: Pods, target: float, current: int) -> int | None:
    """Return the replicas that the ratio of metric to target asks for; None if no pod has a sample."""
    if not pods.values:
        return None
    goal = _milli(target)
    known = [_milli(value) for value in pods.values]
    ratio = _ratio(known, goal)
    unready = pods.unready if ratio > 1 else 0
    if not pods.missing and not unready:
        return current if within_tolerance(ratio) else math.ceil(ratio * len(known))
    if ratio != 1:
        known += [goal if ratio < 1 else 0] * pods.missing
    known += [0] * unready
    new_ratio = _ratio(known, goal)
    turned = (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio)
    if within_tolerance(new_ratio) or turned:
        return current
    proposed = math.ceil(new_ratio * len(known))
    against = (new_ratio < 1 and proposed > current) or (new_ratio > 1 and proposed < current)
    return current if against else proposed


def _milli(value: float) -> int:
    """Return whole thousandths, rounded up as Quantity.MilliValue does; binary dust below 1e-9 is no fraction."""
    return -(-round(value * 1e9) // 1_000_000)


def _ratio(values: list[int], target: int) -> float:
    return sum(values) // len(values) / target


def within_tolerance(ratio: float) -> bool:
    """Whether a ratio is too close to 1 to act on."""
    return 1 - TOLERANCE <= ratio <= 1 + TOLERANCE


def decide(spec: HpaSpec, memory: HpaMemory, signals: Signals) -> tuple[HpaMemory, Decision]:
    """Take one sync of the HPA."""
    at, current = signals.at, signals.spec_replicas
    if current is None:
        return memory, _decision(spec, signals, target=None, why=Why.TARGET_UNKNOWN, detail="/scale cannot be read")
    # A controller that starts takes the replicas that it finds as its first recommendation.
    memory = memory if memory.recommendations else HpaMemory(recommendations=((at, current),), changes=memory.changes)
    if current == 0:
        detail = "the HPA is disabled: the target has zero replicas"
        return memory, _decision(spec, signals, target=None, why=Why.ZEROED_BY_OWNER, detail=detail)
    if not spec.min_replicas <= current <= spec.max_replicas:
        return _back_into_bounds(spec, memory, signals, current)
    pods = grouped(spec.metric, signals)
    wished = recommend(pods, spec.target, current)
    if wished is None:
        return memory, _decision(spec, signals, target=current, why=Why.BLIND, detail="no pod has a sample")
    return _follow(spec, memory, signals, pods=pods, wished=wished, current=current)


def _follow(
    spec: HpaSpec, memory: HpaMemory, signals: Signals, *, pods: Pods, wished: int, current: int
) -> tuple[HpaMemory, Decision]:
    """Go from what the metric asks for to what the windows, rates and bounds leave of it."""
    at, past = signals.at, memory.recommendations
    if spec.behavior is None:
        stable = stabilized_plainly(spec.down_stabilization_s, past, at=at, desired=wished)
    else:
        stable = stabilized(spec.behavior, past, at=at, current=current, desired=wished)
    target = limited(
        spec.behavior,
        memory.changes,
        at=at,
        current=current,
        desired=stable,
        least=spec.min_replicas,
        most=spec.max_replicas,
    )
    mean = sum(pods.values) / len(pods.values)
    decision = _decision(
        spec,
        signals,
        target=target,
        why=_reason(spec, wished=wished, stable=stable, target=target, current=current),
        detail=f"{spec.metric} {mean:.1f} a pod against {spec.target:g}",
        wished=wished,
        stable=stable,
        numbers={"metric_mean": mean, "pods_missing": float(pods.missing), "pods_unready": float(pods.unready)},
    )
    window_s = _window_s(spec)
    kept = tuple(dated for dated in past if dated[0] >= at - window_s)
    changes = _changed(spec, memory.changes, at, target - current)
    return HpaMemory(recommendations=(*kept, (at, wished)), changes=changes), decision


def _window_s(spec: HpaSpec) -> float:
    if spec.behavior is None:
        return spec.down_stabilization_s
    return max(spec.behavior.up.stabilization_s, spec.behavior.down.stabilization_s)


def _changed(spec: HpaSpec, changes: Changes, at: float, difference: int) -> Changes:
    """Return the changes with one more, without those that no period reaches any more."""
    longest_s = 0.0 if spec.behavior is None else spec.behavior.longest_s
    ups = tuple(up for up in changes.ups if up[0] > at - longest_s)
    downs = tuple(down for down in changes.downs if down[0] > at - longest_s)
    if difference > 0:
        ups = (*ups, (at, difference))
    elif difference < 0:
        downs = (*downs, (at, -difference))
    return Changes(ups=ups, downs=downs)


def _back_into_bounds(spec: HpaSpec, memory: HpaMemory, signals: Signals, current: int) -> tuple[HpaMemory, Decision]:
    """Put replicas that somebody set beyond the bounds back, without a look at metrics and without a recommendation."""
    above = current > spec.max_replicas
    target = spec.max_replicas if above else spec.min_replicas
    why = Why.MAX_REPLICAS if above else Why.MIN_REPLICAS
    changes = _changed(spec, memory.changes, signals.at, target - current)
    decision = _decision(spec, signals, target=target, why=why, detail=f"{current} is outside of the HPA's bounds")
    return HpaMemory(recommendations=memory.recommendations, changes=changes), decision


def _reason(spec: HpaSpec, *, wished: int, stable: int, target: int, current: int) -> Why:
    if target > stable:
        # A rate on the way down holds back as stabilization does; Why has no name of its own for it.
        return Why.MIN_REPLICAS if target == spec.min_replicas else Why.STABILIZATION
    if target < stable and target == spec.max_replicas:
        return Why.MAX_REPLICAS
    if stable != wished:
        return Why.STABILIZATION
    return Why.SETTLED if target == current else Why.CONCURRENCY


def _decision(
    spec: HpaSpec,
    signals: Signals,
    *,
    target: int | None,
    why: Why,
    detail: str,
    wished: int | None = None,
    stable: int | None = None,
    numbers: dict[str, float] | None = None,
) -> Decision:
    ready = signals.count(ReplicaState.READY)
    return Decision(
        at=signals.at,
        target=target,
        spec_replicas=signals.spec_replicas,
        why=why,
        detail=detail,
        next_at=signals.at + spec.sync_s,
        want=wished,
        want_down=stable,
        ready=ready,
        warming=signals.count(ReplicaState.STARTING),
        terms=() if wished is None else (Term(name=Why.CONCURRENCY, replicas=float(wished)),),
        numbers=numbers or {},
    )
