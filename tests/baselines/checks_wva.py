"""Checks for the vectors of llm-d's Workload-Variant-Autoscaler."""

from collections.abc import Mapping

from simulator.baselines.sight import Bounds
from simulator.baselines.wva import Saturation, WvaSpec, analysed, targeted
from tests.baselines.admission import Check, Vector

SPEC = WvaSpec(bounds=Bounds(least=1, most=100))


def seen(vector: Vector) -> Saturation:
    """Return what the analyzer makes of a vector's pods."""
    return analysed(SPEC, [(kv, queue) for kv, queue in vector["pods"]])


def spares(vector: Vector) -> list[float]:
    """Return the spares to the digits that upstream prints."""
    found = seen(vector)
    return [round(found.spare_kv, 3), round(found.spare_queue, 1)]


def target(vector: Vector) -> int:
    """Return the wish after an analysis."""
    found = Saturation(
        pods=vector["pods"],
        unsaturated=vector["pods"],
        spare_kv=0.0,
        spare_queue=0.0,
        up=vector["up"],
        down_safe=vector["down_safe"],
    )
    return targeted(found, current=vector["current"], desired=vector["desired"])


CHECKS: Mapping[str, Check] = {
    "up": lambda vector: seen(vector).up,
    "down-safe": lambda vector: seen(vector).down_safe,
    "unsaturated": lambda vector: seen(vector).unsaturated,
    "spares": spares,
    "target": target,
}
