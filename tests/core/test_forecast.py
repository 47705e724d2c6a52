"""The forecast: stories of the peak hold, of residuals and of blindness; laws; a plain twin of the histogram."""

import doctest
import math
import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoscaler.core import forecast
from autoscaler.core.forecast import ForecastMemory, demand_quantile, residual_quantile, update
from autoscaler.core.policy_parts import Timing

TIMING = Timing()
MEMORY = TypeAdapter(ForecastMemory)
START = 1_700_000_000.0


def feed(
    memory: ForecastMemory,
    demands: Iterable[float],
    *,
    start: float = START,
    timing: Timing = TIMING,
    horizon_s: float = 322.5,
    lag_s: float = 22.5,
) -> ForecastMemory:
    """Return the memory after one sample per scrape, beginning at ``start``."""
    step_s = timing.scrape_seconds
    for i, demand in enumerate(demands):
        at = start + i * step_s
        memory = update(timing, memory, at=at, dt_s=step_s, demand=demand, horizon_s=horizon_s, lag_s=lag_s)
    return memory


def known(memory: ForecastMemory, q: float) -> float:
    """Return D_q of a memory that has seen a sample."""
    value = demand_quantile(memory, q)
    assert value is not None
    return value


def test_the_worked_example_of_the_essay_is_true() -> None:
    """The essay's figures are computed, not remembered."""
    assert doctest.testmod(forecast).failed == 0


def test_before_the_first_sample_nothing_is_known() -> None:
    """No sample is not zero demand: level, base, scale and D_q are None."""
    memory = ForecastMemory()
    assert (memory.level, memory.base, memory.scale, demand_quantile(memory, 0.9)) == (None, None, None, None)


def test_the_level_starts_at_the_first_demand_and_not_at_zero() -> None:
    """A start at 0 would make the first residuals far too large."""
    memory = feed(ForecastMemory(), [7.0])
    assert (memory.level, memory.base, memory.scale) == (7.0, 7.0, math.sqrt(7.0))


def test_the_level_follows_within_its_time_constant() -> None:
    """After one levelSeconds of a step, 1 - 1/e of it is in the level, whatever the scrape interval."""
    for scrape_s in (5.0, 15.0, 30.0):
        timing = Timing(scrape_seconds=scrape_s)
        memory = feed(ForecastMemory(), [0.0] + [10.0] * round(60 / scrape_s), timing=timing)
        assert memory.level == pytest.approx(10 * (1 - math.exp(-1)), rel=1e-9)


def test_a_peak_is_believed_for_five_minutes_and_then_forgotten() -> None:
    """The base is the largest level of the last 300 s, to the sample."""
    memory = feed(ForecastMemory(), [10.0] + [0.0] * 20)
    assert memory.base == 10.0
    memory = feed(memory, [0.0], start=START + 21 * 15)
    assert memory.base == pytest.approx(10 * math.exp(-15 / 60))


