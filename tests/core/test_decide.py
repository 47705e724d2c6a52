"""The decision: up at once, down slowly, stuck starts, and numbers from which it can be recomputed by hand."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler import journal
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import ReplicaState, Signals
from tests.core.pods_seen import policy, replica, sample, steady

SPEC = policy()


def after(ticks: int, spec: PolicySpec = SPEC, **seen: Any) -> tuple[Memory, Decision]:
    """Return memory and decision after so many ticks of 15 s of a steady target."""
    memory = initial(spec)
    for tick in range(ticks):
        memory, decision = decide(spec, memory, steady(15.0 * tick, **seen))
    return memory, decision


def test_the_first_tick_holds_and_says_why() -> None:
    """One sample is no rate; holding is a decision."""
    _, decision = after(1)
    assert (decision.target, decision.why, decision.want) == (2, Why.NO_DEMAND_YET, None)
    assert not decision.moves
    assert decision.next_at == 15.0


def test_an_order_is_absolute_and_counts_what_is_under_way() -> None:
    """The count asked for is compared with the count that stands: what starts already is not ordered again."""
    memory, decision = after(40, rate_rps=40.0, ready=2)
    assert decision.target is not None
    assert decision.target > 4
    _, again = decide(SPEC, memory, steady(600.0, rate_rps=40.0, ready=2, stands=decision.target))
    assert (again.target, again.warming) == (decision.target, decision.target - 2)


def test_a_clock_that_ran_ahead_for_one_tick_does_not_hide_what_comes_after() -> None:
    """Controller and Prometheus an hour ahead, once: two ticks later a rise is seen and answered as without it."""
    targets = []
    for jump_s in (0.0, 3600.0):
        memory = initial(SPEC)
        for tick in range(80):
            rate_rps = 4.0 if tick < 50 else 40.0
            seen = steady(15.0 * tick, ready=2, rate_rps=rate_rps)
            if tick == 40:
                samples = tuple(replace(one, at=one.at + jump_s) for one in seen.samples)
                seen = replace(seen, at=seen.at + jump_s, samples=samples)
            memory, decision = decide(SPEC, memory, seen)
        targets.append(decision.target)
        assert decision.numbers["blind_s"] == 0.0
    assert targets[0] is not None
    assert targets[0] > 4
    assert targets[1] == pytest.approx(targets[0], abs=1)


@pytest.mark.parametrize(("ahead_s", "kept"), [(60.0, True), (66.0, False), (300.0, False)])
def test_a_clock_is_put_right_when_it_was_more_than_a_minute_ahead(ahead_s: float, kept: bool) -> None:
    """Up to a minute is what clocks differ by, and newer samples come soon; beyond, they would all look old."""
    memory, _ = after(20)
    jumped = replace(steady(300.0), at=300.0 + ahead_s)
    memory, _ = decide(SPEC, memory, replace(jumped, samples=tuple(replace(s, at=jumped.at) for s in jumped.samples)))
    memory, decision = decide(SPEC, memory, steady(300.0))
    assert (memory.demand.newest_at == 300.0 + ahead_s) is kept
    assert decision.numbers["sample_age_s"] == 5.0
    for at in (315.0, 330.0):
        memory, decision = decide(SPEC, memory, steady(at))
    assert (memory.demand.newest_at == 325.0) is not kept


def test_of_the_pods_that_hang_no_more_are_counted_than_are_asked_for() -> None:
    """Four hang and two are asked for beside those that serve: two are missing, and none is on its way."""
    memory, _ = after(40, rate_rps=30.0, ready=3)
    seen = replace(_with_stuck(3, dict.fromkeys("wxyz", -math.inf), 600.0), spec_replicas=5)
    _, decision = decide(SPEC, memory, seen)
    assert [decision.numbers[name] for name in ("stuck", "healthy", "lapsed")] == [2, 0, 0]
    assert decision.warming == 2


def test_a_replica_that_lapsed_does_not_keep_the_others() -> None:
    """It was ready and is not any more: nothing loads, so the way down is open, and a person hears of it."""
    lapsed = replace(replica("llm-7"), state=ReplicaState.STARTING)
    pods = (*(replica(f"llm-{index}") for index in range(7)), lapsed)
    memory = initial(SPEC)
    for tick in range(200):
        memory, decision = decide(SPEC, memory, steady(15.0 * tick, ready=7, stands=8, rate_rps=4.0, replicas=pods))
    assert decision.target is not None
    assert decision.target < 8
    assert (decision.numbers["lapsed"], decision.numbers["healthy"]) == (1.0, 0.0)
    assert "ReadinessLapsed" in [condition.name for condition in decision.conditions]


def test_a_rollouts_surge_is_not_warming() -> None:
    """Pods beyond the count that stands are the rollout's business."""
    surge: dict[str, Any] = {"replicas": tuple(replica(f"llm-{index}") for index in range(5)), "surge_replicas": 1}
    _, decision = after(3, stands=4, ready=4, **surge)
    assert (decision.ready, decision.warming) == (5, 0)


