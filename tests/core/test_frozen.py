"""Frozen counters: never seen in honest traffic, always seen where one stands still, and what is decided meanwhile."""

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler import journal
from autoscaler.core import frozen
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.frozen import MOVING, Stand, followed
from autoscaler.core.policy import PolicySpec
from autoscaler.journal import Entry
from tests.core.engines_modelled import COUNTERS, Engine, Traffic, lived, seen, without
from tests.core.pods_seen import policy, sample, steady

SPEC = policy()
TICK_S = 15
# Standing ticks until the margin is passed at half a request per second and pod, as the next test computes it.
TICKS = 8
WORDS = {"finished_requests": "finished requests", "prompt_tokens": "prompt tokens", "generation_tokens": "generated"}

traffics = st.builds(
    Traffic,
    rate_rps=st.sampled_from([0.0, 0.01, 0.1, 1.0, 4.0]),
    output_tokens=st.sampled_from([1.0, 5.0, 200.0, 3000.0, 90_000.0]),
    given_up=st.sampled_from([0.0, 0.05, 0.3]),
    preempted_per_s=st.sampled_from([0.0, 0.0, 0.2]),
)


def names(decision: Decision) -> list[str]:
    """Return the names of a decision's conditions."""
    return [condition.name for condition in decision.conditions]


def message(decision: Decision) -> str:
    """Return what the condition says."""
    return next(one.message for one in decision.conditions if one.name == "FrozenCounters")


def test_the_margin_by_hand() -> None:
    """The essay's example, one request to either side of the margin, and one interval too few."""
    stood = Stand(first_tokens=90.0, intervals=3, unpaired=90.0)
    assert followed(stood, 0.0, 30.0, 30.0, 12.0) == Stand(120.0, 4, 120.0, frozen=True)
    for inside, proved in ((50.0, False), (49.0, True)):
        # 100 given: 10 + 4·sqrt(100) = 50 may be missing, 51 not.
        stand = followed(Stand(first_tokens=75.0, intervals=3), 0.0, 25.0, 0.0, inside)
        assert stand.frozen is proved
    assert not followed(Stand(first_tokens=1e6, intervals=2), 0.0, 1e6, 0.0, 0.0).frozen
    assert (frozen.MARGIN_REQUESTS, frozen.MARGIN_ROOTS, frozen.LEAST_INTERVALS) == (10.0, 4.0, 4)


def test_what_moves_or_is_missing_is_not_frozen_and_what_was_proved_stays() -> None:
    """A gain, or none known, starts anew; a queue that comes later does not take back what was proved."""
    proved = Stand(first_tokens=120.0, intervals=4, unpaired=120.0, frozen=True)
    assert followed(proved, 1.0, 30.0, 30.0, 0.0) is MOVING
    assert followed(proved, None, 30.0, 30.0, 0.0) is MOVING
    assert followed(proved, 0.0, 30.0, 30.0, 1e6).frozen
    assert followed(proved, 0.0, 0.0, 0.0, 0.0) is proved
    assert not followed(Stand(first_tokens=1e6, intervals=9), 0.0, 30.0, 0.0, None).frozen


def test_ends_without_first_tokens_wait_for_their_tokens_and_prove_nothing() -> None:
    """An interval in which answers end and none begins: they are paired later, and it is no interval of evidence."""
    assert followed(MOVING, 0.0, 0.0, 3.0, 5.0) == Stand(0.0, 0, 3.0, frozen=False)


