"""Bounds: the least and the most replicas, which come last, over every outcome that may be written.

They are orders of a person, not inferences, so a lowered max acts even when blind. Left to the owner are only contested
and zeroed targets.
"""

from dataclasses import replace

from autoscaler.core.decision import Why
from autoscaler.core.guard import Verdict
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals


def bounds(spec: PolicySpec, signals: Signals) -> tuple[int, int]:
    """Return the least and the most replicas.

    With ``min`` 0 the last replica stays and the first held request orders one: going to zero (section 8 of the
    decision core) is a later issue, and its rule belongs here.
    """
    wakes = (signals.spec_replicas or 0) > 0 or (signals.held_requests or 0) > 0
    return max(spec.replicas.min, 1 if wakes else 0), spec.replicas.max


def bounded(verdict: Verdict, least: int, most: int) -> Verdict:
    """Return the verdict clamped to the bounds, naming the one that bound. ``most`` is at least ``least``."""
    if verdict.target is None or not verdict.bounded:
        return verdict
    if verdict.target > most:
        detail = f"{verdict.detail}; max {most} binds"
        return replace(verdict, target=most, why=Why.MAX_REPLICAS, detail=detail, held_by=verdict.why)
    if verdict.target < least:
        detail = f"{verdict.detail}; min {least} binds"
        return replace(verdict, target=least, why=Why.MIN_REPLICAS, detail=detail, held_by=verdict.why)
    return verdict
