"""The settings of a policy that a search turns: its quantile, how long it holds a surplus, its least pre-warm pool.

A setting is kept as it is written to a policy file: a quantile to four digits, whole seconds, whole replicas. So what
is evaluated, what is kept and what is written are the same numbers.
"""

from dataclasses import dataclass
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autoscaler.core import plan
from autoscaler.core.policy import PolicySpec, ScalingPolicy

LATE, HOLD, POOL = "1 - prewarm.quantile", "scaleDown.stabilizationSeconds", "prewarm.min"
LATE_LEAST, LATE_MOST = 0.005, 0.5
HOLD_MOST_COLDSTARTS = 6
POOL_MOST = 4

Space = dict[str, FloatDistribution | IntDistribution]
Point = dict[str, float]
"""A setting as the sampler knows it, by the names of its space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is written to a policy; ``hold_s`` in seconds, ``pool`` in replicas."""

    quantile: float
    hold_s: int
    pool: int

    def as_json(self) -> dict[str, Any]:
        """Return them by their places in a policy."""
        return {"prewarm.quantile": self.quantile, HOLD: self.hold_s, POOL: self.pool}

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Settings":
        """Return what ``as_json`` has made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(quantile=float(value["prewarm.quantile"]), hold_s=int(value[HOLD]), pool=int(value[POOL]))


def own_settings(spec: PolicySpec) -> dict[str, Any]:
    """Return what the policy says itself, by place; None where it leaves a value to the core."""
    prewarm, hold_s = spec.prewarm, spec.scale_down.stabilization_seconds
    return {"prewarm.quantile": prewarm.quantile, HOLD: hold_s, POOL: prewarm.min}


def tuned(policy: ScalingPolicy, settings: Settings | None) -> ScalingPolicy:
    """Return the policy with these settings; with None, the policy as it is."""
    if settings is None:
        return policy
    spec = policy.spec
    prewarm = spec.prewarm.model_copy(update={"quantile": settings.quantile, "min": settings.pool})
    down = spec.scale_down.model_copy(update={"stabilization_seconds": float(settings.hold_s)})
    return policy.model_copy(update={"spec": spec.model_copy(update={"prewarm": prewarm, "scale_down": down})})


def space(spec: PolicySpec, coldstart_s: float) -> Space:
    """Return what is searched: a quantile on the scale of ln(1 − q), a hold of up to six cold starts, a pool.

    Each range is as wide as it must be for the policy's own value to lie in it.
    """
    own = _own_point(spec, coldstart_s)
    pool_most = min(POOL_MOST, spec.replicas.max if spec.prewarm.max is None else spec.prewarm.max)
    return {
        LATE: FloatDistribution(min(LATE_LEAST, own[LATE]), max(LATE_MOST, own[LATE]), log=True),
        HOLD: IntDistribution(0, max(round(HOLD_MOST_COLDSTARTS * coldstart_s), int(own[HOLD]))),
        POOL: IntDistribution(0, max(pool_most, int(own[POOL]))),
    }


def ranges(spec: PolicySpec, coldstart_s: float) -> dict[str, list[float]]:
    """Return the least and the most that is searched of each setting, by place."""
    searched = space(spec, coldstart_s)
    late, hold, pool = searched[LATE], searched[HOLD], searched[POOL]
    return {
        "prewarm.quantile": [round(1 - late.high, 4), round(1 - late.low, 4)],
        HOLD: [hold.low, hold.high],
        POOL: [pool.low, pool.high],
    }


def settings_at(point: Point) -> Settings:
    """Return the settings at a point of the space."""
    return Settings(quantile=round(1 - point[LATE], 4), hold_s=int(point[HOLD]), pool=int(point[POOL]))


def point_at(settings: Settings | None, spec: PolicySpec, coldstart_s: float) -> Point:
    """Return where settings lie in the space; of None, where the policy's own lie.

    What the policy leaves to the core lies where the core would have it: a quantile of 0.9, a hold of two cold starts.
    """
    if settings is None:
        return _own_point(spec, coldstart_s)
    late = space(spec, coldstart_s)[LATE]
    # 1 - 0.995 is not 0.005 in binary: it is the bound that is meant.
    return {
        LATE: min(max(1 - settings.quantile, late.low), late.high),
        HOLD: settings.hold_s,
        POOL: settings.pool,
    }


def _own_point(spec: PolicySpec, coldstart_s: float) -> Point:
    explicit_s = spec.scale_down.stabilization_seconds
    hold_s = plan.HOLD_COLD_STARTS * coldstart_s if explicit_s is None else explicit_s
    return {LATE: 1 - plan.quantile(spec), HOLD: round(hold_s), POOL: spec.prewarm.min}