@pytest.mark.parametrize(("waiting", "proved"), [(100.0, False), (0.0, True)])
def test_what_was_put_back_into_the_queue_is_still_inside(waiting: float, proved: bool) -> None:
    """Long answers fill the cache: 120 began, none ended, and 100 wait to go on. Were they gone, they had ended."""
    memory = initial(SPEC)
    for tick in range(6):
        begun = 120.0 if tick > 4 else 24.0 * tick
        told = {"ttft_count": 1000.0 + begun, "prompt_tokens": 1e6 + begun * 1000, "running": 20.0, "waiting": waiting}
        one = sample("a", 15.0 * tick - 5, 1000.0, **told, generation_tokens=2e5 + 9e3 * tick)
        memory, decision = decide(SPEC, memory, replace(steady(15.0 * tick, ready=1), samples=(one,)))
    assert ("FrozenCounters" in names(decision)) is proved


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.lists(traffics, min_size=1, max_size=4), st.integers(1, 3))
def test_honest_traffic_is_never_called_frozen(seed: int, spells: list[Traffic], pods: int) -> None:
    """Bursts, drained queues, answers of an hour, aborts, preemption, restarts, new pods, lost pods, missed scrapes."""
    random, at, made = Random(seed), 0.0, pods
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(pods)]
    memory = initial(SPEC)
    for traffic in spells:
        for _ in range(12):
            at += TICK_S
            lived(engines, traffic, random)
            luck = random.random()
            if luck < 0.03:
                random.choice(engines).restart()
            elif luck < 0.06:
                made += 1
                engines.append(Engine(pod=f"p{made}", born_at=at - 5))
            elif luck < 0.08 and len(engines) > 1:
                engines.pop(0)
            missed = (engines[0].pod,) if random.random() < 0.05 else ()
            memory, decision = decide(SPEC, memory, seen(engines, at, missed=missed))
            assert "FrozenCounters" not in names(decision), decision.conditions
            assert decision.numbers["frozen_counters"] == 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    counter=st.sampled_from(COUNTERS),
    everywhere=st.booleans(),
    rate_rps=st.sampled_from([0.5, 1.0, 2.0]),
    output_tokens=st.sampled_from([20.0, 200.0, 300.0]),
)
def test_a_counter_that_stands_still_is_always_called_so(
    seed: int, counter: str, everywhere: bool, rate_rps: float, output_tokens: float
) -> None:
    """In all pods or in one of three, from half a request per second and pod on, within eight ticks and until it moves.

    Nothing goes down meanwhile, although the fleet is far too large.
    """
    random, traffic = Random(seed), Traffic(rate_rps=rate_rps, output_tokens=output_tokens, given_up=0.05)
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(3)]
    memory, found = initial(SPEC), []
    for tick in range(30):
        lived(engines, traffic, random)
        if tick == 8:
            for engine in engines if everywhere else engines[:1]:
                engine.stop(counter)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        found.append("FrozenCounters" in names(decision))
    assert found.index(True) <= 8 + TICKS
    assert all(found[found.index(True) :])
    assert message(decision).count(WORDS[counter]) == (3 if everywhere else 1)
    assert decision.numbers["frozen_counters"] == (3 if everywhere else 1)
    assert (decision.target, decision.why) == (3, Why.CONTRADICTORY)
    for engine in engines:
        engine.stopped.clear()
    lived(engines, traffic, random)
    memory, decision = decide(SPEC, memory, seen(engines, 15.0 * 30))
    assert "FrozenCounters" not in names(decision)


def told(counter: str | None, rates_rps: list[float], pods: int = 4) -> list[Decision]:
    """Return the decisions of a target whose engines stop a counter after a quarter of the time."""
    random, memory, decisions = Random(5), initial(SPEC), []
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(pods)]
    for tick, rate_rps in enumerate(rates_rps):
        lived(engines, Traffic(rate_rps=rate_rps), random)
        if counter is not None and tick == len(rates_rps) // 4:
            for engine in engines:
                engine.stop(counter)
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize("counter", COUNTERS)
def test_what_is_wanted_stays_what_it_would_be_and_rises_with_the_traffic(counter: str) -> None:
    """First tokens stand in for ends, and the last mean for tokens: twelve minutes later three times the traffic."""
    rates_rps = [5.0] * 64 + [15.0] * 64
    honest, blinded = told(None, rates_rps), told(counter, rates_rps)
    # Out of the five-minute peak that was seen before the freeze, and into the new traffic.
    for tick in (*range(56, 64), *range(110, 128)):
        assert honest[tick].want is not None
        assert blinded[tick].want is not None
        assert blinded[tick].want == pytest.approx(honest[tick].want, abs=1), tick
    assert blinded[-1].target == pytest.approx(honest[-1].target, abs=1)
    assert (honest[-1].want or 0) > (honest[60].want or 0)