def test_nothing_goes_down_while_a_rollouts_replica_starts() -> None:
    """The ReplicaSet would delete the pod that loads; when it is ready, or hangs, the way down is open again."""
    new = replica("new", ordered_at=1480.0, ready_at=None)
    old = tuple(replica(f"llm-{index}") for index in range(8))
    memory = initial(SPEC)
    for tick in range(100):
        memory, _ = decide(SPEC, memory, steady(15.0 * tick, ready=8, rate_rps=60.0))
    targets = {}
    for tick in range(100, 180):
        seen = steady(15.0 * tick, ready=8, rate_rps=4.0, replicas=(*old, new), surge_replicas=1)
        memory, decision = decide(SPEC, memory, seen)
        targets[15 * tick] = (decision.target, decision.why)
    stuck_at = 1480.0 + memory.coldstart.estimate.stuck_after_s
    blocked = [at for at, (target, why) in targets.items() if why is Why.STARTING and target == 8]
    assert blocked
    assert all(at <= stuck_at + 15 for at in blocked)
    assert all(target == 8 for at, (target, _) in targets.items() if at <= stuck_at)
    assert targets[15 * 179] == (1, Why.BURST)


@pytest.mark.parametrize(("held", "left_alone"), [(None, True), (0.0, True), (3.0, False)])
def test_a_zero_that_the_owner_set_stays_though_min_is_zero(held: float | None, left_alone: bool) -> None:
    """Demand was there a minute ago, but the owner has spoken; only a request that is held wakes the target."""
    spec = policy(
        mode="Enforce",
        replicas={"min": 0, "max": 9},
        scaleToZero={"enabled": True},
        metrics={"queries": [{"signal": "heldRequests", "promql": "held"}]},
    )
    memory, _ = after(60, spec=spec, rate_rps=16.0, ready=2)
    for tick in (60, 61):
        zero = Signals(at=15.0 * tick, spec_replicas=0, held_requests=held)
        memory, decision = decide(spec, memory, zero)
        assert (decision.why is Why.ZEROED_BY_OWNER) is left_alone
        assert (decision.target == 0) is left_alone


def test_a_zero_that_was_there_first_is_nobodys() -> None:
    """A controller that finds a target at zero with min 0 takes it over: a raised min brings it up."""
    spec = policy(
        mode="Enforce",
        replicas={"min": 0, "max": 9},
        scaleToZero={"enabled": True},
        metrics={"queries": [{"signal": "heldRequests", "promql": "held"}]},
    )
    memory, decision = decide(spec, initial(spec), Signals(at=0.0, spec_replicas=0))
    assert (decision.target, decision.why) == (0, Why.NO_DEMAND_YET)
    _, decision = decide(policy(mode="Enforce"), memory, Signals(at=15.0, spec_replicas=0))
    assert (decision.target, decision.why) == (1, Why.MIN_REPLICAS)


def test_how_capacity_is_known_stands_in_the_decision() -> None:
    """Measured, guessed or plain concurrency, each with its source, and the line that no objective asks for."""
    told = {
        "known": after(2)[1].capacity,
        "guessed": after(2, spec=policy(engine={"maxSequences": 64}))[1].capacity,
        "concurrency": after(2, spec=policy(engine={"preset": "tgi", "maxSequences": 20}))[1].capacity,
        "decode": after(2, spec=policy(objectives={"ttftSeconds": 2, "itlSeconds": 0.05}))[1].capacity,
    }
    assert told == {
        "known": "known mode: A100 8B; no decode-speed line without objectives.itlSeconds",
        "guessed": "guessed mode: physics prior; assumed 8 billion parameters; no decode-speed line without "
        "objectives.itlSeconds",
        "concurrency": "concurrency mode: 14 requests in flight a replica, from 0.7 of engine.maxSequences",
        "decode": "known mode: A100 8B",
    }


