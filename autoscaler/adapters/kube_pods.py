"""Pods, translated to replicas: which state, and the instants of its phases, as far as it got.

The cold start of a replica is measured here and nowhere else, so each instant has one definition:

===============  ==========================================================================================
``ordered_at``   the pod's creation
``scheduled_at`` the pod's ``PodScheduled`` condition became true
``started_at``   the engine's container started; the start that led to Ready, not a later restart
``ready_at``     the *first* time that the pod's ``Ready`` condition became true
``deleted_at``   the delete call: the deletion timestamp less the grace period, which Kubernetes adds to it
``gone_at``      the object is no more
===============  ==========================================================================================

A pod whose engine has neither readiness nor startup probe is Ready when its process starts, minutes before it serves.
It counts as ready at its first engine sample instead. The first instants are kept by uid, since the pod's own
conditions only tell of the latest change: ``PodHistory`` is fed with every pod event, so a flap cannot move them.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autoscaler.core.signals import Replica, ReplicaState

# States in which a container waits and that do not pass by themselves, in Kubernetes' own words.
FAILING = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
# A pod in one of these phases has given back its accelerators, though its object stays.
ENDED = frozenset({"Succeeded", "Failed"})
# The reason of a replica whose Ready means nothing, until its first engine sample.
NO_PROBE = "NoReadinessProbe"
# A pod that is no more is told of for this long: every policy on its target has had a tick by then.
GONE_KEPT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Firsts:
    """The instants of one pod that later events may not change. None: not yet."""

    started_at: float | None = None
    ready_at: float | None = None


class PodHistory:
    """First instants of live pods, and pods that are no more. Thread-safe.

    ``wall`` gives unix seconds.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._firsts: dict[str, Firsts] = {}
        self._gone: dict[str, tuple[float, Mapping[str, Any], Firsts]] = {}

    def seen(self, pod: Mapping[str, Any]) -> None:
        """Take in a pod as an event shows it."""
        uid = str(pod["metadata"]["uid"])
        with self._lock:
            known = self._firsts.get(uid, Firsts())
            if known.ready_at is not None:
                return
            ready_at = _condition_at(pod, "Ready") if is_probed(pod) else None
            started_at = _engine_started_at(pod) or known.started_at
            if uid not in self._firsts and _has_lapsed(pod, started_at):
                # It was ready before we saw it, since some instant that nobody kept: at the earliest since its start.
                ready_at = started_at
            self._firsts[uid] = Firsts(started_at=started_at, ready_at=ready_at)

    def recall(self, uid: str, firsts: Firsts) -> None:
        """Take up what was kept of a live pod before a restart: its first Ready was then, whatever it says now."""
        with self._lock:
            known = self._firsts.get(uid)
            if known is None or firsts.ready_at is None:
                return
            if known.ready_at is None or firsts.ready_at < known.ready_at:
                self._firsts[uid] = firsts

    def serving(self, uid: str, at: float) -> None:
        """Note the first engine sample of a pod without a probe."""
        with self._lock:
            known = self._firsts.get(uid)
            if known is not None and known.ready_at is None:
                self._firsts[uid] = Firsts(started_at=known.started_at, ready_at=at)

    def gone(self, pod: Mapping[str, Any]) -> None:
        """Note that a pod is no more; its instant is now, since Kubernetes keeps none."""
        uid = str(pod["metadata"]["uid"])
        with self._lock:
            now = self._wall()
            self._gone[uid] = (now, pod, self._firsts.pop(uid, Firsts()))
            for old in [u for u, (at, _, _) in self._gone.items() if at < now - GONE_KEPT_S]:
                del self._gone[old]

    def firsts(self, uid: str) -> Firsts:
        """Return what is kept of a live pod."""
        with self._lock:
            return self._firsts.get(uid, Firsts())

    def departed(self) -> list[tuple[float, Mapping[str, Any], Firsts]]:
        """Return the pods that went lately: when, as they were last known, and their first instants."""
        with self._lock:
            return list(self._gone.values())


