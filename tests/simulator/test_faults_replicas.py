"""Stories of replicas and nodes that fail: what is seen, what our core makes of it, and what becomes of the requests.

A third of the traffic until minute twelve, then all of it: the core orders, into the midst of what goes wrong.
"""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decision import Why
from autoscaler.core.signals import Replica, ReplicaState
from autoscaler.journal import Entry
from simulator.baselines.peers import PEERS, Style
from simulator.engine.records import RequestStatus
from simulator.faults.replicas import backoff_s
from simulator.faults.victims import REPLICAS, pod_name
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.nodes.node import NodeGroup
from simulator.pages.run_report import figure
from simulator.run import run
from simulator.startup.distributions import Fixed
from simulator.telemetry import EPOCH_AT
from simulator.world import SimulatedWorld
from tests.simulator.faulty_runs import QUANTILE, as_bytes, between, entries_of, faulty_scenario, spec, steady_trace
from tests.simulator.small_demo import policy

RISES_S = 720.0
SPOT = ModelledCluster(
    groups=(
        NodeGroup(
            name="spot", accelerator="A100-80GB", accelerators_per_node=2, provisioning=Fixed(seconds=90.0), spot=True,
            min_nodes=4, max_nodes=8,
        ),
    )
)  # fmt: skip


@cache
def story(faults: str, *, on_nodes: bool = False, rate: float = 40.0) -> tuple[tuple[Entry, ...], SimulatedWorld]:
    """Return our journal of the run with these faults, and the world as it is in the end."""
    trace = steady_trace(rises_at_minute=12, rate=rate)
    scenario = faulty_scenario(faults, trace=trace, cluster=SPOT if on_nodes else None)
    contender = PEERS["ours"].contender(scenario, spec(), QUANTILE, Style.DEFAULT)
    world = SimulatedWorld(scenario)
    return tuple(entry for entry, _ in run(scenario, contender, world)), world


def ours(line: str, *, on_nodes: bool = False) -> tuple[Entry, ...]:
    """Return our journal of the run with one fault."""
    return story(f"faults:\n  - {{{line}}}\n", on_nodes=on_nodes)[0]


def by_reason(entry: Entry) -> Counter[tuple[ReplicaState, str | None]]:
    """Return how many replicas are in each state, with its reason."""
    return Counter((replica.state, replica.reason) for replica in entry.signals.replicas)


def conditions(entries: list[Entry]) -> set[str]:
    """Return the names of all conditions that were told."""
    return {condition.name for entry in entries for condition in entry.decision.conditions}


def lives(entries: tuple[Entry, ...], uid: str) -> list[Replica]:
    """Return what was seen of one replica."""
    return [replica for entry in entries for replica in entry.signals.replicas if replica.uid == uid]


