"""Stories of writes that fail and controllers that go: what came of a decision, and what the next tick makes of it."""

from autoscaler.core.decide import Memory
from autoscaler.core.decision import Why
from autoscaler.journal import Entry, OutcomeStatus
from autoscaler.recall import MEMORY_FRESH_S
from simulator.baselines.peers import PEERS, Style
from simulator.run import run
from simulator.telemetry import EPOCH_AT
from simulator.world import SimulatedWorld
from tests.simulator.faulty_runs import QUANTILE, between, entries_of, faulty_scenario, journal, spec

MOVE_S = 405.0
"""Without faults our first write comes at this second: when the start guard ends."""


def test_without_faults_the_first_move_is_where_the_stories_expect_it() -> None:
    """The faults below are laid around it."""
    moved = [entry for entry in journal() if entry.outcome.status is OutcomeStatus.SCALED]
    assert moved[0].at - EPOCH_AT == MOVE_S


def outcomes(entries: tuple[Entry, ...], begin_s: float, end_s: float) -> list[OutcomeStatus]:
    """Return what came of the decisions of a stretch."""
    return [entry.outcome.status for entry in between(entries, begin_s, end_s)]


def test_a_conflict_is_tried_again_at_the_next_tick_on_what_is_read_then() -> None:
    """A 409 is an outcome, the count stays, the signals say that nothing was written, and nobody is contested."""
    entries = journal(f"faults:\n  - {{fault: scaleConflict, startSeconds: {MOVE_S - 1}, durationSeconds: 20}}\n")
    assert outcomes(entries, MOVE_S, MOVE_S + 30) == [
        OutcomeStatus.CONFLICT,
        OutcomeStatus.CONFLICT,
        OutcomeStatus.SCALED,
    ]
    after = between(entries, MOVE_S + 15, MOVE_S + 45)
    assert [entry.signals.unwritten for entry in after] == [True, True, False]
    assert len({entry.signals.spec_replicas for entry in after[:2]}) == 1
    assert "409" in between(entries, MOVE_S, MOVE_S)[0].outcome.detail
    assert not any(entry.decision.why is Why.CONTESTED for entry in entries)


def test_a_refusal_that_lasts_winds_nothing_up() -> None:
    """Ten minutes of 403: each tick asks for what is wanted then, and the first let through writes just that."""
    text = f"faults:\n  - {{fault: scaleRefused, startSeconds: {MOVE_S - 1}, durationSeconds: 600}}\n"
    entries, quiet = journal(text), journal()
    refused = [entry for entry in between(entries, MOVE_S, MOVE_S + 590) if entry.decision.moves]
    assert {entry.outcome.status for entry in refused} == {OutcomeStatus.REFUSED}
    assert {entry.signals.spec_replicas for entry in refused} == {
        between(quiet, MOVE_S, MOVE_S)[0].signals.spec_replicas
    }
    wants = {entry.decision.want for entry in between(quiet, MOVE_S, MOVE_S + 900)}
    assert {entry.decision.want for entry in between(entries, MOVE_S, MOVE_S + 900)} <= wants
    first = next(entry for entry in between(entries, MOVE_S + 600, 2400) if entry.decision.moves)
    assert first.outcome.status is OutcomeStatus.SCALED


def test_a_slow_write_counts_later_and_a_silent_server_leaves_the_target_unknown() -> None:
    """Two seconds are waited for; beyond three there is no answer: nothing is read, so nothing is written."""
    slow = journal(
        f"faults:\n  - {{fault: slowApi, startSeconds: {MOVE_S - 1}, durationSeconds: 2, delaySeconds: 2}}\n"
    )
    gone = [replica for entry in slow for replica in entry.signals.replicas if replica.deleted_at is not None]
    assert min(replica.deleted_at or 0.0 for replica in gone) == EPOCH_AT + MOVE_S + 2.0
    silent = journal(
        f"faults:\n  - {{fault: slowApi, startSeconds: {MOVE_S - 1}, durationSeconds: 60, delaySeconds: 5}}\n"
    )
    unread = between(silent, MOVE_S, MOVE_S + 55)
    assert {entry.signals.spec_replicas for entry in unread} == {None}
    assert {entry.decision.why for entry in unread} == {Why.TARGET_UNKNOWN}
    assert {entry.outcome.status for entry in unread} == {OutcomeStatus.UNCHANGED}
    assert OutcomeStatus.SCALED in outcomes(silent, MOVE_S + 60, MOVE_S + 90)


