"""What happens on the stage, written down as it happens: replicas every second, and every pod's life."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.localcluster.stage import Stage


@dataclass(kw_only=True)
class PodLife:
    """One pod, as the API server showed it. Instants are unix seconds; None is what never came."""

    name: str
    app: str
    created_at: float
    scheduled_at: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    deleted_at: float | None = None
    gone_at: float | None = None


def instant(text: str | None) -> float | None:
    """Return a Kubernetes time as unix seconds."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


@dataclass
class Recording:
    """Everything that the tests ask about, by Deployment."""

    stage: Stage
    replicas: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    pods: dict[str, PodLife] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def mark(self, name: str) -> float:
        """Note an instant by name."""
        self.marks[name] = time.time()
        return self.marks[name]

    def look(self) -> None:
        """Write down what there is now."""
        now = time.time()
        for item in self.stage.get("deployments"):
            name = item["metadata"]["name"]
            self.replicas.setdefault(name, []).append((now, item["spec"]["replicas"]))
        seen = {item["metadata"]["uid"]: item for item in self.stage.get("pods")}
        for uid, item in seen.items():
            self._note(self.pods.setdefault(uid, _life(item)), item)
        for uid, life in self.pods.items():
            if uid not in seen and life.gone_at is None:
                life.gone_at = now

    def _note(self, life: PodLife, item: dict[str, Any]) -> None:
        conditions = {one["type"]: one for one in item["status"].get("conditions") or []}
        scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
        if scheduled and scheduled["status"] == "True":
            life.scheduled_at = life.scheduled_at or instant(scheduled["lastTransitionTime"])
        if ready and ready["status"] == "True":
            life.ready_at = life.ready_at or instant(ready["lastTransitionTime"])
        for status in item["status"].get("containerStatuses") or []:
            life.started_at = life.started_at or instant((status["state"].get("running") or {}).get("startedAt"))
        if life.deleted_at is None:
            life.deleted_at = instant(item["metadata"].get("deletionTimestamp"))

    def between(self, deployment: str, start: float, end: float) -> list[int]:
        """Return a Deployment's replica counts in a time."""
        return [count for at, count in self.replicas[deployment] if start <= at <= end]

    def of(self, deployment: str) -> list[PodLife]:
        """Return the lives of a Deployment's pods."""
        return [life for life in self.pods.values() if life.app == deployment]


def _life(item: dict[str, Any]) -> PodLife:
    metadata = item["metadata"]
    created_at = instant(metadata["creationTimestamp"])
    assert created_at is not None
    return PodLife(name=metadata["name"], app=metadata["labels"]["app"], created_at=created_at)


class Recorder:
    """Looks twice a second, in a thread of its own, until stopped."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failures: list[str] = []

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                self._recording.look()
            except Exception as error:  # A look that fails is noted; the test that needs it will miss it.
                self.failures.append(repr(error))


def wait_for(look: Callable[[], bool], *, what: str, within_s: float, log: Callable[[], str]) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it was not in that time; with the controller's last words.
    """
    ends_at = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < ends_at, f"{what} did not come within {within_s:g} s\n{log()}"
        time.sleep(0.3)
