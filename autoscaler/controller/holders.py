"""Who else holds a target: an HPA, a KEDA ScaledObject, another policy. Two writers on one count are worse than none.

Among policies that may write, the oldest holds the target, then the one whose name comes first. The raw objects are
read, not the parsed policies: one that became invalid by a typing error still is somebody's claim on its target.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from autoscaler.adapters.kube_scale import Target

KubeObject = Mapping[str, Any]


def target_of(policy: KubeObject) -> Target | None:
    """Return the target that a raw policy names, or None if it names none that can be read."""
    reference = (policy.get("spec") or {}).get("targetRef")
    if not isinstance(reference, Mapping) or not reference.get("name"):
        return None
    return _target(str(policy["metadata"]["namespace"]), reference)


class Claims:
    """All claims on all targets at one instant; built once a tick, asked once for each policy that writes."""

    def __init__(
        self,
        *,
        policies: Iterable[KubeObject],
        autoscalers: Iterable[KubeObject],
        scaled_objects: Iterable[KubeObject],
    ) -> None:
        self._others: dict[tuple[str, ...], str] = {}
        self._oldest: dict[tuple[str, ...], KubeObject] = {}
        for kind, objects in (("ScaledObject", scaled_objects), ("HorizontalPodAutoscaler", autoscalers)):
            for one in sorted(objects, key=_seniority):
                reference = (one.get("spec") or {}).get("scaleTargetRef") or {}
                if reference.get("name"):
                    target = _target(str(one["metadata"]["namespace"]), reference)
                    self._others.setdefault(target.identity, f"{kind} {one['metadata']['name']}")
        for policy in sorted(policies, key=_seniority):
            claimed = target_of(policy)
            if claimed is not None and (policy.get("spec") or {}).get("mode") == "Enforce":
                self._oldest.setdefault(claimed.identity, policy)

    def other_holder(self, policy: KubeObject) -> str | None:
        """Return a sentence that names who else holds a policy's target, or None if nobody does."""
        target = target_of(policy)
        if target is None:
            return None
        other = self._others.get(target.identity)
        if other is not None:
            return f"{target} is scaled by the {other}; delete it, or set spec.mode to Recommend."
        oldest = self._oldest.get(target.identity)
        if oldest is None or oldest["metadata"]["uid"] == policy["metadata"]["uid"]:
            return None
        name = oldest["metadata"]["name"]
        return f"{target} is held by the older ScalingPolicy {name}; delete one of them, or set spec.mode to Recommend."


def _seniority(policy: KubeObject) -> tuple[str, str]:
    metadata = policy["metadata"]
    return str(metadata.get("creationTimestamp", "")), str(metadata["name"])


def _target(namespace: str, reference: Mapping[str, Any]) -> Target:
    return Target(
        namespace=namespace,
        api_version=str(reference.get("apiVersion") or "apps/v1"),
        kind=str(reference.get("kind") or "Deployment"),
        name=str(reference["name"]),
    )