def test_without_arrivals_a_frozen_counter_keeps_nobody() -> None:
    """Where nobody asks there is no work, whatever prompts would have cost: the night is not paid for."""
    decisions = told("prompt_tokens", [5.0] * 64 + [0.0] * 120)
    assert decisions[60].why is Why.CONTRADICTORY
    assert decisions[60].target == 4
    assert "FrozenCounters" in names(decisions[-1])
    assert decisions[-1].target == 1


def test_few_requests_prove_nothing_for_long_but_keep_their_replicas() -> None:
    """Twenty pods of a request in twenty seconds each: a proof takes some ten minutes, a shrunk fleet as long."""
    random, memory, spec = Random(11), initial(SPEC), SPEC
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(20)]
    traffic = Traffic(rate_rps=0.05, prompt_tokens=20_000.0, output_tokens=400.0)
    wants, proved = [], []
    for tick in range(130):
        lived(engines, traffic, random)
        if tick == 60:
            for engine in engines:
                engine.stop("finished_requests")
        memory, decision = decide(spec, memory, seen(engines, 15.0 * tick))
        wants.append(decision.want or 0)
        proved.append("FrozenCounters" in names(decision))
    assert not any(proved[: 60 + 24])
    assert min(wants[60:]) >= min(wants[40:60]) - 1
    assert min(wants[40:60]) >= 3


@pytest.mark.parametrize(("rate_rps", "ticks", "proved"), [(0.1, 20, False), (4.0, 40, True)])
def test_what_a_counter_catches_up_is_no_burst(rate_rps: float, ticks: int, proved: bool) -> None:
    """It repeated an old value for minutes, proved frozen or not, and jumps to the true one: as many arrive as before.

    Without doubt in the interval in which it moves, 300 s of ends would be the arrivals of 15 s.
    """
    random, memory = Random(7), initial(SPEC)
    engines = [Engine(pod="p0", born_at=-900.0)]
    rates, found = [], []
    for tick in range(80):
        lived(engines, Traffic(rate_rps=rate_rps), random)
        if tick == 20:
            engines[0].stop("finished_requests")
        if tick == 20 + ticks:
            engines[0].stopped.clear()
        memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
        rates.append(decision.numbers.get("arrival_rps", 0.0))
        found.append("FrozenCounters" in names(decision))
    assert (found[19 + ticks], found[20 + ticks]) == (proved, False)
    assert max(rates[18 + ticks :]) < 2.0 * rate_rps + 0.4
    assert sum(rates[26 : 18 + ticks]) / (ticks - 8) == pytest.approx(rate_rps, rel=0.3)
    assert memory.demand.output_tokens == pytest.approx(200, rel=0.2)


