"""The score against a naive recount of the journal, and the journal against what really happened."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from autoscaler.footprint.ledger import AcceleratorState, micro_usd_per_hour
from autoscaler.footprint.states import pool_of
from autoscaler.journal import Entry, Outcome, OutcomeStatus
from simulator.engine.records import TTFT_EDGES_S
from simulator.experiments.score import FirstTokens, Quantile, Score, score
from tests.simulator.small_demo import Told, policy, second_of, told

RUNS = pytest.mark.parametrize("number", [0, 1, 2], ids=["ours", "queue", "concurrency"])
PRICE_USD = 3.43
OBJECTIVE_S = 2.5


def scored(run: Told, **more: float) -> Score:
    """Return the score of a run by the demo's policy."""
    return score(run.name, run.entries, policy().spec, PRICE_USD, **more)


def last_samples(run: Told) -> list[PodSample]:
    """Return the last sample of each pod there ever was, found the slow way."""
    newest: dict[str, PodSample] = {}
    for entry in run.entries:
        for sample in entry.signals.samples:
            newest[sample.pod] = sample
    return list(newest.values())


@RUNS
def test_the_score_is_what_a_naive_recount_gives(number: int) -> None:
    """First tokens, attainment and cold starts, counted again by loops over the entries."""
    run = told(number)
    found, samples = scored(run), last_samples(run)
    counted = sum(sample.ttft_count or 0.0 for sample in samples)
    in_time = sum(dict(sample.ttft_within)[OBJECTIVE_S] for sample in samples)
    waiting = sum(sample.waiting or 0.0 for sample in run.entries[-1].signals.samples)
    waiting += run.entries[-1].signals.held_requests or 0.0
    assert found.requests == counted + waiting
    assert found.attainment == in_time / (counted + waiting)
    ready = {
        replica.pod: replica.ready_at
        for entry in run.entries
        for replica in entry.signals.replicas
        if replica.ready_at is not None and replica.ready_at > run.entries[0].at
    }
    assert found.coldstarts == len(ready)
    assert found.coldstarts > 0


@RUNS
def test_the_quantiles_are_those_of_the_true_requests_within_a_bucket(number: int) -> None:
    """TTFT from the histogram lies in the bucket of the same quantile of what each engine really saw."""
    run = told(number)
    found, ttft_s = scored(run), run.requests.ttft_s
    # Engines measure from the arrival at the engine; a retried or held request waited before that, too.
    assert not run.requests.retries.any()
    served = ttft_s[~np.isnan(ttft_s)]
    for probability, value in ((0.5, found.ttft_p50), (0.95, found.ttft_p95), (0.99, found.ttft_p99)):
        true = np.quantile(served, [max(0.0, probability - 0.005), min(1.0, probability + 0.005)])
        edges = [0.0, *TTFT_EDGES_S]
        low = max(edge for edge in edges if edge <= true[0])
        high = min(edge for edge in edges if edge >= true[1])
        assert value is not None
        assert value.linear_s is not None
        assert low <= value.linear_s <= high
        assert value.high_s is not None
        assert low <= value.low_s < value.high_s <= high


@RUNS
def test_the_attainment_is_the_true_one_but_for_what_no_scrape_saw(number: int) -> None:
    """Who is counted, is counted rightly; who is not, came after the last scrape of its replica."""
    run = told(number)
    found, table = scored(run), run.requests
    ttft_s = table.ttft_s
    unseen = len(table) - found.requests
    assert 0 <= unseen <= 0.04 * len(table)
    late = float(np.sum(ttft_s > OBJECTIVE_S) + np.sum(np.isnan(ttft_s)))
    true = 1 - late / len(table)
    assert found.attainment is not None
    assert abs(found.attainment - true) <= unseen / len(table) + 1e-9


@RUNS
def test_who_holds_no_pool_has_no_prewarm_time(number: int) -> None:
    """Quiet replicas of an HPA are idle but for its minimum; ours has pre-warm time only while it held a pool."""
    run = told(number)
    spent = scored(run).ledger.ms.get(AcceleratorState.PREWARM, 0)
    if number:
        assert all(pool_of(entry.decision) == 0 for entry in run.entries)
    held_ms = sum(
        1000 * (after.at - before.at) * max(1, pool_of(before.decision)) for before, after in pairwise(run.entries)
    )
    assert 0 <= spent <= held_ms


