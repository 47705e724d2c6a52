"""Checks for the vectors of Datadog's WatermarkPodAutoscaler."""

from collections.abc import Mapping

from simulator.baselines.sight import Bounds, PodsMetric
from simulator.baselines.watermark import (
    Algorithm,
    Converge,
    Position,
    Standing,
    WatermarkMemory,
    WatermarkSpec,
    limited,
    may_change,
    proposed,
)
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0


def spec_of(vector: Vector) -> WatermarkSpec:
    """Return the autoscaler of a vector."""
    return WatermarkSpec(
        metric=PodsMetric.WAITING,
        high=vector.get("high", 1.0),
        low=vector.get("low", 1.0),
        bounds=Bounds(least=vector.get("min", 1), most=vector.get("max", 10_000)),
        algorithm=Algorithm(vector.get("algorithm", "average")),
        tolerance=vector.get("tolerance", 0.1),
        up_limit_percent=vector.get("up", 50.0),
        down_limit_percent=vector.get("down", 20.0),
        up_forbidden_s=vector.get("up_s", 60.0),
        down_forbidden_s=vector.get("down_s", 300.0),
        up_delay_s=vector.get("up_delay_s", 0.0),
        down_delay_s=vector.get("down_delay_s", 0.0),
        converge=Converge(vector.get("converge", "")),
        step=vector.get("step", 1),
    )


def proposal(vector: Vector) -> list[object]:
    """Return the replicas that usage asks for, and where it lies."""
    spec, total = spec_of(vector), sum(vector["levels"])
    usage = total / vector["ready"] if spec.algorithm is Algorithm.AVERAGE else total
    replicas, position = proposed(spec, usage, Standing(current=vector["current"], ready=vector["ready"]))
    return [replicas, position.value]


def limit(vector: Vector) -> int:
    """Return how far one change may go."""
    current, up = vector["current"], vector["direction"] == "up"
    spec = spec_of({**vector, ("up" if up else "down"): vector["percent"]})
    return limited(spec, 100_000 if up else 0, Standing(current=current, ready=current))


def rules(vector: Vector) -> int:
    """Return what bounds and rates leave of a wish."""
    return limited(spec_of(vector), vector["desired"], Standing(current=vector["current"], ready=vector["ready"]))


def may(vector: Vector) -> bool:
    """Return whether a change is allowed now."""
    memory = WatermarkMemory(changed_at=NOW - 599, position=Position(vector["position"]), since=NOW - vector["since_s"])
    return may_change(spec_of(vector), memory, at=NOW, current=vector["current"], desired=vector["desired"])


CHECKS: Mapping[str, Check] = {"proposed": proposal, "limits": limit, "rules": rules, "may-change": may}
