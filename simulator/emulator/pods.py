"""Which pods the emulated Deployments have: read from the API server, as plain JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from simulator.emulator.emulation import SeenPod

_TIMEOUT_S = 5.0


class PodsUnreadable(Exception):  # noqa: N818 - it reads as what it is
    """The API server could not be asked; one sentence."""


class PodReader:
    """Reads the pods of Deployments, each named ``namespace/name``.

    Args:
        kubeconfig: path of a kubeconfig; None: the usual places, or the pod's own service account.
    """

    def __init__(self, kubeconfig: Path | None) -> None:
        try:
            if kubeconfig is None and _in_cluster():
                api = client.ApiClient()
            else:
                api = config.new_client_from_config(None if kubeconfig is None else str(kubeconfig))
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            place = kubeconfig or "~/.kube/config"
            raise PodsUnreadable(f"{place} is no usable kubeconfig: {error}; name one by --kubeconfig") from error
        api.configuration.retries = False
        self._core, self._apps = client.CoreV1Api(api), client.AppsV1Api(api)
        self._selectors: dict[str, str] = {}

    def pods(self, deployments: Sequence[str]) -> dict[str, tuple[SeenPod, ...]]:
        """Return the pods of each Deployment; of one that does not exist (yet), none.

        Raises:
            PodsUnreadable: the API server did not answer, or refused.
        """
        return {name: self._of(name) for name in deployments}

    def _of(self, deployment: str) -> tuple[SeenPod, ...]:
        namespace, name = deployment.split("/")
        if deployment not in self._selectors:
            found = self._asked(self._apps.read_namespaced_deployment, name, namespace)
            if found is None:
                return ()
            labels = found["spec"]["selector"].get("matchLabels") or {}
            self._selectors[deployment] = ",".join(f"{key}={value}" for key, value in labels.items())
        listed = self._asked(self._core.list_namespaced_pod, namespace, label_selector=self._selectors[deployment])
        return () if listed is None else tuple(seen_pod(pod) for pod in listed["items"])

    def _asked(self, call: Callable[..., Any], *arguments: str, **options: str) -> dict[str, Any] | None:
        try:
            answer = call(*arguments, **options, _preload_content=False, _request_timeout=_TIMEOUT_S)
            found: dict[str, Any] = json.loads(answer.data)
        except client.exceptions.ApiException as error:
            if error.status == 404:
                return None
            raise PodsUnreadable(f"the API server refused: {error.status} {error.reason}") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise PodsUnreadable(f"the API server gave no answer: {error}") from error
        return found


def _in_cluster() -> bool:
    try:
        config.load_incluster_config()
    except config.ConfigException:
        return False
    return True


def seen_pod(pod: Mapping[str, Any]) -> SeenPod:
    """Return what of a pod matters here."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return SeenPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        ready=conditions.get("Ready") == "True",
        deleting="deletionTimestamp" in metadata,
    )
