"""Counters that fall: a restart counts from zero, and a scrape that had lost half of a pod comes back in one leap."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from autoscaler.core.counters import COUNTERS, NEW, Back, Fall, Row, back_from
from autoscaler.core.decide import decide, initial
from autoscaler.core.signals import PodSample, Signals
from tests.core.engines_modelled import Engine, Traffic, lived, seen
from tests.core.pods_seen import policy
from tests.core.test_demand import at
from tests.core.test_demand import seen as folded

SPEC = policy()
TOLD = ("running", "prompt_tokens", "generation_tokens", "finished_requests", "ttft_count", "itl_sum_s", "itl_count")
Torn = Callable[[PodSample, int], PodSample]


def part(sample: PodSample, share: float) -> PodSample:
    """Return what is read of a pod of which only a share of the series was scraped."""
    told: dict[str, Any] = {name: getattr(sample, name) * share for name in TOLD}
    return replace(sample, **told)


def targets(torn: Torn, *, pods: int = 6, ticks: int = 120, since: int = 80) -> tuple[list[int], list[int]]:
    """Return the targets before and since the tick from which ``torn`` changes the first pod's samples."""
    random = Random(7)
    engines = [Engine(pod=f"p{number}", born_at=-900.0) for number in range(pods)]
    lived(engines, Traffic(rate_rps=2.0), random, seconds=900)
    memory = initial(SPEC)
    found: list[int] = []
    for tick in range(ticks):
        lived(engines, Traffic(rate_rps=2.0), random)
        signals = seen(engines, 15.0 * tick)
        if tick >= since:
            first, *others = signals.samples
            signals = replace(signals, samples=(torn(first, tick - since), *others))
        memory, decision = decide(SPEC, memory, signals)
        found.append(decision.target or 0)
    return found[:since], found[since:]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("scrapes", [1, 3])
def test_a_pod_of_which_a_part_is_lost_for_some_scrapes_orders_nothing(share: float, scrapes: int) -> None:
    """Its return once read as a lifetime of work done between two scrapes, and the target stood at the maximum."""
    before, since = targets(lambda sample, tick: part(sample, share) if tick < scrapes else sample)
    assert max(since) <= max(before[20:])


def test_a_pod_of_which_a_part_is_lost_at_every_other_scrape_orders_nothing() -> None:
    """Each return is a leap, and each loss a fall: the other pods stand for it."""
    before, since = targets(lambda sample, tick: part(sample, 0.5) if tick % 2 == 0 else sample)
    assert max(since) <= max(before[20:])


def test_half_of_a_pod_is_lost_and_then_all_of_it() -> None:
    """Where it stood before the first fall is where it is back."""
    shares = {0: 0.5, 1: 0.0}
    before, since = targets(lambda sample, tick: part(sample, shares.get(tick, 1.0)))
    assert max(since) <= max(before[20:])


def row(value: float) -> Row:
    """Return a row whose counters all stand at a value."""
    return (0.0, 0.0, *[value] * len(NEW[COUNTERS]), None, None)


@pytest.mark.parametrize(
    ("old", "new", "back"),
    [
        (10.0, 99.0, Back.NOT_YET),
        (10.0, 100.0, Back.LEAPT),
        (55.0, 100.0, Back.CLIMBED),  # 45 in this interval, 45 before: a restarted engine may do so.
        (54.0, 100.0, Back.LEAPT),
        (100.0, 300.0, Back.NOT_YET),  # Back already before this interval.
    ],
)
def test_a_leap_gains_more_than_all_that_was_gained_since_the_fall(old: float, new: float, back: Back) -> None:
    """By hand: counters that stood at 100 and fell to 10."""
    assert back_from(Fall(row(100.0), row(10.0)), row(old), row(new)) is back


def test_a_restarted_engine_that_passes_its_old_count_in_steps_loses_no_interval() -> None:
    """4 requests a second, restarted at 100: back at 100 after 30 s, and every interval but the first was measured."""
    samples = [100.0, 0.0, 60.0, 120.0, 180.0]
    rates = [rate(samples[:upto]) for upto in range(3, 6)]
    assert rates == pytest.approx([4.0, 4.0, 4.0])


def rate(finished: list[float]) -> float | None:
    """Return the arrival rate that a lonely pod's counts of finished requests come to."""
    ticks: list[Signals] = [
        at(15.0 * tick, PodSample(pod="a", at=15.0 * tick - 5, running=0.0, waiting=0.0, finished_requests=count))
        for tick, count in enumerate(finished)
    ]
    return folded(*ticks)[1].arrival_rps
