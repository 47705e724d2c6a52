"""The Kubernetes HorizontalPodAutoscaler, as kube-controller-manager computes it.

Upstream: kubernetes v1.36, ``pkg/controller/podautoscaler/replica_calculator.go`` and ``horizontal.go``
(``reconcileAutoscaler``). What is reproduced, and easily got wrong:

- A pod that is Running counts as ready whatever its readiness says: for Pods metrics only a Pending one is *unready*.
  One that is Running and still loads has no sample: it is *missing*. Failed and terminating pods are left out.
- Missing pods count as 0 when the ratio asks for more and as the target when it asks for less; unready ones as 0 when
  it asks for more and not at all when it asks for less. So pods that load dampen a scale-up, but only until they export
  their first zeros: from then on they count as ready with an empty queue, and dilute the mean.
- No move inside the tolerance (10 %, or each direction's own), nor where counting those pods turns the direction round.
  Where there are none, the ratio multiplies the number of pods with a sample, not the replicas that were asked for.
- An Object or External metric held against a Value multiplies the pods that are Ready; held against an AverageValue it
  knows nothing of readiness at all.
- Of several metrics the largest wish counts. One that is lost blocks the way down and not the way up.
- Replicas outside [min, max] are put back at once, without a look at metrics. Without any sample nothing is done and
  nothing is recommended. Zero replicas disable the HPA.
- Stabilization and rates: see ``hpa_rules``. The default here is ``behavior`` with all its defaults (up at once by the
  larger of 4 pods and 100 % in 15 s; down to the largest recommendation of 300 s). An HPA without ``behavior`` goes up
  to the larger of 4 and twice the replicas, which is never more. So ours is compared with the quicker one.

Left out: Resource metrics (CPU and memory say nothing of an engine), scale to zero (behind a gate until v1.37), the
delays of informers and of the metrics adapter beyond the scrape's own (they would make the HPA slower), and the per-HPA
phase of the sync. Nothing here knows of a cold start: that is the point of the comparison.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Signals
from simulator.baselines.hpa_metrics import Counts, Metric, Source, counts, grouped, proposal, together
from simulator.baselines.hpa_rules import (
    DEFAULT_BEHAVIOR,
    UNCHANGED,
    Behavior,
    Changes,
    Dated,
    Tolerances,
    limited,
    stabilized,
    stabilized_plainly,
)
from simulator.baselines.sight import Bounds, PodsMetric, reason, summed, verdict

__all__ = ["HpaMemory", "HpaSpec", "PodsMetric", "decide", "of_one", "sync"]

Seen: TypeAlias = tuple[str, dict[str, float]]
"""What a metric said, in words and in numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSpec:
    """An autoscaling/v2 HPA.

    ``sync_s`` is the controller's period; ``down_stabilization_s`` the controller's own flag, which counts where
    ``behavior`` is None.
    """

    metrics: tuple[Metric, ...]
    min_replicas: int
    max_replicas: int
    behavior: Behavior | None = DEFAULT_BEHAVIOR
    sync_s: float = 15.0
    down_stabilization_s: float = 300.0

    @property
    def bounds(self) -> Bounds:
        """Minimum and maximum."""
        return Bounds(least=self.min_replicas, most=self.max_replicas)

    @property
    def tolerances(self) -> Tolerances:
        """The tolerances of both directions."""
        return Tolerances() if self.behavior is None else self.behavior.tolerances


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaMemory:
    """Recommendations as (instant, replicas), newest last, and what was changed by them."""

    recommendations: Dated = ()
    changes: Changes = UNCHANGED


def of_one(metric: PodsMetric, target: float, *, min_replicas: int, max_replicas: int) -> HpaSpec:
    """Return the HPA that most people write: one Pods metric and the defaults."""
    return HpaSpec(
        metrics=(Metric(metric=metric, target=target),), min_replicas=min_replicas, max_replicas=max_replicas
    )


def decide(spec: HpaSpec, memory: HpaMemory, signals: Signals) -> tuple[HpaMemory, Decision]:
    """Take one sync of the HPA."""

    def wish(have: Counts) -> int | None:
        return together([proposal(metric, signals, have, spec.tolerances) for metric in spec.metrics], have.spec)

    return sync(spec, memory, signals, wish=wish, seen=lambda: _seen(spec.metrics[0], signals))


def sync(
    spec: HpaSpec,
    memory: HpaMemory,
    signals: Signals,
    *,
    wish: Callable[[Counts], int | None],
    seen: Callable[[], Seen],
) -> tuple[HpaMemory, Decision]:
    """Take one sync of an HPA whose metrics wish for ``wish(counts)``, which is told as ``seen()``."""
    at, current = signals.at, signals.spec_replicas
    next_at = at + spec.sync_s
    if current is None:
        detail = "/scale cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    # A controller that starts takes the replicas that it finds as its first recommendation.
    memory = memory if memory.recommendations else HpaMemory(recommendations=((at, current),), changes=memory.changes)
    if current == 0:
        detail = "the HPA is disabled: the target has zero replicas"
        return memory, verdict(signals, target=None, why=Why.ZEROED_BY_OWNER, detail=detail, next_at=next_at)
    if not spec.min_replicas <= current <= spec.max_replicas:
        return _back_into_bounds(spec, memory, signals, current)
    wished = wish(counts(signals, current))
    if wished is None:
        detail = "no metric has a value" if len(spec.metrics) == 1 else "a metric is lost, and the rest asks for less"
        return memory, verdict(signals, target=current, why=Why.BLIND, detail=detail, next_at=next_at)
    return _follow(spec, memory, signals, wished=wished, current=current, seen=seen())


def _seen(metric: Metric, signals: Signals) -> Seen:
    """Return the first metric in words, and its numbers."""
    if metric.source is not Source.PODS:
        whole = summed(metric.metric, signals)
        shown = "lost" if whole is None else f"{whole:.1f} in all"
        return f"{metric.metric} {shown} against {metric.target:g}", {} if whole is None else {"metric_sum": whole}
    pods = grouped(metric.metric, signals)
    numbers = {"pods_missing": float(pods.missing), "pods_unready": float(pods.unready)}
    if not pods.values:
        return f"{metric.metric} lost against {metric.target:g}", numbers
    mean = fmean(pods.values)
    return f"{metric.metric} {mean:.1f} a pod against {metric.target:g}", numbers | {"metric_mean": mean}


def _follow(
    spec: HpaSpec,
    memory: HpaMemory,
    signals: Signals,
    *,
    wished: int,
    current: int,
    seen: Seen,
) -> tuple[HpaMemory, Decision]:
    """Go from what the metrics ask for to what the windows, rates and bounds leave of it."""
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
    detail, numbers = seen
    decision = verdict(
        signals,
        target=target,
        why=reason(wished=wished, stable=stable, target=target, current=current, bounds=spec.bounds),
        detail=detail,
        next_at=at + spec.sync_s,
        wished=wished,
        stable=stable,
        numbers=numbers,
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
    detail = f"{current} is outside of the HPA's bounds"
    decision = verdict(signals, target=target, why=why, detail=detail, next_at=signals.at + spec.sync_s)
    return HpaMemory(recommendations=memory.recommendations, changes=changes), decision
