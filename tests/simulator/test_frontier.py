"""What attainment costs is read off the settings that were tried, and no peer is shown at the end of its grid."""

from itertools import pairwise
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.baselines.peers import Knob
from simulator.experiments.frontier import Cost, Point, closer, cost, staircase, wider

KNOB = Knob(name="in flight", grid=(8.0, 16.0, 32.0), least=0.5, most=128.0)

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


def test_a_grid_stops_at_the_bounds_of_its_knob() -> None:
    """Beyond the least setting there is none."""
    tried = [peer(0.5), peer(0.6)]
    assert wider(tried, KNOB, (0.99999,)) == ()


def test_a_closer_look_is_between_the_best_and_its_neighbours() -> None:
    """Of a geometric knob the middle is the geometric one."""
    tried = [peer(1.0), peer(2.0), peer(8.0)]
    assert list(closer(tried, KNOB, (0.99,))) == pytest.approx([2**0.5, 4.0])
