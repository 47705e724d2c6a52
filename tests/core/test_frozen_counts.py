"""Beginnings and ends that both stand still: told by the rest of the page, believed where honest traffic is like it."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core import frozen
from autoscaler.core.counters import NEW, Row, gains_of, row_of
from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision
from autoscaler.core.frozen import ALL_MOVE, BEGINNINGS, ENDS, MOVING, Stand, followed_by_rest, stands_after
from autoscaler.core.signals import PodSample
from tests.core.engines_modelled import KV_TOKENS, Engine, Traffic, lived, seen
from tests.core.pods_seen import policy, sample

SPEC = policy()
COUNTS = ("finished_requests", "ttft_count")
TICK = 40
Broken = Callable[[Engine], dict[str, float]]


def names(decision: Decision) -> set[str]:
    """Return the names of a decision's conditions."""
    return {one.name for one in decision.conditions}


def page_of(engine: Engine, *fields: str, **other: float) -> dict[str, float]:
    """Return what an engine tells at this instant of some series, and other values, to be told for ever."""
    told = engine.sample(0.0)
    return {name: getattr(told, name) for name in (*COUNTS, *fields)} | other


def lives(broken: Broken, rate_rps: float, *, share: int = 1, pods: int = 4, seed: int = 7) -> list[Decision]:
    """Return the decisions of a target in which each ``share``-th engine tells something broken from TICK on."""
    random, memory, decisions = Random(seed), initial(SPEC), []
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(pods)]
    for tick in range(TICK + 80):
        if tick == TICK:
            for engine in engines[::share]:
                engine.stopped |= broken(engine)
        lived(engines, Traffic(rate_rps=rate_rps, prompt_tokens=4000.0), random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize("share", [1, 2])
@pytest.mark.parametrize("rate_rps", [0.3, 2.0])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda engine: page_of(engine, running=3.0, waiting=0.0), id="gauges repeat themselves"),
        pytest.param(lambda engine: page_of(engine, running=3.0, waiting=0.0, kv_ratio=0.1), id="and the cache's use"),
        pytest.param(lambda engine: page_of(engine, running=0.0, waiting=0.0, kv_ratio=0.0), id="gauges read 0"),
        pytest.param(
            lambda engine: page_of(engine, "prompt_tokens", running=0.0, waiting=0.0), id="0, prompts stand still"
        ),
    ],
)
def test_counts_that_stand_still_are_told_by_prompts_and_answers(share: int, rate_rps: float, broken: Broken) -> None:
    """Nobody is seen to leave: prompts that are counted tell of requests, and so do answers of which nobody is inside.

    The condition comes before what is wanted has fallen, in all pods or in half of them, and nothing goes down.
    """
    decisions = lives(broken, rate_rps, share=share)
    found = ["FrozenCounters" in names(one) for one in decisions]
    assert TICK <= found.index(True) <= TICK + 30
    assert all(found[found.index(True) :])
    stood = decisions[TICK - 1].target or 0
    assert min(one.target or 0 for one in decisions[TICK:]) >= min(stood, 4)


@pytest.mark.parametrize("kv", [0.1, None])
def test_answers_longer_than_what_the_cache_gained_are_told_by_it(kv: float | None) -> None:
    """Prompts stand still too, and three requests seem to give 400 tokens/s for ever, held by nobody.

    Beyond a twentieth of the cache: 20,000 tokens of 400,000, at the 400 tokens/s of two requests/s.
    """

    def broken(engine: Engine) -> dict[str, float]:
        return page_of(engine, "prompt_tokens", running=3.0, waiting=0.0) | ({} if kv is None else {"kv_ratio": kv})

    decisions = lives(broken, 2.0, share=2)
    found = ["FrozenCounters" in names(one) for one in decisions]
    assert TICK + 3 <= found.index(True) <= TICK + 12
    assert all(found[found.index(True) :])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 10), st.sampled_from([0.0, 0.01]))
def test_long_answers_that_fill_the_cache_are_believed(seed: int, running: int, rate_rps: float) -> None:
    """Half an hour of ten answers at most, and hardly anybody else: what they give, the cache holds."""
    random, memory = Random(seed), initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(2)]
    lived(engines, Traffic(rate_rps=1.0), random, 120)
    for engine in engines:
        engine.queue = [(1e6, False, False)] * running
    for tick in range(120):
        lived(engines, Traffic(rate_rps=rate_rps), random)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        assert "FrozenCounters" not in names(decision), decision.conditions
    assert (engines[0].sample(0.0).kv_ratio or 0.0) > frozen.LEAST_UNHELD


def row(**told: Any) -> Row:
    """Return the row of a pod with three requests inside, half of its cache in use."""
    values: dict[str, Any] = {"running": 3.0, "kv_ratio": 0.5, "kv_capacity_tokens": KV_TOKENS}
    return row_of(sample("a", 0.0, 100.0, **(values | told)))


def left(before: dict[str, Any], now: dict[str, Any]) -> tuple[float, float]:
    """Return what an interval adds to the evidence: requests that went uncounted, and a share of the cache."""
    ends = after(ALL_MOVE, row(**before), row(**now))[ENDS]
    return ends.left, round(ends.unheld, 6)


