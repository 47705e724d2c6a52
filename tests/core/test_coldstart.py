"""Stories of cold starts: what is a sample, what is censored, what is stuck, and what is learnt of it."""

import doctest
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoscaler.core import coldstart
from autoscaler.core.coldstart import ColdStartMemory, Estimate, predict, stuck, update
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Replica, ReplicaState

MEMORY = TypeAdapter(ColdStartMemory)


def fresh(prior_s: float = 150.0, at: float = 0.0) -> ColdStartMemory:
    """Return a memory that has looked once, at an empty cluster."""
    return update(ColdStartMemory(prior_s=prior_s, estimate=predict(prior_s, (), ())), [], at)


def pod(
    uid: str, *, ordered_at: float, ready_at: float | None = None, state: ReplicaState = ReplicaState.STARTING
) -> Replica:
    """Return a replica, READY if it has a time for it and no other state is asked for."""
    if ready_at is not None and state is ReplicaState.STARTING:
        state = ReplicaState.READY
    return Replica(pod=uid, uid=uid, state=state, ordered_at=ordered_at, ready_at=ready_at)


def came(prefix: str, *durations_s: float, ordered_at: float = 0.0) -> list[Replica]:
    """Return pods that were ordered together and became ready after the given times."""
    return [
        pod(f"{prefix}{i}", ordered_at=ordered_at, ready_at=ordered_at + took_s) for i, took_s in enumerate(durations_s)
    ]


def policy(**cold_start: float) -> PolicySpec:
    """Return the smallest policy with a given coldStart block."""
    return PolicySpec.model_validate(
        {
            "targetRef": {"name": "llama"},
            "model": {"name": "llama"},
            "accelerator": {"class": "H100-80GB"},
            "replicas": {"max": 4},
            "coldStart": cold_start,
        }
    )


def test_the_worked_example_of_the_essay_is_true() -> None:
    """The essay's figures are computed, not remembered."""
    assert doctest.testmod(coldstart).failed == 0


@pytest.mark.parametrize(
    ("cold_start", "median_s"),
    [({}, 150.0), ({"priorSeconds": 40.0}, 40.0), ({"weightsGib": 140.0, "loadGibPerSecond": 2.0}, 92.0)],
    ids=["nothing known", "stated", "physics: 22 s + 140 GiB at 2 GiB/s"],
)
def test_the_prior_median_is_stated_or_physics_or_150_s(cold_start: dict[str, float], median_s: float) -> None:
    """Before anything was seen the median is the policy's, else that of the weights, else 150 s."""
    estimate = coldstart.initial(policy(**cold_start)).estimate
    assert estimate.p50_s == pytest.approx(median_s, rel=1e-3)
    assert (estimate.source, estimate.samples) == ("prior", 0)


def test_each_pod_is_one_sample_however_often_it_is_seen() -> None:
    """A uid counts once: at later ticks, when its readiness flaps, when it drains and when it is gone."""
    memory = update(fresh(), came("p", 60.0), 60.0)
    for state in (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING, ReplicaState.GONE):
        memory = update(memory, [replace(came("p", 60.0)[0], state=state)], 75.0)
    assert update(memory, came("p", 60.0), 5000.0).observations == (60.0,)


def test_a_pod_that_came_and_went_between_two_ticks_is_a_sample() -> None:
    """What matters is that it became ready, not whether it is still there."""
    gone = pod("p", ordered_at=0.0, ready_at=6.0, state=ReplicaState.GONE)
    assert update(fresh(), [gone], 15.0).observations == (6.0,)


def test_pods_that_were_ready_at_the_first_look_are_no_samples() -> None:
    """They may have been ordered by anyone, and their order time may be that of a node's reboot."""
    memory = ColdStartMemory(prior_s=150.0, estimate=predict(150.0, (), ()))
    memory = update(memory, came("old", 60.0), 100.0)
    assert update(memory, came("old", 60.0), 115.0).observations == ()


