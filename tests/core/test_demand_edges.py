"""Demand at its edges: what exactly is a gap, a restart, a contradiction, one running request, a clock ahead."""

from typing import Any

import pytest

from autoscaler.core import intervals
from autoscaler.core.dispersion import Dispersion, binned
from autoscaler.core.gauges import gauges
from autoscaler.core.intervals import tracked, usable
from autoscaler.core.policy_parts import Timing
from autoscaler.core.signals import PodSample
from tests.core.pods_seen import policy, replica, sample
from tests.core.test_demand import NO_PROMPTS, at, seen


@pytest.mark.parametrize(("gap_s", "broken"), [(30.0, False), (31.0, True), (45.0, True)])
def test_a_gap_of_more_than_two_bins_makes_no_pair(gap_s: float, broken: bool) -> None:
    """Two bins of 15 s at once are still a mean of two; longer ones are smooth by averaging, not by nature."""
    state = binned(Dispersion(), 100.0, 15.0, 15.0)
    state = binned(state, 100.0, gap_s, 15.0)
    assert (state.last_arrivals is None) is broken
    assert state.pairs == (0 if broken else 1)


def test_where_scrapes_are_slow_a_bin_is_one_scrape() -> None:
    """At a scrape a minute bins of 15 s would all be gaps: bursts are seen all the same."""
    slow = policy(timing={"scrapeSeconds": 60})
    served, ticks = 0.0, []
    for tick in range(30):
        served += 600.0 * (tick % 2)
        ticks.append(at(60.0 * tick, sample("a", 60 * tick - 5, served)))
    memory, observed = seen(*ticks, spec=slow)
    assert memory.dispersion.pairs == 28
    assert observed.mix.dispersion > 100


@pytest.mark.parametrize(("running", "learnt"), [(0.0, False), (1.0, True)])
def test_one_running_request_says_how_much_cache_it_holds(running: float, learnt: bool) -> None:
    """With one it is measured, with none nobody holds any: the mean stays what it was assumed to be."""
    memory, _ = seen(at(0, sample("a", -5, 100, running=running, kv_ratio=0.01)))
    assert memory.kv_tokens == (pytest.approx(0.01 * 400_000) if learnt else None)


@pytest.mark.parametrize(("ratio", "counts"), [(1e-6, 1), (1.5, 1), (1.51, 0), (-0.01, 0), (0.0, 0)])
def test_a_kv_use_far_beyond_one_is_no_ratio(ratio: float, counts: int) -> None:
    """Some engines tell a little more than 1 while they evict; per cent are something else, and who runs holds some."""
    told = gauges([sample("a", 0, 0, running=10.0, kv_ratio=ratio)], 1000.0)
    assert told.kv_running == 10.0 * counts
    assert told.kv_tokens == ratio * 1000.0 * counts


def test_a_pods_own_kv_capacity_wins_over_the_policys() -> None:
    """What the engine tells of its cache is true of that engine; the policy's number is for those that do not tell."""
    told = gauges([sample("a", 0, 0, kv_ratio=0.5, kv_capacity_tokens=1000.0), sample("b", 0, 0, kv_ratio=0.5)], 4000.0)
    assert (told.kv_capacity, told.kv_pods, told.kv_tokens) == (5000.0, 2, 2500.0)


def test_a_queue_that_is_not_told_is_no_empty_one() -> None:
    """Nothing runs and nobody tells what waits: that is not every gauge at 0."""
    told = {"running": 0.0, "waiting": None}
    _, observed = seen(at(0, sample("a", -5, 0, **told)), at(15, sample("a", 10, 600, **told)))
    assert observed.contradiction is None


@pytest.mark.parametrize(("ahead_s", "believed"), [(60.0, True), (60.1, False), (1e9, False)])
def test_a_minute_is_how_far_a_clock_may_be_ahead(ahead_s: float, believed: bool) -> None:
    """A sample from further ahead would hide all later ones as old."""
    assert usable(sample("a", 1000.0 + ahead_s, 1), 1000.0, exports_tokens=True) is believed


@pytest.mark.parametrize("fell_by", [1.0, 50.0])
def test_a_counter_that_fell_at_all_is_a_restart(fell_by: float) -> None:
    """By one request or by all of them: the interval says nothing, whatever the other counters gained."""
    before, after = sample("a", -5, 100), sample("a", 10, 160, finished_requests=100 - fell_by)
    _, observed = seen(at(0, before), at(15, after))
    assert observed.arrival_rps is None


def test_an_engine_stands_still_from_when_it_has_requests() -> None:
    """A request that has only just come is none that has been there for an interval without moving."""
    timing, pods = Timing(), (replica("a"),)
    idle, busy = {"running": 0.0, "waiting": 0.0}, {"running": 1.0, "waiting": 0.0}
    stood = []
    tracks: dict[str, intervals.Track] = {}
    for at_s, gauge in ((0, idle), (15, busy), (30, busy), (45, busy), (60, idle)):
        tracks, _ = tracked(timing, tracks, pods, [sample("a", at_s, 100, **gauge)], None)
        stood.append(tracks["a"].still_s)
    assert stood == [0.0, 0.0, 15.0, 30.0, 0.0]


