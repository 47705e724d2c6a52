"""What users are told through Kubernetes: the policy's status, and Events beside it.

The status goes to the /status subresource alone, so nothing else of the user's object can change by it.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from autoscaler.adapters.kube import KubeApi

COMPONENT = "inference-autoscaler"
MESSAGE_LIMIT = 1024


def patch_status(api: KubeApi, about: dict[str, Any], plural: str, patch: dict[str, Any]) -> None:
    """Merge a patch into an object's status; ``about`` is the object as for ``post_event``.

    Raises:
        KubeError: it was not written.
    """
    path = f"/apis/{about['apiVersion']}/namespaces/{about['namespace']}/{plural}/{about['name']}/status"
    api.request("PATCH", path, body=patch, content_type="application/merge-patch+json")


def post_event(api: KubeApi, about: dict[str, Any], *, reason: str, message: str, warning: bool, at: float) -> None:
    """Write one Event about an object; ``about`` has its apiVersion, kind, name, namespace and uid.

    Raises:
        KubeError: it was not written.
    """
    when = datetime.fromtimestamp(int(at), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    namespace = about["namespace"]
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about['name'][:200]}.{secrets.token_hex(8)}", "namespace": namespace},
        "involvedObject": about,
        "reason": reason,
        "message": message[:MESSAGE_LIMIT],
        "type": "Warning" if warning else "Normal",
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
    api.request("POST", f"/api/v1/namespaces/{namespace}/events", body=body)
