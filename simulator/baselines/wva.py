"""llm-d's Workload-Variant-Autoscaler (WVA), its saturation rule V1, and the HPA that carries its wish out.

Upstream: llm-d-incubation/workload-variant-autoscaler at b08b1c7 (2026-02-19), ``internal/saturation/analyzer.go``; the
HPA as in ``config/samples/hpa-integration.yaml``. Every 30 s, over the maximum of each pod's last minute:

    saturated   KV use ≥ 0.80 or queue ≥ 5;  spare = threshold − value, averaged over the pods that are not saturated
    up          one replica, if spare KV < 0.10 or spare queue < 3
    down        one replica, if at least two are not saturated and their load on one fewer would leave those spares

What is reproduced, and easily got wrong:

- One replica at a time, and none while any is on its way: where the wish differs from what stands, or a pod gives no
  metrics yet, nothing is decided. With a cold start of minutes that is one replica in that time.
- All saturated means a spare of 0, which scales up; a pod without one of the values counts as saturated, as newer
  releases have it.
- It sets nothing itself. It exports ``wva_desired_replicas``, and an HPA divides that by an AverageValue of 1, with the
  HPA's tolerance: beyond ten replicas one more is within 10 %, the HPA does nothing, and WVA waits for its wish for
  ever. Upstream's samples end at ten replicas. ``behavior`` with a tolerance of 0 mends it.

Left out: several variants and their costs (here is one, the cheapest and the dearest), V2's token rule, the queueing
model, scale from and to zero, and the limiter. Its wish is kept within the HPA's bounds, or the transition rule would
hold it at either of them for ever. The project calls V1 and V2 legacy since September 2026.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from autoscaler.core.decision import Decision
from autoscaler.core.signals import ReplicaState, Signals
from simulator.baselines import hpa
from simulator.baselines.hpa import HpaMemory, HpaSpec
from simulator.baselines.hpa_metrics import Counts, Metric, Source, of_average_value
from simulator.baselines.hpa_rules import Behavior, Kind, RatePolicy, ScalingRules
from simulator.baselines.sight import Bounds, PodsMetric, value_of

_TEN_PODS = ScalingRules(policies=(RatePolicy(kind=Kind.PODS, value=10, period_s=15.0),), stabilization_s=0.0)
SAMPLE_BEHAVIOR = Behavior(up=_TEN_PODS, down=_TEN_PODS)
"""The behavior of upstream's sample: ten pods in 15 s either way, no windows."""
UNBORN = HpaMemory()


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaSpec:
    """The saturation thresholds, and the HPA behind it."""

    bounds: Bounds
    kv_threshold: float = 0.80
    queue_threshold: float = 5.0
    kv_spare: float = 0.10
    queue_spare: float = 3.0
    window_s: float = 60.0
    loop_s: float = 30.0
    behavior: Behavior = SAMPLE_BEHAVIOR

    @property
    def hpa(self) -> HpaSpec:
        """The HPA on ``wva_desired_replicas``; what it reads is handed to it, the metric here names nothing."""
        metric = Metric(metric=PodsMetric.WAITING, target=1.0, source=Source.EXTERNAL)
        least = max(1, self.bounds.least)
        return HpaSpec(metrics=(metric,), min_replicas=least, max_replicas=self.bounds.most, behavior=self.behavior)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One pod's KV use and queue at an instant; None where the pod gave none."""

    pod: str
    at: float
    kv: float | None
    queue: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """What the analyzer makes of the pods with metrics."""

    pods: int
    unsaturated: int
    spare_kv: float
    spare_queue: float
    up: bool
    down_safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaMemory:
    """The readings of the window, the wish as exported (0: none yet), when the loop is due, and the HPA's memory."""

    hpa: HpaMemory = UNBORN
    readings: tuple[Reading, ...] = ()
    desired: int = 0
    loop_at: float = 0.0


