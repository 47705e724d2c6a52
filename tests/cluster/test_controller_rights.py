"""What the controller may do: exactly what deploy/install.yaml grants, asked of the real API server."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ruamel.yaml import YAML

from autoscaler.adapters.kube import KubeApi, KubeError, connect
from autoscaler.adapters.kube_scale import Scales, Target
from autoscaler.controller.clusterfeed import ClusterFeed
from deploy.install import INSTALL
from deploy.localcluster import LocalCluster
from deploy.localcluster.kubeconfig import CONTROLLER
from tests.cluster.controllers import apply, deployment, eventually, get, policy, replicas

HOME = "inference-autoscaler"


@pytest.fixture(scope="module", autouse=True)
def installed(cluster: LocalCluster) -> None:
    """The product, installed as its users do it."""
    cluster.kubectl("apply", "-f", str(INSTALL))
    cluster.kubectl("wait", "crd/scalingpolicies.inference-autoscaler.dev", "--for=condition=Established")


@pytest.fixture
def api(cluster: LocalCluster) -> KubeApi:
    """The API as the controller's service account sees it."""
    return connect(cluster.kubeconfig_for(CONTROLLER), None)


def chat(namespace: str) -> Target:
    """Return the target of these tests."""
    return Target(namespace=namespace, api_version="apps/v1", kind="Deployment", name="chat")


@pytest.mark.servers
def test_the_controllers_pod_is_admitted_under_restricted_pod_security(cluster: LocalCluster) -> None:
    """The namespace enforces the restricted standard, and the Deployment's pod gets in."""
    labels = get(cluster, "default", "namespace", HOME)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    eventually(
        lambda: json.loads(cluster.kubectl("get", "pods", "-n", HOME, "-o", "json"))["items"] or None,
        what="the controller's pod",
    )
    documents = YAML(typ="safe").load_all(INSTALL.read_text())
    template = next(one for one in documents if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": HOME}, "spec": template}
    cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    template["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(Exception, match="violates PodSecurity"):
        cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


@pytest.mark.servers
def test_all_that_is_needed_is_granted(cluster: LocalCluster, namespace: str, api: KubeApi) -> None:
    """The controller can list what it watches, and read and write the /scale of a Deployment and a StatefulSet."""
    apply(cluster, namespace, [deployment("chat"), policy("chat", target="chat")])
    ClusterFeed(api, namespaces=None).check()
    scales = Scales(api, time.monotonic)
    read = scales.read(chat(namespace))
    assert (read.replicas, read.selector) == (1, "app=chat")
    assert scales.write(chat(namespace), read, 2).replicas == 2
    assert replicas(cluster, namespace, "chat") == 2


@pytest.mark.servers
@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("PATCH", "/apis/apps/v1/namespaces/{ns}/deployments/chat", id="patch-a-deployment"),
        pytest.param("GET", "/apis/apps/v1/namespaces/{ns}/deployments/chat", id="read-a-deployment"),
        pytest.param("DELETE", "/apis/apps/v1/namespaces/{ns}/deployments/chat", id="delete-a-deployment"),
        pytest.param("DELETE", "/api/v1/namespaces/{ns}/pods/chat-1", id="delete-a-pod"),
        pytest.param("PATCH", "/api/v1/namespaces/{ns}/pods/chat-1", id="patch-a-pod"),
        pytest.param("GET", "/api/v1/namespaces/{ns}/secrets", id="read-secrets"),
        pytest.param("GET", "/api/v1/namespaces/{ns}/configmaps", id="read-config-maps"),
        pytest.param(
            "PATCH", "/apis/inference-autoscaler.dev/v1alpha1/namespaces/{ns}/scalingpolicies/chat", id="patch-a-policy"
        ),
        pytest.param(
            "DELETE", "/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers/chat", id="delete-an-hpa"
        ),
        pytest.param("POST", "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases", id="lease-elsewhere"),
        pytest.param("GET", "/apis/coordination.k8s.io/v1/namespaces/inference-autoscaler/leases/x", id="other-lease"),
    ],
)
def test_nothing_else_is_granted(api: KubeApi, namespace: str, method: str, path: str) -> None:
    """Whatever a stolen token could do beyond scaling is forbidden, and the sentence names the verb."""
    body = {"metadata": {"annotations": {"x": "y"}}} if method in {"PATCH", "POST"} else None
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(KubeError, match=r"cannot \w+ resource .*install.yaml") as refused:
        api.request(method, path.format(ns=namespace), body=body, content_type=kind)
    assert refused.value.status == 403