def test_a_pod_that_was_starting_at_the_first_look_becomes_a_sample() -> None:
    """Its order time is known from the cluster, so a restart of the controller loses no start."""
    memory = ColdStartMemory(prior_s=150.0, estimate=predict(150.0, (), ()))
    memory = update(memory, [pod("p", ordered_at=0.0)], 50.0)
    assert update(memory, came("p", 60.0), 65.0).observations == (60.0,)


@pytest.mark.parametrize("state", [ReplicaState.GONE, ReplicaState.DRAINING, ReplicaState.FAILED])
def test_a_pod_that_goes_before_it_was_ready_is_neither_sample_nor_censored(state: ReplicaState) -> None:
    """A start that somebody ended says nothing about how long it would have taken."""
    memory = update(fresh(), [pod("p", ordered_at=0.0, state=state)], 400.0)
    assert (memory.observations, memory.estimate.censored) == ((), 0)


def test_a_pod_that_was_ready_before_it_was_ordered_is_no_sample() -> None:
    """Two clocks that disagree measure nothing."""
    assert update(fresh(), [pod("p", ordered_at=30.0, ready_at=20.0)], 45.0).observations == ()


def test_a_clock_that_was_wrong_for_one_tick_does_not_stop_the_learning() -> None:
    """One tick a day ahead: what comes ready after it counts, and what was counted before is not counted again."""
    memory = update(fresh(), came("a", 60.0, 70.0), 100.0)
    memory = update(memory, came("a", 60.0, 70.0), 86_500.0)
    memory = update(memory, came("a", 60.0, 70.0), 130.0)
    assert memory.observations == (60.0, 70.0)
    memory = update(memory, came("b", 40.0, ordered_at=110.0), 160.0)
    assert memory.observations == (60.0, 70.0, 40.0)


def test_no_start_is_counted_twice_when_a_clock_is_put_right() -> None:
    """The clock was an hour ahead for one tick, and the pod is not listed in the next: it was counted, and stays so."""
    pods = came("a", 50.0, ordered_at=50.0)
    memory = update(fresh(), pods, 110.0)
    for at, listed in ((3710.0, pods), (125.0, []), (140.0, pods)):
        memory = update(memory, listed, at)
    assert memory.observations == (50.0,)


def test_a_pod_that_is_ready_only_tomorrow_is_no_sample_today_or_tomorrow() -> None:
    """Its node's clock is a day ahead; a cold start of a day would rule the estimate for weeks."""
    odd = came("a", 86_460.0)
    memory = update(fresh(), odd, 90.0)
    assert memory.observations == ()
    for at in (15_000.0, 86_470.0, 86_500.0):
        memory = update(memory, odd, at)
    assert memory.observations == ()


def test_a_young_start_says_nothing_and_one_older_than_the_median_does() -> None:
    """Only what has lasted longer than expected is news."""
    memory = update(fresh(), came("p", *[60.0] * 10), 60.0)
    young = update(memory, [pod("q", ordered_at=60.0)], 60.0 + 40.0)
    assert young.estimate == memory.estimate
    old = update(memory, [pod("q", ordered_at=60.0)], 60.0 + 80.0)
    assert old.estimate.censored == 1
    assert old.estimate.p75_s > memory.estimate.p75_s


def test_a_hanging_pull_makes_the_model_more_optimistic_only_without_censoring() -> None:
    """Of twenty pods half come in 40 s and half hang: the ended ones alone would say that starts became faster."""
    before = update(fresh(), came("p", 50, 55, 60, 60, 65, 70, 75, 80, 90, 60), 90.0)
    fast = came("fast", *[40.0] * 10, ordered_at=1000.0)
    hanging = [pod(f"slow{i}", ordered_at=1000.0) for i in range(10)]
    after = before
    for at in (1045.0, 1060.0, 1075.0, 1090.0, 1105.0):
        after = update(after, fast + hanging, at)
    blind = predict(150.0, after.observations, ())
    assert after.estimate.censored == 10
    assert blind.p75_s < before.estimate.p75_s
    assert after.estimate.p75_s > before.estimate.p75_s


