"""Doubts: nothing is taken away on a mean that was never measured, nor where requests run and none is counted."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.doubts import QUIET_S, guess
from autoscaler.core.gauges import Gauges, Instant
from tests.core.engines_modelled import Engine, Traffic, lived, seen
from tests.core.pods_seen import policy

SPEC = policy()
HEAVY = Traffic(rate_rps=0.04, prompt_tokens=20_000.0, output_tokens=100.0)
MEANS: dict[str, float | None] = {"prompt tokens": 1000.0, "generated tokens": 200.0}


def instant(running: float = 1.0) -> Instant:
    """Return an instant at which so many requests run in one engine."""
    told = Gauges(running=running, running_pods=1, waiting=0.0, waiting_pods=1)
    return Instant(newest_at=0.0, reporting=1, expected=1, gauges=told, held=None, kv_capacity_tokens=None)


def lives(
    stopped: tuple[str, ...], *, traffic: Traffic = HEAVY, pods: int = 8, ticks: int = 60, from_tick: int = 0
) -> list[Decision]:
    """Return the decisions of a target whose engines stop some counters at a tick."""
    random, memory, decisions = Random(2), initial(SPEC), []
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(pods)]
    for tick in range(ticks):
        if tick == from_tick:
            for engine in engines:
                for counter in stopped:
                    engine.stop(counter)
        lived(engines, traffic, random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        decisions.append(decision)
    return decisions


def names(decision: Decision) -> set[str]:
    """Return the names of what is wrong, by a decision's conditions."""
    return {one.name for one in decision.conditions} - {"ObjectiveUnreachable"}


def test_what_a_guess_is() -> None:
    """A mean that nobody measured, or nothing counted for QUIET_S, but only where somebody asks."""
    unmeasured: dict[str, float | None] = {**MEANS, "prompt tokens": None}
    assert guess(instant(), MEANS, 0.0, 0.0) is None
    assert guess(instant(), unmeasured, 0.0, 0.0) == "requests are there, and their prompt tokens were never measured"
    assert guess(instant(0.0), unmeasured, QUIET_S - 1, 0.0) is not None
    assert guess(instant(0.0), unmeasured, QUIET_S, QUIET_S) is None, "nobody asks"
    assert guess(instant(0.0), unmeasured, None, None) is None, "nobody ever asked"
    assert guess(instant(), MEANS, 0.0, QUIET_S - 1) is None
    assert "for 300 s none was counted" in str(guess(instant(), MEANS, 0.0, QUIET_S))
    assert guess(instant(0.0), MEANS, 0.0, QUIET_S) is None, "nobody is inside"


@pytest.mark.parametrize("counter", ["prompt_tokens", "generation_tokens", "ttft_count"])
def test_few_heavy_requests_are_not_taken_for_light_ones(counter: str) -> None:
    """A counter that never moved since the memory began: the starting mean takes nothing away, before a proof or after.

    Prompts of 20,000 tokens, one in 25 s and pod: the start guard ends long before there is enough to prove anything.
    """
    honest, broken = lives(()), lives((counter,))
    assert min(one.target or 0 for one in honest) >= 3
    assert min(one.target or 0 for one in broken) >= min(one.target or 0 for one in honest)


def test_a_mean_that_nobody_measured_holds_with_a_reason() -> None:
    """The reason tells which; no condition is raised, as a first long answer looks the same."""
    decision = lives(("prompt_tokens",), ticks=22)[-1]
    assert (decision.target, decision.why) == (8, Why.PARTIAL)
    assert "prompt tokens were never measured" in decision.detail
    assert not names(decision)


def test_a_first_answer_of_minutes_is_waited_for() -> None:
    """Answers of 40 minutes are what there is: nobody knows their length yet, and nothing is wrong."""
    random, memory, decisions = Random(2), initial(SPEC), []
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
    for engine in engines:
        engine.queue = [(60_000.0, False, False)] * 3
    for tick in range(60):
        lived(engines, Traffic(rate_rps=0.0), random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        decisions.append(decision)
    assert {one.target for one in decisions} == {4}
    assert decisions[-1].why is Why.PARTIAL
    assert set().union(*(names(one) for one in decisions)) == set()


def test_the_clock_of_the_way_down_begins_with_the_first_mean() -> None:
    """What was wanted on the starting values is no evidence: start guard and hold begin when there is a mean."""
    decisions = lives((), traffic=Traffic(rate_rps=0.02, output_tokens=6000.0), pods=4, ticks=60)
    guessed = [one.numbers["guess"] for one in decisions]
    first = guessed.index(0.0, 1)
    assert decisions[first].numbers["sighted_s"] <= 15.0 * (1 + guessed[:first].count(0.0))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate_rps=st.sampled_from([0.05, 0.5, 2.0]),
    gauges=st.sets(st.sampled_from(["waiting", "kv_ratio"])),
    tokens=st.sets(st.sampled_from(["prompt_tokens", "generation_tokens", "itl_count"])),
)
def test_engines_that_show_requests_and_count_none_keep_their_replicas(
    seed: int, rate_rps: float, gauges: set[str], tokens: set[str]
) -> None:
    """Counts of beginnings and ends stand still, running repeats itself, and whatever else stands still beside them."""
    random, memory = Random(seed), initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
    traffic = Traffic(rate_rps=rate_rps, prompt_tokens=4000.0)
    for tick in range(130):
        if tick == 40:
            for engine in engines:
                for name in {"finished_requests", "ttft_count"} | tokens:
                    engine.stop(name)
                engine.stopped |= {"running": 3.0} | dict.fromkeys(gauges, 0.0)
        lived(engines, traffic, random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        if tick == 39:
            stands = decision.target or 0
        elif tick > 39:
            assert (decision.target or 0) >= min(stands, 4), (tick, decision)


def test_who_went_leaves_no_guess() -> None:
    """Traffic stops: five minutes after the last request nobody asks, and the night is not paid for."""
    random, memory = Random(5), initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
    for tick in range(120):
        lived(engines, Traffic(rate_rps=2.0 if tick < 40 else 0.0), random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        assert decision.numbers["guess"] == 0.0 or tick == 0
    assert decision.target == 1
