"""Who holds a target."""

from typing import Any

import pytest

from autoscaler.adapters.kube import KubeError
from autoscaler.controller.clusterfeed import ClusterFeed, Kind
from autoscaler.controller.holders import Claims
from tests import small_controller
from tests.adapters.kube_servers import Server, serving


def policy(name: str, created: str, *, mode: str = "Enforce", **target: str) -> dict[str, Any]:
    """Return a raw policy."""
    metadata = {"name": name, "namespace": "p", "uid": name, "creationTimestamp": f"2026-11-24T{created}:00Z"}
    return {"metadata": metadata, "spec": {"mode": mode, "targetRef": {"name": "chat", **target}}}


def scaler(name: str, namespace: str = "p", **reference: str) -> dict[str, Any]:
    """Return a raw HPA or ScaledObject on the target chat."""
    target = {"name": "chat", **reference}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"scaleTargetRef": target}}


def holder(mine: dict[str, Any], **claims: list[dict[str, Any]]) -> str | None:
    """Return who else holds a policy's target."""
    empty: dict[str, list[dict[str, Any]]] = {"policies": [mine], "autoscalers": [], "scaled_objects": []}
    return Claims(**{**empty, **claims}).other_holder(mine)


MINE = policy("mine", "10:00")


@pytest.mark.parametrize(
    ("other", "held"),
    [
        pytest.param(policy("a", "09:00"), True, id="older"),
        pytest.param(policy("a", "11:00"), False, id="younger"),
        pytest.param(policy("a", "10:00"), True, id="same-age-by-name"),
        pytest.param(policy("z", "10:00"), False, id="same-age-later-name"),
        pytest.param(policy("a", "09:00", mode="Recommend"), False, id="does-not-write"),
        pytest.param(policy("a", "09:00", kind="StatefulSet"), False, id="another-kind"),
        pytest.param(policy("a", "09:00", apiVersion="apps/v2"), True, id="another-version-of-the-same"),
    ],
)
def test_among_policies_the_oldest_holds(other: dict[str, Any], held: bool) -> None:
    """One of two policies writes, and it is always the same one."""
    told = holder(MINE, policies=[MINE, other])
    assert (told is not None) is held
    if told:
        assert "ScalingPolicy a" in told


def test_exactly_one_of_many_policies_writes() -> None:
    """However many claim a target, one is left over."""
    many = [policy(name, "10:00") for name in "dbcae"]
    claims = Claims(policies=many, autoscalers=[], scaled_objects=[])
    assert [one["metadata"]["name"] for one in many if claims.other_holder(one) is None] == ["a"]


def test_other_autoscalers_go_first() -> None:
    """An HPA or a ScaledObject on the target is named; of both, the one that a person wrote."""
    hpa = scaler("keda-hpa-x", apiVersion="apps/v1", kind="Deployment")
    keda = scaler("x")
    assert "HorizontalPodAutoscaler keda-hpa-x" in str(holder(MINE, autoscalers=[hpa]))
    assert "ScaledObject x" in str(holder(MINE, autoscalers=[hpa], scaled_objects=[keda]))


def test_another_namespace_is_another_target() -> None:
    """Names repeat across namespaces."""
    assert holder(MINE, autoscalers=[scaler("h", "q", kind="Deployment")]) is None


@pytest.mark.servers
def test_nothing_is_written_while_the_others_may_not_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is forbidden is no empty list; one that only failed stays as it was for the next two minutes."""
    status = 500

    def refuse(self: ClusterFeed, kind: Kind) -> int:
        raise KubeError("forbidden: no right to list", status)

    monkeypatch.setattr(ClusterFeed, "_relist", refuse)
    with serving(Server) as api:
        made = small_controller.controller(api, 1)
        made._fleet.refresh([small_controller.policy(0)])
        member = made._fleet.members[0]
        made.feed.resync()
        assert made._bar(member) is None
        status = 403
        made.feed.resync()
        assert "horizontalpodautoscalers cannot be listed" in (made._bar(member) or "")
