"""The whole product on a real control plane: two bursts of real traffic, a Prometheus that dies, a restart, a deletion.

Everything is real but the engines: etcd, kube-apiserver, the controllers with the real HPA, the scheduler,
Prometheus, and ``autoscaler run`` as the service account of install.yaml. Time is compressed ten times, in true
seconds: cold starts of 12 s, scrapes and ticks of 1.5 s, holds, the HPA's period and its stabilization alike. Where the
HPA's API takes whole seconds only, its 1.5 s are 2 s; its metric comes from the engines at once, ours by a scrape.

One run is recorded, then asked many questions. Beside ``ours`` stands ``theirs``: the same Deployment with the same
requests under the real HPA on five waiting requests a replica.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.adapters.store import Store
from autoscaler.core.decision import Why
from autoscaler.journal import Entry, OutcomeStatus
from autoscaler.report import Start
from deploy.localcluster import manifests
from deploy.localcluster.nodes import A100
from deploy.localcluster.stage import NAMESPACE, Stage
from deploy.localcluster.traffic import FIRST, SECOND, acts
from tests.cluster.recording import Recorder, Recording, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.endtoend, pytest.mark.timeout(900)]

FACTOR = 10.0
TICK_S = 15 / FACTOR
BOUNDS = {"min": 1, "max": 24}
POLICY = f"{NAMESPACE}/ours"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """The run, played once."""
    played = acts(tmp_path_factory.mktemp("traffic"))
    with Stage(deployments=["ours", "theirs"], time_factor=FACTOR, pools=[replace(A100, nodes=8)]) as stage:
        recording = Recording(stage)
        set_up(stage)
        with Recorder(recording) as recorder:
            play(stage, recording, *played)
        assert len(recorder.failures) < 5, recorder.failures
        yield recording


def set_up(stage: Stage) -> None:
    """Two replicas each for ours and theirs, and a third Deployment that is only watched."""
    names = ("ours", "theirs", "watched")
    stage.apply(*(manifests.engines(name, replicas=2, time_factor=FACTOR) for name in names))
    stage.apply(
        manifests.policy("ours", target="ours", mode="Enforce", time_factor=FACTOR, replicas=BOUNDS),
        manifests.policy(
            "watched", target="watched", mode="Recommend", time_factor=FACTOR, replicas={"min": 3, "max": 9}
        ),
        manifests.hpa("theirs", metric="waiting-theirs", time_factor=FACTOR, replicas=BOUNDS),
    )
    for name in names:
        stage.wait_for_ready(name, 2, timeout_s=60)
    stage.start_controller()


def play(stage: Stage, recording: Recording, opening: Path, quiet: Path, closing: Path) -> None:
    """Let everything happen, in its order. The second burst comes as soon as both have begun to fall."""
    recording.marks["first burst"] = stage.replay(opening) + FIRST.at_s / FACTOR
    until(recording.marks["first burst"] + (FIRST.ends_s - FIRST.at_s) / FACTOR + 12)
    recording.mark("quiet")
    restart(stage, recording)
    held = {name: stage.replicas(name) for name in ("ours", "theirs")}
    stage.quiet_until_fewer(held, quiet, at_most_s=150)
    recording.mark("fallen")
    for name in ("ours", "theirs"):
        recording.counts[f"late before, {name}"] = stage.late(name)
    second = recording.marks["second burst"] = stage.replay(closing)
    until(second + SECOND.ends_s / FACTOR + 8)
    for name in ("ours", "theirs"):
        recording.counts[f"late after, {name}"] = stage.late(name)
    blind(stage, recording)
    recording.counts["desired, watched"] = int(stage.get("scalingpolicy", "watched")["status"]["desired"])
    delete(stage, recording)


def restart(stage: Stage, recording: Recording) -> None:
    """Stop the controller and start it again, while a surplus is held."""
    recording.mark("stopped")
    stage.stop_controller()
    stage.start_controller()
    recording.mark("started again")
    time.sleep(8 * TICK_S)
    recording.mark("settled again")


def blind(stage: Stage, recording: Recording) -> None:
    """Kill Prometheus while replicas are about to go, and bring it back."""
    recording.mark("killed")
    stage.prometheus.kill()
    time.sleep(30)
    held = recording.replicas["ours"][-1][1]
    recording.mark("back")
    stage.prometheus.start()
    wait_for(
        lambda: recording.replicas["ours"][-1][1] < held,
        what="a scale-down after Prometheus came back",
        within_s=90,
        log=stage.controller_log,
    )
    recording.mark("resumed")


def delete(stage: Stage, recording: Recording) -> None:
    """Delete the policy, then set more replicas than it ever allowed."""
    stage.cluster.kubectl("delete", "scalingpolicy", "ours", "-n", NAMESPACE)
    recording.mark("deleted")
    stage.cluster.kubectl("scale", "deployment/ours", "--replicas=26", "-n", NAMESPACE)
    recording.mark("set by hand")
    time.sleep(6 * TICK_S)
    recording.mark("end")


def until(at: float) -> None:
    """Wait for an instant."""
    time.sleep(max(0.0, at - time.time()))


@pytest.fixture(scope="module")
def journal(recorded: Recording) -> tuple[Entry, ...]:
    """Our policy's entries, oldest first."""
    with Store.open(str(recorded.stage.store), read_only=True) as store:
        return tuple(sorted(store.entries(POLICY), key=lambda entry: entry.at))


