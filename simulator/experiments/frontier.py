"""The frontier of a sweep: what attainment costs, read off the settings that were tried.

Every setting of a peer's knob gives a point (accelerator-hours, attainment). The settings that nothing cheaper matches
form a staircase. What a wanted attainment costs is read between the two steps around it, linearly in
ln(1 − attainment): halving the late requests costs about the same each time, so the staircase is nearly straight there.

A grid is only as good as its ends. One that starts too high once made a peer look hopeless, so a sweep goes on beyond
an end as long as the best point lies at it: the cheapest one that reaches a wanted attainment, or, where none does, the
one with the highest. And as long as an attainment is not reached, it goes on beyond the end that holds more replicas,
down to the bound of the knob: a plateau once hid behind a point that was higher by a hair. Then it looks closer,
between the best point and its neighbours; among whole numbers until no neighbour is left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt

from simulator.baselines.peers import Knob


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting and what it came to, in the mean over the seeds."""

    knob: float
    hours: float
    attainment: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a wanted attainment costs.

    ``hours`` is None where no setting reaches it; ``best`` is then the highest attainment of all. ``at_most`` says that
    even the cheapest setting tried exceeds it, so it may cost less. ``knob`` is the cheapest setting that reaches it.
    """

    wanted: float
    hours: float | None
    best: float
    knob: float | None = None
    at_most: bool = False


def staircase(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points that nothing cheaper matches, by rising hours and attainment."""
    steps: list[Point] = []
    for point in sorted(points, key=lambda each: (each.hours, -each.attainment, each.knob)):
        if not steps or point.attainment > steps[-1].attainment:
            steps.append(point)
    return tuple(steps)


def cost(points: Sequence[Point], wanted: float, *, whole: bool = False, floor: float = 1e-6) -> Cost:
    """Return what an attainment costs. ``floor`` stands for a share of late requests of 0 in the logarithm.

    Of a knob that takes whole numbers alone (``whole``) nothing lies between two settings: there it is the step's cost.

    Raises:
        ValueError: no points.
    """
    steps = staircase(points)
    if not steps:
        raise ValueError("a frontier needs at least one point")
    reached = next((step for step in steps if step.attainment >= wanted), None)
    best = steps[-1].attainment
    if reached is None:
        return Cost(wanted=wanted, hours=None, best=best)
    if reached is steps[0]:
        return Cost(wanted=wanted, hours=reached.hours, best=best, knob=reached.knob, at_most=True)
    before = steps[steps.index(reached) - 1]
    low, high, here = (log(max(1 - value, floor)) for value in (before.attainment, reached.attainment, wanted))
    share = 1.0 if whole or high == low else min(1.0, (here - low) / (high - low))
    hours = before.hours + share * (reached.hours - before.hours)
    return Cost(wanted=wanted, hours=hours, best=best, knob=reached.knob)


def wider(points: Sequence[Point], knob: Knob, wanted: Sequence[float]) -> tuple[float, ...]:
    """Return the settings to try beyond the ends of what was tried, none if every best point lies inside."""
    tried = sorted({point.knob for point in points})
    ends = {_best(points, each).knob for each in wanted} & {tried[0], tried[-1]}
    if max(point.attainment for point in points) < max(wanted):
        ends.add(max((point for point in points if point.knob in (tried[0], tried[-1])), key=_held).knob)
    steps = {beyond for end in ends for beyond in _beyond(tried, end, knob)}
    return tuple(sorted(steps - set(tried)))


def closer(points: Sequence[Point], knob: Knob, wanted: Sequence[float]) -> tuple[float, ...]:
    """Return the settings half way between each best point and its neighbours."""
    tried = sorted({point.knob for point in points})
    best = {_best(points, each).knob for each in wanted}
    middles = {_between(low, high, knob) for low, high in pairwise(tried) if low in best or high in best}
    return tuple(sorted(middles - set(tried)))


def _held(point: Point) -> float:
    return point.hours


def _best(points: Sequence[Point], wanted: float) -> Point:
    """The cheapest point that reaches an attainment; where none does, the cheapest of the highest."""
    reaching = [point for point in points if point.attainment >= wanted]
    if reaching:
        return min(reaching, key=lambda point: (point.hours, point.knob))
    return max(points, key=lambda point: (point.attainment, -point.hours, -point.knob))


def _beyond(tried: Sequence[float], end: float, knob: Knob) -> tuple[float, ...]:
    """The setting one step beyond an end, within the bounds; both ends where there is only one setting."""
    found = []
    if end == tried[0]:
        found.append(_step(tried[1] if len(tried) > 1 else None, end, knob, upwards=False))
    if end == tried[-1]:
        found.append(_step(tried[-2] if len(tried) > 1 else None, end, knob, upwards=True))
    return tuple(min(max(value, knob.least), knob.most) for value in found)


def _step(neighbour: float | None, end: float, knob: Knob, *, upwards: bool) -> float:
    if knob.scale == "linear":
        width = 1.0 if neighbour is None else abs(end - neighbour)
        return _rounded(end + width if upwards else end - width, knob, upwards=upwards)
    if knob.scale == "quantile":
        ratio = 2.0 if neighbour is None else max(1 - end, 1 - neighbour) / min(1 - end, 1 - neighbour)
        return 1 - ((1 - end) / ratio if upwards else (1 - end) * ratio)
    ratio = 1.5 if neighbour is None else max(end, neighbour) / min(end, neighbour)
    return _rounded(end * ratio if upwards else end / ratio, knob, upwards=upwards)


def _rounded(value: float, knob: Knob, *, upwards: bool) -> float:
    if not knob.whole:
        return value
    # Away from the end: rounded back onto it, a sweep would never leave it.
    return float(int(value) + 1 if upwards and value > int(value) else int(value))


def _between(low: float, high: float, knob: Knob) -> float:
    if knob.scale == "linear" or knob.whole:
        middle = (low + high) / 2
        return float(int(middle)) if knob.whole else middle
    if knob.scale == "quantile":
        return 1 - sqrt((1 - low) * (1 - high))
    return exp((log(low) + log(high)) / 2)
