"""Ray Serve's replica autoscaling: ongoing requests against a target, and a delay that any doubt begins anew.

Upstream: ray-project/ray, ``python/ray/serve/autoscaling_policy.py`` (main of 2026), defaults of
``python/ray/serve/config.py``.

    desired = total ongoing requests/target_ongoing_requests
    scaled  = ⌈running + factor·(desired − running)⌉     one fewer where that would stand still on the way down
    acted on when every decision of upscale_delay_s (30 s) or downscale_delay_s (600 s) went the same way: to the newest

What is reproduced, and easily got wrong:

- A single decision the other way, or for no change, begins the delay anew.
- After the delay it jumps to what is wished for now, at once, without a rate.
- To zero it goes from one replica only, and after a delay of its own; from more it stops at one.
- At zero running replicas with requests waiting it asks for ⌈1·upscaling_factor⌉ at once, without a delay.
- Requests are counted where they are: at the handle (here: the gateway) and at the replicas, as the mean of 30 s,
  pushed every 10 s. So it sees a burst late, and the end of it later.

The control loop runs every 0.1 s and looks at the clock; ours every 2 s, which delays an action by less than 2 s and
resets no delay that upstream would not. Earlier releases counted 300 and 6000 loops instead, the same in an idle
controller. Give its ``Contender`` a scraping of the loop's period: replicas record twice a second.

Left out: custom policies, policies for a whole application, autoscaling by Prometheus queries, aggregation by maximum
or minimum, and queues of asynchronous inference.
"""

from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import ReplicaState, Signals
from simulator.baselines.sight import Bounds, PodsMetric, reason, summed, verdict

ELAPSED_DUST_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySpec:
    """An AutoscalingConfig."""

    target_ongoing: float
    bounds: Bounds
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    look_back_s: float = 30.0
    push_s: float = 10.0
    loop_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Decisions of one direction in a row: 1 up, -1 down, 0 none; ``since`` the first of them."""

    direction: int = 0
    since: float = 0.0


NO_STREAK = Streak()


@dataclass(frozen=True, slots=True, kw_only=True)
class RayMemory:
    """The streak, ongoing requests of the look-back, and their mean as last pushed."""

    streak: Streak = NO_STREAK
    ongoing: tuple[tuple[float, float], ...] = ()
    pushed: float | None = None
    push_at: float = 0.0


def factored(spec: RaySpec, desired: float, running: int) -> int:
    """Return the replicas after the scaling factor of the direction."""
    if running == 0:
        return ceil(desired)
    factor = spec.upscaling_factor if desired > running else spec.downscaling_factor
    scaled = ceil(running + factor * (desired - running))
    return scaled - 1 if ceil(desired) < running and scaled == running else scaled


def delayed(spec: RaySpec, before: Streak, *, at: float, desired: int, target: int) -> tuple[Streak, int]:
    """Return the streak after a decision, and the replicas that are acted on."""
    direction = (desired > target) - (desired < target)
    if direction == 0:
        return NO_STREAK, target
    streak = before if before.direction == direction else Streak(direction=direction, since=at)
    delay_s = spec.upscale_delay_s
    if direction < 0:
        delay_s, desired = _downwards(spec, desired, target)
    if at - streak.since + ELAPSED_DUST_S >= delay_s:
        return NO_STREAK, desired
    return streak, target


def _downwards(spec: RaySpec, desired: int, target: int) -> tuple[float, int]:
    """Return the delay and the replicas on the way down: zero is reached from one only."""
    if target != 1:
        return spec.downscale_delay_s, max(1, desired)
    to_zero_s = spec.downscale_to_zero_delay_s
    return spec.downscale_delay_s if to_zero_s is None else to_zero_s, desired


def stepped(spec: RaySpec, before: Streak, *, at: float, total: float, running: int, target: int) -> tuple[Streak, int]:
    """Take one step of the control loop, bounds left out."""
    if running == 0:
        return before, max(ceil(spec.upscaling_factor), target) if total > 0 else target
    desired = factored(spec, total / spec.target_ongoing, running)
    return delayed(spec, before, at=at, desired=max(0, desired), target=target)


def decide(spec: RaySpec, memory: RayMemory, signals: Signals) -> tuple[RayMemory, Decision]:
    """Take one step with what was pushed last."""
    at, current, next_at = signals.at, signals.spec_replicas, signals.at + spec.loop_s
    if current is None:
        detail = "the deployment cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    memory = _recorded(spec, memory, signals)
    if memory.pushed is None:
        detail = "nothing was pushed yet"
        return memory, verdict(signals, target=current, why=Why.BLIND, detail=detail, next_at=next_at)
    total, running = memory.pushed, signals.count(ReplicaState.READY)
    streak, stable = stepped(spec, memory.streak, at=at, total=total, running=running, target=current)
    # The bounds come last: a wish beyond them is a decision like any other, and comes to nothing.
    target = spec.bounds.within(stable)
    wished = factored(spec, total / spec.target_ongoing, running)
    return replace(memory, streak=streak), verdict(
        signals,
        target=target,
        why=reason(wished=wished, stable=stable, target=target, current=current, bounds=spec.bounds),
        detail=f"{total:.1f} ongoing over {spec.look_back_s:.0f} s against {spec.target_ongoing:g} a replica",
        next_at=next_at,
        wished=wished,
        stable=stable,
        numbers={"ongoing": total},
    )


def _recorded(spec: RaySpec, memory: RayMemory, signals: Signals) -> RayMemory:
    """Record what is ongoing, and push the mean of the look-back when it is time."""
    at, now = signals.at, summed(PodsMetric.CONCURRENCY, signals)
    kept = tuple(each for each in memory.ongoing if each[0] > at - spec.look_back_s)
    # What is neither there nor a number was not recorded.
    kept = kept if now is None or now != now else (*kept, (at, now))  # noqa: PLR0124
    if not kept or at < memory.push_at:
        return replace(memory, ongoing=kept)
    return replace(memory, ongoing=kept, pushed=fmean(each for _, each in kept), push_at=at + spec.push_s)
