"""Checks for the vectors of KEDA."""

from collections.abc import Mapping

from simulator.baselines.keda import Fallback, FallbackBehavior, KedaSpec, Poll, executed, fallback_value, scaler_value
from simulator.baselines.sight import PodsMetric
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0


def _executed(vector: Vector) -> tuple[int | None, float | None]:
    fallback = Fallback(failure_threshold=3, replicas=vector["fallback"]) if "fallback" in vector else None
    spec = KedaSpec(
        metric=PodsMetric.WAITING,
        threshold=5.0,
        min_replicas=vector["min"],
        max_replicas=100,
        idle_replicas=vector.get("idle"),
        fallback=fallback,
    )
    poll = Poll(at=NOW, replicas=vector["replicas"], active=vector["active"], error=vector.get("error", False))
    return executed(spec, poll)


def executor(vector: Vector) -> int | None:
    """Return the replicas that the executor sets."""
    return _executed(vector)[0]


def last_active(vector: Vector) -> bool:
    """Return whether the executor notes an activity."""
    return _executed(vector)[1] is not None


def fallback(vector: Vector) -> float | None:
    """Return what the HPA is fed after failures."""
    behavior = FallbackBehavior(vector.get("behavior", "static"))
    given = (
        Fallback(failure_threshold=vector["threshold"], replicas=vector["replicas"], behavior=behavior)
        if "threshold" in vector
        else None
    )
    spec = KedaSpec(metric=PodsMetric.WAITING, threshold=vector["target"], max_replicas=100, fallback=given)
    return fallback_value(spec, vector["failures"], vector.get("current", 1))


def answer(vector: Vector) -> float | None:
    """Return what the scaler makes of a Prometheus answer."""
    return scaler_value(vector["answer"], ignore_null_values=vector["ignore"])


CHECKS: Mapping[str, Check] = {
    "executor": executor,
    "last-active": last_active,
    "fallback": fallback,
    "answer": answer,
}