def test_a_backlog_orders_what_clears_it_within_a_minute_of_its_arrival() -> None:
    """B' and the term, from the decision's own numbers; the queue was there before, so it is no arrival."""
    _, decision = _queued(4000.0)
    x = decision.numbers
    left_s = 4000.0 * x["work_s"] + (x["level"] - 0.95 * 3) * x["coldstart_p50_s"]
    assert decision.why is Why.BACKLOG
    assert x["backlog_left_s"] == pytest.approx(left_s)
    (term,) = (term for term in decision.terms if term.name == "backlog")
    lines = {"utilization", "burst", "batch-slots", "kv-memory"}
    forecast = max(term.replicas for term in decision.terms if term.name in lines)
    assert term.replicas == pytest.approx(min(x["need_present"] + left_s / 60, 2 * forecast + 2))


def test_a_backlog_orders_no_more_than_twice_the_forecast_and_two() -> None:
    """A queue of hours is not worked off in a minute: the next decision sees what the first order did."""
    _, decision = _queued(400_000.0)
    assert decision.wanted_by is Why.BACKLOG
    lines = {"utilization", "burst", "batch-slots", "kv-memory"}
    terms = {term.name: term.replicas for term in decision.terms}
    assert terms["backlog"] == pytest.approx(2 * max(terms[name] for name in lines) + 2)
    assert decision.want == math.ceil(terms["backlog"] - 0.05)


def _queued(waiting: float, ticks: int = 20) -> tuple[Memory, Decision]:
    memory = initial(SPEC)
    for tick in range(ticks):
        seen = steady(15.0 * tick, ready=3)
        samples = tuple(replace(one, waiting=waiting / 3) for one in seen.samples)
        memory, decision = decide(SPEC, memory, replace(seen, samples=samples))
    return memory, decision


def test_a_surplus_goes_after_the_hold_in_one_step() -> None:
    """Eight replicas for a need of two: nothing before max(H, hold), then two at once."""
    memory = initial(SPEC)
    for tick in range(60):
        memory, decision = decide(SPEC, memory, steady(15.0 * tick, ready=8))
        guarded_s = max(decision.numbers["horizon_s"], decision.numbers["hold_s"])
        assert decision.target == (8 if 15 * tick < guarded_s else 2)
    assert decision.target == 2


def test_a_fixed_window_holds_as_long_as_it_says() -> None:
    """The policy's stabilization window replaces the hold of two cold starts."""
    spec = policy(scaleDown={"stabilizationSeconds": 900})
    _, decision = after(60, spec=spec, ready=8)
    assert decision.numbers["hold_s"] == 900
    assert (decision.target, decision.why) == (8, Why.START_GUARD)
    _, decision = after(61, spec=spec, ready=8)
    assert decision.target == 2


def test_a_hold_that_becomes_longer_reaches_back_and_what_is_out_of_reach_is_forgotten() -> None:
    """What was wanted ten minutes ago is out of a hold of 90 s and in one of 900 s; after 20 minutes it is in none."""
    short, long = (policy(scaleDown={"stabilizationSeconds": window_s}) for window_s in (90, 900))
    memory, peak = after(40, spec=short, ready=8, rate_rps=70.0)
    assert peak.want == 9
    for tick in range(40, 190):
        memory, decision = decide(short, memory, steady(15.0 * tick, ready=8, rate_rps=8.0))
        if tick == 100:
            _, longer = decide(long, memory, steady(15.0 * tick + 7.5, ready=8, rate_rps=8.0))
            assert decision.want_down is not None
            assert decision.want_down < 9
            assert longer.want_down == 9
    assert decision.want == 2
    sighted_s = decision.numbers["sighted_s"]
    assert all(sighted_s - at_s <= 1200 for at_s, _ in memory.wants)
    # Of equals the newest is enough: a memory of a steady year is no longer than that of a steady hour.
    assert all(older > newer for (_, older), (_, newer) in pairwise(memory.wants))