def test_the_kubelet_waits_ten_seconds_and_doubles_to_five_minutes() -> None:
    """None before the first restart, as the kubelet has it."""
    assert [backoff_s(number) for number in range(8)] == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_a_crash_loop_is_failed_between_its_tries_and_never_counts_as_ready() -> None:
    """It is told as stuck, replaced up to a limit and no further, and nothing is taken away while it lasts."""
    entries = ours("fault: crashLoop, startSeconds: 700, durationSeconds: 300")
    after = between(entries, RISES_S + 240, 2400)
    assert (ReplicaState.FAILED, "CrashLoopBackOff") in by_reason(after[0])
    assert {"StuckColdStart", "StartsFailing"} <= conditions(after)
    assert all(entry.decision.ready == entry.signals.count(ReplicaState.READY) for entry in after)
    assert all((entry.decision.target or 0) >= (entry.signals.spec_replicas or 0) for entry in after)
    wants = max(entry.decision.want or 0 for entry in after)
    assert max(entry.decision.target or 0 for entry in after) <= wants + max(1, wants // 5)


def test_replicas_that_failed_are_drawn_as_such() -> None:
    """In the picture they are neither warming nor gone; a run without any has no such area."""
    loop = ours("fault: crashLoop, startSeconds: 700, durationSeconds: 300")
    for entries, drawn in ((loop, True), (story("")[0], False)):
        names = {trace.name for trace in figure(policy(), entries, name="ours").data}
        assert ("ours: failed" in names) is drawn


def test_a_pull_that_fails_twice_comes_after_its_two_waits() -> None:
    """ImagePullBackOff while the kubelet waits; two failures cost their tries and 10 and 20 s."""
    entries = ours("fault: failedStart, startSeconds: 700, durationSeconds: 300, attempts: 2")
    failed = {replica.uid for entry in entries for replica in entry.signals.replicas if replica.reason}
    assert failed
    for uid in failed:
        seen = lives(entries, uid)
        assert {replica.reason for replica in seen if replica.state is ReplicaState.FAILED} == {"ImagePullBackOff"}
        last = seen[-1]
        assert last.ready_at is not None
        assert last.started_at is not None
        assert last.scheduled_at is not None
        assert last.started_at - last.scheduled_at >= 2 * 5.0 + 10.0 + 20.0


def test_a_start_that_hangs_is_found_stuck_and_replaced_by_addition() -> None:
    """Nobody tells that it hangs: it is starting for longer than starts take. Loading replicas are not deleted."""
    entries = ours("fault: hangingStart, startSeconds: 700, durationSeconds: 60")
    assert "StuckColdStart" in conditions(between(entries, RISES_S + 300, 2400))
    assert Why.REPLACE_STUCK in {entry.decision.why for entry in entries}
    hung = [replica for replica in entries[-1].signals.replicas if replica.ready_at is None]
    assert all(replica.state is ReplicaState.STARTING and replica.reason is None for replica in hung)


@pytest.mark.parametrize("on_nodes", [False, True])
def test_a_stockout_is_unschedulable_and_winds_nothing_up(on_nodes: bool) -> None:
    """What was ordered waits; the target stays at what is wanted, and comes down to it when the devices come."""
    seconds = 900
    entries = ours(f"fault: stockout, startSeconds: 700, durationSeconds: {seconds}", on_nodes=on_nodes)
    window = between(entries, RISES_S + 180, 700 + seconds)
    if not on_nodes:
        assert all(by_reason(entry)[ReplicaState.STARTING, "Unschedulable"] > 0 for entry in window)
    wants = max(entry.decision.want or 0 for entry in between(entries, 0, 700 + seconds))
    assert all((entry.decision.target or 0) <= wants + max(1, wants // 5) for entry in window)
    assert entries[-1].signals.count(ReplicaState.READY) >= (entries[-1].decision.want or 0)


def test_an_engine_that_crashes_loses_its_requests_and_starts_again_in_its_pod() -> None:
    """The same pod, not ready, its first Ready unmoved, no sample of it believed; then its counters begin at 0."""
    entries, world = story("faults:\n  - {fault: replicaCrash, startSeconds: 1502, replicas: 1}\n")
    after = between(entries, 1502, 1520)[0]
    (crashed,) = [one for one in after.signals.replicas if one.reason == "NotReady"]
    assert crashed.state is ReplicaState.STARTING
    assert crashed.pod not in {sample.pod for sample in after.signals.samples}
    seen = lives(entries, crashed.uid)
    assert len({replica.ready_at for replica in seen if replica.ready_at is not None}) == 1
    assert seen[-1].state in {ReplicaState.READY, ReplicaState.GONE, ReplicaState.DRAINING}
    lost = world.cluster.requests().status == int(RequestStatus.LOST)
    assert 0 < lost.sum() < 300


def test_requests_of_a_crash_may_be_tried_again_instead() -> None:
    """Then none is lost, and some are served at their second try."""
    _, world = story("faults:\n  - {fault: replicaCrash, startSeconds: 1502, replicas: 1, requests: retried}\n")
    table = world.cluster.requests()
    assert not (table.status == int(RequestStatus.LOST)).any()
    again = table.retries > 0
    assert again.any()
    assert (table.status[again] == int(RequestStatus.FINISHED)).all()


def test_a_slow_replica_takes_its_factor_for_a_token_and_no_longer() -> None:
    """In the window the time per token is about the factor's; before and after it is the usual one."""
    _, world = story("faults:\n  - {fault: slowReplicas, startSeconds: 1200, durationSeconds: 300, factor: 1.5}\n")
    _, quiet = story("")
    ratio = []
    for begin_s, end_s in ((900, 1150), (1230, 1450), (1800, 2300)):
        means = []
        for one in (world, quiet):
            table = one.cluster.requests()
            here = (table.arrival_s >= begin_s) & (table.arrival_s < end_s)
            means.append(float(np.nanmean(table.tpot_s[here])))
        ratio.append(means[0] / means[1])
    assert ratio[0] == pytest.approx(1.0, abs=0.02)
    assert 1.3 < ratio[1] < 2.5
    assert ratio[2] < 1.1


def test_a_lost_node_takes_its_replicas_along_and_they_come_again() -> None:
    """They are gone at once, ordered anew when the cluster notices, and their requests are tried again elsewhere."""
    entries, world = story("faults:\n  - {fault: nodeLoss, startSeconds: 1502, noticedSeconds: 60}\n", on_nodes=True)
    before, after = between(entries, 1480, 1501)[-1], between(entries, 1502, 1520)[0]
    gone = {one.uid for one in before.signals.replicas} - {
        one.uid for one in after.signals.replicas if one.state is not ReplicaState.GONE
    }
    assert len(gone) in {1, 2}
    assert not (world.cluster.requests().status == int(RequestStatus.LOST)).any()
    assert entries[-1].signals.count(ReplicaState.READY) >= (entries[-1].decision.want or 0)


def test_when_every_node_is_lost_what_the_gateway_holds_orders_and_is_no_new_traffic() -> None:
    """No engine gives a sample: the queue alone orders, nothing is taken away, and who takes it all sees no burst."""
    lost = "faults:\n  - {fault: nodeLoss, startSeconds: 1502, nodes: 9, noticedSeconds: 300}\n"
    entries, world = story(lost, on_nodes=True)
    stood = between(entries, 1480, 1501)[-1].decision.target or 0
    dark = [entry for entry in between(entries, 1502, 2000) if not entry.signals.samples]
    assert len(dark) >= 5
    targets = [entry.decision.target or 0 for entry in dark]
    assert targets == sorted(targets)
    assert Why.BACKLOG in {entry.decision.why for entry in dark}
    assert stood < targets[-1] <= 2 * stood
    after = between(entries, dark[-1].at - EPOCH_AT + 1, 2400)
    assert all((entry.decision.target or 0) <= 2 * stood for entry in after)
    assert not (world.cluster.requests().status == int(RequestStatus.LOST)).any()


def test_a_spot_node_is_taken_back_after_its_notice() -> None:
    """Its replicas drain in the notice."""
    entries = ours("fault: spotReclaim, startSeconds: 1502, noticeSeconds: 60", on_nodes=True)
    drained = [one for one in between(entries, 1502, 1530)[0].signals.replicas if one.deleted_at is not None]
    assert drained
    assert all(one.state in {ReplicaState.DRAINING, ReplicaState.GONE} for one in drained)


LINES = st.sampled_from(
    [
        "fault: targetDown, perHour: 8, durationSeconds: 90, share: 0.5",
        "fault: prometheusDown, perHour: 4, durationSeconds: 200",
        "fault: staleMetrics, perHour: 6, durationSeconds: 400, share: 0.7",
        "fault: nanMetrics, perHour: 9, durationSeconds: 50, share: 0.4",
        "fault: partialMetrics, perHour: 9, durationSeconds: 50, series: [ttftCount, running]",
        "fault: counterReset, perHour: 20, share: 0.5",
        "fault: delayedScrapes, perHour: 5, durationSeconds: 100, lagSeconds: 70",
        "fault: scaleConflict, startSeconds: 0, durationSeconds: 2400, share: 0.5",
        "fault: scaleRefused, perHour: 5, durationSeconds: 200",
        "fault: slowApi, perHour: 5, durationSeconds: 200, delaySeconds: 2.5",
        "fault: slowApi, perHour: 5, durationSeconds: 60, delaySeconds: 9",
        "fault: controllerRestart, perHour: 9, downSeconds: 100",
        "fault: leaderChange, perHour: 9",
        "fault: failedStart, startSeconds: 300, durationSeconds: 900, share: 0.5, attempts: 3",
        "fault: hangingStart, startSeconds: 300, durationSeconds: 900, share: 0.5",
        "fault: crashLoop, startSeconds: 300, durationSeconds: 900, share: 0.7",
        "fault: replicaCrash, perHour: 20, replicas: 2",
        "fault: replicaCrash, perHour: 20, replicas: 3, requests: retried",
        "fault: slowReplicas, perHour: 8, durationSeconds: 120, share: 0.5, factor: 4",
        "fault: stockout, startSeconds: 700, durationSeconds: 600",
    ]
)


NODE_LINES = st.sampled_from(
    [
        "fault: nodeLoss, perHour: 8, noticedSeconds: 100",
        "fault: spotReclaim, perHour: 8, nodes: 2, noticeSeconds: 40",
        "fault: stockout, perHour: 4, durationSeconds: 400, group: spot",
    ]
)


@settings(max_examples=12, deadline=None)
@given(
    lines=st.lists(LINES, min_size=1, max_size=5),
    on_nodes=st.lists(NODE_LINES, max_size=3),
    seed=st.integers(0, 1000),
)
def test_whatever_goes_wrong_a_decision_is_made_and_no_request_is_miscounted(
    lines: list[str], on_nodes: list[str], seed: int
) -> None:
    """Decide never raises; arrived = finished + rejected + running + waiting + held + lost; the same seed, the same."""
    text = "faults:\n" + "".join(f"  - {{{line}}}\n" for line in (*lines, *on_nodes))
    trace = steady_trace(rises_at_minute=12, rate=8.0)
    scenario = faulty_scenario(text, trace=trace, seed=seed, cluster=SPOT if on_nodes else None)
    contender = PEERS["ours"].contender(scenario, spec(), QUANTILE, Style.DEFAULT)
    world = SimulatedWorld(scenario)
    entries = tuple(entry for entry, _ in run(scenario, contender, world))
    snapshot, table = world.cluster.snapshot(), world.cluster.requests()
    ended = sum((table.status == int(status)).sum() for status in (
        RequestStatus.FINISHED, RequestStatus.REJECTED, RequestStatus.LOST
    ))  # fmt: skip
    in_engines = int(snapshot.running.sum() + snapshot.waiting.sum())
    assert snapshot.arrived_total == len(table) == ended + in_engines + snapshot.held
    pods = {pod_name(int(number)) for number in world.cluster.history()["id"]}
    named = [one for one in world.befallen() if one.of == REPLICAS]
    assert all(set(one.names) <= pods for one in named), "a fault befalls none that never was"
    least, most = spec().replicas.min, spec().replicas.max
    assert all(entry.decision.target is None or least <= entry.decision.target <= most for entry in entries)
    assert as_bytes(entries_of(scenario)) == as_bytes(entries)