def trim(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is needed of a pod: no environment, no annotations, no managed fields."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    kept = ("name", "namespace", "uid", "labels", "creationTimestamp", "deletionTimestamp")
    return {
        "metadata": {
            **{key: metadata[key] for key in kept if key in metadata},
            "deletionGracePeriodSeconds": metadata.get("deletionGracePeriodSeconds"),
        },
        "spec": {
            "nodeName": spec.get("nodeName"),
            "containers": [_trim_container(one) for one in spec.get("containers") or ()],
        },
        "status": {
            "phase": status.get("phase"),
            "reason": status.get("reason"),
            "conditions": status.get("conditions") or (),
            "containerStatuses": status.get("containerStatuses") or (),
            "initContainerStatuses": status.get("initContainerStatuses") or (),
        },
    }


def _trim_container(container: Mapping[str, Any]) -> Mapping[str, Any]:
    limits = (container.get("resources") or {}).get("limits") or {}
    return {
        "name": container.get("name"),
        "probed": bool(container.get("readinessProbe") or container.get("startupProbe")),
        "devices": any("/" in name for name in limits),
    }


def replica(pod: Mapping[str, Any], firsts: Firsts) -> Replica:
    """Return the replica that a live pod is (trimmed, as ``trim`` gives it)."""
    metadata, status = pod["metadata"], pod["status"]
    state, reason = _state(pod, firsts)
    ended = state is ReplicaState.GONE
    return Replica(
        pod=str(metadata["name"]),
        uid=str(metadata["uid"]),
        state=state,
        ordered_at=_seconds(metadata["creationTimestamp"]) or 0.0,
        scheduled_at=_condition_at(pod, "PodScheduled"),
        started_at=firsts.started_at,
        ready_at=firsts.ready_at,
        deleted_at=_deleted_at(metadata),
        gone_at=_ended_at(status) if ended else None,
        reason=reason,
        node=pod["spec"]["nodeName"],
    )


def departed_replica(pod: Mapping[str, Any], firsts: Firsts, gone_at: float) -> Replica:
    """Return the replica that a pod was which is no more."""
    metadata, status = pod["metadata"], pod["status"]
    ended_at = _ended_at(status) if status["phase"] in ENDED else None
    return Replica(
        pod=str(metadata["name"]),
        uid=str(metadata["uid"]),
        state=ReplicaState.GONE,
        ordered_at=_seconds(metadata["creationTimestamp"]) or gone_at,
        scheduled_at=_condition_at(pod, "PodScheduled"),
        started_at=firsts.started_at,
        ready_at=firsts.ready_at,
        deleted_at=_deleted_at(metadata),
        gone_at=ended_at or gone_at,
        reason=status["reason"],
        node=pod["spec"]["nodeName"],
    )


def is_probed(pod: Mapping[str, Any]) -> bool:
    """Whether Ready waits for a probe: of the engine's container, of any where it is not known which that is."""
    engine = _engine(pod)
    containers = pod["spec"]["containers"] if engine is None else [engine]
    return any(one["probed"] for one in containers)


def surge(pods: Iterable[Mapping[str, Any]], spec_replicas: int | None) -> int:
    """Return how many pods a rollout holds beyond the count asked for.

    Only a Deployment surges, and only while pods of two templates live side by side (``pod-template-hash``): more pods
    of one template than asked for are a scale-down under way.
    """
    live = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] not in ENDED]
    templates = {(pod["metadata"].get("labels") or {}).get("pod-template-hash") for pod in live} - {None}
    if spec_replicas is None or len(templates) < 2:
        return 0
    return max(0, len(live) - spec_replicas)


def _state(pod: Mapping[str, Any], firsts: Firsts) -> tuple[ReplicaState, str | None]:
    status = pod["status"]
    waiting = _waiting_reason(status)
    if status["phase"] in ENDED:
        state, reason = ReplicaState.GONE, status["reason"] or status["phase"]
    elif "deletionTimestamp" in pod["metadata"]:
        state, reason = ReplicaState.DRAINING, status["reason"]
    elif waiting in FAILING:
        state, reason = ReplicaState.FAILED, waiting
    elif not _is_true(pod, "Ready"):
        lapsed = (waiting or "NotReady") if firsts.ready_at is not None else _stuck_reason(pod)
        state, reason = ReplicaState.STARTING, status["reason"] or lapsed
    elif firsts.ready_at is None:
        state, reason = ReplicaState.STARTING, NO_PROBE
    else:
        state, reason = ReplicaState.READY, None
    return state, reason


def _stuck_reason(pod: Mapping[str, Any]) -> str | None:
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason") or "Unschedulable")
    return None


def _waiting_reason(status: Mapping[str, Any]) -> str | None:
    reasons = [
        ((one.get("state") or {}).get("waiting") or {}).get("reason")
        for one in (*status["initContainerStatuses"], *status["containerStatuses"])
    ]
    failing = [str(reason) for reason in reasons if reason in FAILING]
    return failing[0] if failing else next((str(reason) for reason in reasons if reason), None)


def _engine(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the engine's container: the one that holds devices, else the only one, else None (it is not known)."""
    containers: list[Mapping[str, Any]] = list(pod["spec"]["containers"])
    holding = [one for one in containers if one["devices"]]
    if holding:
        return holding[0]
    return containers[0] if len(containers) == 1 else None


def _engine_started_at(pod: Mapping[str, Any]) -> float | None:
    """Return when the engine's container started; where it is not known which one that is, the last to start."""
    engine = _engine(pod)
    starts = [
        _seconds(((one.get("state") or {}).get("running") or {}).get("startedAt"))
        for one in pod["status"]["containerStatuses"]
        if engine is None or one.get("name") == engine["name"]
    ]
    known = [start for start in starts if start is not None]
    return max(known) if known else None


def _condition_at(pod: Mapping[str, Any], kind: str) -> float | None:
    for condition in pod["status"]["conditions"]:
        if condition["type"] == kind and condition["status"] == "True":
            return _seconds(condition.get("lastTransitionTime"))
    return None


def _has_lapsed(pod: Mapping[str, Any], started_at: float | None) -> bool:
    """Whether a pod that is not ready was ready since its engine started: its condition has changed after that."""
    if started_at is None or not is_probed(pod):
        return False
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "Ready" and condition["status"] == "False":
            changed_at = _seconds(condition.get("lastTransitionTime"))
            return changed_at is not None and changed_at > started_at
    return False


def _is_true(pod: Mapping[str, Any], kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in pod["status"]["conditions"])


def _deleted_at(metadata: Mapping[str, Any]) -> float | None:
    until = _seconds(metadata.get("deletionTimestamp"))
    return None if until is None else until - float(metadata.get("deletionGracePeriodSeconds") or 0)


def _ended_at(status: Mapping[str, Any]) -> float | None:
    ends = [
        _seconds(((one.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for one in status["containerStatuses"]
    ]
    known = [end for end in ends if end is not None]
    return max(known) if known else None


def _seconds(timestamp: str | None) -> float | None:
    """Return unix seconds of a Kubernetes timestamp, e.g. 2026-12-01T08:00:00Z."""
    return None if not timestamp else datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
