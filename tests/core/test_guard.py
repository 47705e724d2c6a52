"""Guards: which one speaks first, what it says, and the clock and the counts that it goes by."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.core import bounds, demand, guard
from autoscaler.core.capacity import known
from autoscaler.core.decision import Why
from autoscaler.core.demand import Observed
from autoscaler.core.guard import BLOCKS, STOPS, GuardMemory, Situation, Verdict
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Signals
from autoscaler.core.starts import Start, failing
from tests.core.pods_seen import policy, replica, sample

SPEC = policy(mode="Enforce")


def signals(at: float = 1000.0, *, spec: int | None = 2, age_s: float = 5.0, **other: Any) -> Signals:
    """Return signals of two ready replicas whose samples have an age."""
    values: dict[str, Any] = {
        "replicas": (replica("a"), replica("b")),
        "samples": (sample("a", at - age_s, 100), sample("b", at - age_s, 100)),
    }
    return Signals(at=at, spec_replicas=spec, **(values | other))


def measured(seen: Signals, spec: PolicySpec = SPEC) -> Observed:
    """Return what is observed where the newest sample of each pod made an interval with the one before, and means."""
    _, observed = demand.update(spec, known(spec), demand.initial(), seen)
    return replace(observed, measured_at=observed.newest_at, guess=None)


def situation(seen: Signals, spec: PolicySpec = SPEC, memory: GuardMemory | None = None, **other: Any) -> Situation:
    """Return a situation in which demand is known, nothing starts and the start guard is over."""
    observed = measured(seen, spec)
    values: dict[str, Any] = {
        "spec_replicas": seen.spec_replicas or 0,
        "ready": 2,
        "healthy": 0,
        "loading": 0,
        "guard_s": 270.0,
        "level_known": True,
    }
    memory = GuardMemory(sighted_s=1e6, sighted_at=seen.at, began_at=0.0) if memory is None else memory
    return Situation(spec=spec, signals=seen, memory=memory, observed=observed, **(values | other))


def stopped(seen: Signals, spec: PolicySpec = SPEC, memory: GuardMemory | None = None, **other: Any) -> Verdict | None:
    """Return the verdict of the first stop that speaks."""
    return guard.first(STOPS, situation(seen, spec, memory, **other))


def blocked(seen: Signals, spec: PolicySpec = SPEC, memory: GuardMemory | None = None, **other: Any) -> Why | None:
    """Return the reason of the first block that speaks."""
    verdict = guard.first(BLOCKS, situation(seen, spec, memory, **other))
    return None if verdict is None else verdict.why


def ticked(spec: PolicySpec, memory: GuardMemory, seen: Signals, target: int | None) -> GuardMemory:
    """Return the memory after a tick that left a target."""
    observed = measured(seen, spec)
    after = guard.update(spec, memory, seen, observed, ())
    return guard.decided(after, seen, Verdict(target=target, why=Why.SETTLED, detail=""))


def test_all_well_stops_nothing() -> None:
    """With samples, a count and a level nothing speaks."""
    assert stopped(signals()) is None
    assert blocked(signals()) is None


@pytest.mark.parametrize(
    ("spec", "seen", "target", "why"),
    [
        pytest.param(policy(paused=True), signals(), None, Why.PAUSED, id="paused"),
        pytest.param(SPEC, signals(spec=None), None, Why.TARGET_UNKNOWN, id="unknown count"),
        pytest.param(SPEC, signals(spec=0), 0, Why.ZEROED_BY_OWNER, id="zeroed by its owner"),
        pytest.param(policy(pin={"replicas": 7, "until": "1970-01-01T01:00:00Z"}), signals(), 7, Why.PIN, id="pinned"),
        pytest.param(SPEC, signals(age_s=91), 2, Why.BLIND, id="blind"),
        pytest.param(SPEC, signals(samples=()), 2, Why.BLIND, id="no sample of ready replicas"),
    ],
)
def test_a_stop_says_what_stands(spec: PolicySpec, seen: Signals, target: int | None, why: Why) -> None:
    """Each case of section 10 has its own reason and its own count."""
    verdict = stopped(seen, spec)
    assert verdict is not None
    assert (verdict.target, verdict.why) == (target, why)


def test_a_pin_ends_at_its_time() -> None:
    """At the instant ``until`` the metrics decide again."""
    spec = policy(pin={"replicas": 7, "until": "1970-01-01T00:16:40Z"})
    assert stopped(signals(at=1000.0), spec) is None


def test_staleness_is_three_scrapes_at_least() -> None:
    """A sample of 90 s is not stale yet; with a scrape a minute one of 180 s is not, and one of 181 s is."""
    assert stopped(signals(age_s=90)) is None
    spec = policy(timing={"scrapeSeconds": 60})
    assert stopped(signals(age_s=180), spec) is None
    assert stopped(signals(age_s=181), spec) is not None


def test_nobody_to_give_a_sample_is_not_blindness() -> None:
    """Without a ready replica held requests may still order, else zero never wakes."""
    assert stopped(signals(replicas=(), samples=()), ready=0) is None
    assert blocked(signals(replicas=(), samples=())) is Why.PARTIAL


def test_who_is_blind_says_so_first() -> None:
    """What contradicted itself ninety seconds ago is no news: the fail-safe's clock runs."""
    here = situation(signals(age_s=91))
    verdict = guard.first(STOPS, replace(here, observed=replace(here.observed, contradiction="gauges are 0")))
    assert verdict is not None
    assert verdict.why is Why.BLIND