@RUNS
def test_the_footprint_is_what_the_pool_held_to_the_millisecond(number: int) -> None:
    """Σ over replicas of their time from scheduled to gone, within the journal, is the ledger's sum, and its price."""
    run = told(number)
    ledger = scored(run).ledger
    begin_s, end_s = second_of(run.entries[0].at), second_of(run.entries[-1].at)
    scheduled = np.where(np.isnan(run.history["scheduled_s"]), run.history["ordered_s"], run.history["scheduled_s"])
    # A replica that was taken away before it had a node held nothing: its scheduling never came.
    started = ~np.isnan(run.history["scheduled_s"]) | ~np.isnan(run.history["ready_s"])
    gone = np.where(np.isnan(run.history["deleted_s"]), end_s, run.history["deleted_s"])
    held_s = np.clip(np.minimum(gone, end_s) - np.maximum(scheduled, begin_s), 0.0, None) * started
    assert ledger.total_ms == pytest.approx(held_s.sum() * 1000, abs=len(held_s))
    assert ledger.total_ms == sum(ledger.ms.values())
    expected = Decimal(ledger.total_ms * micro_usd_per_hour(PRICE_USD)) / 3_600_000 / 1_000_000
    assert ledger.cost_usd == pytest.approx(expected, abs=Decimal("0.000001"))


@RUNS
def test_warming_and_draining_time_is_the_true_one(number: int) -> None:
    """Warming is scheduled to Ready, draining is deletion to the end, replica by replica, within a millisecond each."""
    run = told(number)
    ledger, history = scored(run).ledger, run.history
    end_s = second_of(run.entries[-1].at)
    gone = np.fmin(history["deleted_s"], end_s)
    ready = np.fmin(history["ready_s"], gone)
    warming = np.nansum(np.where(np.isnan(ready), gone, ready) - history["scheduled_s"])
    draining = np.nansum(gone - history["draining_s"])
    assert ledger.ms.get(AcceleratorState.WARMING, 0) == pytest.approx(warming * 1000, abs=len(history))
    assert ledger.ms.get(AcceleratorState.DRAINING, 0) == pytest.approx(draining * 1000, abs=len(history))


def test_who_waited_for_a_cold_start_agrees_with_the_truth() -> None:
    """The journal's count, by ticks, is near the request table's, and never more than all that is late."""
    for number in (0, 1, 2):
        run = told(number)
        found = scored(run)
        true = int(run.requests.waited_for_coldstart(starting=run.starting, objective_s=OBJECTIVE_S).sum())
        assert found.attainment is not None
        late = found.requests * (1 - found.attainment)
        assert found.waited_for_coldstart <= late + 1e-6
        assert abs(found.waited_for_coldstart - true) <= 0.02 * len(run.requests)


def entry(second: float, *samples: PodSample, starting: int = 0, held: float = 0.0) -> Entry:
    """Return an entry with these samples of ready replicas."""
    ready = tuple(
        Replica(pod=pod, uid=pod, state=ReplicaState.READY, ordered_at=0.0, scheduled_at=0.0, ready_at=0.0)
        for pod in ("a", "b")
    )
    warming = tuple(
        Replica(pod=f"s{i}", uid=f"s{i}", state=ReplicaState.STARTING, ordered_at=second) for i in range(starting)
    )
    signals = Signals(at=second, spec_replicas=2, replicas=ready + warming, samples=samples, held_requests=held)
    decision = Decision(at=second, target=2, spec_replicas=2, why=Why.SETTLED, detail="", next_at=second + 15)
    return Entry(
        policy="m/x",
        policy_digest="",
        at=second,
        signals=signals,
        decision=decision,
        outcome=Outcome(status=OutcomeStatus.UNCHANGED),
    )


def sample(pod: str, second: float, count: float, in_time: float, *, waiting: float = 0.0) -> PodSample:
    """Return a sample with ``count`` first tokens, ``in_time`` of them within 2.5 s and all within 5 s."""
    within = ((1.0, in_time / 2), (2.5, in_time), (5.0, count))
    return PodSample(pod=pod, at=second, running=0.0, waiting=waiting, ttft_count=count, ttft_within=within)


def test_requests_that_still_wait_at_the_end_are_late() -> None:
    """Ten first tokens in time, five waiting in queues, five at the gateway: half of all were in time."""
    found = score("x", [entry(0, sample("a", 0, 10, 10, waiting=5.0), held=5.0)], policy().spec, None)
    assert (found.requests, found.attainment) == (20.0, 0.5)