def test_requests_that_were_counted_a_scrape_before_their_tokens_are_paired_with_them() -> None:
    """A counter that is read one scrape late: two requests without tokens, then tokens of four; the mean is right."""
    memory = initial(SPEC)
    for tick in range(20):
        served = 100.0 + 2 * tick
        late = 100.0 + 4 * (tick // 2)
        one = sample("a", 15.0 * tick - 5, served, prompt_tokens=late * 1000, generation_tokens=late * 200)
        memory, decision = decide(SPEC, memory, replace(steady(15.0 * tick, ready=1), samples=(one,)))
    assert decision.numbers["prompt_tokens"] == pytest.approx(1000)
    assert decision.numbers["output_tokens"] == pytest.approx(200)


def test_an_engine_that_only_embeds_is_not_frozen() -> None:
    """It generates nothing: its answers have no tokens, and are one token long to the formulas."""
    spec, memory = policy(), initial(SPEC)
    for tick in range(20):
        one = sample("a", 15.0 * tick - 5, 100.0 + 60 * tick, generation_tokens=0.0, itl_count=0.0, itl_sum_s=0.0)
        memory, decision = decide(spec, memory, replace(steady(15.0 * tick, ready=1), samples=(one,)))
    assert "FrozenCounters" not in names(decision)
    assert decision.numbers["output_tokens"] == 1.0


def test_a_count_of_tokens_that_was_always_zero_is_frozen_where_tokens_come() -> None:
    """The engine tells gaps between tokens, so it generates: a zero from its very start is no embedding."""
    memory = initial(SPEC)
    for tick in range(20):
        one = sample("a", 15.0 * tick - 5, 100.0 + 60 * tick, generation_tokens=0.0)
        memory, decision = decide(SPEC, memory, replace(steady(15.0 * tick, ready=1), samples=(one,)))
    assert message(decision).count("generated tokens of a") == 1
    assert decision.numbers["output_tokens"] == 100.0


def stopped(spec: PolicySpec, counter: str, *, untold: str | None = None) -> Decision:
    """Return the last decision of a target whose one engine has stopped a counter, and does not export another."""
    random, memory = Random(1), initial(spec)
    engines = [Engine(pod="p0", born_at=-900.0)]
    engines[0].stop(counter)
    for tick in range(20):
        lived(engines, Traffic(rate_rps=4.0), random)
        signals = seen(engines, 15.0 * tick)
        memory, decision = decide(spec, memory, signals if untold is None else without(signals, untold))
    return decision


@pytest.mark.parametrize("untold", ["ttft_count", "running", "waiting"])
def test_without_first_tokens_or_gauges_nothing_is_proved(untold: str) -> None:
    """The law needs what flows in and what is inside: an engine that does not tell them is believed."""
    assert "FrozenCounters" in names(stopped(SPEC, "prompt_tokens"))
    assert "FrozenCounters" not in names(stopped(SPEC, "prompt_tokens", untold=untold))


def test_in_concurrency_mode_no_counter_is_asked() -> None:
    """Demand is what is in flight there, and a counter that stands still says nothing of it."""
    spec = policy(engine={"preset": "tgi", "targetConcurrency": 5})
    assert "FrozenCounters" not in names(stopped(spec, "finished_requests"))


def test_what_stands_survives_a_restart_of_the_controller() -> None:
    """The memory read back from JSON still knows what is frozen, and one of an older version knows nothing of it."""
    random, memory = Random(3), initial(SPEC)
    engines = [Engine(pod="p0", born_at=-900.0)]
    for tick in range(20):
        lived(engines, Traffic(rate_rps=4.0), random)
        if tick == 3:
            engines[0].stop("finished_requests")
        memory, _ = decide(SPEC, memory, seen(engines, 15.0 * tick))
    read = journal.decode(Memory, journal.encode(memory))
    assert read == memory
    lived(engines, Traffic(rate_rps=4.0), random)
    assert "FrozenCounters" in names(decide(SPEC, read, seen(engines, 300.0))[1])
    older = {pod: track._replace(stands=()) for pod, track in memory.demand.tracks.items()}
    forgotten = replace(memory, demand=replace(memory.demand, tracks=older))
    assert "FrozenCounters" not in names(decide(SPEC, forgotten, seen(engines, 300.0))[1])


def test_a_nearly_idle_hour_never_looks_frozen(tmp_path: Path) -> None:
    """A few real requests on simulated engines (busy hours: test_demo_journal): no tick carries the condition."""
    shipped = Path(__file__).parents[2] / "policies/vllm/llama-3.1-8b-a100-80gb.yaml"
    out = tmp_path / "run"
    command = [sys.executable, "-m", "simulator", "run", str(shipped), "azure-code-2023", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (kept,) = out.glob("*.jsonl.gz")
    with gzip.open(kept, "rt") as lines:
        decisions = [journal.decode(Entry, line).decision for line in lines]
    assert len(decisions) > 200
    assert {decision.numbers["frozen_counters"] for decision in decisions} == {0.0}
    assert "FrozenCounters" not in {one.name for decision in decisions for one in decision.conditions}


@pytest.mark.parametrize("missing", [None, "ttft_count", "finished_requests"])
@pytest.mark.parametrize("rate_rps", [0.3, 2.0])
def test_beginnings_and_ends_that_both_stand_still_are_told_by_who_leaves(missing: str | None, rate_rps: float) -> None:
    """Neither says anything of the other; the gauges do. Nothing goes down, neither before the proof nor after it."""
    random, traffic = Random(7), Traffic(rate_rps=rate_rps, output_tokens=200.0)
    engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
    memory, targets, found = initial(SPEC), [], []
    for tick in range(120):
        lived(engines, traffic, random)
        if tick == 20:
            for engine in engines:
                for counter in {"ttft_count", "finished_requests"} - {missing}:
                    engine.stop(counter)
        now = seen(engines, 15.0 * tick)
        if missing is not None:
            now = without(now, missing)
        memory, decision = decide(SPEC, memory, now)
        if tick >= 20:
            targets.append(decision.target)
            found.append("FrozenCounters" in names(decision))
    assert found.index(True) <= 60
    assert all(found[found.index(True) :])
    assert {target for target in targets[found.index(True) :] if target is not None} <= {4}


def test_first_tokens_that_were_never_counted_leave_prompts_to_be_told_by_ends() -> None:
    """Prompts of 4,000 tokens in engines whose count of first tokens stays 0: no smaller order, and no condition."""
    wants = []
    for broken in (False, True):
        random, traffic = Random(3), Traffic(rate_rps=1.5, prompt_tokens=4000.0, output_tokens=60.0)
        engines = [Engine(pod=f"p{index}", born_at=-9000.0) for index in range(4)]
        memory = initial(SPEC)
        for tick in range(60):
            if broken and tick == 0:
                for engine in engines:
                    engine.stop("ttft_count")
            lived(engines, traffic, random)
            memory, decision = decide(SPEC, memory, seen(engines, 15.0 * tick))
            assert "FrozenCounters" not in names(decision)
        wants.append(decision.numbers["prompt_tokens"])
    assert wants[1] == pytest.approx(wants[0], rel=0.05)


def test_a_drained_queue_of_long_answers_does_not_freeze_first_tokens() -> None:
    """Five hundred have begun when traffic stops, and end one after another: as many as were inside is not odd."""
    stand = frozen.followed_by_ends(MOVING, 0.0, 100.0, 500.0)
    for _ in range(4):
        stand = frozen.followed_by_ends(stand, 0.0, 100.0, 300.0)
    assert not stand.frozen
    assert frozen.followed_by_ends(stand, 0.0, 200.0, 0.0).frozen
    assert frozen.followed_by_ends(stand, 1.0, 1.0, 0.0) is MOVING


def test_who_leaves_uncounted_is_proved_by_four_in_four_intervals() -> None:
    """One to either side of each bound."""
    stand = MOVING
    for left, proved in ((1.0, False), (1.0, False), (0.0, False), (1.0, False), (1.0, True)):
        stand = frozen.followed_by_rest(stand, left)
        assert stand.frozen is proved
    many = frozen.followed_by_rest(frozen.followed_by_rest(frozen.followed_by_rest(MOVING, 9.0), 9.0), 9.0)
    assert not many.frozen


@pytest.mark.parametrize("counter", ["prompt_tokens", "generation_tokens"])
def test_an_empty_scrape_of_sparse_traffic_opens_no_way_down(counter: str) -> None:
    """A request every other scrape and nobody tells its tokens: nothing goes down until nobody has asked for long."""
    memory, decisions, sent = initial(SPEC), [], 0.0
    for tick in range(100):
        sent += tick % 2 if tick < 50 else 0.0
        told = {"ttft_count": sent, "prompt_tokens": 4000.0 * sent, "generation_tokens": 90.0 * sent, counter: None}
        now = steady(15.0 * tick, ready=3)
        pods = [replica.pod for replica in now.replicas]
        samples = tuple(sample(pod, 15.0 * tick - 5, sent, running=0.0, waiting=0.0, **told) for pod in pods)
        memory, decision = decide(SPEC, memory, replace(now, samples=samples))
        decisions.append(decision)
    assert {decision.target for decision in decisions[:50]} <= {3, None}
    assert decisions[49].why is Why.PARTIAL
    assert decisions[-1].target == 1, "with nobody asking there is no work, whatever a request would be"