def _with_stuck(ready: int, starting: dict[str, float], at: float, **other: Any) -> Signals:
    """Return a steady target with replicas that start since an instant, or failed ones (minus infinity)."""
    seen = steady(at, rate_rps=30.0, ready=ready)
    more = tuple(
        replica(name, ordered_at=since, ready_at=None)
        if math.isfinite(since)
        else replica(name, ordered_at=0.0, ready_at=None, state=ReplicaState.FAILED, reason="CrashLoopBackOff")
        for name, since in starting.items()
    )
    return replace(seen, spec_replicas=ready + len(starting), replicas=(*seen.replicas, *more), **other)


def test_stuck_starts_are_replaced_by_addition_within_a_bound() -> None:
    """One of four wanted failed: one more is ordered. Four of eight failed: no more than one for every five wanted."""
    memory, decision = after(40, rate_rps=30.0, ready=3)
    assert decision.want == 4
    _, decision = decide(SPEC, memory, _with_stuck(3, {"x": -math.inf}, 600.0))
    assert (decision.target, decision.why) == (5, Why.REPLACE_STUCK)
    assert [condition.name for condition in decision.conditions] == ["StuckColdStart"]
    _, decision = decide(SPEC, memory, _with_stuck(3, {"x": -math.inf, "y": -math.inf}, 600.0))
    assert decision.target == 5
    assert [condition.name for condition in decision.conditions] == ["StuckColdStart", "ReplacementsExhausted"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=30), st.booleans())
def test_between_two_tries_of_a_crash_loop_nothing_changes(tried: list[bool], served_before: bool) -> None:
    """Two of five are in back-off or being tried again, by any turns: the target stays, and the condition holds.

    So it is also where the pods were ready once, and only when one of them is ready again the count is another.
    """
    memory, _ = after(40, rate_rps=30.0, ready=3)
    ready_at = 50.0 if served_before else None

    for tick, trying in enumerate([False, *tried]):
        state = ReplicaState.STARTING if trying else ReplicaState.FAILED
        reason = None if trying else "CrashLoopBackOff"
        memory, decision = decide(SPEC, memory, _two_beside(600.0 + 15 * tick, state, reason, ready_at))
        assert (decision.target, decision.numbers["stuck"], decision.numbers["healthy"]) == (5, 2, 0)
        assert [one.name for one in decision.conditions] == ["StuckColdStart", "ReplacementsExhausted"]
    for state in (ReplicaState.READY, ReplicaState.STARTING):
        memory, _ = decide(SPEC, memory, _two_beside(1200.0, state, None, ready_at))
        assert memory.crashing == ()


def test_an_image_that_is_pulled_after_all_is_a_start_under_way() -> None:
    """A failure that is over is none any more: what loads then keeps the count, since it would be deleted first."""
    memory, _ = after(40, rate_rps=30.0, ready=3)
    memory, decision = decide(SPEC, memory, _two_beside(600.0, ReplicaState.FAILED, "ImagePullBackOff", None))
    assert decision.numbers["stuck"] == 2
    memory, decision = decide(SPEC, memory, _two_beside(615.0, ReplicaState.STARTING, None, None))
    assert (decision.numbers["stuck"], decision.numbers["healthy"]) == (0, 2)


def _two_beside(at: float, state: ReplicaState, reason: str | None, ready_at: float | None) -> Signals:
    """Return three steady replicas and two more that were ordered 30 s before the first such instant."""
    seen = steady(at, rate_rps=30.0, ready=3)
    two = tuple(replica(name, ordered_at=570.0, ready_at=ready_at, state=state, reason=reason) for name in ("x", "y"))
    return replace(seen, spec_replicas=5, replicas=(*seen.replicas, *two))


def test_when_enough_serve_the_stuck_ones_go() -> None:
    """Ready replicas cover the want with none starting: the count returns to it, and the owner removes the stuck."""
    memory, decision = after(80, rate_rps=30.0, ready=4)
    assert decision.want == 4
    _, decision = decide(SPEC, memory, _with_stuck(4, {"x": -math.inf}, 1200.0))
    assert decision.target == 4


