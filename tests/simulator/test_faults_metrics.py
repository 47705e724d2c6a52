"""Stories of metrics that fail: what is seen, and that our core never scales down on what it does not know.

In all of them four fifths of the traffic go away some minutes before the fault, so that whoever takes ignorance for
idleness would scale down. Who goes on seeing does: the last test holds the stories against a run without faults.
"""

import pytest

from autoscaler.core.decision import Why
from autoscaler.core.signals import PodSample, Presence
from autoscaler.journal import Entry
from simulator.baselines.sight import PodsMetric, value_of
from tests.simulator.faulty_runs import as_bytes, between, entries_of, faulty_scenario, journal, spec, steady_trace

FALLS_AT_MINUTE = 16.0
BEGINS_S, ENDS_S = 1230.0, 1830.0


def run_with(kind: str, **fields: object) -> tuple[Entry, ...]:
    """Return our journal with one fault in the midst of it."""
    told = "".join(f", {name}: {value}" for name, value in fields.items())
    line = f"{{fault: {kind}, startSeconds: {BEGINS_S:g}{told}}}"
    return journal(f"faults:\n  - {line}\n", falls_at_minute=FALLS_AT_MINUTE)


def during(entries: tuple[Entry, ...], *, after_s: float = 30.0) -> list[Entry]:
    """Return the ticks at which all that is visible comes from the fault's time."""
    return between(entries, BEGINS_S + after_s, ENDS_S)


def presences(entry: Entry) -> set[Presence]:
    """Return how the samples of a tick are known."""
    return {sample.presence for sample in entry.signals.samples}


def never_down(entries: list[Entry]) -> bool:
    """Return whether no tick asked for less than stood."""
    return all((entry.decision.target or 0) >= (entry.signals.spec_replicas or 0) for entry in entries)


def test_without_faults_the_fleet_follows_the_traffic_down() -> None:
    """What the other stories are held against: sighted, the core goes down in the very time of their faults."""
    assert not never_down(during(journal(falls_at_minute=FALLS_AT_MINUTE)))


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("targetDown", Presence.TARGET_DOWN), ("partialMetrics", Presence.ABSENT), ("nanMetrics", Presence.INVALID)],
)
def test_no_sample_of_anybody_blinds_and_holds(kind: str, seen: Presence) -> None:
    """Each kind of nothing is told as what it is; none of them is zero, and none scales down."""
    entries = run_with(kind, durationSeconds=600)
    assert all(presences(entry) == {seen} for entry in during(entries))
    assert {entry.decision.why for entry in during(entries)} == {Why.BLIND}
    assert never_down(during(entries))
    assert not never_down(between(entries, ENDS_S, 2400.0))


def test_a_prometheus_that_is_gone_leaves_a_warning_and_no_number() -> None:
    """Neither samples nor held requests; the decision names what the source said."""
    entries = between(run_with("prometheusDown", durationSeconds=600), BEGINS_S, ENDS_S - 1)
    assert all(entry.signals.samples == () and entry.signals.held_requests is None for entry in entries)
    assert all("does not answer" in entry.decision.detail for entry in entries)
    assert never_down(entries)


def test_a_value_that_repeats_is_believed_until_it_is_stale_and_then_gone() -> None:
    """The sample keeps its old time: present up to the policy's limit, stale up to the look-back, then absent."""
    entries = during(run_with("staleMetrics", durationSeconds=600))
    limit_s = spec().timing.stale_after_seconds
    ages = {
        sample.presence: entry.at - sample.at for entry in entries for sample in entry.signals.samples
    }  # the last, so the greatest, age at which each was told
    assert ages[Presence.PRESENT] <= limit_s < ages[Presence.STALE] <= 300.0
    assert presences(entries[-1]) == {Presence.ABSENT}
    assert never_down(entries)
    assert entries[-1].decision.why is Why.BLIND


