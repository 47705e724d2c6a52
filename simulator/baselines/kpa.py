"""The Knative pod autoscaler (KPA): two windows, a panic mode, and a scale to zero behind the activator.

Upstream: knative/serving at 98e5ef9 (2026-08-21), ``pkg/autoscaler/scaling/autoscaler.go``,
``config/core/configmaps/autoscaler.yaml``, ``pkg/reconciler/autoscaling/kpa/scaler.go``. Every 2 s:

    dspc = ⌈stable/target⌉, dppc = ⌈panic/target⌉      averages over 60 s and 6 s of the *whole* revision's concurrency
    both within [⌊ready/2⌋, ⌈1000·ready⌉]               ready counts as 1 where there is none
    panic begins, and is prolonged, at dppc/ready ≥ 2; it ends after 60 s below that
    in panic: the largest of dspc and dppc since it began

What is reproduced, and easily got wrong:

- The rates go by the pods that are *ready*, not by those asked for: it halves what serves, and while pods load it may
  ask for fewer than stand there. In panic it never goes down.
- The target is 70 % of the annotation's value (``target-utilization``).
- An autoscaler that finds more than one ready pod starts in panic, so that it does not scale down before it knows.
- ``scale-down-delay`` takes the largest wish of the window, in which an entry of exactly its age no longer counts.
- To zero it waits another 30 s (``scale-to-zero-grace-period``) after it first wished for zero, which needs a stable
  window without a single request, and the pods a stable window of activity. Requests that the activator holds are
  concurrency like any other, so one of them is enough to leave zero at the next tick.
- Without any data nothing is scaled.
- It reads its own metric, every second or two, from queue-proxy and activator, which report *means* over that time: a
  request that is shorter counts too. Give its ``Contender`` such a scraping (``mean_in_flight``).

Left out: the excess burst capacity that puts the activator into the path (the simulated gateway always can hold), the
probe of the activator, the failed activation after the progress deadline (630 s) that ends slow loaders, the sampling
of few among many pods, RPS as the metric, and the exponentially weighted windows of a gate.
"""

from dataclasses import dataclass, field, replace
from math import ceil, floor
from statistics import fmean

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import ReplicaState, Signals
from simulator.baselines.hpa_rules import Dated
from simulator.baselines.sight import Bounds, PodsMetric, reason, summed, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSpec:
    """A revision's autoscaling annotations, with the cluster's defaults.

    ``target`` is the annotation's: requests in flight a pod at full use; ``utilization`` of it is aimed at.
    """

    target: float
    bounds: Bounds
    utilization: float = 0.7
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    grace_s: float = 30.0
    activation_scale: int = 1
    initial_scale: int = 1
    reachable: bool = True
    tick_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """Since when it panics (None: it does not), the most pods wished since, and the delayed wishes, falling."""

    since: float | None = None
    most: int = 0
    delayed: Dated = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one tick knows: the pods ready, and the revision's concurrency averaged over both windows."""

    at: float
    ready: int
    stable: float
    panic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaMemory:
    """The autoscaler's state, the concurrencies of the stable window, since when pods stand, and zero is wished for."""

    panic: Panic | None = None
    concurrencies: tuple[tuple[float, float], ...] = field(default=())
    active_since: float | None = None
    zero_since: float | None = None
    initialized: bool = False


def started(ready: int, at: float) -> Panic:
    """Return the state of an autoscaler that finds so many ready pods."""
    return Panic(since=at if ready > 1 else None, most=ready)


def scaled(spec: KpaSpec, before: Panic, seen: Observed) -> tuple[Panic, int]:
    """Return the state after a tick, and the pods wished for, before any bounds."""
    ready, target = max(1, seen.ready), spec.target * spec.utilization
    most = ceil(spec.max_up_rate * ready)
    least = floor(ready / spec.max_down_rate) if spec.reachable else 0
    wish_stable, wish_panic = ceil(seen.stable / target), ceil(seen.panic / target)
    stable, panic = (min(max(wish, least), most) for wish in (wish_stable, wish_panic))
    stable = max(stable, spec.activation_scale) if wish_stable > 0 else stable
    panic = max(panic, spec.activation_scale) if wish_panic > 0 else panic
    state = _panicking(spec, before, seen, over=wish_panic / ready >= spec.panic_threshold)
    desired = stable
    if state.since is not None:
        desired = max(stable, panic, state.most)
        state = replace(state, most=desired)
    return _delayed(spec, state, seen.at, desired)


