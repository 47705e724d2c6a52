"""The HPA baseline against Kubernetes' own test vectors.

Transcribed (inputs and expected replicas, no code) from kubernetes v1.36.3, ``pkg/controller/podautoscaler``:
``replica_calculator_test.go`` for Pods metrics, and ``horizontal_test.go`` for rates and stabilization. Levels are
upstream's milli-values divided by 1000. Upstream's names are kept, so that each can be looked up. The vectors of a
Resource metric are taken over where percentages and plain values compute the same.
"""

import pytest

from simulator.baselines.hpa import Pods, recommend, within_tolerance
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
    down_limit,
    limited,
    stabilized,
    stabilized_plainly,
    up_limit,
)

NOW = 1_700_000_000.0

# name, levels, missing, unready, target, current replicas, expected replicas
RATIOS: tuple[tuple[str, tuple[float, ...], int, int, float, int, int], ...] = (
    ("ScaleUpCM", (20, 10, 30), 0, 0, 15, 3, 4),
    # Readiness and a young container do not count for a Pods metric: the pod is Running and has a value.
    ("ScaleUpCMUnreadyHotCpuNoLessScale", (50, 10, 30), 0, 0, 15, 3, 6),
    ("ScaleUpCMUnreadyHotCpuScaleWouldScaleDown", (50, 15, 30), 0, 0, 15, 3, 7),
    ("ScaleUpCMExternal", (8.6,), 0, 0, 4.4, 1, 2),
    ("ScaleUpCMExternalNoLabels", (8.6,), 0, 0, 4.4, 1, 2),
    ("ScaleDownCM", (12, 12, 12, 12, 12), 0, 0, 20, 5, 3),
    ("ToleranceCM", (20, 21, 21), 0, 0, 20, 3, 3),
    ("PlainMetricMissingMetricsNoChangeEq", (20, 19, 21), 2, 0, 20, 5, 5),
    ("DuringRollingUpdateWithMaxSurgeCM", (10, 10), 1, 0, 17, 2, 2),
    ("horizontal ScaleUpCM", (20, 10, 30), 0, 0, 15, 3, 4),
    ("horizontal ToleranceCM", (20, 20.001, 21), 0, 0, 20, 3, 3),
    ("horizontal NoBackoffUpscaleCM", (20, 10, 30), 0, 0, 15, 3, 4),
    # Resource metrics of pods that all request 1.0, so that percent and value are the same.
    ("ScaleUp", (0.3, 0.5, 0.7), 0, 0, 0.3, 3, 5),
    ("ScaleUpUnreadyLessScale", (0.5, 0.7), 0, 1, 0.3, 3, 4),
    ("ScaleUpUnreadyNoScale", (0.4,), 0, 2, 0.3, 3, 3),
    ("ScaleDown", (0.1, 0.3, 0.5, 0.25, 0.25), 0, 0, 0.5, 5, 3),
    ("ScaleDownExcludeUnreadyPods", (0.1, 0.3, 0.5), 0, 2, 0.5, 5, 2),
    ("MissingMetricsNoChangeEq", (1.0,), 1, 0, 1.0, 2, 2),
    ("MissingMetricsNoChangeGt", (1.9,), 1, 0, 1.0, 2, 2),
    ("MissingMetricsNoChangeLt", (0.6,), 1, 0, 1.0, 2, 2),
    ("MissingMetricsUnreadyChange", (0.45,), 1, 1, 0.5, 3, 3),
    ("MissingMetricsUnreadyScaleUp", (2.0,), 1, 1, 0.5, 3, 4),
)


@pytest.mark.parametrize(
    ("levels", "missing", "unready", "target", "current", "expected"),
    [v[1:] for v in RATIOS],
    ids=[v[0] for v in RATIOS],
)
def test_the_ratio_gives_upstreams_replicas(
    levels: tuple[float, ...], missing: int, unready: int, target: float, current: int, expected: int
) -> None:
    """What the metric asks for is what Kubernetes' own tests expect."""
    assert recommend(Pods(values=levels, missing=missing, unready=unready), target, current) == expected


@pytest.mark.parametrize(
    ("ratio", "within"), [(1.0, True), (1.1, True), (0.9, True), (1.101, False), (0.899, False), (0.0, False)]
)
def test_both_edges_of_the_tolerance_are_inside(ratio: float, *, within: bool) -> None:
    """A ratio of exactly 0.9 or 1.1 is not acted on."""
    assert within_tolerance(ratio) is within


