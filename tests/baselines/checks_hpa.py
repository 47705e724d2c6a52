"""Checks for the vectors of Kubernetes' HPA."""

from collections.abc import Mapping, Sequence

from simulator.baselines.hpa_metrics import Counts, Pods, of_average_value, of_pods, of_value
from simulator.baselines.hpa_rules import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Behavior,
    Changes,
    Dated,
    Kind,
    RatePolicy,
    ScalingRules,
    Select,
    Tolerances,
    down_limit,
    limited,
    stabilized,
    stabilized_plainly,
    up_limit,
)
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0
BOTH = (RatePolicy(kind=Kind.PODS, value=2, period_s=60), RatePolicy(kind=Kind.PERCENT, value=50, period_s=60))


def tolerances(vector: Vector) -> Tolerances:
    """Return a vector's tolerances, the defaults where it has none."""
    return Tolerances(down=vector.get("down", 0.1), up=vector.get("up", 0.1))


def pods(vector: Vector) -> int | None:
    """Return the replicas that a Pods metric asks for."""
    seen = Pods(values=tuple(vector["levels"]), missing=vector.get("missing", 0), unready=vector.get("unready", 0))
    return of_pods(seen, vector["target"], vector["current"], tolerances(vector))


def whole(vector: Vector) -> int | None:
    """Return the replicas that an Object or External metric asks for."""
    have = Counts(spec=vector["current"], status=vector["current"], ready=vector["ready"])
    of = of_value if vector["kind"] == "Value" else of_average_value
    return of(vector["value"], vector["target"], have, tolerances(vector))


def rules(numbers: Sequence[int] | None, default: ScalingRules) -> ScalingRules:
    """Return rules as upstream's generateScalingRules makes them."""
    if numbers is None:
        return default
    many, many_s, percent, percent_s, stabilization_s = numbers
    policies = []
    if many:
        policies.append(RatePolicy(kind=Kind.PODS, value=many, period_s=many_s))
    if percent:
        policies.append(RatePolicy(kind=Kind.PERCENT, value=percent, period_s=percent_s))
    return ScalingRules(policies=tuple(policies), stabilization_s=stabilization_s)


def spread(changes: Sequence[int], seconds: float = 120.0) -> Dated:
    """Return events in the middle of equal parts of the last seconds, oldest first."""
    part = seconds / len(changes) if changes else 0.0
    return tuple((NOW - seconds + part * (i + 0.5), change) for i, change in enumerate(changes))


def rates(vector: Vector) -> int:
    """Return what minimum, maximum, rates and past changes leave of a wish."""
    behavior = Behavior(up=rules(vector["up"], DEFAULT_UP), down=rules(vector["down"], DEFAULT_DOWN))
    return limited(
        behavior,
        Changes(ups=spread(vector["ups"]), downs=spread(vector["downs"])),
        at=NOW,
        current=vector["current"],
        desired=vector["desired"],
        least=vector["min"],
        most=vector["max"],
    )


def select(vector: Vector) -> int:
    """Return the limit of one direction under a select policy."""
    limit = up_limit if vector["direction"] == "up" else down_limit
    chosen = ScalingRules(policies=BOTH, stabilization_s=300, select=Select(vector["select"]))
    return limit(chosen, Changes(), at=NOW, current=vector["current"])


def plain_rules(vector: Vector) -> int:
    """Return what an HPA without behavior leaves of a wish."""
    return limited(
        None,
        Changes(),
        at=NOW,
        current=vector["current"],
        desired=vector["desired"],
        least=vector["min"],
        most=vector["max"],
    )


def ago(past: Sequence[Sequence[float]]) -> Dated:
    """Return recommendations from pairs of replicas and seconds ago."""
    return tuple((NOW - seconds, int(replicas)) for replicas, seconds in past)


def plain_window(vector: Vector) -> int:
    """Return the largest recommendation of five minutes."""
    return stabilized_plainly(300.0, ago(vector["past"]), at=NOW, desired=vector["desired"])


def window(vector: Vector) -> int:
    """Return what both windows leave of a wish."""
    behavior = Behavior(
        up=ScalingRules(policies=DEFAULT_UP.policies, stabilization_s=vector["up_s"]),
        down=ScalingRules(policies=DEFAULT_DOWN.policies, stabilization_s=vector["down_s"]),
    )
    past = ago(vector["past"])
    return stabilized(behavior, past, at=NOW, current=vector["current"], desired=vector["desired"])


CHECKS: Mapping[str, Check] = {
    "pods": pods,
    "tolerances": pods,
    "whole": whole,
    "rates": rates,
    "select": select,
    "plain-rules": plain_rules,
    "plain-window": plain_window,
    "window": window,
}