@pytest.fixture(scope="module")
def starts(recorded: Recording) -> tuple[Start, ...]:
    """The cold starts that the store knows of our policy."""
    with Store.open(str(recorded.stage.store), read_only=True) as store:
        return store.coldstarts(POLICY)


def test_replicas_rise_in_the_first_burst(recorded: Recording) -> None:
    """A burst that two replicas cannot serve orders more."""
    burst = recorded.between("ours", recorded.marks["first burst"], recorded.marks["quiet"])

    assert burst[0] == 2
    assert max(burst) >= 4


def test_replicas_fall_between_the_bursts(recorded: Recording) -> None:
    """A surplus goes when nothing asks for it any more."""
    quiet = recorded.between("ours", recorded.marks["quiet"], recorded.marks["second burst"])

    assert quiet[-1] < max(quiet)


def test_no_scale_down_goes_below_what_was_wanted_within_the_hold(journal: tuple[Entry, ...]) -> None:
    """Whatever was wanted in the last two cold starts stays."""
    downs = [
        entry
        for entry in journal
        if entry.outcome.status is OutcomeStatus.SCALED
        and (entry.decision.target or 0) < (entry.decision.spec_replicas or 0)
    ]
    for down in downs:
        since_at = down.at - down.decision.numbers["hold_s"] + TICK_S
        wanted = [entry.decision.want or 0 for entry in journal if since_at < entry.at <= down.at]
        assert down.decision.target is not None
        assert max(wanted) <= down.decision.target

    assert downs


def test_fewer_requests_wait_in_the_second_burst_than_under_the_hpa(recorded: Recording) -> None:
    """Having seen one burst, ours meets the next one better than an HPA on queue depth does."""
    late = {
        name: recorded.counts[f"late after, {name}"] - recorded.counts[f"late before, {name}"]
        for name in ("ours", "theirs")
    }

    assert late["theirs"] > 0
    assert late["ours"] < late["theirs"]


def test_a_pod_that_loads_is_never_deleted(recorded: Recording) -> None:
    """Of our pods, none was deleted before it had been Ready."""
    until_at = recorded.marks["deleted"]
    deleted = [life for life in recorded.of("ours") if (life.deleted_at or until_at) < until_at]

    assert deleted
    assert [life.name for life in deleted if life.ready_at is None] == []