def test_the_mean_is_cut_off_at_thousandths() -> None:
    """Values are milli-quantities and their mean is an integer division."""
    # 1.1001 counts as 1.101, and the mean of 1.10033 as 1.100: still within the tolerance.
    assert recommend(Pods(values=(1.1001, 1.1, 1.1)), 1.0, 3) == 3
    # The mean of 3.0005 counts as 3.000: no seventh pod.
    assert recommend(Pods(values=(3.0, 3.001)), 1.0, 2) == 6


def rules(pods: int, pods_s: float, percent: int, percent_s: float, stabilization_s: float) -> ScalingRules:
    """Return rules as upstream's generateScalingRules makes them."""
    policies = []
    if pods:
        policies.append(RatePolicy(kind=Kind.PODS, value=pods, period_s=pods_s))
    if percent:
        policies.append(RatePolicy(kind=Kind.PERCENT, value=percent, period_s=percent_s))
    return ScalingRules(policies=tuple(policies), stabilization_s=stabilization_s)


def spread(*pods: int, seconds: float = 120) -> Dated:
    """Return events in the middle of equal parts of the last seconds, oldest first."""
    part = seconds / len(pods)
    return tuple((NOW - seconds + part * (i + 0.5), change) for i, change in enumerate(pods))


# name, current, desired, least, most, expected, up rules, down rules, ups, downs
Vector = tuple[str, int, int, int, int, int, ScalingRules | None, ScalingRules | None, Dated, Dated]
RATES: tuple[Vector, ...] = (
    ("within range", 5, 7, 3, 8, 7, None, None, (), ()),
    ("< minReplicas", 3, 1, 2, 8, 2, None, None, (), ()),
    ("within range when minReplicas is 0", 1, 0, 0, 10, 0, None, None, (), ()),
    ("maxReplicas < scaleUpLimit", 20, 1000, 1, 10, 10, None, None, (), ()),
    ("more than the maximum", 100, 1000, 100, 150, 150, None, None, (), ()),
    ("scaleUpLimit < maxReplicas", 3, 1000, 1, 2000, 4, rules(0, 0, 1, 60, 0), None, (), ()),
    ("scaleDownLimit > minReplicas", 1000, 3, 3, 2000, 980, None, rules(20, 60, 0, 0, 0), (), ()),
    ("up with default behavior", 10, 50, 1, 1000, 20, None, None, (), ()),
    ("up, pods larger than percent", 10, 500, 1, 1000, 110, rules(100, 60, 100, 60, 0), None, (), ()),
    ("up, percent larger than pods", 10, 500, 1, 1000, 20, rules(2, 60, 100, 60, 0), None, (), ()),
    ("up, large pod policy", 10, 50, 1, 1000, 50, rules(100, 60, 0, 0, 0), None, (), ()),
    ("up, larger pod policy", 10, 50, 1, 1000, 50, rules(10000, 60, 0, 0, 0), None, (), ()),
    ("up, pod policy limits", 10, 50, 1, 1000, 40, rules(30, 60, 0, 0, 0), None, (), ()),
    ("up, percent policy limits", 10, 50, 1, 1000, 30, rules(0, 0, 200, 60, 0), None, (), ()),
    ("down, pods larger than percent", 100, 2, 1, 1000, 80, None, rules(20, 60, 1, 60, 300), (), ()),
    ("down, both small", 100, 2, 1, 1000, 98, None, rules(2, 60, 1, 60, 300), (), ()),
    ("down, large pod policy", 10, 0, 1, 1000, 1, None, rules(100, 60, 0, 0, 300), (), ()),
    ("down, large percent policy", 10, 2, 5, 1000, 5, None, rules(0, 0, 100, 60, 300), (), ()),
    ("down, pod policy limits", 10, 2, 1, 1000, 5, None, rules(5, 60, 0, 0, 300), (), ()),
    ("down, percent policy limits", 10, 5, 1, 1000, 5, None, rules(0, 0, 50, 60, 300), (), ()),
    ("up, large pod policy, events", 100, 500, 1, 200, 200, rules(300, 60, 0, 0, 0), None, spread(1, 5, 9), ()),
    ("up, large percent policy, events", 100, 500, 1, 200, 200, rules(0, 0, 10000, 60, 0), None, spread(1, 5, 9), ()),
    ("up, many recent ups", 100, 500, 1, 1000, 100, rules(5, 120, 0, 0, 0), None, spread(1, 5, 9), ()),
    ("up, pod policy after ups", 100, 500, 1, 1000, 235, rules(150, 120, 0, 0, 0), None, spread(1, 5, 9), ()),
    ("up, percent policy after ups", 100, 500, 1, 1000, 255, rules(0, 0, 200, 120, 0), None, spread(1, 5, 9), ()),
    ("up after ups and downs", 6, 24, 1, 1000, 16, rules(0, 0, 300, 300, 0), None, spread(4), spread(2)),
    ("down by default after downs", 10, 5, 1, 1000, 5, None, None, (), spread(1, 5, 9)),
    ("down, large pods after downs", 100, 0, 1, 1000, 1, None, rules(115, 120, 0, 0, 300), (), spread(1, 5, 9)),
    ("down to min after downs", 100, 0, 5, 1000, 5, None, rules(130, 120, 0, 0, 300), (), spread(1, 5, 9)),
    ("down by 100 % after downs", 100, 2, 5, 1000, 5, None, rules(0, 0, 100, 120, 300), (), spread(1, 5, 9)),
    ("down, pods limit after downs", 100, 2, 1, 1000, 100, None, rules(5, 120, 0, 0, 300), (), spread(1, 5, 9)),
    ("down, percent limits after downs", 100, 0, 1, 1000, 56, None, rules(0, 0, 50, 120, 300), (), spread(2, 4, 6)),
    ("down after ups and downs", 10, 1, 1, 1000, 6, None, rules(0, 0, 50, 180, 0), spread(2), spread(4)),
    ("down prevented by downs", 100, 0, 1, 1000, 100, None, rules(0, 0, 10, 120, 300), (), spread(10, 10, 10)),
    ("down still allowed", 10, 5, 1, 1000, 5, None, rules(0, 0, 1000, 120, 300), (), spread(10, 10, 10)),
    ("up, one policy, old events", 100, 200, 1, 1000, 200, rules(1000, 60, 0, 0, 0), None, spread(8, 12, 9, 11), ()),
    ("up, two policies", 100, 200, 1, 1000, 200, rules(1000, 120, 100, 60, 0), None, spread(8, 12, 9, 11), ()),
    ("down, one policy", 100, 5, 1, 1000, 5, None, rules(1000, 60, 0, 0, 300), (), spread(8, 12, 9, 11)),
    ("down, two policies", 100, 5, 1, 1000, 5, None, rules(1000, 120, 100, 60, 300), (), spread(8, 12, 9, 11)),
    ("UpscaleCap", 3, 60, 1, 100, 24, rules(0, 0, 700, 60, 0), None, (), ()),
    ("UpscaleCapGreaterThanMaxReplicas", 3, 60, 1, 20, 20, rules(0, 0, 700, 60, 0), None, (), ()),
)


