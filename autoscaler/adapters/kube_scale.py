"""The /scale subresource of anything: where the count stands, which pods are meant, and the one write of the product.

The group, version and kind of a target are turned into its plural by asking the API server, and remembered. A write
carries the ``resourceVersion`` of the Scale that was read: if anybody changed the target since, the API server answers
409 and nothing is written, so a decision is never carried out on a target other than the one it was made for.

An API server that hangs costs every request its whole deadline. After so many in a row without an answer the next ones
fail at once for a moment, so that a tick over hundreds of policies ends in seconds and the loop stays alive. Where it
answers one request and not the next (an admission webhook that hangs lets every read pass and no write), no such row
comes about: a tick has one deadline for all of its requests, and what it does not reach is not asked.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autoscaler.adapters.kube import KubeApi, KubeError

# A kind that was not there may come with a CRD; it is asked for again after this long.
UNKNOWN_KEPT_S = 60.0
# One slow target (a conversion webhook that hangs) is no reason to give up on the others: their answers come between.
SILENT_MAX = 8
REST_S = 5.0


class NotAskedError(KubeError):
    """A request that was not sent, since it could not be answered in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is scaled: one object, anywhere in the API."""

    namespace: str
    api_version: str
    kind: str
    name: str

    @property
    def group(self) -> str:
        """The API group without its version, since one object is served under several versions."""
        return self.api_version.rpartition("/")[0]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What two references to the same object have in common."""
        return (self.namespace, self.group, self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A Scale as it was read. ``selector`` is the label selector of its pods; empty if the target tells none."""

    replicas: int
    selector: str
    resource_version: str


class Silence:
    """How many requests in a row had no answer. Thread-safe. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._unanswered = 0
        self._rest_until = float("-inf")
        self._reason = ""
        self._ends_at = float("inf")
        self._too_late = ""

    def begin(self, budget_s: float) -> None:
        """Begin a tick, whose requests are to be sent within so many seconds."""
        self._ends_at = self._clock() + budget_s
        self._too_late = (
            f"not asked: the API server took all of the {budget_s:g} s that a tick has for its requests; check its "
            "load and its admission webhooks"
        )

    @contextmanager
    def minded(self) -> Iterator[None]:
        """Let a request run and note whether it was answered; refuse it at once while the server is silent.

        Raises:
            NotAskedError: the last requests had no answer, or the tick has no time left for this one.
        """
        now = self._clock()
        if now < self._rest_until:
            raise NotAskedError(f"not asked, since the last {SILENT_MAX} requests had no answer: {self._reason}")
        if now >= self._ends_at:
            raise NotAskedError(self._too_late)
        try:
            yield
        except KubeError as error:
            self._note(error)
            raise
        with self._lock:
            self._unanswered = 0

    def _note(self, error: KubeError) -> None:
        with self._lock:
            if self._clock() >= self._ends_at:
                return  # The last of a tick come alone, without the answers of others between them: no sign of silence.
            # An error with a status is an answer too.
            self._unanswered = self._unanswered + 1 if error.status is None else 0
            if self._unanswered >= SILENT_MAX:
                self._unanswered = 0
                self._rest_until, self._reason = self._clock() + REST_S, str(error)


class Scales:
    """Reads and writes Scales. Thread-safe. ``clock`` is monotonic, in seconds."""

    def __init__(self, api: KubeApi, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        self._served: dict[str, tuple[float, dict[str, str]]] = {}
        self._silence = Silence(clock)

    def begin_tick(self, budget_s: float) -> None:
        """Give the requests from now on, reads and writes, so many seconds in all; those beyond are not sent."""
        self._silence.begin(budget_s)

    def read(self, target: Target) -> Scale:
        """Return the target's Scale.

        Raises:
            NotAskedError: there was no time to ask.
            KubeError: it cannot be read; the sentence says why.
        """
        with self._silence.minded():
            return _scale(self._api.request("GET", self._path(target)))

    def write(self, target: Target, read: Scale, replicas: int) -> Scale:
        """Set the replicas of a target that still is as it was read.

        Raises:
            KubeError: ``conflict`` if it was changed meanwhile, else why it was not written.
        """
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "resourceVersion": read.resource_version,
            },
            "spec": {"replicas": replicas},
        }
        with self._silence.minded():
            return _scale(self._api.request("PUT", self._path(target), body=body))

    def _path(self, target: Target) -> str:
        kinds = self._kinds(target.api_version, target.kind)
        if target.kind not in kinds:
            raise KubeError(f"the cluster has no kind {target.kind} in {target.api_version}; see spec.targetRef", 404)
        if f"{target.kind}/scale" not in kinds:
            raise KubeError(f"{target.kind} in {target.api_version} has no /scale subresource; see spec.targetRef", 404)
        root = "/api/v1" if target.api_version == "v1" else f"/apis/{target.api_version}"
        return f"{root}/namespaces/{target.namespace}/{kinds[target.kind]}/{target.name}/scale"

    def _kinds(self, group_version: str, kind: str) -> dict[str, str]:
        with self._lock:
            asked_at, kinds = self._served.get(group_version, (float("-inf"), {}))
        if f"{kind}/scale" in kinds or self._clock() - asked_at < UNKNOWN_KEPT_S:
            return kinds
        kinds = self._api.served(group_version)
        with self._lock:
            self._served[group_version] = (self._clock(), kinds)
        return kinds


def _scale(body: dict[str, Any]) -> Scale:
    # The API leaves out a count of 0 and an empty selector: here, and here only, missing is 0.
    return Scale(
        replicas=int((body.get("spec") or {}).get("replicas", 0)),
        selector=str((body.get("status") or {}).get("selector", "")),
        resource_version=str(body["metadata"]["resourceVersion"]),
    )
