"""The Kubernetes API, as little of it as is needed: one request, one list, one error.

The official client gives configuration, credentials, TLS and the connection pool. Its thousand typed methods are not
used: objects stay the dictionaries that the API server sent, because the watch hands over dictionaries too, and one
shape is enough. Every request has a deadline and is tried once; a retry is the next tick.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

from autoscaler.adapters import kubeconfig as kubeconfigs

REQUEST_TIMEOUT_S = 3.0
LIST_TIMEOUT_S = 30.0
LIST_CHUNK = 500
GRANT = "deploy/install.yaml has the role that grants it"

_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


class KubeError(Exception):
    """A request that failed, in one sentence. ``status`` is the HTTP status; None if there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def conflict(self) -> bool:
        """Whether someone changed the object since it was read."""
        return self.status == 409

    @property
    def missing(self) -> bool:
        """Whether the object, or its kind, does not exist."""
        return self.status == 404

    @property
    def refused(self) -> bool:
        """Whether the API server understood and will not: RBAC, admission, validation."""
        return self.status in {400, 401, 403, 422}


class KubeApi:
    """Requests to one API server. Thread-safe: the pool of connections is."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.retries = False
        configuration.connection_pool_maxsize = 32
        self.configuration = configuration
        self._client = client.ApiClient(configuration)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        content_type: str = "application/json",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Send one request and return the object in the answer.

        Raises:
            KubeError: no answer within the deadline, an HTTP error, or an answer that is not a JSON object.
        """
        headers = {"Accept": "application/json", "User-Agent": "inference-autoscaler"}
        if body is not None:
            headers["Content-Type"] = content_type
        place = path + ("?" + urlencode(query) if query else "")
        try:
            self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = self._client.call_api(
                method, self.configuration.host + place, headers, body, _request_timeout=timeout_s
            )
            data: bytes = answer.read()
        except client.exceptions.ApiException as error:
            reason = " ".join(str(error.reason or error).split())
            raise KubeError(f"the API server at {self.configuration.host} gave no answer: {reason}") from error
        except (urllib3.exceptions.HTTPError, OSError, config.ConfigException, ValueError) as error:
            reason = _last_words(error)
            raise KubeError(f"the API server at {self.configuration.host} gave no answer: {reason}") from error
        return self._object(method, path, answer.status, data)

    def _object(self, method: str, path: str, status: int, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not 200 <= status < 300:
            raise KubeError(_sentence(method, path, status, found), status)
        if not isinstance(found, dict):
            raise KubeError(f"{method} {path}: the answer is not a Kubernetes object", status)
        return found

    def list(self, path: str, *, timeout_s: float = LIST_TIMEOUT_S) -> Iterator[dict[str, Any]]:
        """Yield all objects of a collection, read in chunks.

        Raises:
            KubeError: any chunk failed; what was yielded until then is no whole list.
        """
        token = ""
        while True:
            query: dict[str, str | int] = {"limit": LIST_CHUNK}
            if token:
                query["continue"] = token
            page = self.request("GET", path, query=query, timeout_s=timeout_s)
            yield from page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def served(self, group_version: str) -> dict[str, str]:
        """Return plural by kind for every namespaced kind that a group and version serve, with their subresources.

        A subresource stands as ``Kind/scale`` under the plural of its kind. Empty if the group is not served.
        """
        path = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
        try:
            resources = self.request("GET", path).get("resources") or ()
        except KubeError as error:
            if error.missing:
                return {}
            raise
        plurals = {r["name"]: r["kind"] for r in resources if "/" not in r["name"] and r.get("namespaced")}
        found = {kind: plural for plural, kind in plurals.items()}
        for resource in resources:
            plural, _, sub = resource["name"].partition("/")
            if sub and plural in plurals:
                found[f"{plurals[plural]}/{sub}"] = plural
        return found


def connect(kubeconfig: Path | None, context: str | None) -> KubeApi:
    """Return the API of a kubeconfig's context; of the pod's own cluster when neither is given and there is one.

    Raises:
        KubeError: there is no configuration, or it is broken; the sentence says where.
    """
    if kubeconfig is None and context is None:
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
            return KubeApi(configuration)
        except config.ConfigException:
            pass
    try:
        return KubeApi(kubeconfigs.load(kubeconfig, context))
    except kubeconfigs.KubeconfigError as error:
        raise KubeError(str(error)) from error


def collections(prefix: str, plural: str, namespaces: Sequence[str] | None) -> list[str]:
    """Return the paths that list a plural: one for the whole cluster, or one for each namespace."""
    if namespaces is None:
        return [f"{prefix}/{plural}"]
    return [f"{prefix}/namespaces/{name}/{plural}" for name in namespaces]


def _sentence(method: str, path: str, status: int, answer: object) -> str:
    said = answer.get("message", "") if isinstance(answer, dict) else ""
    place = "/".join(path.strip("/").split("/")[1:])
    if status == 403:
        # The server's own words name the verb, which the method does not tell: a list and a get are both a GET.
        return f"forbidden: {said or f'no right to {_VERBS[method]} {place}'}; {GRANT}"
    if status == 401:
        return f"unauthorized: the API server does not accept the credentials for {place}; renew the token"
    return f"{said or 'no message'} (HTTP {status}, {_VERBS[method]} {place})"


def _last_words(error: BaseException) -> str:
    """Return the innermost reason: urllib3 wraps it in the names of its own objects."""
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split(": ", 1)[-1].split()) or type(reason).__name__