@pytest.mark.parametrize(
    ("blind_s", "stands", "target", "why"),
    [(899, 2, 2, Why.BLIND), (900, 2, 4, Why.FAIL_SAFE), (900, 9, 9, Why.FAIL_SAFE)],
)
def test_long_blindness_rises_to_the_floor_and_never_falls(blind_s: float, stands: int, target: int, why: Why) -> None:
    """After 15 minutes without sight at least the fail-safe's four; nine stay nine."""
    spec = policy(failSafe={"replicas": 4})
    memory = GuardMemory(sighted_at=1000.0 - blind_s, began_at=0.0)
    verdict = stopped(signals(spec=stands, age_s=blind_s + 5), spec, memory)
    assert verdict is not None
    assert (verdict.target, verdict.why) == (target, why)


def test_nothing_is_decided_before_a_rate_is_known() -> None:
    """The first tick holds, with its own reason."""
    verdict = stopped(signals(), level_known=False)
    assert verdict is not None
    assert (verdict.target, verdict.why) == (2, Why.NO_DEMAND_YET)


def test_warnings_and_missing_pods_forbid_the_way_down() -> None:
    """A partial answer justifies no scale-down: a warning, or fewer than 80 % of the ready replicas reporting."""
    assert blocked(signals(warnings=("a part did not answer",))) is Why.PARTIAL
    names = [f"p{index}" for index in range(20)]
    for reporting, why in ((16, None), (15, Why.PARTIAL)):
        samples: tuple[PodSample, ...] = tuple(sample(name, 995, 100) for name in names[:reporting])
        assert blocked(signals(replicas=tuple(map(replica, names)), samples=samples)) is why


def test_a_starting_replica_forbids_the_way_down() -> None:
    """Its owner would delete just the replica that is not ready yet."""
    assert blocked(signals(), healthy=1) is Why.STARTING


def test_a_start_without_memory_looks_before_it_goes_down() -> None:
    """Not before max(H, hold) seconds were seen."""
    assert blocked(signals(), memory=GuardMemory(sighted_s=269.0)) is Why.START_GUARD
    assert blocked(signals(), memory=GuardMemory(sighted_s=270.0)) is None


def test_the_clock_of_holds_counts_sighted_time_only() -> None:
    """Four sighted ticks, twenty minutes of blindness, one gap of an hour: 45 + 0 + 15 + 15 s."""
    memory = GuardMemory()
    for at in (0.0, 15.0, 30.0, 45.0):
        memory = ticked(SPEC, memory, signals(at), 2)
    for at in range(60, 1260, 15):
        memory = ticked(SPEC, memory, signals(at, age_s=600.0), 2)
    assert memory.sighted_s == 45.0
    memory = ticked(SPEC, memory, signals(1260.0), 2)
    memory = ticked(SPEC, memory, signals(4860.0), 2)
    assert memory.sighted_s == 45.0 + 15.0 + 15.0


def test_time_passes_from_sample_to_sample() -> None:
    """Ticks between two scrapes let no time pass: seven ticks over three scrapes are 30 s."""
    memory = GuardMemory()
    for at, age_s in ((0.0, 5.0), (5.0, 10.0), (10.0, 0.0), (15.0, 5.0), (20.0, 10.0), (25.0, 0.0), (35.0, 10.0)):
        memory = ticked(SPEC, memory, signals(at, age_s=age_s), 2)
    assert memory.sighted_s == 30.0


def test_no_time_is_taken_back_when_the_newest_pod_goes() -> None:
    """The pod that was scraped last is gone, so the newest sample is an older one: the clock stands, then goes on."""
    memory = GuardMemory()
    for at, age_s in ((0.0, 5.0), (15.0, 5.0), (30.0, 25.0), (45.0, 5.0)):
        memory = ticked(SPEC, memory, signals(at, age_s=age_s), 2)
    assert memory.sighted_s == 15.0 + 0.0 + 30.0


