"""Datadog's WatermarkPodAutoscaler (WPA): nothing inside a band, and forbidden windows after every change.

Upstream: DataDog/watermarkpodautoscaler at 70e8425 (2026-04-09), ``controllers/datadoghq/replica_calculator.go`` and
``watermarkpodautoscaler_controller.go``. Every 15 s:

    usage = sum (absolute) or sum/ready (average)
    usage > high·1.1   ⌈ready·usage/high⌉            and never fewer than stand there
    usage < low·0.9    max(1, ⌊ready·usage/low⌋)     and never more
    between            nothing, or one step towards a watermark where that is asked for
    at most +50 % up and −20 % down at once, but at least one; none up within 60 s of a change, none down within 300 s

What is reproduced, and easily got wrong:

- Ready pods are counted, not those asked for: the average is over ready pods, and the wish is a multiple of them, so it
  hardly goes up while pods load.
- The tolerance widens the band; the wish itself is taken against the plain watermark.
- A sum of exactly 0 is not believed (``tolerateZero``), and the wish is then the pods that are ready.
- A change in either direction closes both windows.
- Watermarks and tolerance are whole thousandths, and the tolerance's part of a mark is cut off.
- A limited scale-down that would leave more than are ready is not done at all.

Left out: Resource metrics, several metrics, the external recommender, dry-run, the pods of other owners, and a pending
pod's readiness delay (0 by default).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, isnan

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import ReplicaState, Signals
from simulator.baselines.sight import Bounds, PodsMetric, alive, reason, summed, verdict


class Algorithm(StrEnum):
    """Whether the watermarks are for the whole or for one replica."""

    ABSOLUTE = "absolute"
    AVERAGE = "average"


class Converge(StrEnum):
    """Where usage is led to inside the band, one step at a time; "" leaves it."""

    NOWHERE = ""
    HIGH = "highwatermark"
    LOW = "lowwatermark"


class Position(StrEnum):
    """Where usage lies."""

    ABOVE = "above"
    BETWEEN = "between"
    BELOW = "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkSpec:
    """A WatermarkPodAutoscaler with one External metric; limits in percent."""

    metric: PodsMetric
    high: float
    low: float
    bounds: Bounds
    algorithm: Algorithm = Algorithm.AVERAGE
    tolerance: float = 0.1
    up_limit_percent: float = 50.0
    down_limit_percent: float = 20.0
    up_forbidden_s: float = 60.0
    down_forbidden_s: float = 300.0
    up_delay_s: float = 0.0
    down_delay_s: float = 0.0
    converge: Converge = Converge.NOWHERE
    tolerate_zero: bool = False
    min_available_percent: int = 0
    step: int = 1
    sync_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkMemory:
    """When it last changed the replicas, and since when usage lies where it does."""

    changed_at: float | None = None
    position: Position = Position.BETWEEN
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Replicas as the target has them, and those that are ready."""

    current: int
    ready: int


def proposed(spec: WatermarkSpec, usage: float, standing: Standing) -> tuple[int, Position]:
    """Return the replicas that usage asks for, before any limit, and where it lies."""
    # The usage itself is no quantity: it may be a fraction of a thousandth, but no binary dust.
    current, ready, usage = standing.current, standing.ready, round(usage * 1e9) / 1e6
    high, low, tolerance = _milli(spec.high), _milli(spec.low), _milli(spec.tolerance)
    if usage > high + high * tolerance // 1000:
        return max(_stepwise(spec, ceil(ready * usage / high)), current), Position.ABOVE
    if usage < low - low * tolerance // 1000:
        return min(_stepwise(spec, max(1, floor(ready * usage / low))), current), Position.BELOW
    return _converged(spec, usage, standing), Position.BETWEEN


def _milli(value: float) -> int:
    return round(value * 1000)