def test_some_pods_missing_is_no_reason_to_go_down() -> None:
    """Two of five ready replicas have no series: the rest are scaled up to the whole, and nothing goes down."""
    entries = during(run_with("partialMetrics", durationSeconds=600, share=0.4))
    assert all(presences(entry) == {Presence.PRESENT, Presence.ABSENT} for entry in entries)
    assert never_down(entries)
    assert Why.PARTIAL in {entry.decision.why for entry in entries}


def test_a_series_that_is_missing_is_none_and_the_others_stay() -> None:
    """Without counts of requests there is no sight of demand, however many other series there are."""
    entries = during(
        run_with("partialMetrics", durationSeconds=600, series="[finishedRequests, ttftCount, promptTokens]")
    )
    samples = [sample for entry in entries for sample in entry.signals.samples]
    assert all(sample.presence is Presence.PRESENT and sample.running is not None for sample in samples)
    assert all(sample.finished_requests is None and sample.ttft_within == () for sample in samples)
    assert never_down(entries)


def test_a_counter_that_begins_anew_is_no_negative_work_and_no_burst() -> None:
    """The differences of the one interval are lost; the want before and after is the same."""
    # Steady traffic to its end, so that the want shows what a wrong difference would do.
    quiet, entries = journal(), journal(f"faults:\n  - {{fault: counterReset, startSeconds: {BEGINS_S:g}}}\n")
    before, after = between(entries, BEGINS_S - 60, BEGINS_S), between(entries, BEGINS_S + 15, BEGINS_S + 120)
    finished = [sample.finished_requests for entry in (before[-1], after[1]) for sample in entry.signals.samples[:1]]
    assert finished[0] is not None
    assert finished[1] is not None
    assert finished[1] < finished[0] / 10
    wants = {entry.decision.want for entry in between(quiet, BEGINS_S - 60, BEGINS_S + 120)}
    assert {entry.decision.want for entry in (*before, *after)} <= wants


def test_late_scrapes_make_samples_older_and_never_younger_than_those_seen() -> None:
    """What was seen stays seen until something newer comes; then the age is the usual one and the delay."""
    entries = run_with("delayedScrapes", durationSeconds=600, lagSeconds=40)
    newest = [max(sample.at for sample in entry.signals.samples) for entry in entries]
    assert newest == sorted(newest)
    assert all(55.0 <= entry.at - entry.signals.samples[0].at < 70.0 for entry in during(entries, after_s=60.0)[:-1])


def test_peers_take_a_stale_value_for_a_value() -> None:
    """Nobody but us asks for a sample's age: an adapter serves what Prometheus gives."""
    sample = PodSample(pod="p", at=0.0, presence=Presence.STALE, running=3.0, waiting=4.0)
    assert value_of(PodsMetric.CONCURRENCY, sample) == 7.0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    """Also with faults by chance."""
    text = """
        faults:
          - {fault: targetDown, perHour: 6, durationSeconds: 90, share: 0.5}
          - {fault: counterReset, perHour: 6, share: 0.5}
    """
    trace = steady_trace()
    one, two, other = (entries_of(faulty_scenario(text, trace=trace, seed=seed)) for seed in (1, 1, 2))
    assert as_bytes(one) == as_bytes(two)
    assert as_bytes(one) != as_bytes(other)


def test_two_contenders_meet_the_same_faults() -> None:
    """When a target is down, and of which replica, is the same under an HPA as under ours."""
    text = "faults:\n  - {fault: targetDown, perHour: 9, durationSeconds: 120, share: 0.5}\n"
    scenario = faulty_scenario(text)

    def down(entries: tuple[Entry, ...]) -> set[tuple[float, str]]:
        return {
            (entry.at, sample.pod)
            for entry in entries
            for sample in entry.signals.samples
            if sample.presence is Presence.TARGET_DOWN and sample.pod < "replica-0003"
        }

    # The static peer leaves the first replicas alone, so that both runs have them for the whole time.
    fixed, ours = entries_of(scenario, peer="static", knob=7), entries_of(scenario)
    alive = {(entry.at, replica.pod) for entry in ours for replica in entry.signals.replicas}
    assert down(ours)
    assert down(ours) == down(fixed) & alive