def test_samples_that_never_make_a_rate_are_blindness_in_the_end() -> None:
    """Engines that start again and again give samples and no interval; what is wanted is then not known."""
    seen = signals()
    _, observed = demand.update(SPEC, known(SPEC), demand.initial(), seen)
    assert observed.measured_at is None
    for began_at, sees in ((seen.at - 90, True), (seen.at - 91, False)):
        assert guard.sighted(SPEC, GuardMemory(began_at=began_at), seen, observed) is sees
    verdict = guard.first(STOPS, replace(situation(seen, memory=GuardMemory(began_at=0.0)), observed=observed))
    assert verdict is not None
    assert verdict.why is Why.BLIND
    assert "no two of one engine" in verdict.detail


def test_a_hung_engine_and_tokens_untold_forbid_the_way_down_and_are_named() -> None:
    """What is not known of a part of the traffic is no reason to take replicas from it."""
    for change, words in (({"hung": ("a",)}, "while a hang"), ({"untold": "nobody tells"}, "on a guess: nobody tells")):
        here = situation(signals())
        verdict = guard.first(BLOCKS, replace(here, observed=replace(here.observed, **change)))
        assert verdict is not None
        assert verdict.why is Why.PARTIAL
        assert words in verdict.detail


def test_three_foreign_counts_in_ten_minutes_are_a_contest() -> None:
    """Twice is a new position; the third stops us until ten minutes pass without another."""
    memory = ticked(SPEC, GuardMemory(), signals(0.0, spec=4), 4)
    for at in (15.0, 30.0):
        memory = ticked(SPEC, memory, signals(at, spec=2), 4)
        assert stopped(signals(at, spec=2), memory=memory) is None
    memory = ticked(SPEC, memory, signals(45.0, spec=2), 4)
    verdict = stopped(signals(45.0, spec=2), memory=memory)
    assert verdict is not None
    assert (verdict.target, verdict.why, verdict.bounded) == (2, Why.CONTESTED, False)
    assert stopped(signals(644.0, spec=2), memory=memory) is not None
    assert stopped(signals(645.0, spec=2), memory=memory) is None


@pytest.mark.parametrize(("third_at", "contested"), [(600.0, True), (601.0, False)])
def test_the_three_changes_of_a_contest_lie_within_ten_minutes(third_at: float, contested: bool) -> None:
    """Exactly ten minutes from the first to the third is still a contest; slower ones are three new positions."""
    memory = ticked(SPEC, GuardMemory(), signals(-15.0, spec=4), 4)
    for at in (0.0, 300.0, third_at):
        memory = ticked(SPEC, memory, signals(at, spec=2), 4)
    verdict = stopped(signals(third_at, spec=2), memory=memory)
    assert (verdict is not None and verdict.why is Why.CONTESTED) is contested


def test_a_contest_is_told_from_the_last_three_changes() -> None:
    """A change of last week does not stretch the three of today: they lie within ten minutes."""
    memory = ticked(SPEC, GuardMemory(), signals(-15.0, spec=4), 4)
    for at in (0.0, 600_000.0, 600_300.0, 600_500.0):
        memory = ticked(SPEC, memory, signals(at, spec=2), 4)
    assert len(memory.foreign_at) == 3
    verdict = stopped(signals(600_500.0, spec=2), memory=memory)
    assert verdict is not None
    assert verdict.why is Why.CONTESTED


def test_foreign_counts_that_a_clock_ahead_told_are_forgotten() -> None:
    """Two of three changes were told an hour ahead; put right, the clock knows of one, and one is no contest."""
    memory = ticked(SPEC, GuardMemory(), signals(0.0, spec=4), 4)
    for at in (3600.0, 3615.0, 30.0):
        memory = ticked(SPEC, memory, signals(at, spec=2), 4)
    assert memory.foreign_at == (30.0,)


def test_who_changes_the_count_while_paused_does_not_contest() -> None:
    """Pausing is for just that: nothing of it is remembered when the policy goes on."""
    memory = ticked(SPEC, GuardMemory(), signals(0.0, spec=4), 4)
    for at in (15.0, 30.0, 45.0):
        memory = ticked(policy(paused=True, mode="Enforce"), memory, signals(at, spec=2), 4)
    assert memory.foreign_at == ()
    memory = ticked(SPEC, memory, signals(60.0, spec=4), 4)
    assert stopped(signals(60.0, spec=4), memory=memory) is None


@pytest.mark.parametrize("spec", [policy(mode="Recommend"), policy(mode="Observe"), policy(paused=True)])
def test_only_who_enforces_is_contested(spec: PolicySpec) -> None:
    """A controller that does not write does not fight."""
    memory = GuardMemory()
    for tick in range(10):
        memory = ticked(spec, memory, signals(15.0 * tick, spec=1 + tick % 3), 9)
    assert memory.foreign_at == ()


