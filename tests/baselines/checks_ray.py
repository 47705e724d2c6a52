"""Checks for the vectors of Ray Serve."""

from collections.abc import Mapping

from simulator.baselines.ray_serve import NO_STREAK, RaySpec, delayed, factored, stepped
from simulator.baselines.sight import Bounds
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0


def spec_of(vector: Vector) -> RaySpec:
    """Return the configuration of a vector, with upstream's defaults where it says nothing."""
    return RaySpec(
        target_ongoing=vector.get("target", 1.0),
        bounds=Bounds(least=0, most=1000),
        upscale_delay_s=vector.get("up_s", 30.0),
        downscale_delay_s=vector.get("down_s", 600.0),
        downscale_to_zero_delay_s=vector.get("to_zero_s"),
        upscaling_factor=vector.get("up_factor", 1.0),
        downscaling_factor=vector.get("down_factor", 1.0),
    )


def steps(vector: Vector) -> list[int]:
    """Return the replicas decided after each step of the loop."""
    streak, found = NO_STREAK, []
    for at_s, total, running, target in vector["steps"]:
        streak, replicas = stepped(spec_of(vector), streak, at=NOW + at_s, total=total, running=running, target=target)
        found.append(replicas)
    return found


def delays(vector: Vector) -> list[int]:
    """Return the replicas acted on after each decision."""
    streak, found = NO_STREAK, []
    for at_s, desired, target in vector["steps"]:
        streak, replicas = delayed(spec_of(vector), streak, at=NOW + at_s, desired=desired, target=target)
        found.append(replicas)
    return found


def factors(vector: Vector) -> int:
    """Return the replicas after the scaling factor."""
    return factored(spec_of(vector), vector["desired"], vector["running"])


CHECKS: Mapping[str, Check] = {"steps": steps, "factored": factors, "delayed": delays}
