"""The controller on a real API server: what it writes, and above all what it does not."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.install import INSTALL
from deploy.localcluster import LocalCluster
from tests.cluster.controllers import (
    RunningController,
    apply,
    conditions,
    controller,
    deployment,
    eventually,
    get,
    policy,
    replicas,
)

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def running(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningController]:
    """One controller for the whole module, with a journal."""
    cluster.kubectl("apply", "-f", str(INSTALL))
    cluster.kubectl("wait", "crd/scalingpolicies.inference-autoscaler.dev", "--for=condition=Established")
    folder = tmp_path_factory.mktemp("controller")
    with controller(cluster, folder, "--no-leader-election", f"--store={folder / 'journal.db'}") as one:
        yield one


def ticks(running: RunningController, number: int) -> None:
    """Let some ticks pass."""
    now = running.metric("tick_seconds_count") or 0.0
    eventually(
        lambda: (running.metric("tick_seconds_count") or 0.0) >= now + number,
        what=f"{number} ticks",
        log=lambda: running.log,
    )


def reaches(cluster: LocalCluster, namespace: str, name: str, count: int, running: RunningController) -> None:
    """Wait until a Deployment was scaled to a count."""
    eventually(lambda: replicas(cluster, namespace, name) == count, what=f"{name} at {count}", log=lambda: running.log)


def test_only_enforce_writes(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """Enforce writes; Recommend publishes the target and writes nothing; Observe publishes none."""
    modes = ("Enforce", "Recommend", "Observe")
    objects = [one for mode in modes for one in _pair(mode.lower(), mode=mode)]
    apply(cluster, namespace, objects)
    reaches(cluster, namespace, "enforce", 3, running)
    ticks(running, 4)
    assert [replicas(cluster, namespace, mode.lower()) for mode in modes] == [3, 1, 1]
    desired = [_status(cluster, namespace, mode.lower()).get("desired") for mode in modes]
    assert desired == [3, 3, None]
    ready = [conditions(cluster, namespace, mode.lower())["AbleToScale"][:2] for mode in modes[1:]]
    assert ready == [("False", "ModeRecommend"), ("False", "ModeObserve")]


def test_a_change_is_told_by_an_event(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """Who looks at a policy's Events sees what was scaled, and why."""
    apply(cluster, namespace, _pair("chat"))
    reaches(cluster, namespace, "chat", 3, running)
    eventually(lambda: "1 → 3 replicas (min-replicas)" in cluster.kubectl("get", "events", "-n", namespace), what="it")


def test_nothing_of_a_users_objects_changes_but_the_count(
    cluster: LocalCluster, namespace: str, running: RunningController
) -> None:
    """No finalizer, no annotation, no label on anybody's objects; of the policy, its status alone."""
    apply(cluster, namespace, _pair("chat"))
    before = _marks(cluster, namespace)
    reaches(cluster, namespace, "chat", 3, running)
    eventually(lambda: _status(cluster, namespace, "chat").get("desired") == 3, what="the status")
    after = _marks(cluster, namespace)
    assert after == before
    assert not any(finalizers for _, _, finalizers in after.values())


def test_an_hpa_on_the_target_is_left_alone(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """Two writers on one count are worse than none: the policy says which HPA it gives way to."""
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat-hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
            "maxReplicas": 5,
        },
    }
    apply(cluster, namespace, [deployment("chat"), hpa])
    ticks(running, 2)
    apply(cluster, namespace, [policy("chat", target="chat")])
    status, reason, message = _condition(cluster, namespace, "chat", "Conflicted", "True")
    assert (status, reason) == ("True", "TargetHeld")
    assert "HorizontalPodAutoscaler chat-hpa" in message
    assert replicas(cluster, namespace, "chat") == 1
    cluster.kubectl("delete", "hpa", "chat-hpa", "-n", namespace)
    reaches(cluster, namespace, "chat", 3, running)