def test_a_write_that_was_refused_is_nobody_elses_change() -> None:
    """While an HPA holds the target our writes are refused; when it goes, we are free to act at once."""
    memory = GuardMemory()
    for tick in range(10):
        memory = ticked(SPEC, memory, replace(signals(15.0 * tick, spec=2), unwritten=True), 4)
    assert memory.foreign_at == ()


def test_a_zero_of_our_own_is_not_the_owners() -> None:
    """When min was 0 and we went to zero, a raised min brings the replicas back."""
    memory = ticked(policy(), GuardMemory(), signals(0.0, spec=1), 0)
    assert stopped(signals(15.0, spec=0), memory=replace(memory, sighted_at=15.0)) is None


@pytest.mark.parametrize(
    ("came", "stuck", "expected"),
    [
        pytest.param([1.0], [2.0, 3.0], False, id="two are too few"),
        pytest.param([], [1.0, 2.0, 3.0], True, id="three of three"),
        pytest.param([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], True, id="half of them"),
        pytest.param([1.0, 2.0, 3.0, 3.5], [4.0, 5.0, 6.0], False, id="less than half"),
        pytest.param([7.0], [4.0, 5.0, 6.0], False, id="a newer one came"),
        pytest.param([6.0], [4.0, 5.0, 6.0], True, id="one came that was ordered with the newest"),
    ],
)
def test_starts_fail_as_a_rule(came: list[float], stuck: list[float], expected: bool) -> None:
    """At least three and half of the last hour's starts are stuck, and none ordered after them has come."""
    starts = [Start(uid=f"c{at}", ordered_at=at, came=True) for at in came]
    starts += [Start(uid=f"s{at}", ordered_at=at, came=False) for at in stuck]
    assert failing(tuple(starts)) is expected


def test_a_stuck_start_that_comes_after_all_is_no_failure() -> None:
    """It is entered as stuck, counts as come once it came, and is forgotten an hour after its order."""
    late = replica("c", ordered_at=900.0, ready_at=None)
    _, observed = demand.update(SPEC, known(SPEC), demand.initial(), signals())
    memory = guard.update(SPEC, GuardMemory(), signals(replicas=(late,)), observed, (late,))
    assert [start.came for start in memory.starts] == [False]
    came = replica("c", ordered_at=900.0, ready_at=1400.0)
    memory = guard.update(SPEC, memory, signals(1500.0, replicas=(came,)), observed, ())
    assert [start.came for start in memory.starts] == [True]
    assert guard.update(SPEC, memory, signals(4499.0, replicas=(came,)), observed, ()).starts == memory.starts
    assert guard.update(SPEC, memory, signals(4500.0, replicas=(came,)), observed, ()).starts == ()


def test_who_served_and_crashes_now_is_no_failed_start() -> None:
    """It came, whatever becomes of it later: that engines crash under load is no reason to distrust new ones."""
    crashed = replica("c", ordered_at=900.0, ready_at=950.0, reason="CrashLoopBackOff")
    _, observed = demand.update(SPEC, known(SPEC), demand.initial(), signals())
    memory = guard.update(SPEC, GuardMemory(), signals(replicas=(crashed,)), observed, (crashed,))
    assert [start.came for start in memory.starts] == [True]


@pytest.mark.parametrize(
    ("target", "bounded", "clamped", "why"),
    [
        pytest.param(9, True, 8, Why.MAX_REPLICAS, id="above max"),
        pytest.param(1, True, 2, Why.MIN_REPLICAS, id="below min"),
        pytest.param(5, True, 5, Why.BURST, id="within"),
        pytest.param(9, False, 9, Why.BURST, id="left to its owner"),
        pytest.param(None, True, None, Why.BURST, id="nothing to write"),
    ],
)
def test_bounds_come_last_and_are_named(target: int | None, bounded: bool, clamped: int | None, why: Why) -> None:
    """Every outcome that may be written is within min and max, whatever led to it."""
    verdict = bounds.bounded(Verdict(target=target, why=Why.BURST, detail="x", bounded=bounded), 2, 8)
    assert (verdict.target, verdict.why) == (clamped, why)


def test_the_last_replica_stays_and_a_held_request_wakes() -> None:
    """Zero is a later issue: with min 0 one replica stays, none is ordered at zero unless a request is held."""
    opted = policy(
        replicas={"min": 0, "max": 5},
        scaleToZero={"enabled": True},
        metrics={"queries": [{"signal": "heldRequests", "promql": "held"}]},
    )
    assert bounds.bounds(opted, signals(spec=1)) == (1, 5)
    assert bounds.bounds(opted, signals(spec=0, replicas=(), samples=())) == (0, 5)
    assert bounds.bounds(opted, signals(spec=0, replicas=(), samples=(), held_requests=3.0)) == (1, 5)
