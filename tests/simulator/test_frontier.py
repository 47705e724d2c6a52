"""What attainment costs is read off the settings that were tried, and no peer is shown at the end of its grid."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.baselines.peers import Knob
from simulator.experiments.frontier import Cost, Point, closer, cost, staircase, wider
from simulator.experiments.outcomes import Outcomes
from simulator.experiments.sweep import point_of, swept
from simulator.experiments.trial import Result

KNOB = Knob(name="in flight", grid=(8.0, 16.0, 32.0), least=0.5, most=128.0)


def result_of(*, hours: float, attainment: float) -> Result:
    """The result of a setting that holds so many accelerator-hours and has so many of 1,000 requests in time."""
    in_time = round(1000 * attainment)
    nothing = dict.fromkeys((f"{of}_{p}_s" for of in ("ttft", "tpot") for p in ("p50", "p95", "p99")), None)
    outcomes = Outcomes(
        requests=1000, ttft_in_time=in_time, in_time=in_time, refused=0, lost=0, unfinished=0, preemptions=0, **nothing
    )
    return Result(
        contender="x", seed=1, outcomes=outcomes, accelerator_hours=hours, cost_usd=None, coldstarts=0, moves=0,
        peak_replicas=1, opening_s=0.0,
    )  # fmt: skip


points = st.lists(
    st.builds(
        Point,
        knob=st.floats(0.5, 100),
        hours=st.floats(0.1, 1000),
        attainment=st.floats(0, 1),
    ),
    min_size=1,
    max_size=20,
)


def peer(knob: float) -> Point:
    """Return a peer whose best setting is 2: below it costs more, above it the attainment falls."""
    return Point(knob=knob, hours=100 / knob, attainment=1 - 0.005 * (knob / 2) ** 2)


@given(points)
def test_the_staircase_rises_in_cost_and_in_attainment(tried: list[Point]) -> None:
    """No step is matched by a cheaper one, and every setting is matched by some step that is no dearer."""
    steps = staircase(tried)
    assert all(low.hours <= high.hours and low.attainment < high.attainment for low, high in pairwise(steps))
    assert all(any(s.hours <= p.hours and s.attainment >= p.attainment for s in steps) for p in tried)


@given(points, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_more_attainment_never_costs_less(tried: list[Point], one: float, two: float) -> None:
    """What is read off the staircase rises with what is wanted."""
    low, high = (cost(tried, wanted).hours for wanted in sorted((one, two)))
    assert high is None or (low is not None and low <= high + 1e-9)


def test_a_cost_between_two_steps_is_read_in_the_logarithm_of_the_late_share() -> None:
    """Half way between 2 % and 0.5 % late, in the logarithm, is 1 %; half way in cost stands beside it."""
    tried = [Point(knob=1, hours=10, attainment=0.98), Point(knob=2, hours=20, attainment=0.995)]
    found = cost(tried, 0.99)
    assert found.hours == pytest.approx(15.0)
    assert found.knob == 2
    assert exp((log(0.02) + log(0.005)) / 2) == pytest.approx(0.01)


def test_between_two_whole_numbers_there_is_nothing() -> None:
    """Nine replicas come to 93 %, ten to 99.9 %: 98 % costs ten, not nine and a half."""
    tried = [Point(knob=9, hours=9.0, attainment=0.93), Point(knob=10, hours=10.0, attainment=0.999)]
    assert cost(tried, 0.98, whole=True).hours == 10.0
    between = cost(tried, 0.98).hours
    assert between is not None
    assert 9.0 < between < 10.0


def test_what_is_never_reached_is_said_with_the_best_there_was() -> None:
    """A peer that reaches 0.97 at most has no cost for 0.99."""
    assert cost([peer(5.0)], 0.99) == Cost(wanted=0.99, hours=None, best=peer(5.0).attainment)


def test_the_cheapest_setting_that_exceeds_a_wish_is_an_upper_bound() -> None:
    """Nothing cheaper was tried, so it may cost less than that."""
    assert cost([peer(1.0)], 0.99).at_most


def test_a_grid_that_starts_too_high_goes_down_until_the_best_lies_inside() -> None:
    """A grid from 8 made this peer look hopeless; its best setting is near 2.8."""
    tried = [peer(knob) for knob in KNOB.grid]
    for _ in range(8):
        more = wider(tried, KNOB, (0.99,))
        tried += [peer(knob) for knob in more]
        if not more:
            break
    found = cost(tried, 0.99)
    assert found.hours is not None
    knobs = sorted(point.knob for point in tried)
    assert found.knob not in {knobs[0], knobs[-1]}


def test_a_plateau_does_not_end_the_search_for_what_is_not_reached() -> None:
    """From 8 to 64 in flight nothing changes but by a hair; 1 in flight reaches what is wanted, at twice the cost."""

    def flat(knob: float) -> Point:
        reached = 0.987 + 1e-5 * (knob == 16.0) if knob > 1.0 else 0.9999
        return Point(knob=knob, hours=20 - knob / 100 if knob > 1.0 else 40.0, attainment=reached)

    tried = [flat(knob) for knob in (8.0, 16.0, 32.0, 64.0)]
    while more := wider(tried, KNOB, (0.99,)):
        tried += [flat(knob) for knob in more]
    found = cost(tried, 0.99)
    assert found.hours is not None
    assert found.knob is not None
    assert found.knob <= 1.0
    assert max(point.knob for point in tried) == 64.0, "the cheap end is no place to look for more"


def test_a_search_for_what_is_never_reached_ends_at_the_bound() -> None:
    """Nobody is said never to reach what his most generous setting was not tried for."""
    tried = [Point(knob=knob, hours=100 / knob, attainment=0.9 - 0.001 * abs(knob - 16)) for knob in KNOB.grid]
    while more := wider(tried, KNOB, (0.99,)):
        tried += [Point(knob=knob, hours=100 / knob, attainment=0.8) for knob in more]
    assert min(point.knob for point in tried) == KNOB.least


def test_among_whole_numbers_no_neighbour_of_the_best_is_left_out() -> None:
    """Ten replicas are enough; of the grid 8, 11, 15 a sweep must come to try them."""
    knob = Knob(name="replicas", grid=(1, 8, 11, 15), least=1, most=100, whole=True)

    def fleet(settings: Sequence[float]) -> dict[float, tuple[Result, ...]]:
        return {each: (result_of(hours=each, attainment=float(each >= 10)),) for each in settings}

    *_, results = swept(knob, fleet, (0.99,))
    assert {9.0, 10.0, 11.0} <= set(results)
    assert cost([point_of(each, found) for each, found in results.items()], 0.99, whole=True).hours == 10


def test_a_grid_stops_at_the_bounds_of_its_knob() -> None:
    """Beyond the least setting there is none."""
    tried = [peer(0.5), peer(0.6)]
    assert wider(tried, KNOB, (0.99999,)) == ()


def test_a_closer_look_is_between_the_best_and_its_neighbours() -> None:
    """Of a geometric knob the middle is the geometric one."""
    tried = [peer(1.0), peer(2.0), peer(8.0)]
    assert list(closer(tried, KNOB, (0.99,))) == pytest.approx([2**0.5, 4.0])