def memories(text: str) -> dict[float, Memory]:
    """Return our memory after each tick, by second."""
    scenario = faulty_scenario(text)
    contender = PEERS["ours"].contender(scenario, spec(), QUANTILE, Style.DEFAULT)
    return {entry.at - EPOCH_AT: memory for entry, memory in run(scenario, contender, SimulatedWorld(scenario))}


def test_a_restart_misses_ticks_and_goes_on_with_what_the_journal_kept() -> None:
    """The first tick is where the new process is up; its hold is that of before, not of a beginner."""
    kept = memories("faults:\n  - {fault: controllerRestart, startSeconds: 1000, downSeconds: 65}\n")
    seconds = sorted(kept)
    place = seconds.index(1065.0)
    assert seconds[place - 1 : place + 2] == [990.0, 1065.0, 1080.0]
    before, after = kept[990.0], kept[1065.0]
    assert after.guard.began_at == before.guard.began_at
    assert after.guard.sighted_s > before.guard.sighted_s
    assert not any(
        entry.decision.why is Why.START_GUARD
        for entry in between(
            journal("faults:\n  - {fault: controllerRestart, startSeconds: 1000, downSeconds: 65}\n"), 1065, 1500
        )
    )


def test_who_is_down_when_it_should_begin_begins_when_it_is_up() -> None:
    """No decision falls into the absence; one that is up in time begins when everybody does."""
    down = "faults:\n  - {{fault: controllerRestart, startSeconds: 20, downSeconds: {}}}\n"
    assert min(memories(down.format(200))) == 220.0
    later = "faults:\n  - {fault: controllerRestart, startSeconds: 1000, downSeconds: 65}\n"
    assert min(memories(down.format(10))) == min(memories(later)) < 220.0


def test_after_a_long_night_demand_is_not_remembered() -> None:
    """Demand of an hour ago says nothing about now: it begins as without memory (what is kept: tests/test_book.py)."""
    down_s = MEMORY_FRESH_S + 60
    text = f"faults:\n  - {{fault: controllerRestart, startSeconds: 1000, downSeconds: {down_s}}}\n"
    kept = memories(text)
    first = kept[1000 + down_s]
    assert first.guard.began_at == EPOCH_AT + 1000 + down_s
    assert between(journal(text), 1000 + down_s, 1000 + down_s)[0].decision.why in {Why.NO_DEMAND_YET, Why.BLIND}


def test_a_new_leader_was_warm_and_may_not_write_before_the_lease_has_run_out() -> None:
    """Ours ticks on, refused; a peer's followers are idle, and begin anew after the gap."""
    text = f"faults:\n  - {{fault: leaderChange, startSeconds: {MOVE_S - 1}}}\n"
    entries = journal(text)
    assert outcomes(entries, MOVE_S, MOVE_S + 30) == [
        OutcomeStatus.REFUSED,
        OutcomeStatus.REFUSED,
        OutcomeStatus.SCALED,
    ]
    assert "not the leader" in between(entries, MOVE_S, MOVE_S)[0].outcome.detail
    peer = [entry.at - EPOCH_AT for entry in entries_of(faulty_scenario(text), peer="hpa", knob=20.0)]
    assert not [second for second in peer if MOVE_S - 1 <= second < MOVE_S + 16]
    assert MOVE_S + 16 in peer