def test_a_stuck_start_does_not_forbid_the_way_down_but_a_healthy_one_does() -> None:
    """The owner deletes what is not ready first: a healthy start would be the victim."""
    memory, decision = after(80, rate_rps=8.0, ready=6)
    seen = steady(1200.0, ready=6)
    starting = replica("x", ordered_at=1190.0, ready_at=None)
    grown = replace(seen, spec_replicas=7, replicas=(*seen.replicas, starting))
    _, decision = decide(SPEC, memory, grown)
    assert (decision.target, decision.why) == (7, Why.STARTING)
    failed = replace(starting, state=ReplicaState.FAILED)
    _, decision = decide(SPEC, memory, replace(grown, replicas=(*seen.replicas, failed)))
    assert decision.target == decision.want_down == 1


def test_while_starts_fail_a_backlog_orders_nothing() -> None:
    """Capacity that cannot start clears no queue."""
    memory, _ = _queued(4000.0)
    failed = {f"x{index}": -math.inf for index in range(3)}
    queue = tuple(sample(f"llm-{index}", 295.0, (300 + 1000) * 8 / 3, waiting=4000 / 3) for index in range(3))
    seen = replace(_with_stuck(3, failed, 300.0), samples=queue)
    _, decision = decide(SPEC, memory, seen)
    assert "StartsFailing" in [condition.name for condition in decision.conditions]
    assert "backlog" not in [term.name for term in decision.terms]


def test_held_requests_wake_a_target_at_zero() -> None:
    """Nobody is there to give a sample; what the gateway holds orders one replica at once."""
    spec = policy(
        replicas={"min": 0, "max": 5},
        scaleToZero={"enabled": True},
        metrics={"queries": [{"signal": "heldRequests", "promql": "held"}]},
    )
    nobody = Signals(at=0.0, spec_replicas=0)
    memory, decision = decide(spec, initial(spec), nobody)
    assert decision.target == 0
    _, decision = decide(spec, memory, replace(nobody, at=15.0, held_requests=2.0))
    assert decision.target == 1


def test_a_cold_start_beyond_twenty_minutes_is_clamped_and_said() -> None:
    """The horizon and the hold end at 20 minutes; a person is told."""
    _, decision = after(3, spec=policy(coldStart={"priorSeconds": 4000}))
    assert (decision.numbers["horizon_s"], decision.numbers["hold_s"]) == (1200.0, 1200.0)
    assert "ColdStartTooLong" in [condition.name for condition in decision.conditions]


def test_a_guessed_capacity_is_said() -> None:
    """Without measured coefficients the decision carries a condition, and with them none."""
    guessed = policy(engine={"maxSequences": 256, "kvTokens": 400_000})
    names = [condition.name for condition in after(3, spec=guessed)[1].conditions]
    assert names == ["CapacityGuessed"]
    assert after(3)[1].conditions == ()


@pytest.mark.parametrize(("quantile", "in_force"), [(None, 0.9), (0.97, 0.97)])
def test_the_policys_quantile_is_the_one_in_force(quantile: float | None, in_force: float) -> None:
    """Fixed by the policy, else 0.9; a changed policy acts at the next tick."""
    memory, _ = after(3)
    spec = policy(prewarm={"quantile": quantile})
    memory, decision = decide(spec, memory, steady(45.0))
    assert memory.quantile == decision.numbers["quantile"] == in_force


def test_a_memory_read_back_goes_on_as_if_nothing_had_happened() -> None:
    """A restart with its memory decides what it would have decided."""
    memory, _ = after(60, rate_rps=30.0, ready=5)
    read = journal.decode(Memory, journal.encode(memory))
    assert read == memory
    seen = steady(900.0, rate_rps=4.0, ready=5)
    assert decide(SPEC, read, seen) == decide(SPEC, memory, seen)


def test_the_sentence_carries_the_figures() -> None:
    """A person reads what was wanted, what serves, and what the forecast said."""
    _, decision = after(40)
    assert decision.detail == (
        "2 wanted; 2 ready, 0 warming; demand is 0.77 replicas of work, at most "
        f"{decision.numbers['demand_quantile']:.2f} in 270 s with probability 0.9, which asks for 2 (batch-slots)."
    )
