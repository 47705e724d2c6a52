"""The HPA's limits on a change: stabilization windows, rate policies, minimum and maximum.

Upstream: kubernetes v1.36, ``pkg/controller/podautoscaler/horizontal.go`` (``stabilizeRecommendationWithBehaviors``,
``convertDesiredReplicasWithBehaviorRate`` and what they call; for an HPA without ``behavior``
``stabilizeRecommendation`` and ``convertDesiredReplicasWithRules``), defaults of
``pkg/apis/autoscaling/v2/defaults.go``.

An event or a recommendation is a pair (unix seconds, replicas). A window holds what is strictly younger than it; only
without ``behavior`` is one of exactly the window's age still inside, as upstream has it.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

Dated = tuple[tuple[float, int], ...]

PLAIN_UP_FACTOR = 2
PLAIN_UP_LEAST = 4
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far the ratio of metric to target may be from 1 before it is acted on, as shares."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def within(self, ratio: float) -> bool:
        """Whether a ratio is too close to 1 to act on; both edges are inside."""
        return 1 - self.down <= ratio <= 1 + self.up


class Select(StrEnum):
    """Which of several rate policies counts: the one that allows the largest change, or the smallest, or no change."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Kind(StrEnum):
    """Unit of a rate policy's value: pods, or percent of the replicas at the period's start."""

    PODS = "Pods"
    PERCENT = "Percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePolicy:
    """At most ``value`` pods or percent in any ``period_s`` seconds."""

    kind: Kind
    value: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """Rules of one direction: ``behavior.scaleUp`` or ``behavior.scaleDown``."""

    policies: tuple[RatePolicy, ...]
    stabilization_s: float
    select: Select = Select.MAX
    tolerance: float = TOLERANCE


DEFAULT_UP = ScalingRules(
    policies=(
        RatePolicy(kind=Kind.PODS, value=4, period_s=15.0),
        RatePolicy(kind=Kind.PERCENT, value=100, period_s=15.0),
    ),
    stabilization_s=0.0,
)
DEFAULT_DOWN = ScalingRules(policies=(RatePolicy(kind=Kind.PERCENT, value=100, period_s=15.0),), stabilization_s=300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """The HPA's ``behavior`` with its defaults filled in."""

    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN

    @property
    def longest_s(self) -> float:
        """Seconds after which no event can matter any more."""
        return max((policy.period_s for rules in (self.up, self.down) for policy in rules.policies), default=0.0)

    @property
    def tolerances(self) -> Tolerances:
        """The tolerances of both directions."""
        return Tolerances(down=self.down.tolerance, up=self.up.tolerance)


DEFAULT_BEHAVIOR = Behavior()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes of the replicas so far: pods added and pods removed, each with the instant."""

    ups: Dated = ()
    downs: Dated = ()


UNCHANGED = Changes()


def stabilized(behavior: Behavior, recommendations: Dated, *, at: float, current: int, desired: int) -> int:
    """Return the replicas after both windows: up to the least that was wished lately, down to the most."""
    up, down = desired, desired
    for when, replicas in recommendations:
        up = min(up, replicas) if when > at - behavior.up.stabilization_s else up
        down = max(down, replicas) if when > at - behavior.down.stabilization_s else down
    return min(max(current, up), down)


def stabilized_plainly(window_s: float, recommendations: Dated, *, at: float, desired: int) -> int:
    """Return the largest recommendation of the window, as for an HPA without ``behavior``."""
    return max([desired, *(replicas for when, replicas in recommendations if when >= at - window_s)])


def limited(
    behavior: Behavior | None, changes: Changes, *, at: float, current: int, desired: int, least: int, most: int
) -> int:
    """Return the replicas within ``least`` and ``most`` that the rates allow on the way from current to desired."""
    if behavior is None:
        return max(least, min(desired, most, max(PLAIN_UP_FACTOR * current, PLAIN_UP_LEAST)))
    if desired > current:
        return min(desired, most, max(current, up_limit(behavior.up, changes, at=at, current=current)))
    if desired < current:
        return max(desired, least, min(current, down_limit(behavior.down, changes, at=at, current=current)))
    return desired


def up_limit(rules: ScalingRules, changes: Changes, *, at: float, current: int) -> int:
    """Return the most replicas that the rules allow (``calculateScaleUpLimitWithScalingRules``)."""
    if rules.select is Select.DISABLED:
        return current
    starts = [(policy, _at_start(policy, changes, at, current)) for policy in rules.policies]
    # Percent is rounded up: a small percentage of few replicas would never add one.
    allowed = [
        start + policy.value if policy.kind is Kind.PODS else math.ceil(start * (1 + policy.value / 100))
        for policy, start in starts
    ]
    return (min if rules.select is Select.MIN else max)(allowed, default=current)


def down_limit(rules: ScalingRules, changes: Changes, *, at: float, current: int) -> int:
    """Return the fewest replicas that the rules allow (``calculateScaleDownLimitWithBehaviors``)."""
    if rules.select is Select.DISABLED:
        return current
    starts = [(policy, _at_start(policy, changes, at, current)) for policy in rules.policies]
    allowed = [
        start - policy.value if policy.kind is Kind.PODS else int(start * (1 - policy.value / 100))
        for policy, start in starts
    ]
    return (max if rules.select is Select.MIN else min)(allowed, default=current)


def _at_start(policy: RatePolicy, changes: Changes, at: float, current: int) -> int:
    """Return the replicas at the beginning of a policy's period, had nothing but the HPA changed them."""
    since = at - policy.period_s
    added = sum(pods for when, pods in changes.ups if when > since)
    removed = sum(pods for when, pods in changes.downs if when > since)
    return current - added + removed