@given(demands=st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_the_peak_hold_is_the_maximum_of_the_window(demands: list[float]) -> None:
    """The falling candidates that are kept give the same as a list of all levels would."""
    memory, levels = ForecastMemory(), []
    for i, demand in enumerate(demands):
        memory = feed(memory, [demand], start=START + 15 * i)
        levels.append(memory.level)
    assert memory.base == max(level for level in levels[-21:] if level is not None)


def test_a_residual_is_learnt_one_horizon_after_its_sample() -> None:
    """Nothing is in the histogram before H - lag has passed; then it is the mean of the last two samples."""
    memory = feed(ForecastMemory(), [4.0] * 20)
    assert memory.histogram == ()
    memory = feed(memory, [9.0], start=START + 300)
    # Mean of 4 and 9 against a base of 4 on a scale of 2: 1.25, which is bin (1.25 + 3)/0.05 = 85, with weight 1.
    ((index, weight),) = memory.histogram
    assert (index, memory.slow_mean) == (85, 6.5)
    assert weight / memory.growth == pytest.approx(1.0, rel=1e-6)


def test_errors_at_busy_times_count_more_but_at_most_fivefold() -> None:
    """The weight of a residual is its demand over the slow mean, between half the base's and 5."""
    quiet = feed(ForecastMemory(), [1.0] * 200)

    def weight_of(demand: float) -> float:
        """Return the weight of the two residuals that fall due at two samples of a demand."""
        after = feed(quiet, [demand, demand], start=START + 3000)
        return (sum(w for _, w in after.histogram) - sum(w for _, w in quiet.histogram)) / after.growth

    # Both means lie at or below half the base of 1, and the slow mean is 1.
    assert weight_of(0.0) == pytest.approx(2 * 0.5, rel=0.01)
    assert weight_of(1.0) == pytest.approx(2 * 1.0, rel=0.01)
    assert weight_of(2.0) == pytest.approx(1.5 + 2.0, rel=0.01)
    assert weight_of(30.0) == weight_of(300.0) == pytest.approx(2 * 5.0, rel=0.01)


def test_half_of_what_was_learnt_is_forgotten_after_480_residuals() -> None:
    """Weights halve in 480 units: the stored, growing weights mean exactly that."""
    memory = feed(ForecastMemory(), [4.0] * 2000)
    total = sum(weight for _, weight in memory.histogram) / memory.growth
    decay = 0.5 ** (1 / 480)
    assert total == pytest.approx((1 - decay ** (2000 - 20)) / (1 - decay), rel=1e-3)


@pytest.mark.parametrize("q", [0.5, 0.8, 0.9, 0.97])
def test_with_nothing_learnt_the_errors_are_those_of_the_prior(q: float) -> None:
    """Q(q) of an empty histogram is the quantile of N(0, 0.35^2), within half a bin."""
    assert residual_quantile(ForecastMemory(), q) == pytest.approx(NormalDist(0, 0.35).inv_cdf(q), abs=0.025)


@given(
    entries=st.dictionaries(st.integers(0, 179), st.floats(0.001, 500), max_size=40),
    growth=st.floats(1, 1024),
    q=st.floats(0.01, 0.995),
)
def test_the_quantile_agrees_with_a_plain_twin(entries: dict[int, float], growth: float, q: float) -> None:
    """The twin spreads the mass of each bin over a thousand points and walks along them."""
    memory = ForecastMemory(histogram=tuple(sorted(entries.items())), growth=growth)
    prior = NormalDist(0, 0.35)
    masses = []
    for i in range(180):
        low = -3 + 0.05 * i
        masses.append(20 * (prior.cdf(low + 0.05) - prior.cdf(low)) + entries.get(i, 0.0) / growth)
    wanted, walked, at = q * sum(masses), 0.0, 0
    while walked + masses[at] < wanted:
        walked += masses[at]
        at += 1
    points = next(n for n in range(1001) if walked + masses[at] * n / 1000 >= wanted * (1 - 1e-12) or n == 1000)
    assert residual_quantile(memory, q) == pytest.approx(-3 + 0.05 * (at + points / 1000), abs=2e-4)


@pytest.mark.parametrize("q", [0.8, 0.9, 0.97])
def test_on_a_steady_noisy_series_the_coverage_approaches_q(q: float) -> None:
    """What is predicted for one horizon ahead is not exceeded with probability q, weighted by demand as specified."""
    dice = random.Random(17)
    memory, predictions = ForecastMemory(), {}
    inside, total, demands, slow = 0.0, 0.0, [], 5.0
    for i in range(9000):
        slow += 0.02 * (5.0 - slow) + 0.3 * dice.gauss(0, 1)
        demands.append(max(0.0, slow) * math.exp(dice.gauss(0, 0.4)))
        memory = feed(memory, demands[-1:], start=START + 15 * i)
        predictions[i + 20] = known(memory, q)
        if i > 1000:
            came = fmean(demands[-2:])
            total += came
            inside += came * (came <= predictions[i])
    assert inside / total == pytest.approx(q, abs=0.02)


def test_an_outage_does_not_pass_for_the_peak_hold() -> None:
    """Ten blind minutes after a peak the peak is still believed: nothing was seen to contradict it."""
    memory = feed(ForecastMemory(), [10.0, 0.0, 0.0])
    blind = feed(memory, [0.0], start=START + 630)
    assert blind.base == 10.0
    assert blind.sighted_s == memory.sighted_s + 15


def test_residuals_that_fell_due_while_blind_are_dropped() -> None:
    """Of the samples before an outage only the one due at the first new sample is judged by it."""
    memory = feed(ForecastMemory(), [4.0] * 10)
    blind = feed(memory, [9.0], start=START + 300 + 45)
    assert len(blind.histogram) == 1
    assert sum(weight for _, weight in blind.histogram) / blind.growth == pytest.approx(1.0, rel=1e-6)
    assert len(blind.pending) == 7


def test_two_missed_scrapes_are_no_outage() -> None:
    """Up to the staleness limit time passes as usual and the residuals are learnt, late but not lost."""
    memory = feed(ForecastMemory(), [4.0] * 25)
    later = feed(memory, [4.0], start=START + 24 * 15 + 60)
    assert later.sighted_s == memory.sighted_s + 60
    assert sum(weight for _, weight in later.histogram) / later.growth == pytest.approx(9.0, rel=0.01)


def test_compressed_time_gives_the_same_forecast() -> None:
    """A hundred times faster in every interval: the same levels, bases and errors, to the last digit but a few."""
    dice = random.Random(3)
    demands = [5 * math.exp(dice.gauss(0, 0.5)) for _ in range(300)]
    quick = Timing(
        tick_seconds=0.15, scrape_seconds=0.15, level_seconds=0.6, peak_hold_seconds=3.0, stale_after_seconds=0.9
    )
    slow = feed(ForecastMemory(), demands, start=0.0, horizon_s=329.5)
    fast = feed(ForecastMemory(), demands, start=0.0, timing=quick, horizon_s=3.295, lag_s=0.225)
    assert fast.level == pytest.approx(slow.level)
    assert known(fast, 0.9) == pytest.approx(known(slow, 0.9))


def test_open_residuals_are_spread_over_the_whole_horizon() -> None:
    """At a scrape a second a horizon of 20 min keeps 256 of 1,200 residuals, evenly, not the first of each run."""
    memory = ForecastMemory()
    for second in range(3000):
        memory = update(Timing(), memory, at=START + second, dt_s=1.0, demand=4.0, horizon_s=1200.0, lag_s=1.5)
    due = [when for when, _ in memory.pending]
    gaps_s = [later - earlier for earlier, later in pairwise(due)]
    assert 230 <= len(due) <= 256
    assert max(gaps_s) <= 2 * min(gaps_s)
    assert due[-1] - due[0] > 0.95 * 1198.5


@pytest.mark.parametrize(
    ("at", "dt_s", "demand"),
    [
        (START, 15.0, 5.0),
        (START - 15, 15.0, 5.0),
        (math.nan, 15.0, 5.0),
        (START + 15, 15.0, math.nan),
        (START + 15, 15.0, math.inf),
        (START + 15, 15.0, -1.0),
        (START + 15, 15.0, 1e300),
        (START + 15, 0.0, 5.0),
    ],
    ids=["same time", "older", "no time", "nan", "inf", "negative", "absurd", "no interval"],
)
def test_a_sample_that_is_none_changes_nothing(at: float, dt_s: float, demand: float) -> None:
    """Old, broken and impossible samples leave the memory as it was."""
    memory = feed(ForecastMemory(), [4.0])
    assert update(TIMING, memory, at=at, dt_s=dt_s, demand=demand, horizon_s=300.0, lag_s=22.5) is memory


SERIES = st.lists(st.tuples(st.floats(0.1, 400), st.floats(0, 1e6)), max_size=60)


def walk(series: list[tuple[float, float]]) -> ForecastMemory:
    """Return the memory after samples at uneven distances."""
    memory, at = ForecastMemory(), START
    for gap_s, demand in series:
        at += gap_s
        memory = update(TIMING, memory, at=at, dt_s=gap_s, demand=demand, horizon_s=200.0, lag_s=22.5)
    return memory


@given(series=SERIES, q=st.floats(0.001, 0.999))
def test_any_series_gives_a_finite_forecast_that_survives_json(series: list[tuple[float, float]], q: float) -> None:
    """Total and deterministic; what comes back from JSON is the same memory."""
    memory = walk(series)
    assert walk(series) == memory
    assert MEMORY.validate_json(MEMORY.dump_json(memory)) == memory
    value = demand_quantile(memory, q)
    assert (value is None) == (not series)
    assert value is None or (math.isfinite(value) and value >= 0)


@given(series=SERIES, low=st.floats(0.001, 0.999), high=st.floats(0.001, 0.999))
def test_a_higher_quantile_never_asks_for_less(series: list[tuple[float, float]], low: float, high: float) -> None:
    """D_q does not fall when q rises."""
    memory = walk([(15.0, 1.0), *series])
    low, high = sorted((low, high))
    assert known(memory, low) <= known(memory, high)


@given(series=SERIES, q=st.floats(0.05, 0.995), demand=st.floats(0, 1e6), more=st.floats(0, 1e6))
def test_more_demand_never_lowers_the_forecast(
    series: list[tuple[float, float]], q: float, demand: float, more: float
) -> None:
    """From one memory, with no residual due at this sample, a larger y gives a D_q that is at least as large.

    Where a residual falls due its weight depends on y too; the essay says so.
    """
    memory = replace(walk([(15.0, 1.0), *series]), pending=())
    assert memory.seen_at is not None
    after = [
        update(TIMING, memory, at=memory.seen_at + 15, dt_s=15.0, demand=y, horizon_s=200.0, lag_s=22.5)
        for y in (demand, demand + more)
    ]
    assert known(after[0], q) <= known(after[1], q) * (1 + 1e-12)


def test_a_memory_of_days_stays_small() -> None:
    """After two days of bursts at the longest horizon the JSON is below 8 kB, and below 4 kB at a usual one."""
    dice = random.Random(9)
    demands = [5 * math.exp(dice.gauss(0, 0.8)) for _ in range(11_000)]
    for horizon_s, limit in ((1222.5, 8000), (222.5, 4000)):
        assert len(MEMORY.dump_json(feed(ForecastMemory(), demands, horizon_s=horizon_s))) < limit
