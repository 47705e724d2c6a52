"""Reads one workload of a cluster, and the labels of the nodes it may run on, as plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from autoscaler.adapters import kubeconfig as kubeconfigs

TIMEOUT_S = (5, 15)


class WorkloadError(Exception):
    """A workload that cannot be read; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A workload as the API server has it, and node labels: of the nodes its pods run on, and of all nodes."""

    body: dict[str, Any]
    running_on: tuple[dict[str, str], ...]
    cluster: tuple[dict[str, str], ...]


def read_workload(kind: str, name: str, *, namespace: str | None, kubeconfig: str | None) -> Observed:
    """Return a Deployment or StatefulSet. Without a namespace, that of the kubeconfig's context is read.

    Raises:
        WorkloadError: no kubeconfig, no cluster, no such workload or no right to read it.
    """
    api = _client(kubeconfig)
    where = namespace or _namespace(kubeconfig)
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    read = apps.read_namespaced_deployment if kind == "Deployment" else apps.read_namespaced_stateful_set
    try:
        body: dict[str, Any] = api.sanitize_for_serialization(read(name, where, _request_timeout=TIMEOUT_S))
    except ApiException as error:
        raise WorkloadError(_refusal(error, kind, name, where, apps)) from error
    except HTTPError as error:
        raise WorkloadError(f"the API server at {api.configuration.host} cannot be reached; is it running?") from error
    body.setdefault("kind", kind)
    running_on, cluster = _nodes(core, body, where)
    return Observed(body=body, running_on=running_on, cluster=cluster)


def _client(kubeconfig: str | None) -> Any:  # noqa: ANN401 -- the client's types are not published
    try:
        api = client.ApiClient(kubeconfigs.load(None if kubeconfig is None else Path(kubeconfig), None))
    except kubeconfigs.KubeconfigError as error:
        raise WorkloadError(str(error)) from error
    api.configuration.retries = False
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    return api


def _namespace(kubeconfig: str | None) -> str:
    try:
        _, active = config.list_kube_config_contexts(config_file=kubeconfig)
        return str(active["context"].get("namespace") or "default")
    except (ConfigException, KeyError, TypeError):
        return "default"


def _refusal(error: ApiException, kind: str, name: str, namespace: str, apps: Any) -> str:  # noqa: ANN401
    if error.status == 401:
        return "the API server does not accept this kubeconfig's credentials; renew them"
    if error.status == 403:
        return (
            f"this user may not get {kind.lower()}s in namespace {namespace}; ask for the right, or name another user"
        )
    if error.status == 404:
        others = _others(kind, namespace, apps)
        there = f"there are: {', '.join(others)}" if others else "there are none there; name another with -n"
        return f"no {kind} {name} in namespace {namespace}; {there}"
    return f"the API server answered {error.status} {error.reason} for {kind} {name} in namespace {namespace}"


def _others(kind: str, namespace: str, apps: Any) -> list[str]:  # noqa: ANN401
    listing = apps.list_namespaced_deployment if kind == "Deployment" else apps.list_namespaced_stateful_set
    try:
        return [item.metadata.name for item in listing(namespace, limit=10, _request_timeout=TIMEOUT_S).items]
    except (ApiException, HTTPError):
        return []


def _nodes(
    core: Any,  # noqa: ANN401
    body: Mapping[str, Any],
    namespace: str,
) -> tuple[tuple[dict[str, str], ...], tuple[dict[str, str], ...]]:
    """Return node labels, or none where the user may not read nodes or pods: they only help a guess."""
    wanted = (body["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in wanted.items())
    try:
        nodes = core.list_node(_request_timeout=TIMEOUT_S).items
        pods = core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=TIMEOUT_S).items
    except (ApiException, HTTPError):
        return (), ()
    hosts = {pod.spec.node_name for pod in pods if pod.spec.node_name}
    return _labels(node for node in nodes if node.metadata.name in hosts), _labels(nodes)


def _labels(nodes: Iterable[Any]) -> tuple[dict[str, str], ...]:
    return tuple(dict(node.metadata.labels or {}) for node in nodes)
