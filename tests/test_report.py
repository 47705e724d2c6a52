"""The report: what a stretch of the journal comes to."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decision import Why
from autoscaler.core.signals import PodSample, Presence
from autoscaler.footprint.ledger import AcceleratorState
from autoscaler.footprint.states import account_all, terms_of
from autoscaler.journal import Entry, OutcomeStatus
from autoscaler.report import Report, Tally, quantile, report
from tests.adapters.journal_stories import BEGIN, spec, story


def with_sample(entry: Entry, sample: PodSample) -> Entry:
    """Return an entry with this sample and no other."""
    return dataclasses.replace(entry, signals=dataclasses.replace(entry.signals, samples=(sample,)))


def counted(*samples: PodSample, objective_s: float = 2.5) -> Report:
    """Return the report of one old pod's samples, one a tick."""
    entries = [with_sample(entry, sample) for entry, sample in zip(story(), samples, strict=False)]
    return report(entries, spec(objectives={"ttftSeconds": objective_s}))


def tokens(i: int, total: float | None, *within: tuple[float, float]) -> PodSample:
    """Return the i-th tick's sample of the pod that is ready from the start."""
    return PodSample(pod="chat-a", at=BEGIN + 15 * i, ttft_count=total, ttft_within=within)


def test_the_story_comes_to_what_it_tells() -> None:
    """Ticks, moves, reasons, cold starts and held time of the made-up hour, from its entries alone."""
    told = report(story(), spec())
    assert (told.ticks, told.since_at, told.until_at) == (120, BEGIN, BEGIN + 119 * 15)
    assert [(move.before, move.after, move.why) for move in told.moves] == [
        (1, 2, Why.UTILIZATION),
        (2, 1, Why.MIN_REPLICAS),
    ]
    assert told.reasons == {Why.MIN_REPLICAS: 8 + 40, Why.UTILIZATION: 72}
    assert [start.coldstart_s for start in told.starts] == [95.0]
    assert told.coldstart_s(0.5) == 95.0
    assert told.hours(AcceleratorState.WARMING) == 2 * 93 / 3600
    assert told.rows == account_all(story(), terms_of(spec()))
    assert told.ledger.total_ms == sum(row.accelerator_ms for row in told.rows)


def test_attainment_is_a_share_of_counted_first_tokens() -> None:
    """Differences of counters, from the first sample on: what stood there before was not watched."""
    told = counted(tokens(0, 100, (2.5, 50)), tokens(1, 110, (2.5, 59)), tokens(2, 120, (2.5, 68)))
    assert (told.first_tokens, told.first_tokens_in_time, told.attainment) == (20, 18, 0.9)


def test_without_first_tokens_attainment_is_unknown() -> None:
    """No request is neither a success nor a failure."""
    assert counted(tokens(0, 5, (2.5, 5)), tokens(1, 5, (2.5, 5))).attainment is None
    assert counted(tokens(0, None), tokens(1, None)).attainment is None


def test_an_objective_between_edges_takes_the_lower_edge() -> None:
    """Attainment is understated, never overstated, and the edge that was used is told."""
    edges = ((1.0, 10.0), (2.5, 18.0), (5.0, 20.0))
    told = counted(tokens(0, 0, (1.0, 0), (2.5, 0), (5.0, 0)), tokens(1, 20, *edges), objective_s=3.0)
    assert (told.attainment, told.ttft_edge_s) == (0.9, 2.5)
    assert counted(tokens(0, 0, (5.0, 0)), tokens(1, 20, (5.0, 20)), objective_s=3.0).attainment is None


def test_a_counter_that_fell_contributes_nothing() -> None:
    """A restarted engine begins anew; its difference to the one before says nothing."""
    told = counted(tokens(0, 100, (2.5, 90)), tokens(1, 4, (2.5, 1)), tokens(2, 6, (2.5, 3)))
    assert (told.first_tokens, told.first_tokens_in_time) == (2, 2)


@pytest.mark.parametrize("presence", [Presence.STALE, Presence.TARGET_DOWN, Presence.INVALID, Presence.ABSENT])
def test_a_sample_that_is_not_present_is_skipped(presence: Presence) -> None:
    """The difference is then taken over the gap, between two samples that can be trusted."""
    bad = dataclasses.replace(tokens(1, 0, (2.5, 0)), presence=presence)
    told = counted(tokens(0, 100, (2.5, 90)), bad, tokens(2, 110, (2.5, 99)))
    assert (told.first_tokens, told.first_tokens_in_time) == (10, 9)


def test_a_pod_that_became_ready_while_watched_counts_from_zero() -> None:
    """The second replica's first sample is all its own; the first one's past is not."""
    told = report(story(), spec())
    first, second = 2 * (1200 - 0), 2 * (1200 - 215 - 10)
    assert first + second - 40 <= told.first_tokens <= first + second


def test_a_move_that_is_not_written_counts_once() -> None:
    """In recommend mode the same advice stands tick after tick: it is one move until it changes."""
    entries = []
    for entry in story(ticks=20):
        asked = dataclasses.replace(entry.decision, spec_replicas=1)
        dry = dataclasses.replace(entry.outcome, status=OutcomeStatus.DRY_RUN)
        entries.append(dataclasses.replace(entry, decision=asked, outcome=dry))
    (move,) = report(entries, spec()).moves
    assert (move.at, move.before, move.after, move.status) == (BEGIN + 120, 1, 2, OutcomeStatus.DRY_RUN)


def test_the_report_may_be_asked_for_at_any_time() -> None:
    """A tally that is read at every tick ends where one that is read once ends; a repeated entry changes nothing."""
    tally = Tally(terms=terms_of(spec()), ttft_s=2.5)
    for entry in story():
        tally.add(entry)
        assert tally.report().until_at == entry.at
        tally.add(entry)
    assert tally.report() == report(story(), spec())


def test_a_report_of_nothing_is_refused() -> None:
    """There is no policy and no time to report on."""
    with pytest.raises(ValueError, match="at least one entry"):
        report([], spec())


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_the_smallest_value_with_that_share_at_or_below(values: list[float], probability: float) -> None:
    """Nearest rank, against a count by hand; of nothing there is none."""
    found = quantile(values, probability)
    assert found in values
    assert sum(value <= found for value in values) / len(values) >= probability
    assert all(sum(v <= value for v in values) / len(values) < probability for value in values if value < found)
    assert quantile([], probability) is None
