"""Two controllers on one cluster: one writes, whatever happens to it."""

import signal
import time
from pathlib import Path

import pytest

from deploy.install import INSTALL
from deploy.localcluster import LocalCluster
from tests.cluster.controllers import (
    RunningController,
    apply,
    controller,
    deployment,
    eventually,
    get,
    policy,
    replicas,
)

pytestmark = pytest.mark.servers

HOME = "inference-autoscaler"


@pytest.fixture(autouse=True)
def installed(cluster: LocalCluster) -> None:
    """The product, installed, and nobody's Lease."""
    cluster.kubectl("apply", "-f", str(INSTALL))
    cluster.kubectl("wait", "crd/scalingpolicies.inference-autoscaler.dev", "--for=condition=Established")
    cluster.kubectl("delete", "lease", "--all", "-n", HOME)


def leads(running: RunningController) -> bool:
    """Whether a controller says, right now, that it may write; one that does not answer does not."""
    try:
        return bool(running.health()["leader"])
    except OSError:
        return False


@pytest.mark.timeout(120)
def test_a_frozen_leader_does_not_write_when_it_wakes_up(cluster: LocalCluster, namespace: str, tmp_path: Path) -> None:
    """While a leader is frozen another takes over; awake again, it finds out before it can write."""
    apply(cluster, namespace, [deployment("chat"), policy("chat", target="chat")])
    with controller(cluster, tmp_path, f"--namespace={namespace}") as first:
        eventually(lambda: replicas(cluster, namespace, "chat") == 3, what="the first write", log=lambda: first.log)
        with controller(cluster, tmp_path, f"--namespace={namespace}") as second:
            assert (leads(first), leads(second)) == (True, False)
            first.process.send_signal(signal.SIGSTOP)
            eventually(lambda: leads(second), what="the takeover", within_s=25, log=lambda: second.log)
            # What the frozen one would now write is what the other one writes.
            apply(cluster, namespace, [policy("chat", target="chat", least=5)])
            first.process.send_signal(signal.SIGCONT)
            for _ in range(30):
                assert not leads(first)
                time.sleep(0.1)
            eventually(lambda: replicas(cluster, namespace, "chat") == 5, what="its write", log=lambda: second.log)
            assert first.log.count("[scaled]") == 1
            assert "this is not the leader" in first.log


def test_a_leader_that_is_stopped_hands_over_at_once(cluster: LocalCluster, namespace: str, tmp_path: Path) -> None:
    """SIGTERM ends the controller soon, and its Lease with it: the next one need not wait 15 s."""
    with controller(cluster, tmp_path, f"--namespace={namespace}") as first:
        eventually(lambda: leads(first), what="the first leader")
        with controller(cluster, tmp_path, f"--namespace={namespace}") as second:
            assert not leads(second)
            assert first.stop() < 10.0
            assert first.process.returncode == 0
            assert list(first.scratch.iterdir()) == [], "the keys of the kubeconfig stay in a temporary file"
            eventually(lambda: leads(second), what="the takeover", within_s=12, log=lambda: second.log)
            assert get(cluster, HOME, "lease", HOME)["spec"]["leaseTransitions"] >= 1


def test_a_restart_does_not_move_the_replicas(cluster: LocalCluster, namespace: str, tmp_path: Path) -> None:
    """A controller that comes back goes on from its journal; what stands on the target stays."""
    arguments = (f"--namespace={namespace}", "--no-leader-election", f"--store={tmp_path / 'journal.db'}")
    apply(cluster, namespace, [deployment("chat", replicas=6), policy("chat", target="chat")])
    for _ in range(2):
        with controller(cluster, tmp_path, *arguments) as running:
            eventually(lambda: (running.metric("tick_seconds_count") or 0) >= 4, what="ticks")
            assert replicas(cluster, namespace, "chat") == 6
            assert "Traceback" not in running.log
            running.stop()


def test_what_is_missing_is_told_in_one_sentence(cluster: LocalCluster, tmp_path: Path) -> None:
    """A port that is taken ends the controller with a sentence and a non-zero exit, and no traceback."""
    with controller(cluster, tmp_path, "--no-leader-election") as first:
        taken = f"--listen=127.0.0.1:{first.port}"
        with controller(cluster, tmp_path, "--no-leader-election", taken, ready=False) as second:
            assert second.process.wait(20) == 1
            assert "choose another port" in second.log
            assert "Traceback" not in second.log