def _stepwise(spec: WatermarkSpec, replicas: int) -> int:
    """Round up to a multiple of the scaling step."""
    return -(-replicas // spec.step) * spec.step


def _converged(spec: WatermarkSpec, usage: float, standing: Standing) -> int:
    """Return one step towards the wanted watermark, if usage would stay within the band after it."""
    current = standing.current
    bounds = Bounds(least=max(1, spec.bounds.least), most=spec.bounds.most)
    high, low = _milli(spec.high), _milli(spec.low)
    if spec.converge is Converge.HIGH:
        fewer = max(current - spec.step, 1)
        lowest = bounds.within(ceil(standing.ready / high * usage)) if high else current
        return current if fewer < lowest else fewer
    if spec.converge is Converge.LOW:
        highest = bounds.within(floor(standing.ready / low * usage)) if low else current
        return current if current + spec.step > highest else current + spec.step
    return current


def limited(spec: WatermarkSpec, desired: int, standing: Standing) -> int:
    """Return what bounds and rates leave of a wish (``convertDesiredReplicasWithRules``)."""
    current, least = standing.current, spec.bounds.least
    lowest = current - _part(spec.down_limit_percent, current)
    if least == 0:
        floor_at = 1
    elif desired < lowest:
        floor_at = max(lowest, least)
        floor_at = current if 0 < standing.ready < floor_at else floor_at
    else:
        floor_at = least
    highest = current + _part(spec.up_limit_percent, current)
    if desired < floor_at:
        return floor_at
    return min(desired, spec.bounds.most, highest if desired > highest else spec.bounds.most)


def _part(percent: float, current: int) -> int:
    """Return the replicas of one change: at least one, none where the limit is 0."""
    return max(1, floor(percent * current / 100)) if percent else 0


def may_change(spec: WatermarkSpec, memory: WatermarkMemory, *, at: float, current: int, desired: int) -> bool:
    """Whether the forbidden windows and the delays beyond a watermark allow a change now."""
    if memory.changed_at is None:
        return True
    if desired == current:
        return False
    up = desired > current
    forbidden_s, delay_s = (spec.up_forbidden_s, spec.up_delay_s) if up else (spec.down_forbidden_s, spec.down_delay_s)
    if memory.changed_at + forbidden_s > at:
        return False
    beyond = memory.position is (Position.ABOVE if up else Position.BELOW)
    return not delay_s or memory.position is Position.BETWEEN or (beyond and at - memory.since >= delay_s)


def decide(spec: WatermarkSpec, memory: WatermarkMemory, signals: Signals) -> tuple[WatermarkMemory, Decision]:
    """Take one reconciliation."""
    at, current, next_at = signals.at, signals.spec_replicas, signals.at + spec.sync_s
    if current is None:
        detail = "/scale cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    if current == 0:
        detail = "scaling is disabled: the target has zero replicas"
        return memory, verdict(signals, target=None, why=Why.ZEROED_BY_OWNER, detail=detail, next_at=next_at)
    inside = spec.bounds.within(current)
    if inside != current:
        why = Why.MIN_REPLICAS if inside > current else Why.MAX_REPLICAS
        detail = f"{current} is outside of the bounds"
        memory = WatermarkMemory(changed_at=at, position=memory.position, since=memory.since)
        return memory, verdict(signals, target=inside, why=why, detail=detail, next_at=next_at)
    total, ready = summed(spec.metric, signals), min(signals.count(ReplicaState.READY), current)
    blind = _blind(spec, signals, total, ready)
    if blind or total is None:
        return memory, verdict(signals, target=current, why=Why.BLIND, detail=blind, next_at=next_at)
    return _proceed(spec, memory, signals, total=total, standing=Standing(current=current, ready=ready))


def _blind(spec: WatermarkSpec, signals: Signals, total: float | None, ready: int) -> str:
    """Return why nothing can be computed, or nothing."""
    if total is None or isnan(total):
        return "the metric is lost"
    if ready == 0:
        return "no pod is ready"
    if 100 * ready // len(alive(signals)) < spec.min_available_percent:
        return "too few pods are ready"
    return ""


def _proceed(
    spec: WatermarkSpec, memory: WatermarkMemory, signals: Signals, *, total: float, standing: Standing
) -> tuple[WatermarkMemory, Decision]:
    """Go from usage to what limits and windows leave of it."""
    at, current = signals.at, standing.current
    usage = total / standing.ready if spec.algorithm is Algorithm.AVERAGE else total
    wished, position = proposed(spec, usage, standing)
    if total == 0 and not spec.tolerate_zero:
        wished, position = standing.ready, Position.BETWEEN
    since = memory.since if position is memory.position else at
    stable = limited(spec, wished, standing)
    seen = WatermarkMemory(changed_at=memory.changed_at, position=position, since=since)
    target = stable if may_change(spec, seen, at=at, current=current, desired=stable) else current
    changed_at = at if target != current else memory.changed_at
    decision = verdict(
        signals,
        target=target,
        why=reason(wished=wished, stable=target, target=target, current=current, bounds=spec.bounds),
        detail=f"{spec.metric} {usage:.1f} is {position} the watermarks {spec.low:g} and {spec.high:g}",
        next_at=at + spec.sync_s,
        wished=wished,
        stable=target,
        numbers={"usage": usage},
    )
    return WatermarkMemory(changed_at=changed_at, position=position, since=since), decision
