"""What feeds the picture of the cluster: the watch, and a whole list every two minutes that sweeps out ghosts.

Four kinds are needed: policies, pods, and the two that may hold a policy's target. Deployments are not among them:
which pods are a target's, its own /scale says.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.adapters import kube, kube_pods
from autoscaler.adapters.kube import KubeApi, KubeError
from autoscaler.adapters.kube_pods import PodHistory
from autoscaler.adapters.kube_state import ObjectStore
from autoscaler.adapters.kube_watch import Watch, Watched
from autoscaler.core.policy import GROUP, KIND, PLURAL, VERSION

logger = logging.getLogger(__name__)

KEDA = "keda.sh/v1alpha1"
NOT_INSTALLED = (
    f"the cluster has no {KIND} ({GROUP}/{VERSION}): install it with `kubectl apply -f deploy/install.yaml`, "
    "or the definition alone with `kubectl apply -f deploy/crd.yaml`"
)
_METADATA = ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind that is watched and listed, and the store of its objects."""

    group: str
    version: str
    plural: str
    store: ObjectStore

    @property
    def prefix(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def heard(self, body: dict[str, Any], deleted: bool) -> None:
        """Take in a watch event."""
        self.store.heard(body, deleted=deleted)


class ClusterFeed:
    """The stores, and what keeps them true. ``namespaces`` None means the whole cluster."""

    def __init__(
        self, api: KubeApi, *, namespaces: Sequence[str] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._clock = clock
        self.history = PodHistory(time.time)
        self.policies = ObjectStore(trim=trim_policy, clock=clock)
        self.pods = ObjectStore(
            trim=kube_pods.trim, clock=clock, on_change=self.history.seen, on_gone=self.history.gone
        )
        self.autoscalers = ObjectStore(trim=_trim_reference, clock=clock)
        self.scaled_objects = ObjectStore(trim=_trim_reference, clock=clock)
        self._autoscalers = Kind(
            group="autoscaling", version="v2", plural="horizontalpodautoscalers", store=self.autoscalers
        )
        self._kinds = (
            Kind(group=GROUP, version=VERSION, plural=PLURAL, store=self.policies),
            Kind(group="", version="v1", plural="pods", store=self.pods),
            self._autoscalers,
        )
        self._scaled_objects = Kind(
            group="keda.sh", version="v1alpha1", plural="scaledobjects", store=self.scaled_objects
        )
        self._watch: Watch | None = None
        self._troubles: dict[str, str] = {}
        self._forbidden: dict[str, str] = {}

    def unseen_holders(self) -> str | None:
        """Return why it is not known who else holds a target, in a sentence; None while it is.

        An API server that does not answer tells soon again; one that forbids does not.
        """
        kinds = (self._autoscalers.plural, self._scaled_objects.plural)
        return next((self._forbidden[kind] for kind in kinds if kind in self._forbidden), None)

    def check(self) -> None:
        """Check that there is something to watch, and that it may be read, and read it all once.

        Raises:
            KubeError: the API server does not answer, the policy's definition is not installed, or a list is forbidden.
        """
        if KIND not in self._api.served(f"{GROUP}/{VERSION}"):
            raise KubeError(NOT_INSTALLED)
        for kind in self._present():
            self._relist(kind)

    def start(self, on_exit: Callable[[], None]) -> None:
        """Start the watch; ``on_exit`` is called, in its thread, whenever it ended and a sweep is due."""
        self._watch = Watch(
            configuration=self._api.configuration,
            watched=[
                Watched(group=kind.group, version=kind.version, plural=kind.plural, heard=kind.heard)
                for kind in self._present()
            ],
            namespaces=self._namespaces,
            on_exit=on_exit,
        )
        self._watch.start()

    def stop(self) -> None:
        """Stop the watch."""
        if self._watch is not None:
            self._watch.stop()

    def resync(self) -> int:
        """List everything and sweep; return the number of ghosts. A kind that cannot be listed stays as it was."""
        swept = 0
        for kind in self._present():
            try:
                swept += self._relist(kind)
            except KubeError as error:
                self._complain(kind.plural, f"{kind.plural} cannot be listed: {error}")
                if error.refused:
                    self._forbidden[kind.plural] = f"{kind.plural} cannot be listed, and may hold the target: {error}"
            else:
                self._troubles.pop(kind.plural, None)
                self._forbidden.pop(kind.plural, None)
        return swept

    def _present(self) -> tuple[Kind, ...]:
        """Return the kinds that the cluster has; KEDA may come and go."""
        try:
            has_keda = "ScaledObject" in self._api.served(KEDA)
        except KubeError:
            has_keda = len(self.scaled_objects) > 0
        else:
            if not has_keda:
                # KEDA went, and all that it held with it: nothing of it may be left to stand in the way.
                self._forbidden.pop(self._scaled_objects.plural, None)
                self._scaled_objects.store.resynced([], began_at=self._clock(), namespaces=None)
        return (*self._kinds, self._scaled_objects) if has_keda else self._kinds

    def _relist(self, kind: Kind) -> int:
        began_at = self._clock()
        paths = kube.collections(kind.prefix, kind.plural, self._namespaces)
        bodies = [body for path in paths for body in self._api.list(path)]
        listed = None if self._namespaces is None else frozenset(self._namespaces)
        return kind.store.resynced(bodies, began_at=began_at, namespaces=listed)

    def _complain(self, about: str, text: str) -> None:
        if self._troubles.get(about) != text:
            self._troubles[about] = text
            logger.warning("%s", text)


def trim_policy(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is needed of a policy."""
    return {**_metadata(body), "spec": body.get("spec") or {}, "status": body.get("status") or {}}


def _trim_reference(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**_metadata(body), "spec": {"scaleTargetRef": (body.get("spec") or {}).get("scaleTargetRef") or {}}}


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": {key: body["metadata"][key] for key in _METADATA if key in body["metadata"]}}
