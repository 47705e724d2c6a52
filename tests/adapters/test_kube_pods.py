"""Pods as the API server shows them, translated to replicas."""

from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler.adapters import kube_pods
from autoscaler.adapters.kube_pods import Firsts, PodHistory
from autoscaler.core.signals import ReplicaState

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC).timestamp()


def stamp(after_s: float) -> str:
    """Return noon plus seconds as Kubernetes writes times."""
    return datetime.fromtimestamp(NOON + after_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, at_s: float, *, true: bool = True, reason: str = "") -> dict[str, Any]:
    """Return one condition of a pod."""
    return {
        "type": kind,
        "status": "True" if true else "False",
        "lastTransitionTime": stamp(at_s),
        "reason": reason,
    }


def pod(
    *conditions: dict[str, Any],
    probe: bool = True,
    state: dict[str, Any] | None = None,
    phase: str = "Running",
    template: str = "a",
    **metadata: Any,
) -> Any:
    """Return a pod created at noon, trimmed."""
    container: dict[str, Any] = {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    if probe:
        container["readinessProbe"] = {"httpGet": {"path": "/health", "port": 8000}}
    return kube_pods.trim(
        {
            "metadata": {
                "name": "chat-1",
                "namespace": "prod",
                "uid": "u1",
                "creationTimestamp": stamp(0),
                "labels": {"app": "chat", "pod-template-hash": template},
                **metadata,
            },
            "spec": {"nodeName": "h100-0", "containers": [container, {"name": "sidecar"}]},
            "status": {
                "phase": phase,
                "conditions": list(conditions),
                "containerStatuses": [
                    {"name": "engine", "state": state or {"running": {"startedAt": stamp(30)}}},
                    {"name": "sidecar", "state": {"running": {"startedAt": stamp(99)}}},
                ],
            },
        }
    )


SCHEDULED = condition("PodScheduled", 2)


def history(*pods: Any, wall: float = NOON) -> PodHistory:
    """Return a history that saw some events."""
    seen = PodHistory(lambda: wall)
    for one in pods:
        seen.seen(one)
    return seen


def test_readiness_that_flapped_while_nobody_watched_is_no_start() -> None:
    """A pod first seen in a lapse was ready before: what comes next is no first Ready, and yields no cold start."""
    lapsed = pod(SCHEDULED, condition("Ready", 10_000, true=False))
    back = pod(SCHEDULED, condition("Ready", 10_020))
    assert history(lapsed, back).firsts("u1").ready_at == NOON + 30


def test_a_pod_that_never_was_ready_is_told_from_a_lapsed_one() -> None:
    """Its condition has been false since before its engine started."""
    loading = pod(SCHEDULED, condition("Ready", 1, true=False))
    ready = pod(SCHEDULED, condition("Ready", 120))
    assert history(loading).firsts("u1").ready_at is None
    assert history(loading, ready).firsts("u1").ready_at == NOON + 120


def test_what_was_kept_before_a_restart_goes_before_a_condition_that_flapped() -> None:
    """The journal knows the first Ready; the pod's condition only the latest."""
    flapped = pod(SCHEDULED, condition("Ready", 10_000))
    after = history(flapped)
    after.recall("u1", Firsts(started_at=NOON + 30, ready_at=NOON + 120))
    assert after.firsts("u1").ready_at == NOON + 120
    after.recall("gone", Firsts(ready_at=NOON))
    assert after.firsts("gone") == Firsts()


def test_every_phase_has_its_instant() -> None:
    """Ordered at creation, scheduled by its condition, started with the engine's container, ready by its condition."""
    ready = pod(SCHEDULED, condition("Ready", 120))
    replica = kube_pods.replica(ready, history(ready).firsts("u1"))
    assert replica.state is ReplicaState.READY
    instants = (replica.ordered_at, replica.scheduled_at, replica.started_at, replica.ready_at)
    assert instants == (NOON, NOON + 2, NOON + 30, NOON + 120)
    assert (replica.pod, replica.uid, replica.node) == ("chat-1", "u1", "h100-0")


def test_the_first_ready_counts_and_flaps_do_not() -> None:
    """Readiness that comes back later changes the state, and neither ready_at nor started_at."""
    first = pod(SCHEDULED, condition("Ready", 120))
    lapsed = pod(SCHEDULED, condition("Ready", 500, true=False))
    again = pod(SCHEDULED, condition("Ready", 600), state={"running": {"startedAt": stamp(560)}})
    seen = history(first, lapsed, again)
    assert kube_pods.replica(lapsed, seen.firsts("u1")).state is ReplicaState.STARTING
    replica = kube_pods.replica(again, seen.firsts("u1"))
    assert (replica.state, replica.started_at, replica.ready_at) == (ReplicaState.READY, NOON + 30, NOON + 120)


def test_without_a_probe_the_first_sample_is_ready() -> None:
    """A pod without a probe is starting, whatever its Ready says, until its engine was seen."""
    unprobed = pod(SCHEDULED, condition("Ready", 3), probe=False)
    seen = history(unprobed)
    before = kube_pods.replica(unprobed, seen.firsts("u1"))
    assert (before.state, before.ready_at, before.reason) == (ReplicaState.STARTING, None, kube_pods.NO_PROBE)
    seen.serving("u1", NOON + 130)
    seen.serving("u1", NOON + 145)
    after = kube_pods.replica(unprobed, seen.firsts("u1"))
    assert (after.state, after.ready_at) == (ReplicaState.READY, NOON + 130)


def test_the_instant_of_the_delete_call_is_the_timestamp_less_the_grace() -> None:
    """Kubernetes writes when the grace ends; the replica stopped taking work when it was deleted."""
    draining = pod(SCHEDULED, condition("Ready", 120), deletionTimestamp=stamp(330), deletionGracePeriodSeconds=30)
    replica = kube_pods.replica(draining, Firsts(ready_at=NOON + 120))
    assert (replica.state, replica.deleted_at) == (ReplicaState.DRAINING, NOON + 300)


@pytest.mark.parametrize("reason", sorted(kube_pods.FAILING))
def test_a_container_that_cannot_start_is_failed(reason: str) -> None:
    """A start that does not go on by itself is failed, with Kubernetes' own word for it."""
    stuck = pod(SCHEDULED, state={"waiting": {"reason": reason}}, phase="Pending")
    replica = kube_pods.replica(stuck, Firsts())
    assert (replica.state, replica.reason) == (ReplicaState.FAILED, reason)


def test_a_pod_without_a_node_says_why() -> None:
    """Unschedulable is a start that waits, since nodes may come."""
    waiting = pod(condition("PodScheduled", 1, true=False, reason="Unschedulable"), phase="Pending", state={})
    replica = kube_pods.replica(waiting, Firsts())
    assert (replica.state, replica.scheduled_at, replica.reason) == (ReplicaState.STARTING, None, "Unschedulable")


def test_an_evicted_pod_holds_nothing() -> None:
    """A pod in an ended phase is gone since its container ended, though its object stays."""
    evicted = pod(SCHEDULED, phase="Failed", state={"terminated": {"finishedAt": stamp(900)}})
    replica = kube_pods.replica(evicted, Firsts(ready_at=NOON + 120))
    assert (replica.state, replica.gone_at) == (ReplicaState.GONE, NOON + 900)


def test_a_pod_that_vanished_is_remembered_for_a_while() -> None:
    """What went is told with the instant at which it went, and with its own first instants."""
    ready = pod(SCHEDULED, condition("Ready", 120))
    seen = history(ready, wall=NOON + 1000)
    seen.gone(ready)
    [(gone_at, last, firsts)] = seen.departed()
    replica = kube_pods.departed_replica(last, firsts, gone_at)
    assert (replica.state, replica.gone_at, replica.ready_at) == (ReplicaState.GONE, NOON + 1000, NOON + 120)


def test_only_two_templates_side_by_side_are_a_surge() -> None:
    """More pods than asked for are a surge while a rollout runs, and a scale-down else."""
    old, new = pod(SCHEDULED), pod(SCHEDULED, template="b")
    assert kube_pods.surge([old, old, new], 2) == 1
    assert kube_pods.surge([old, old, old], 2) == 0
    assert kube_pods.surge([old, new], 2) == 0
    assert kube_pods.surge([old, new], None) == 0