@pytest.mark.servers
def test_a_write_on_what_is_no_longer_so_is_refused(cluster: LocalCluster, namespace: str, api: KubeApi) -> None:
    """A decision is carried out on the very object that it was made for, or not at all."""
    apply(cluster, namespace, [deployment("chat")])
    scales = Scales(api, time.monotonic)
    read = scales.read(chat(namespace))
    cluster.kubectl("scale", "deployment", "chat", "-n", namespace, "--replicas=4")
    with pytest.raises(KubeError) as refused:
        scales.write(chat(namespace), read, 2)
    assert refused.value.conflict
    assert replicas(cluster, namespace, "chat") == 4


@pytest.mark.servers
@pytest.mark.parametrize(
    ("kind", "api_version", "sentence"),
    [
        pytest.param("Deployment", "apps/v1", 'deployments.apps "chat" not found', id="no-such-object"),
        pytest.param("Chatbot", "apps/v1", "no kind Chatbot", id="no-such-kind"),
        pytest.param("Deployment", "nowhere.io/v1", "no kind Deployment in nowhere.io/v1", id="no-such-group"),
        pytest.param("ConfigMap", "v1", "no /scale", id="no-scale"),
        pytest.param(
            "ReplicationController", "v1", 'cannot get resource "replicationcontrollers/scale"', id="not-granted"
        ),
    ],
)
def test_a_target_that_cannot_be_scaled_says_why(
    api: KubeApi, namespace: str, kind: str, api_version: str, sentence: str
) -> None:
    """Every reason why a target's /scale cannot be read is one sentence."""
    target = Target(namespace=namespace, api_version=api_version, kind=kind, name="chat")
    with pytest.raises(KubeError, match=sentence):
        Scales(api, time.monotonic).read(target)


@contextmanager
def without_right(cluster: LocalCluster, resource: str) -> Iterator[None]:
    """Take the right to a resource out of the controller's role, for a while."""
    role = json.loads(cluster.kubectl("get", "clusterrole", HOME, "-o", "json"))
    rules = [rule for rule in role["rules"] if resource not in rule["resources"]]
    assert len(rules) == len(role["rules"]) - 1
    patch = [{"op": "replace", "path": "/rules", "value": rules}]
    cluster.kubectl("patch", "clusterrole", HOME, "--type=json", "-p", json.dumps(patch))
    try:
        yield
    finally:
        patch[0]["value"] = role["rules"]
        cluster.kubectl("patch", "clusterrole", HOME, "--type=json", "-p", json.dumps(patch))


@pytest.mark.servers
def test_who_may_not_see_other_holders_any_more_does_not_write(cluster: LocalCluster, api: KubeApi) -> None:
    """A role that was edited while the controller ran: who else holds a target is not known, which is not nobody."""
    feed = ClusterFeed(api, namespaces=None)
    feed.check()
    assert feed.unseen_holders() is None
    with without_right(cluster, "horizontalpodautoscalers"):
        eventually(lambda: feed.resync() >= 0 and feed.unseen_holders(), what="the right to be gone")
        assert "horizontalpodautoscalers cannot be listed, and may hold the target" in (feed.unseen_holders() or "")
        assert "install.yaml" in (feed.unseen_holders() or "")
    eventually(lambda: feed.resync() >= 0 and feed.unseen_holders() is None, what="the right to be back")


@pytest.mark.servers
def test_ghosts_are_swept_out(cluster: LocalCluster, namespace: str, api: KubeApi) -> None:
    """What went while nobody watched is gone with the next list, and the ledger hears of the pods that went."""
    apply(cluster, namespace, [deployment("chat", replicas=2), policy("chat", target="chat")])
    feed = ClusterFeed(api, namespaces=[namespace])
    feed.check()
    eventually(lambda: feed.resync() >= 0 and len(feed.pods) == 2, what="two pods")
    cluster.kubectl("delete", "deployment/chat", "scalingpolicy/chat", "-n", namespace, "--cascade=foreground")
    eventually(lambda: feed.resync() >= 0 and len(feed.pods) == 0, what="the sweep of the last pod")
    assert len(feed.policies) == 0
    assert len(feed.history.departed()) == 2