def test_of_two_policies_on_one_target_the_older_writes(
    cluster: LocalCluster, namespace: str, running: RunningController
) -> None:
    """The older policy holds the target; the younger says who does, and takes over when that one is gone."""
    apply(cluster, namespace, _pair("chat"))
    reaches(cluster, namespace, "chat", 3, running)
    # Kubernetes keeps creation times in whole seconds: of two policies of one second neither is the older.
    time.sleep(1.1)
    apply(cluster, namespace, [policy("another", target="chat", least=5)])
    _, _, message = _condition(cluster, namespace, "another", "Conflicted", "True")
    assert "ScalingPolicy chat" in message
    assert replicas(cluster, namespace, "chat") == 3
    cluster.kubectl("delete", "scalingpolicy", "chat", "-n", namespace)
    reaches(cluster, namespace, "chat", 5, running)


def test_a_deleted_policy_writes_no_more(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """From the deletion on the target is its owner's alone, and the policy goes without waiting for the controller."""
    apply(cluster, namespace, _pair("chat"))
    reaches(cluster, namespace, "chat", 3, running)
    cluster.kubectl("delete", "scalingpolicy", "chat", "-n", namespace, "--timeout=3s")
    cluster.kubectl("scale", "deployment", "chat", "-n", namespace, "--replicas=1")
    ticks(running, 4)
    assert replicas(cluster, namespace, "chat") == 1


def test_a_changed_policy_acts_at_once(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """A new bound is an order, and what the policy had learnt is kept."""
    apply(cluster, namespace, _pair("chat"))
    reaches(cluster, namespace, "chat", 3, running)
    apply(cluster, namespace, [policy("chat", target="chat", least=4)])
    reaches(cluster, namespace, "chat", 4, running)


def test_an_invalid_policy_leaves_its_target(cluster: LocalCluster, namespace: str, running: RunningController) -> None:
    """A policy that slipped past the API server is told what is wrong with it, and nothing is written."""
    # The API server knows a year 0, and the calendar does not.
    wrong = policy("chat", target="chat", pin={"replicas": 2, "until": "0000-12-01T08:00:00Z"})
    apply(cluster, namespace, [deployment("chat"), wrong])
    status, _, message = _condition(cluster, namespace, "chat", "Accepted", "False")
    assert status == "False"
    assert "pin.until" in message
    ticks(running, 2)
    assert replicas(cluster, namespace, "chat") == 1


def test_a_missing_target_is_told_and_found_later(
    cluster: LocalCluster, namespace: str, running: RunningController
) -> None:
    """A policy may come before its target."""
    apply(cluster, namespace, [policy("chat", target="chat")])
    _condition(cluster, namespace, "chat", "TargetFound", "False")
    apply(cluster, namespace, [deployment("chat")])
    reaches(cluster, namespace, "chat", 3, running)


def test_the_cold_start_is_measured_on_the_pods(
    cluster: LocalCluster, namespace: str, running: RunningController
) -> None:
    """The pods' own times reach the policy's status."""
    apply(cluster, namespace, _pair("chat"))
    reaches(cluster, namespace, "chat", 3, running)
    eventually(
        lambda: (_status(cluster, namespace, "chat").get("coldStart") or {}).get("samples", 0) >= 1,
        what="a cold start",
        log=lambda: running.log,
    )


def _pair(name: str, *, mode: str = "Enforce") -> list[dict[str, Any]]:
    return [deployment(name), policy(name, target=name, mode=mode)]


def _status(cluster: LocalCluster, namespace: str, name: str) -> dict[str, Any]:
    status: dict[str, Any] = get(cluster, namespace, "scalingpolicy", name).get("status") or {}
    return status


def _condition(cluster: LocalCluster, namespace: str, name: str, kind: str, status: str) -> tuple[str, str, str]:
    def look() -> tuple[str, str, str] | None:
        found = conditions(cluster, namespace, name).get(kind)
        return found if found and found[0] == status else None

    return eventually(look, what=f"{kind}={status}")


def _marks(cluster: LocalCluster, namespace: str) -> dict[str, Any]:
    """Return labels, annotations and finalizers of a user's objects, without what Deployments write themselves."""
    text = cluster.kubectl("get", "scalingpolicies,deployments", "-n", namespace, "-o", "json")
    marks = {}
    for one in json.loads(text)["items"]:
        metadata = one["metadata"]
        annotations = metadata.get("annotations") or {}
        annotations.pop("deployment.kubernetes.io/revision", None)
        marks[f"{one['kind']}/{metadata['name']}"] = (metadata.get("labels"), annotations, metadata.get("finalizers"))
    return marks
