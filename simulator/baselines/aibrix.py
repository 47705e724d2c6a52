"""AIBrix' PodAutoscaler with its strategies APA and KPA: as they are, and as they were meant.

Upstream: vllm-project/aibrix at e3e10f9 (2026-08-22), ``pkg/controller/podautoscaler/algorithm/{apa,kpa}.go``,
``context/context.go``, ``podautoscaler_controller.go``. Every 10 s the controller reads the pods itself and keeps the
mean a pod over 180 s (stable) and 60 s (panic).

    APA   r = stable/target;  r > 1.1: min(⌈n·r⌉, ⌈2·n⌉);  r < 0.9: max(⌈n·r⌉, ⌊n/2⌋);  else n
    KPA   ⌈stable/target⌉, in panic the larger of that and ⌈panic/target⌉, within [⌊n/2⌋, max(1, ⌈2·n⌉)]

n are the replicas that the target asks for, whatever of them serves. What is reproduced, and easily got wrong:

- KPA's windows hold the mean *a pod*, and it is not multiplied by the pods: whatever the load, it wishes for about one
  pod, and only the halving keeps it from there. It panics where panic/stable > 2 or nothing was seen.
- The most panic pods are forgotten at every step, so panic does not keep from going down.
- The cooldown windows (0 s up, 300 s down) pick the *largest* wish of the window on the way up and the *smallest* on
  the way down: 300 s do not delay a scale-down, they hasten it.
- APA multiplies the replicas that load as well: with a cold start of minutes the wish doubles every 10 s.

``intended`` turns these four into what they were meant to be: KPA takes the whole revision's load and keeps its panic
pods, the windows hold back (as upstream's main has had it since), and APA counts pods that load as idle on the way up
and at their target on the way down (upstream's pending-replica guard, also newer). It is no upstream release; a table
has to label it.

Left out: several metrics, schedules, the prediction preview, the circuit breaker, and the activation scale's default
(1 changes nothing).
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, floor
from statistics import fmean

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import ReplicaState, Signals
from simulator.baselines.hpa_rules import Dated
from simulator.baselines.sight import Bounds, PodsMetric, reason, values_of, verdict


class Strategy(StrEnum):
    """Which of AIBrix' own strategies; its third one is a plain HPA."""

    APA = "APA"
    KPA = "KPA"


@dataclass(frozen=True, slots=True, kw_only=True)
class AibrixSpec:
    """A PodAutoscaler with one pod metric; ``target`` is the value a pod."""

    strategy: Strategy
    metric: PodsMetric
    target: float
    bounds: Bounds
    intended: bool = False
    stable_window_s: float = 180.0
    panic_window_s: float = 60.0
    panic_threshold: float = 2.0
    up_rate: float = 2.0
    down_rate: float = 2.0
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1
    up_cooldown_s: float = 0.0
    down_cooldown_s: float = 300.0
    activation_scale: int = 1
    resync_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AibrixMemory:
    """Means a pod of the stable window, wishes of the longer cooldown, and the most panic pods."""

    means: tuple[tuple[float, float], ...] = ()
    wishes: Dated = ()
    panic_pods: int = 0


def apa(spec: AibrixSpec, current: int, mean: float) -> int:
    """Return APA's replicas for a mean a pod."""
    ratio = mean / spec.target
    if ratio > 1 + spec.up_tolerance:
        return min(ceil(current * ratio), ceil(spec.up_rate * current))
    if ratio < 1 - spec.down_tolerance:
        return max(ceil(current * ratio), floor(current / spec.down_rate))
    return current


def kpa(spec: AibrixSpec, current: int, *, stable: float, panic: float, panicking: bool, most: int = 0) -> int:
    """Return KPA's pods for the values of both windows; ``most`` are the most panic pods so far."""
    highest, lowest = max(1, ceil(spec.up_rate * current)), floor(current / spec.down_rate)
    wishes = (min(max(ceil(value / spec.target), lowest), highest) for value in (stable, panic))
    wish_stable, wish_panic = (max(wish, spec.activation_scale) if wish > 0 else wish for wish in wishes)
    return max(wish_stable, wish_panic, most) if panicking else wish_stable


def guarded(spec: AibrixSpec, wished: int, *, current: int, ready: int, mean: float) -> int:
    """Return APA's wish with the pods that load: idle on the way up, at their target on the way down."""
    if ready >= current:
        return wished
    if wished > current:
        return min(max(ceil(ready * mean / spec.target), current), wished)
    return max(min(ceil(ready * mean / spec.target + current - ready), current), wished)


def stabilized(spec: AibrixSpec, wishes: Dated, *, at: float, current: int, wished: int) -> int:
    """Return what the cooldown window of the wish's direction makes of it; ``wishes`` hold it already, or do not."""
    if wished == current:
        return current
    up = wished > current
    window_s = spec.up_cooldown_s if up else spec.down_cooldown_s
    recent = [wished, *(replicas for when, replicas in wishes if when > at - window_s)]
    # As it is, the window picks the wish that goes farthest; as it was meant, the one that goes least far.
    return (max if up is not spec.intended else min)(recent)


def decide(spec: AibrixSpec, memory: AibrixMemory, signals: Signals) -> tuple[AibrixMemory, Decision]:
    """Take one reconciliation."""
    at, current, next_at = signals.at, signals.spec_replicas, signals.at + spec.resync_s
    if current is None:
        detail = "/scale cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    values = values_of(spec.metric, signals)
    means = tuple(mean for mean in memory.means if mean[0] > at - spec.stable_window_s)
    means = (*means, (at, fmean(values))) if values else means
    memory = replace(memory, means=means)
    if not values or current == 0:
        detail = "no pod gives a value" if current else "there are no pods"
        return memory, verdict(signals, target=current, why=Why.BLIND, detail=detail, next_at=next_at)
    memory, wished = _wished(spec, memory, signals, current)
    wished = spec.bounds.within(wished)
    longest_s = max(spec.up_cooldown_s, spec.down_cooldown_s)
    wishes = (*(wish for wish in memory.wishes if wish[0] > at - longest_s), (at, wished))
    target = stabilized(spec, wishes, at=at, current=current, wished=wished)
    stable = fmean(mean for _, mean in means)
    return replace(memory, wishes=wishes), verdict(
        signals,
        target=target,
        why=reason(wished=wished, stable=target, target=target, current=current, bounds=spec.bounds),
        detail=f"{spec.metric} {stable:.1f} a pod over {spec.stable_window_s:.0f} s against {spec.target:g}",
        next_at=next_at,
        wished=wished,
        stable=target,
        numbers={"metric_mean": stable},
    )


def _wished(spec: AibrixSpec, memory: AibrixMemory, signals: Signals, current: int) -> tuple[AibrixMemory, int]:
    """Return what the strategy wishes for, before bounds and cooldowns."""
    ready = min(signals.count(ReplicaState.READY), current)
    stable = fmean(mean for _, mean in memory.means)
    if spec.strategy is Strategy.APA:
        wished = apa(spec, current, stable)
        return memory, guarded(spec, wished, current=current, ready=ready, mean=stable) if spec.intended else wished
    panic = fmean(mean for when, mean in memory.means if when > signals.at - spec.panic_window_s)
    panicking = stable <= 0 or panic / stable > spec.panic_threshold
    pods = ready if spec.intended else 1
    most = memory.panic_pods if spec.intended and panicking else 0
    wished = kpa(spec, current, stable=stable * pods, panic=panic * pods, panicking=panicking, most=most)
    return replace(memory, panic_pods=wished if panicking else 0), wished