def after(stands: tuple[Stand, ...], before: Row, now: Row) -> tuple[Stand, ...]:
    """Return how the counters stand after an interval between two rows."""
    gains = gains_of(before, now)
    assert gains is not None
    return stands_after(stands, before, now, gains)


def test_what_an_interval_adds_to_the_evidence() -> None:
    """Each sign for itself, and what silences it: a full cache, a use that nobody tells, a size that nobody tells."""
    more = {"prompt_tokens": 101_000.0}
    assert left({}, {}) == (0.0, 0.0)
    assert left({}, more) == (1.0, 0.0)
    assert left({}, more | {"kv_ratio": 0.9}) == (0.0, 0.0)
    assert left({}, more | {"kv_ratio": None}) == (0.0, 0.0)
    assert left({"running": 5.0}, more) == (2.0, 0.0)
    assert left({"running": 5.0}, {"running": 4.0}) == (1.0, 0.0)
    assert left({"running": 0.0}, more | {"running": 0.0, "kv_ratio": 0.0}) == (1.0, 0.0)
    answers = {"generation_tokens": 24_000.0}
    assert left({}, answers) == (0.0, 0.01)
    assert left({}, answers | {"kv_ratio": 0.51}) == (0.0, 0.0)
    assert left({"kv_capacity_tokens": None}, answers | {"kv_capacity_tokens": None}) == (0.0, 0.0)
    assert left({"running": 0.0}, answers | {"running": 0.0})[0] == 1.0


def test_the_cache_proves_beyond_a_twentieth_in_four_intervals() -> None:
    """To either side of the bound; what the cache gained takes evidence back, and nothing below none."""
    stand = MOVING
    for unheld, proved in ((0.02, False), (0.02, False), (0.005, False), (0.005, False), (0.001, True)):
        stand = followed_by_rest(stand, 0.0, unheld)
        assert stand.frozen is proved
    assert followed_by_rest(followed_by_rest(MOVING, 0.0, 0.02), 0.0, -0.03).unheld == 0.0
    assert not followed_by_rest(MOVING, 0.0, 0.9).frozen


def test_one_count_takes_all_evidence_back_before_a_proof() -> None:
    """A first token or an end in the fourth interval: a rule that records once a minute is slow, not frozen."""
    stands, old = ALL_MOVE, row()
    for tick in range(40):
        counted = 100.0 + tick // 4
        new = row(prompt_tokens=1e5 + 1000.0 * tick, finished_requests=counted, ttft_count=counted)
        stands = after(stands, old, new)
        old = new
        assert not any(stands[at].frozen for at in (ENDS, BEGINNINGS))


def test_a_queue_that_drains_is_no_sign_where_ends_are_not_told() -> None:
    """Who leaves had a first token when it began; prompts that are counted are a sign there too."""
    told = {"finished_requests": None, "ttft_count": 100.0, "prompt_tokens": 1e5}
    stands, old = ALL_MOVE, row(running=9.0, **told)
    for tick in range(8):
        new = row(running=8.0 - tick, kv_ratio=0.45 - 0.05 * tick, generation_tokens=2e4 + 9e3 * tick, **told)
        stands, old = after(stands, old, new), new
    assert stands == ALL_MOVE or not any(stand.frozen for stand in stands)
    for tick in range(4):
        new = row(**(told | {"prompt_tokens": 1e5 + 1000.0 * (tick + 1)}))
        stands, old = after(stands, old, new) if tick else ALL_MOVE, new
    assert not stands[BEGINNINGS].frozen
    assert after(stands, old, row(**(told | {"prompt_tokens": 2e5})))[BEGINNINGS].frozen


def repeated(page: PodSample, at: float) -> PodSample:
    """Return an old page with a new time."""
    return replace(page, at=at)


@pytest.mark.parametrize(("inside", "hangs"), [(2.0, True), (0.0, False)])
def test_a_page_that_is_repeated_for_ever(inside: float, hangs: bool) -> None:
    """With a request on it the engine hangs, and keeps its replicas; without one it is idle, which a router may want.

    Its siblings are loaded meanwhile, and that is no proof: nothing is said of it.
    """
    random, memory = Random(3), initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
    for tick in range(100):
        lived(engines, Traffic(rate_rps=2.0), random)
        signals = seen(engines, 15.0 * tick)
        if tick == TICK:
            page = replace(signals.samples[0], running=inside, waiting=0.0)
        if tick >= TICK:
            signals = replace(signals, samples=(repeated(page, 15.0 * tick - 5), *signals.samples[1:]))
        memory, decision = decide(SPEC, memory, signals)
    assert names(decision) == ({"HungEngine"} if hangs else set())


def test_a_new_engine_is_all_zeros() -> None:
    """What a pod has counted since it became ready came since, and proves nothing by itself."""
    new = row(prompt_tokens=4000.0, finished_requests=0.0, ttft_count=0.0)
    assert not any(stand.frozen for stand in after(ALL_MOVE, NEW, new))