@pytest.mark.parametrize("vector", RATES, ids=[v[0] for v in RATES])
def test_rates_and_bounds_give_upstreams_replicas(vector: Vector) -> None:
    """Minimum, maximum and the rate policies, with changes of the past, give what Kubernetes' own tests expect."""
    _, current, desired, least, most, expected, up, down, ups, downs = vector
    behavior = Behavior(up=up or DEFAULT_UP, down=down or DEFAULT_DOWN)
    changes = Changes(ups=ups, downs=downs)
    found = limited(behavior, changes, at=NOW, current=current, desired=desired, least=least, most=most)
    assert found == expected


def test_the_smaller_change_is_taken_where_it_is_selected() -> None:
    """SelectPolicy Min takes the smaller change, Disabled none (CalculateScaleUpLimitWithScalingRules and its twin)."""
    both = (
        RatePolicy(kind=Kind.PODS, value=2, period_s=60),
        RatePolicy(kind=Kind.PERCENT, value=50, period_s=60),
    )
    least = ScalingRules(policies=both, stabilization_s=300, select=Select.MIN)
    assert up_limit(least, Changes(), at=NOW, current=1) == 2
    assert down_limit(least, Changes(), at=NOW, current=5) == 3
    never = ScalingRules(policies=both, stabilization_s=300, select=Select.DISABLED)
    assert up_limit(never, Changes(), at=NOW, current=5) == 5
    assert down_limit(never, Changes(), at=NOW, current=5) == 5


