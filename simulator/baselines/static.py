"""A fixed number of replicas: what most people run, and the bill that every autoscaler has to beat.

It puts back what somebody else changes at its next look, as a Deployment without an autoscaler does.
"""

from dataclasses import dataclass

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Signals
from simulator.baselines.sight import verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSpec:
    """How many replicas, and how often it looks."""

    replicas: int
    look_s: float = 15.0


def decide(spec: StaticSpec, memory: None, signals: Signals) -> tuple[None, Decision]:
    """Ask for the same as always."""
    known = signals.spec_replicas is not None
    return memory, verdict(
        signals,
        target=spec.replicas if known else None,
        why=Why.PIN if known else Why.TARGET_UNKNOWN,
        detail=f"fixed at {spec.replicas}, whatever comes" if known else "/scale cannot be read",
        next_at=signals.at + spec.look_s,
    )