def test_the_threshold_for_stuck_does_not_run_ahead_of_the_stuck_pod() -> None:
    """A99 is taken from ended starts only, so a pod under way cannot move it."""
    memory = update(fresh(), came("p", *[60.0] * 20), 60.0)
    limit_s = memory.estimate.stuck_after_s
    late = [pod(f"late{i}", ordered_at=60.0) for i in range(5)]
    at = 60.0
    while at < 60.0 + limit_s:
        at += 15.0
        memory = update(memory, late, at)
        assert memory.estimate.stuck_after_s == pytest.approx(limit_s, rel=1e-3)
    assert stuck(memory, late, at) == tuple(late)
    assert update(memory, late, at + 15.0).estimate.censored == 0


def test_stuck_are_the_failed_and_the_overdue_and_nobody_else() -> None:
    """A replica that serves, that drains, or that was ready once and flaps, is not a stuck start."""
    memory = update(fresh(), came("p", *[60.0] * 20), 60.0)
    failed = pod("failed", ordered_at=590.0, state=ReplicaState.FAILED)
    overdue = pod("overdue", ordered_at=0.0)
    others = [
        pod("young", ordered_at=590.0),
        pod("serving", ordered_at=0.0, ready_at=60.0),
        pod("draining", ordered_at=0.0, state=ReplicaState.DRAINING),
        replace(pod("flapping", ordered_at=0.0, ready_at=60.0), state=ReplicaState.STARTING),
    ]
    assert stuck(memory, [*others, overdue, failed], 600.0) == (overdue, failed)


def test_a_start_is_never_given_more_than_twenty_minutes() -> None:
    """However slow starts are believed to be, a person is told after 20 minutes."""
    assert predict(900.0, (), ()).stuck_after_s == 1200.0


def test_a_stuck_start_that_comes_after_all_counts_with_its_full_time() -> None:
    """Left out for good, the model would stay at the old median for ever."""
    memory = update(fresh(), came("p", *[60.0] * 20), 60.0)
    late = pod("late", ordered_at=100.0)
    memory = update(memory, [late], 1000.0)
    assert stuck(memory, [late], 1000.0) == (late,)
    assert update(memory, [pod("late", ordered_at=100.0, ready_at=1005.0)], 1010.0).observations[-1] == 905.0


def test_starts_that_become_six_times_slower_are_believed() -> None:
    """After fifty slow starts the median is the new one, although each of them was stuck for a while."""
    memory = update(fresh(), came("p", *[60.0 + i for i in range(50)]), 120.0)
    at = 1000.0
    for i in range(50):
        memory = update(memory, [pod(f"q{i}", ordered_at=at)], at + 300.0)
        memory = update(memory, came(f"q{i}", 500.0, ordered_at=at), at + 510.0)
        at += 600.0
    assert memory.estimate.p50_s > 400.0


@pytest.mark.parametrize("median_s", [6.0, 30.0, 150.0, 1200.0])
def test_the_prior_of_150_s_is_no_prison(median_s: float) -> None:
    """Starts of 6 s and of 1200 s are both found from a prior of 150 s: the grid goes where the data are."""
    shape = (0.75, 0.85, 0.95, 1.0, 1.05, 1.15, 1.3)
    memory = update(fresh(), came("p", *[median_s * shape[i % 7] for i in range(42)]), 2000.0)
    assert memory.estimate.p50_s == pytest.approx(median_s, rel=0.08)


def test_nothing_is_computed_between_two_events() -> None:
    """The estimate is the same object until a start ends, the censored change in number, or 30 s passed."""
    memory = update(fresh(), came("p", *[200.0] * 20), 200.0)
    late = [pod("late", ordered_at=200.0)]
    first = update(memory, late, 200.0 + 220.0)
    assert update(first, late, 200.0 + 235.0).estimate is first.estimate
    assert update(first, late, 200.0 + 251.0).estimate is not first.estimate