PLAIN_RULES = (
    ("within range", 5, 7, 3, 8, 7),
    ("< minReplicas", 3, 1, 2, 8, 2),
    ("zeroed within range", 1, 0, 0, 10, 0),
    ("maxReplicas < scaleUpLimit", 20, 1000, 1, 10, 10),
    ("scaleUpLimit < maxReplicas", 3, 1000, 1, 2000, 6),
    ("never fewer than four up", 1, 1000, 1, 2000, 4),
)


@pytest.mark.parametrize(
    ("current", "desired", "least", "most", "expected"), [v[1:] for v in PLAIN_RULES], ids=[v[0] for v in PLAIN_RULES]
)
def test_without_behavior_it_doubles_at_most(current: int, desired: int, least: int, most: int, expected: int) -> None:
    """ConvertDesiredReplicasWithRules of upstream: up to the larger of twice the replicas and 4."""
    found = limited(None, Changes(), at=NOW, current=current, desired=desired, least=least, most=most)
    assert found == expected


def ago(*pairs: tuple[int, float]) -> Dated:
    """Return recommendations from pairs of (replicas, minutes ago)."""
    return tuple((NOW - 60 * minutes, replicas) for replicas, minutes in pairs)


PLAIN_WINDOWS = (
    ("empty log", (), 5, 5),
    ("stabilize", ago((4, 2), (5, 1)), 3, 5),
    ("no stabilize", ago((1, 2), (2, 1)), 3, 3),
    ("no stabilize - old recommendations", ago((10, 10), (9, 9)), 3, 3),
    ("stabilize - old recommendations", ago((10, 10), (4, 1), (5, 2), (9, 9)), 3, 5),
)


@pytest.mark.parametrize(
    ("past", "desired", "expected"), [v[1:] for v in PLAIN_WINDOWS], ids=[v[0] for v in PLAIN_WINDOWS]
)
def test_without_behavior_the_largest_of_the_window_counts(past: Dated, desired: int, expected: int) -> None:
    """NormalizeDesiredReplicas of upstream."""
    assert stabilized_plainly(300.0, past, at=NOW, desired=desired) == expected


# name, past, current, desired, expected, up window in seconds, down window in seconds
WINDOWS: tuple[tuple[str, Dated, int, int, int, float, float], ...] = (
    ("empty, down", (), 100, 5, 5, 0, 0),
    ("simple down", ago((4, 2), (5, 1)), 100, 3, 5, 0, 180),
    ("simple up", ago((4, 2), (5, 1)), 1, 7, 4, 300, 0),
    ("no down", ago((1, 2), (2, 1)), 100, 3, 3, 300, 0),
    ("no up", ago((4, 2), (5, 1)), 1, 3, 3, 0, 300),
    ("no down, reuse", ago((10, 10), (9, 9)), 100, 3, 3, 0, 0),
    ("no up, reuse", ago((10, 10), (9, 9)), 1, 100, 100, 0, 0),
    ("down, reuse one", ago((10, 10), (4, 1), (5, 2), (9, 9)), 100, 3, 5, 0, 180),
    ("up, reuse one", ago((10, 100), (6, 1), (5, 2), (9, 3)), 1, 100, 5, 300, 0),
    ("both, not up when it goes down", ago((2, 100), (3, 3)), 2, 1, 2, 300, 300),
    ("both, not down when it goes up", ago((2, 100), (1, 3)), 2, 3, 2, 300, 300),
)


@pytest.mark.parametrize(
    ("past", "current", "desired", "expected", "up_s", "down_s"), [v[1:] for v in WINDOWS], ids=[v[0] for v in WINDOWS]
)
def test_windows_give_upstreams_replicas(
    past: Dated, current: int, desired: int, expected: int, up_s: float, down_s: float
) -> None:
    """NormalizeDesiredReplicasWithBehavior of upstream: up to the least of its window, down to the most of its own."""
    behavior = Behavior(
        up=ScalingRules(policies=DEFAULT_UP.policies, stabilization_s=up_s),
        down=ScalingRules(policies=DEFAULT_DOWN.policies, stabilization_s=down_s),
    )
    assert stabilized(behavior, past, at=NOW, current=current, desired=desired) == expected