def _panicking(spec: KpaSpec, before: Panic, seen: Observed, *, over: bool) -> Panic:
    if over:
        return replace(before, since=seen.at)
    if before.since is not None and before.since + spec.stable_window_s < seen.at:
        return replace(before, since=None, most=0)
    return before


def _delayed(spec: KpaSpec, state: Panic, at: float, desired: int) -> tuple[Panic, int]:
    """Return the largest wish of the delay; what is smaller than a later one can never count again and is dropped."""
    if spec.scale_down_delay_s <= 0:
        return state, desired
    kept = tuple(dated for dated in state.delayed if at - dated[0] < spec.scale_down_delay_s and dated[1] > desired)
    delayed = (*kept, (at, desired))
    return replace(state, delayed=delayed), delayed[0][1] if spec.reachable else desired


def decide(spec: KpaSpec, memory: KpaMemory, signals: Signals) -> tuple[KpaMemory, Decision]:
    """Take one tick of the KPA."""
    at, current = signals.at, signals.spec_replicas
    next_at, ready = at + spec.tick_s, signals.count(ReplicaState.READY)
    if current is None:
        detail = "/scale cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    seen = _observed(spec, memory, signals, ready)
    state = memory.panic or started(ready, at)
    memory = replace(memory, panic=state, concurrencies=_kept(spec, memory, signals))
    if seen is None:
        detail = "no data to scale on"
        return memory, verdict(signals, target=current, why=Why.BLIND, detail=detail, next_at=next_at)
    state, wished = scaled(spec, state, seen)
    memory = replace(memory, panic=state, initialized=memory.initialized or ready >= spec.initial_scale)
    stable = max(wished, 0 if memory.initialized else spec.initial_scale)
    target = spec.bounds.within(stable)
    memory, target = _to_zero(spec, memory, at, current=current, target=target)
    raw = ceil(max(seen.stable, 0.0) / (spec.target * spec.utilization))
    return memory, verdict(
        signals,
        target=target,
        why=reason(wished=raw, stable=stable, target=target, current=current, bounds=spec.bounds),
        detail=_told(spec, state, seen),
        next_at=next_at,
        wished=raw,
        stable=stable,
        numbers={"concurrency_stable": seen.stable, "concurrency_panic": seen.panic},
    )


def _kept(spec: KpaSpec, memory: KpaMemory, signals: Signals) -> tuple[tuple[float, float], ...]:
    """Return the concurrencies of the stable window with the newest."""
    now = summed(PodsMetric.CONCURRENCY, signals)
    kept = tuple(each for each in memory.concurrencies if each[0] > signals.at - spec.stable_window_s)
    # What is neither there nor a number was not scraped: the window has a hole then.
    return kept if now is None or now != now else (*kept, (signals.at, now))  # noqa: PLR0124


def _observed(spec: KpaSpec, memory: KpaMemory, signals: Signals, ready: int) -> Observed | None:
    window = _kept(spec, memory, signals)
    latest = [each for at, each in window if at > signals.at - spec.panic_window_s]
    if not latest:
        return None
    return Observed(at=signals.at, ready=ready, stable=fmean(each for _, each in window), panic=fmean(latest))


def _to_zero(spec: KpaSpec, memory: KpaMemory, at: float, *, current: int, target: int) -> tuple[KpaMemory, int]:
    """Hold the last pod for a stable window since it became active, and what stands for the grace period after that."""
    active = None if current == 0 else memory.active_since or at
    memory = replace(memory, active_since=active)
    if target > 0 or active is None:
        return replace(memory, zero_since=None), target
    if at - active < spec.stable_window_s:
        return replace(memory, zero_since=None), 1
    since = at if memory.zero_since is None else memory.zero_since
    return replace(memory, zero_since=since), 0 if at - since >= spec.grace_s else current


def _told(spec: KpaSpec, state: Panic, seen: Observed) -> str:
    mode = "stable" if state.since is None else "panic"
    target = spec.target * spec.utilization
    return f"{mode}: {seen.stable:.1f} in flight over 60 s, {seen.panic:.1f} over 6 s, against {target:.3g} a pod"