def analysed(spec: WvaSpec, pods: Sequence[tuple[float | None, float | None]]) -> Saturation:
    """Return the saturation of pods given as (KV use, queue)."""
    spares = [
        (spec.kv_threshold - kv, spec.queue_threshold - queue)
        for kv, queue in pods
        if kv is not None and queue is not None and kv < spec.kv_threshold and queue < spec.queue_threshold
    ]
    kv, queue = (fmean(column) for column in zip(*spares, strict=True)) if spares else (0.0, 0.0)
    return Saturation(
        pods=len(pods),
        unsaturated=len(spares),
        spare_kv=kv,
        spare_queue=queue,
        up=bool(pods) and (kv < spec.kv_spare or queue < spec.queue_spare),
        down_safe=_down_is_safe(spec, len(spares), kv, queue),
    )


def _down_is_safe(spec: WvaSpec, unsaturated: int, kv: float, queue: float) -> bool:
    """Whether one fewer would leave the spares, with the load of all spread over the rest."""
    if unsaturated < 2:
        return False
    more = unsaturated / (unsaturated - 1)
    left_kv = spec.kv_threshold - (spec.kv_threshold - kv) * more
    left_queue = spec.queue_threshold - (spec.queue_threshold - queue) * more
    return left_kv >= spec.kv_spare and left_queue >= spec.queue_spare


def targeted(seen: Saturation, *, current: int, desired: int) -> int:
    """Return the wish; ``current`` replicas stand, ``desired`` were wished for last (0: none)."""
    if seen.pods == 0:
        return current
    if desired not in {0, current}:
        return desired
    if seen.pods != current:
        return current
    if seen.up:
        return seen.pods + 1
    return seen.pods - 1 if seen.down_safe and seen.pods > 1 else seen.pods


def decide(spec: WvaSpec, memory: WvaMemory, signals: Signals) -> tuple[WvaMemory, Decision]:
    """Take WVA's loop if it is due, then a sync of its HPA."""
    memory = replace(memory, readings=_read(spec, memory, signals))
    current = signals.spec_replicas
    if memory.loop_at <= signals.at and current:
        seen = analysed(spec, _maxima(memory, signals))
        desired = spec.bounds.within(targeted(seen, current=current, desired=memory.desired))
        memory = replace(memory, desired=desired, loop_at=signals.at + spec.loop_s)
    wish = float(memory.desired)

    def wished(have: Counts) -> int | None:
        return of_average_value(wish if wish else None, 1.0, have, spec.hpa.tolerances)

    seen_as = (f"wva_desired_replicas is {wish:.0f}", {"wva_desired_replicas": wish})
    hpa_memory, decision = hpa.sync(spec.hpa, memory.hpa, signals, wish=wished, seen=lambda: seen_as)
    return replace(memory, hpa=hpa_memory), decision


def _read(spec: WvaSpec, memory: WvaMemory, signals: Signals) -> tuple[Reading, ...]:
    """Return the readings of the window with the newest."""
    newest = tuple(
        Reading(
            pod=sample.pod,
            at=signals.at,
            kv=value_of(PodsMetric.KV_USE, sample),
            queue=value_of(PodsMetric.WAITING, sample),
        )
        for sample in signals.samples
    )
    return (*(reading for reading in memory.readings if reading.at > signals.at - spec.window_s), *newest)


def _maxima(memory: WvaMemory, signals: Signals) -> list[tuple[float | None, float | None]]:
    """Return each ready pod's maxima over the window, for pods that have any."""
    ready = {replica.pod for replica in signals.replicas if replica.state is ReplicaState.READY}
    by_pod: dict[str, list[Reading]] = {}
    for reading in memory.readings:
        if reading.pod in ready:
            by_pod.setdefault(reading.pod, []).append(reading)
    return [
        (
            max((reading.kv for reading in readings if reading.kv is not None), default=None),
            max((reading.queue for reading in readings if reading.queue is not None), default=None),
        )
        for readings in by_pod.values()
    ]