def test_cold_starts_in_the_store_are_the_pods_own_times(recorded: Recording, starts: tuple[Start, ...]) -> None:
    """Every sample is a pod's own conditions, to the second that Kubernetes keeps; and no start is missing."""
    lives = {life.name: life for life in recorded.of("ours")}
    ours = [(s.pod, s.ordered_at, s.scheduled_at, s.started_at, s.ready_at) for s in starts]
    theirs = [
        (life.name, life.created_at, life.scheduled_at, life.started_at, life.ready_at)
        for life in (lives[start.pod] for start in starts)
    ]
    began_at = recorded.marks["first burst"]
    expected = {
        life.name
        for life in lives.values()
        if life.ready_at and began_at < life.ready_at < recorded.marks["deleted"] - 3
    }

    assert ours == theirs
    assert len(starts) >= 3
    assert expected <= {start.pod for start in starts}


def test_a_dead_prometheus_freezes_the_replicas(recorded: Recording, journal: tuple[Entry, ...]) -> None:
    """Blind, the controller keeps ticking, says so, and takes nothing away."""
    killed, back = recorded.marks["killed"], recorded.marks["back"]
    frozen = recorded.between("ours", killed + 12, back)
    reasons = {entry.decision.why for entry in journal if killed + 12 < entry.at < back}

    assert len(set(frozen)) == 1
    assert reasons == {Why.BLIND}


def test_its_return_resumes(recorded: Recording, journal: tuple[Entry, ...]) -> None:
    """When Prometheus is back, decisions are made again, and what is too much goes."""
    after = [entry for entry in journal if recorded.marks["back"] + 8 < entry.at < recorded.marks["resumed"] + 2]

    assert after
    assert Why.BLIND not in {entry.decision.why for entry in after[-5:]}
    assert any(entry.outcome.status is OutcomeStatus.SCALED for entry in after)


def test_a_restart_does_not_make_the_replicas_jump(recorded: Recording, journal: tuple[Entry, ...]) -> None:
    """The controller goes on from its memory: the count stays, and the cold starts are not forgotten."""
    stopped, settled = recorded.marks["stopped"], recorded.marks["settled again"]
    around = recorded.between("ours", stopped - 2, settled)
    last = [entry for entry in journal if entry.at < stopped][-1]
    first = next(entry for entry in journal if entry.at > stopped)

    assert max(around) - min(around) <= 1
    assert first.decision.numbers["coldstart_samples"] >= last.decision.numbers["coldstart_samples"] > 0


def test_recommend_leaves_scale_alone(recorded: Recording) -> None:
    """It says what it would do, and does not do it."""
    assert {count for _, count in recorded.replicas["watched"]} == {2}
    assert recorded.counts["desired, watched"] == 3


def test_a_deleted_policy_writes_no_more(recorded: Recording) -> None:
    """26 replicas are more than the policy ever allowed; nobody takes them back."""
    after = recorded.between("ours", recorded.marks["set by hand"] + 1, recorded.marks["end"])

    assert set(after) == {26}


def test_ledger_seconds_are_pod_seconds(recorded: Recording, journal: tuple[Entry, ...]) -> None:
    """What the ledger charges is what our pods held, within one tick, however many pods came and went."""
    with Store.open(str(recorded.stage.store), read_only=True) as store:
        charged_s = sum(row.accelerator_ms for row in store.ledger(policy=POLICY)) / 1000
    start, end = journal[0].at, journal[-1].at
    held_s = 0.0
    for life in recorded.of("ours"):
        if life.scheduled_at is not None and life.scheduled_at > end - 1.0:
            # Kubernetes tells whole seconds, cut off: those ordered by hand once the policy is gone may seem to have
            # come before its last tick.
            continue
        from_at, to_at = max(life.scheduled_at or end, start), min(life.gone_at or end, end)
        held_s += max(0.0, to_at - from_at)
    assert charged_s > 0
    assert abs(charged_s - held_s) <= TICK_S, (charged_s, held_s)
