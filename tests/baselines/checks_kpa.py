"""Checks for the vectors of Knative's KPA."""

from collections.abc import Mapping
from dataclasses import replace

from simulator.baselines.kpa import KpaSpec, Observed, Panic, scaled, started
from simulator.baselines.sight import Bounds
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0


def steps(vector: Vector) -> list[int]:
    """Return the pods wished for after each step."""
    spec = KpaSpec(
        target=vector["target"],
        bounds=Bounds(least=0, most=10_000),
        utilization=1.0,
        max_up_rate=vector["up"],
        max_down_rate=vector["down"],
        panic_threshold=vector["panic"],
        scale_down_delay_s=vector.get("delay", 0.0),
        activation_scale=vector.get("activation", 1),
        reachable=vector.get("reachable", True),
    )
    # Upstream's tests make the autoscaler over one ready pod, which is no panic.
    second, most = vector.get("panicking", (None, 1))
    state = Panic(since=None if second is None else NOW + second, most=most)
    found = []
    for at_s, ready, stable, panic, *changes in vector["steps"]:
        spec = replace(spec, **(changes[0] if changes else {}))
        state, wished = scaled(spec, state, Observed(at=NOW + at_s, ready=ready, stable=stable, panic=panic))
        found.append(wished)
    return found


def start(vector: Vector) -> list[object]:
    """Return whether a fresh autoscaler panics, and its most panic pods."""
    state = started(vector["ready"], NOW)
    return [state.since is not None, state.most]


CHECKS: Mapping[str, Check] = {"scaled": steps, "started": start}
