"""Concurrency mode: a gauge that shows nothing where requests end is not believed, and short requests are."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler import journal
from autoscaler.core.concurrency import SEEN_AT_MOST, UNSEEN_LIMIT, Sightings, in_flight, sightings
from autoscaler.core.counters import row_of
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.gauges import Gauges, Instant
from autoscaler.core.intervals import Track
from tests.core.engines_modelled import Engine, Traffic, lived, seen
from tests.core.pods_seen import policy, sample

SPEC = policy(engine={"preset": "tgi", "targetConcurrency": 6})


def track(at: float, finished: float, running: float | None, arrival_rps: float | None = None) -> Track:
    """Return a pod's track at an instant."""
    return Track(at, row_of(sample("a", at, finished, running=running, ttft_count=None)), arrival_rps)


def names(decision: Decision) -> set[str]:
    """Return the names of a decision's conditions."""
    return {one.name for one in decision.conditions}


def lives(
    rates_rps: list[float],
    broken: dict[str, float],
    *,
    pods: int = 6,
    share: int = 1,
    from_tick: int = 60,
    seed: int = 3,
) -> list[Decision]:
    """Return the decisions of a target in which each ``share``-th engine has broken gauges from a tick on."""
    random, memory, decisions = Random(seed), initial(SPEC), []
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(pods)]
    for tick, rate_rps in enumerate(rates_rps):
        for engine in engines[::share] if tick == from_tick else ():
            engine.stopped |= broken
        lived(engines, Traffic(rate_rps=rate_rps), random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        decisions.append(decision)
    return decisions


def test_the_essays_example() -> None:
    """W of 10 s, 12 ends in 15 s: 8 ought to run, 5 count, and the fifth interval in a row is one too many."""
    memory = Sightings(running_s=4000.0, ended=400.0)
    for tick in range(5):
        before, after = track(15.0 * tick, 12.0 * tick, 0.0), track(15.0 * tick + 15, 12.0 * tick + 12, 0.0, 0.8)
        assert memory.unseen_pods == ()
        memory = sightings(memory, {"a": before}, {"a": after})
        assert memory.unseen == {"a": SEEN_AT_MOST * (tick + 1)}
    assert SEEN_AT_MOST * 5 > UNSEEN_LIMIT
    assert memory.unseen_pods == ("a",)
    told = Gauges(running=0.0, running_pods=1, waiting=3.0, waiting_pods=1)
    now = Instant(newest_at=75.0, reporting=1, expected=2, gauges=told, held=1.0, kv_capacity_tokens=None)
    assert in_flight(memory, {"a": after}, now) == pytest.approx(2 * 8 + 2 * 3 + 1)
    shown = sightings(memory, {"a": after}, {"a": track(90.0, 72.0, 1.0)})
    assert shown.unseen == {}
    assert shown.residence_s == pytest.approx(10.0, rel=0.1)


def test_what_is_no_missed_sighting() -> None:
    """A gauge that fell to 0, nobody who ends, an engine that starts again, a pod that is new, and a W unknown."""
    memory = Sightings(running_s=4000.0, ended=400.0)
    one = track(0.0, 12.0, 0.0)
    for before, after in (
        (track(0.0, 12.0, 9.0), track(15.0, 24.0, 0.0)),
        (one, track(15.0, 12.0, 0.0)),
        (one, track(15.0, 2.0, 0.0)),
        (one, one),
    ):
        assert sightings(memory, {"a": before}, {"a": after}).unseen == {}
    assert sightings(memory, {}, {"a": track(15.0, 24.0, 0.0)}).unseen == {}
    assert sightings(Sightings(), {"a": one}, {"a": track(15.0, 24.0, 0.0)}).unseen == {}


@pytest.mark.parametrize("share", [1, 2, 6])
def test_a_gauge_that_reads_zero_takes_nothing_away(share: int) -> None:
    """In all pods, half of them, one: what ends tells what runs, the condition comes, and more traffic orders more."""
    rates_rps = [1.0] * 130 + [3.0] * 30
    honest, broken = lives(rates_rps, {}), lives(rates_rps, {"running": 0.0}, share=share)
    for tick in (*range(100, 130), *range(150, 160)):
        assert broken[tick].want == pytest.approx(honest[tick].want, rel=0.25, abs=1), tick
    assert min(one.target or 0 for one in broken[60:]) >= 6
    assert all("ContradictoryMetrics" in names(one) for one in broken[70:])
    assert not any(names(one) for one in honest)
    assert (broken[-1].want or 0) > 1.5 * (broken[129].want or 0)


def test_what_stands_in_forbids_the_way_down_and_says_so() -> None:
    """Less traffic would ask for fewer; a gauge that is wrong is no reason."""
    decision = lives([3.0] * 80 + [0.5] * 60, {"running": 0.0})[-1]
    assert (decision.target, decision.why) == (6, Why.CONTRADICTORY)
    assert "running of p0, p1, p2 and 3 more" in decision.detail
    assert decision.numbers["unseen"] == 6


def test_a_gauge_that_read_zero_ever_since_holds_as_long_as_requests_end() -> None:
    """Nobody knows how long a request runs, so nobody knows what runs; five minutes after the last nobody asks."""
    decisions = lives([1.0] * 60 + [0.0] * 70, {"running": 0.0}, from_tick=0)
    assert {one.target for one in decisions[:60]} == {6}
    assert decisions[59].why is Why.PARTIAL
    assert "none was ever seen to run" in decisions[59].detail
    assert decisions[-1].target == 1


def test_a_night_after_a_broken_gauge_is_not_paid_for() -> None:
    """Nobody ends, and nobody has for five minutes: whatever the gauge reads, there is no work."""
    decisions = lives([1.0] * 80 + [0.0] * 80, {"running": 0.0})
    assert "ContradictoryMetrics" in names(decisions[79])
    assert decisions[-1].target == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spells=st.lists(st.sampled_from([0.0, 0.02, 0.3, 2.0, 6.0]), min_size=1, max_size=4),
    output_tokens=st.sampled_from([1.0, 10.0, 60.0, 400.0, 20_000.0]),
    pods=st.integers(1, 4),
)
def test_honest_gauges_are_believed(seed: int, spells: list[float], output_tokens: float, pods: int) -> None:
    """Requests of a second, which a scrape rarely sees, and of a quarter of an hour; nights, bursts, restarts."""
    random, memory = Random(seed), initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(pods)]
    for tick in range(20 * len(spells)):
        lived(engines, Traffic(rate_rps=spells[tick // 20], output_tokens=output_tokens), random)
        if random.random() < 0.03:
            random.choice(engines).restart()
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        assert not names(decision), decision.conditions
        assert decision.numbers["unseen"] == 0


def test_what_was_seen_survives_a_restart_and_an_older_memory_knows_nothing_of_it() -> None:
    """The sightings go through JSON; a memory without them begins anew."""
    random, memory = Random(3), initial(SPEC)
    engines = [Engine(pod="p0", born_at=-9000.0)]
    for tick in range(20):
        engines[0].stopped |= {"running": 0.0} if tick == 12 else {}
        lived(engines, Traffic(rate_rps=1.0), random)
        memory, _ = decide(SPEC, memory, seen(engines, 15.0 * tick))
    assert memory.demand.sightings.unseen
    read = journal.decode(Memory, journal.encode(memory))
    assert read == memory
    older = replace(memory, demand=replace(memory.demand, sightings=Sightings()))
    assert decide(SPEC, older, seen(engines, 300.0))[1].numbers["unseen"] == 0