def test_only_what_turned_late_while_a_replica_started_waited_for_it() -> None:
    """Late ones of a tick count if a replica was starting at its beginning or its end."""
    entries = [
        entry(0, sample("a", 0, 10, 10)),
        entry(15, sample("a", 15, 20, 15)),
        entry(30, sample("a", 30, 30, 18), starting=1),
        entry(45, sample("a", 45, 40, 20)),
        entry(60, sample("a", 60, 50, 21)),
    ]
    assert score("x", entries, policy().spec, None).waited_for_coldstart == 7 + 8


def test_the_settled_attainment_leaves_the_opening_out() -> None:
    """All late in the opening, all in time afterwards: the settled share is one."""
    entries = [
        entry(0, sample("a", 0, 0, 0)),
        entry(600, sample("a", 600, 100, 0)),
        entry(615, sample("a", 615, 200, 100)),
    ]
    found = score("x", entries, policy().spec, None, settling_s=600.0)
    assert (found.attainment, found.settled_attainment) == (0.5, 1.0)


def test_a_run_that_ends_in_the_opening_has_nothing_after_it() -> None:
    """Requests that still wait at the end of a short run are of its opening: no share, not nought percent."""
    entries = [entry(0, sample("a", 0, 0, 0)), entry(300, sample("a", 300, 100, 90, waiting=5.0))]
    found = score("x", entries, policy().spec, None, settling_s=600.0)
    assert found.attainment == pytest.approx(90 / 105)
    assert found.settled_attainment is None


def test_of_nothing_there_is_no_share_and_the_cost_is_not_known() -> None:
    """Without requests there is no attainment, a hundred percent least of all; without a price no cost."""
    spec = policy().spec
    unpriced = spec.model_copy(update={"accelerator": spec.accelerator.model_copy(update={"price": None})})
    found = score("x", [entry(0), entry(15)], unpriced, None)
    assert (found.attainment, found.settled_attainment, found.cost_usd) == (None, None, None)
    with pytest.raises(ValueError, match="at least one entry"):
        score("x", [], policy().spec, None)


def test_a_sample_that_is_not_present_tells_nothing() -> None:
    """A scrape that failed leaves the count as it was."""
    tokens = FirstTokens(2.5)
    tokens.add([sample("a", 0, 10, 5)])
    tokens.add([replace(sample("a", 15, 0, 0), presence=Presence.TARGET_DOWN)])
    assert (tokens.counted, tokens.in_time) == (10.0, 5.0)


def test_an_engine_that_begins_anew_has_served_what_it_served() -> None:
    """Counters of a crashed engine begin at 0: what was in time before stays in time, in shares and in quantiles."""
    tokens = FirstTokens(2.5)
    tokens.add([sample("a", 0, 100, 100)])
    tokens.add([sample("a", 15, 4, 0)])
    assert (tokens.counted, tokens.in_time) == (104.0, 100.0)
    half = tokens.quantile(0.5)
    assert half is not None
    assert half.high_s == 2.5


def test_a_sample_without_the_count_tells_nothing() -> None:
    """A series that is missing is not a counter at 0."""
    tokens = FirstTokens(2.5)
    tokens.add([sample("a", 0, 10, 5)])
    tokens.add([replace(sample("a", 15, 0, 0), ttft_count=None, ttft_within=())])
    tokens.add([sample("a", 30, 12, 7)])
    assert (tokens.counted, tokens.in_time) == (12.0, 7.0)


def test_between_two_edges_the_lower_one_counts() -> None:
    """An objective of 2 s between the edges 1 and 2.5: only those within 1 s are surely in time."""
    tokens = FirstTokens(2.0)
    tokens.add([sample("a", 0, 10, 8)])
    assert tokens.in_time == 4.0
    below = FirstTokens(0.5)
    below.add([sample("a", 0, 10, 8)])
    assert below.in_time == 0.0


def test_quantiles_are_linear_inside_a_bucket_and_unknown_beyond_the_last() -> None:
    """Eight of ten within 2.5 s: p40 is 1 s, p60 half-way to 2.5 s; with a tail beyond every edge p99 is unknown."""
    tokens = FirstTokens(2.5)
    tokens.add([sample("a", 0, 10, 8)])
    assert tokens.quantile(0.4) == Quantile(low_s=0.0, high_s=1.0, linear_s=1.0)
    assert tokens.quantile(0.6) == Quantile(low_s=1.0, high_s=2.5, linear_s=1.75)
    tokens.add([PodSample(pod="b", at=0, ttft_count=10.0, ttft_within=((2.5, 0.0), (5.0, 0.0)))])
    assert tokens.quantile(0.99) == Quantile(low_s=5.0, high_s=None, linear_s=None)
    assert FirstTokens(2.5).quantile(0.5) is None
