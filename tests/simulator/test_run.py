"""A run: one trace, one pool, one decider, from the first tick to the first one after the trace."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import ReplicaState, Signals
from autoscaler.journal import OutcomeStatus
from simulator.run import Contender, run
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.world import Scenario, SimulatedWorld
from tests.simulator.simulated_pools import FIXED_120_S, engine, random_trace
from tests.simulator.small_demo import second_of, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A policy that asks for the counts of a list, one a tick, the last for ever."""

    counts: tuple[int | None, ...]
    tick_s: float = 15.0


def follow(policy: Steps, memory: int, signals: Signals) -> tuple[int, Decision]:
    """Ask for the next count."""
    target = policy.counts[min(memory, len(policy.counts) - 1)]
    decision = Decision(
        at=signals.at,
        target=target,
        spec_replicas=signals.spec_replicas,
        why=Why.PIN,
        detail="",
        next_at=signals.at + policy.tick_s,
    )
    return memory + 1, decision


def scenario() -> Scenario:
    """Return three minutes of traffic on two replicas."""
    return Scenario(
        name="m",
        trace=random_trace(3, 200, span_s=180.0),
        profile=engine(),
        startup=FIXED_120_S,
        initial_replicas=2,
        seed=1,
        scraping=Scraping(),
    )


def contender(*counts: int | None, tick_s: float = 15.0) -> Contender[Steps, int]:
    """Return a contender that asks for these counts."""
    return Contender(name="steps", decide=follow, policy=Steps(counts=counts, tick_s=tick_s), memory=0, digest="d")


def test_a_run_ticks_from_its_first_tick_to_the_first_one_after_the_trace() -> None:
    """Ticks come when the decision before asked for them; the last one sees the trace's end."""
    entries = [entry for entry, _ in run(scenario(), contender(2))]
    seconds = [second_of(entry.at) for entry in entries]
    assert seconds[0] == 60.0
    assert all(later - earlier == 15.0 for earlier, later in pairwise(seconds))
    assert seconds[-2] < scenario().trace.span_s <= seconds[-1]


def test_what_is_asked_for_happens_and_is_told_as_scaled() -> None:
    """Three instead of two is one order; the same again and nothing at all are no change."""
    ticks = list(run(scenario(), contender(3, 3, None, 1)))
    outcomes = [entry.outcome for entry, _ in ticks]
    assert [outcome.status for outcome in outcomes[:4]] == [
        OutcomeStatus.SCALED,
        OutcomeStatus.UNCHANGED,
        OutcomeStatus.UNCHANGED,
        OutcomeStatus.SCALED,
    ]
    assert (outcomes[0].replicas_before, outcomes[0].replicas_after) == (2, 3)
    assert ticks[1][0].signals.count(ReplicaState.STARTING) == 1
    # Down to one: the replica that starts goes at once, and one that serves drains.
    assert ticks[4][0].signals.count(ReplicaState.STARTING) == 0
    assert ticks[4][0].signals.spec_replicas == 1


def test_entries_are_named_after_model_and_contender_and_carry_the_memory() -> None:
    """Journals can be told apart, and a run can go on from where it was."""
    ticks = list(run(scenario(), contender(2)))
    assert {entry.policy for entry, _ in ticks} == {"m/steps"}
    assert [memory for _, memory in ticks] == list(range(1, len(ticks) + 1))


def test_a_decider_sees_nothing_that_a_scrape_could_not_have_seen() -> None:
    """In a whole run no sample is younger than the lag and no phase of a replica lies in the future."""
    for entry in told(0).entries:
        assert all(entry.at - sample.at >= 15.0 for sample in entry.signals.samples)
        for replica in entry.signals.replicas:
            instants = (replica.ordered_at, replica.scheduled_at, replica.started_at, replica.ready_at, replica.gone_at)
            assert all(instant is None or instant <= entry.at for instant in instants)


def test_every_contender_meets_the_same_requests_and_the_same_cold_starts() -> None:
    """What is compared is decisions: arrivals, lengths and the n-th replica's cold start are the same for all."""
    ours, other = told(0), told(1)
    assert np.array_equal(ours.requests.arrival_s, other.requests.arrival_s)
    assert np.array_equal(ours.requests.prompt_tokens, other.requests.prompt_tokens)
    both = min(len(ours.history), len(other.history))
    coldstart_s = [run.history["ready_s"][:both] - run.history["ordered_s"][:both] for run in (ours, other)]
    known = ~np.isnan(coldstart_s[0]) & ~np.isnan(coldstart_s[1])
    assert known.sum() > 10
    assert np.allclose(coldstart_s[0][known], coldstart_s[1][known], rtol=0, atol=1e-9)


def test_a_world_that_is_handed_in_can_be_asked_afterwards() -> None:
    """The world that a caller gave is the one that lived through the run."""
    world = SimulatedWorld(scenario())
    entries = [entry for entry, _ in run(scenario(), contender(2), world)]
    assert world.cluster.now_s == entries[-1].at - EPOCH_AT
    assert len(world.cluster.requests()) == 200
