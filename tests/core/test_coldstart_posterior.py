"""The posterior of the cold start against a plain twin, against known coverage, and its laws."""

import math
import random
from collections.abc import Callable
from itertools import product
from statistics import NormalDist, fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.coldstart import predict

Cells = list[tuple[float, float, float]]


def textbook_cdf(t: float) -> float:
    """Return the CDF of Student's t with 4 degrees of freedom, in the form that textbooks give."""
    u = 1.0 + t * t / 4.0
    return 0.5 + 0.375 * t / math.sqrt(u) * (1.0 - t * t / (12.0 * u))


def twin_cells(
    prior_s: float, observations: tuple[float, ...], ages_s: tuple[float, ...], *, censor: bool = True
) -> Cells:
    """Return (mu, sigma, weight) on a dense wide grid, straight from the formula, with nothing pruned or memoised.

    Without ``censor`` the ages only stretch the grid: how far out the prior's tail is cut shows in Q(0.99).
    """
    points = [*map(math.log, observations), *map(math.log, ages_s)]
    low = min([math.log(prior_s) - 2.7, *(point - 1.5 for point in points)])
    high = max([math.log(prior_s) + 2.7, *(point + 1.5 for point in points)])
    cells = []
    for i, j in product(range(101), range(29)):
        mu, offset = low + (high - low) * i / 100, -2.2 + 4.4 * j / 28
        sigma = 0.35 * math.exp(0.5 * offset)
        log_weight = -0.5 * ((mu - math.log(prior_s)) / 0.9) ** 2 - 0.5 * offset**2
        for rank, took_s in enumerate(reversed(observations)):
            z = (math.log(took_s) - mu) / sigma
            log_weight += 0.98**rank * (-2.5 * math.log(1 + z * z / 4) - math.log(sigma))
        for age_s in ages_s if censor else ():
            log_weight += math.log(1 - textbook_cdf((math.log(age_s) - mu) / sigma))
        cells.append((mu, sigma, log_weight))
    top = max(log_weight for _, _, log_weight in cells)
    return [(mu, sigma, math.exp(log_weight - top)) for mu, sigma, log_weight in cells]


def twin_quantile(cells: Cells, probability: float) -> float:
    """Return a quantile of the predictive distribution by bisection, in seconds."""
    total = math.fsum(weight for _, _, weight in cells)
    low, high = math.log(0.01), math.log(1e6)
    for _ in range(18):
        x = (low + high) / 2
        below = sum(weight * textbook_cdf((x - mu) / sigma) for mu, sigma, weight in cells) / total
        low, high = (x, high) if below < probability else (low, x)
    return math.exp((low + high) / 2)