@pytest.mark.parametrize(("median_s", "later_s"), [(20.0, 4.0), (300.0, 30.0)])
def test_a_start_under_way_is_looked_at_anew_every_thirty_seconds_or_a_fifth_of_the_median(
    median_s: float, later_s: float
) -> None:
    """Where starts take 20 s, half a minute is too long to believe what was believed of one that is late."""
    memory = update(fresh(prior_s=median_s), came("a", *[median_s] * 20), 2 * median_s)
    median_s = memory.estimate.p50_s
    late = pod("late", ordered_at=1000.0)
    seen_s = memory.estimate.telling_after_s + 0.1
    memory = update(memory, [late], 1000.0 + seen_s)
    assert memory.estimate.censored == 1
    step_s = min(30.0, memory.estimate.p50_s / 5)
    assert step_s == pytest.approx(later_s, rel=0.1)
    assert update(memory, [late], 1000.0 + seen_s + 0.99 * step_s).estimate == memory.estimate
    assert update(memory, [late], 1000.0 + seen_s + 1.01 * step_s).estimate.p75_s > memory.estimate.p75_s


def test_a_memory_of_many_starts_is_small_and_survives_json() -> None:
    """Four hundred starts of real uids fit in 6 kB, and the memory that comes back decides the same."""
    memory, at = fresh(), 0.0
    for wave in range(20):
        pods = came(f"6f1c2a34-7b7e-4f0e-9c55-00000000{wave:02d}", *[100.0 + i for i in range(20)], ordered_at=at)
        memory = update(memory, pods, at + 200.0)
        at += 600.0
    text = MEMORY.dump_json(memory)
    assert len(text) < 6000
    assert MEMORY.validate_json(text) == memory
    later = [*came("next", 90.0, ordered_at=at), pod("late", ordered_at=at - 100.0)]
    assert update(MEMORY.validate_json(text), later, at + 95.0) == update(memory, later, at + 95.0)


def test_forgetting_in_blocks_keeps_the_newest() -> None:
    """However many starts came, between 200 and 240 are remembered, the newest last."""
    memory = update(fresh(), came("p", *[100.0 + i for i in range(1000)]), 1100.0)
    assert 200 <= len(memory.observations) <= 240
    assert memory.observations[-1] == 1099.0


def test_a_fresh_process_computes_the_same_numbers() -> None:
    """What is memoised are pure functions: with their caches emptied nothing changes."""
    durations = tuple(60.0 + 7 * (i % 9) for i in range(130))
    step_by_step = [predict(150.0, durations[:n], (95.0,)) for n in (1, 5, 39, 40, 41, 80, 81, 130)][-1]
    for memoised in (coldstart._block, coldstart._ended, coldstart._cells):
        memoised.cache_clear()
    assert predict(150.0, durations, (95.0,)) == step_by_step


REPLICAS = st.lists(
    st.builds(
        Replica,
        pod=st.just("pod"),
        uid=st.sampled_from([f"u{i}" for i in range(12)]),
        state=st.sampled_from(ReplicaState),
        ordered_at=st.floats(0, 1e5),
        ready_at=st.none() | st.floats(0, 1e5),
    ),
    max_size=12,
)


@given(prior_s=st.floats(0.5, 86_400), looks=st.lists(st.tuples(st.floats(0, 1e5), REPLICAS), max_size=4))
def test_any_replicas_give_an_ordered_finite_estimate(prior_s: float, looks: list[tuple[float, list[Replica]]]) -> None:
    """Total: whatever the cluster tells, in whatever order, there are three positive quantiles in their order."""
    memory = ColdStartMemory(prior_s=prior_s, estimate=predict(prior_s, (), ()))
    for at, replicas in looks:
        again = update(memory, replicas, at)
        memory = update(memory, replicas, at)
        assert again == memory
        estimate: Estimate = memory.estimate
        assert 0 < estimate.p50_s <= estimate.p75_s <= estimate.p90_s < float("inf")
        assert 0 < estimate.stuck_after_s <= 1200.0
        assert set(stuck(memory, replicas, at)) <= set(replicas)
    assert MEMORY.validate_json(MEMORY.dump_json(memory)) == memory