@pytest.mark.parametrize(("requests", "contradicts"), [(32, False), (33, True)])
def test_five_requests_in_flight_are_the_least_that_gauges_must_show(requests: int, contradicts: bool) -> None:
    """λ·o·a: 15 s of 32 or 33 requests of 200 tokens at 11.5 ms a step are 4.9 or 5.06 in flight; all gauges are 0."""
    idle = {"running": 0.0, "waiting": 0.0}
    _, observed = seen(at(0, sample("a", -5, 1000, **idle)), at(15, sample("a", 10, 1000 + requests, **idle)))
    assert (observed.contradiction is not None) is contradicts


def test_while_requests_wait_what_was_untold_stays_so_though_none_begins() -> None:
    """No first token came in the interval, but requests arrive: their prompts are as unknown as those before."""
    lost: dict[str, Any] = NO_PROMPTS
    busy = [at(15.0 * n, sample("a", 15 * n - 5, 60 * n, **lost)) for n in range(10)]
    stalled = at(150.0, sample("a", 145, 60 * 9, waiting=30.0, **lost))
    assert seen(*busy, stalled)[1].untold is not None


def test_a_pod_scraped_twice_at_once_has_no_interval() -> None:
    """Twenty milliseconds between two samples make a rate of anything: the first stands until a real one follows."""
    twice = (
        at(0, sample("a", -5, 100)),
        at(15, sample("a", 10, 160)),
        at(16, sample("a", 10.02, 161)),
        at(30, sample("a", 25, 220)),
    )
    _, observed = seen(*twice[:3])
    assert observed.arrival_rps == pytest.approx(4.0)
    _, observed = seen(*twice)
    assert observed.arrival_rps == pytest.approx(4.0)


def test_before_a_gap_between_tokens_was_measured_two_and_a_half_steps_stand_in() -> None:
    """An engine that tells no inter-token latency releases decode work over o·2.5·a seconds."""
    plain: dict[str, Any] = {"itl_sum_s": None, "itl_count": None, "running": 0.0}
    ticks = [at(15.0 * n, sample("a", 15 * n - 5, 120 * n, **plain)) for n in range(3)]
    more = at(45.0, sample("a", 40, 240 + 480, **plain))
    before, _ = seen(*ticks)
    _, observed = seen(*ticks, more)
    assert before.decode_work is not None
    kept = 2.718281828459045 ** (-15 / (200 * 2.5 * 0.0115))
    # k is assumed: prompt and half the answer.
    full = 32 * 200 * (35e-6 + 80e-9 * 1100)
    assert observed.demand == pytest.approx(32 * 70e-6 * 1000 + kept * before.decode_work + (1 - kept) * full)


def test_presence_decides_before_any_number() -> None:
    """A sample that is not present is unusable, whatever stands in it."""
    gone = PodSample(pod="a", at=0.0, running=1.0)
    assert not usable(gone, 0.0, exports_tokens=True)
    assert usable(gone, 0.0, exports_tokens=False)


@pytest.mark.parametrize("uncounted", ["ttft_count", "finished_requests"])
def test_where_beginnings_or_ends_are_not_counted_the_other_stands_in(uncounted: str) -> None:
    """Prompts are paired with first tokens, answers with ends; where one of the two is missing, both with the other."""
    lost: dict[str, Any] = {uncounted: None}
    _, observed = seen(*(at(15.0 * n, sample("a", 15 * n - 5, 60 * n, **lost)) for n in range(3)))
    assert observed.mix.prompt_tokens == pytest.approx(1000)
    assert observed.mix.output_tokens == pytest.approx(200)
    assert observed.untold is None


@pytest.mark.parametrize("impossible", [-5.0, float("nan"), float("inf"), 2e12])
def test_an_impossible_gauge_beside_a_good_count_is_a_missing_one(impossible: float) -> None:
    """From minus five to ten running no fifteen requests arrived: the gauge was not known before."""
    _, observed = seen(at(0, sample("a", -5, 100, running=impossible)), at(15, sample("a", 10, 160)))
    assert observed.arrival_rps == pytest.approx(4.0)


@pytest.mark.parametrize(("age_s", "expected"), [(30.0, 2), (29.9, 1)])
def test_a_pod_owes_a_sample_two_scrapes_after_it_became_ready(age_s: float, expected: int) -> None:
    """Measured at the newest sample of the others: until then it is too young to be missed."""
    pods = (replica("a"), replica("b", ready_at=10.0 - age_s))
    _, observed = seen(at(15, sample("a", 10, 160), replicas=pods))
    assert (observed.reporting, observed.expected) == (1, expected)


def test_a_count_that_is_a_rounding_makes_no_mean() -> None:
    """Requests are whole. Over next to none a mean would be infinite, and demand never known again."""
    memory, _ = seen(at(0, sample("a", -5, 100)), at(15, sample("a", 10, 100 + 1e-9, generation_tokens=1e9)))
    assert memory.output_tokens is None or memory.output_tokens < 1e6