def test_the_twins_textbook_cdf_is_the_integral_of_the_density() -> None:
    """The one formula that twin and model could share in error is checked by integration."""
    width = 0.001
    steps = range(round(3.0 / width))
    integral = sum(12 / (4 + ((i + 0.5) * width) ** 2) ** 2.5 * width for i in steps)
    assert textbook_cdf(3.0) - 0.5 == pytest.approx(integral, abs=1e-6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Draw a prior median, up to eight starts around a true median near or far from it, and ages under way."""
    prior_s = draw(st.floats(20, 600))
    median_s = prior_s * math.exp(draw(st.floats(-1.5, 1.5)))
    spread = draw(st.floats(0.05, 0.6))
    noise = st.floats(-2, 2)
    observations = draw(st.lists(noise, max_size=8))
    ages = draw(st.lists(st.floats(0, 1), max_size=3))
    return (
        prior_s,
        tuple(median_s * math.exp(spread * value) for value in observations),
        tuple(median_s * math.exp(value) for value in ages),
    )


@settings(max_examples=12, deadline=None)
@given(case=cases())
def test_the_fast_posterior_agrees_with_the_plain_twin(
    case: tuple[float, tuple[float, ...], tuple[float, ...]],
) -> None:
    """Grid, pruning, memory and Newton's method together stay within 2 % of the formula taken literally."""
    prior_s, observations, ages_s = case
    estimate = predict(prior_s, observations, ages_s)
    both = twin_cells(prior_s, observations, ages_s)
    for probability, fast in ((0.5, estimate.p50_s), (0.75, estimate.p75_s), (0.9, estimate.p90_s)):
        assert fast == pytest.approx(twin_quantile(both, probability), rel=0.02)
    ended = twin_cells(prior_s, observations, ages_s, censor=False)
    assert estimate.stuck_after_s == pytest.approx(min(twin_quantile(ended, 0.99), 1200.0), rel=0.03)


def test_the_discount_and_the_blocks_agree_with_the_plain_twin() -> None:
    """Ninety starts, more than two blocks, with a change in the middle: the discount is by rank, newest first."""
    dice = random.Random(5)
    durations = tuple((60.0 if i < 60 else 140.0) * math.exp(dice.gauss(0, 0.25)) for i in range(90))
    estimate = predict(150.0, durations, ())
    cells = twin_cells(150.0, durations, ())
    for probability, fast in ((0.5, estimate.p50_s), (0.75, estimate.p75_s), (0.9, estimate.p90_s)):
        assert fast == pytest.approx(twin_quantile(cells, probability), rel=0.02)


def regular(dice: random.Random) -> float:
    """Return a log-normal start with median 120 s and sigma 0.3."""
    return 120.0 * math.exp(dice.gauss(0, 0.3))


def straggling(dice: random.Random) -> float:
    """Return such a start, one in twenty of which takes two to four times as long."""
    return regular(dice) * (dice.uniform(2, 4) if dice.random() < 0.05 else 1.0)


def share_within(limit_s: float, stragglers: float) -> float:
    """Return the true probability that a start takes at most ``limit_s``; the factor 2 to 4 in 21 steps."""
    normal = NormalDist(math.log(120.0), 0.3)
    late = fmean(normal.cdf(math.log(limit_s / (2 + 2 * i / 20))) for i in range(21))
    return (1 - stragglers) * normal.cdf(math.log(limit_s)) + stragglers * late


@pytest.mark.parametrize(
    ("start", "stragglers", "published"),
    [
        (regular, 0.0, {1: 0.98, 3: 0.94, 10: 0.94, 30: 0.92}),
        (straggling, 0.05, {1: 0.96, 3: 0.94, 10: 0.91, 30: 0.90}),
    ],
    ids=["log-normal", "5 % stragglers"],
)
def test_the_predicted_p90_covers_nine_starts_in_ten_from_the_first_sample_on(
    start: Callable[[random.Random], float], stragglers: float, published: dict[int, float]
) -> None:
    """The coverage of the design's table is reached within 0.03: wide when little is known, never below 0.85."""
    dice = random.Random(11)
    for samples, expected in published.items():
        covered = []
        for _ in range(150):
            durations = tuple(start(dice) for _ in range(samples))
            covered.append(share_within(predict(150.0, durations, ()).p90_s, stragglers))
        assert fmean(covered) == pytest.approx(expected, abs=0.03)
        assert fmean(covered) >= 0.85


DURATIONS = st.lists(st.floats(5, 2000), max_size=30).map(tuple)


@given(prior_s=st.floats(10, 900), observations=DURATIONS, over=st.lists(st.floats(1.0, 4.0), min_size=1, max_size=8))
def test_a_start_under_way_never_shortens_the_horizon(
    prior_s: float, observations: tuple[float, ...], over: list[float]
) -> None:
    """Censoring only adds caution: p75 and p90 with overdue starts are not below those without them."""
    without = predict(prior_s, observations, ())
    limit_s = max(without.p50_s, without.stuck_after_s)
    ages_s = tuple(min(without.p50_s * factor, limit_s) for factor in over)
    estimate = predict(prior_s, observations, ages_s)
    assert estimate.p75_s >= without.p75_s * 0.999
    assert estimate.p90_s >= without.p90_s * 0.999
