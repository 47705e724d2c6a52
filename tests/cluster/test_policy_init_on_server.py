"""``autoscaler policy init`` against a real API server: a running Deployment, its nodes, and who may not look."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autoscaler.policyfile import parse
from deploy.localcluster import CONTROLLER, LocalCluster

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
A100 = "NVIDIA-A100-SXM4-80GB"


def init(kubeconfig: Path | str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user would, in a process of its own."""
    command = [sys.executable, "-m", "autoscaler", "policy", "init", "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


def workload(kind: str, product: str, **pod: Any) -> str:
    """An engine as JSON, with two replicas of two GPUs each."""
    labels = {"app": "chat"}
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.11.0",
        "command": ["sh", "-c", "exec vllm serve meta-llama/Llama-3.1-8B-Instruct -tp 2 --max-num-seqs 96"],
        "resources": {"limits": {"nvidia.com/gpu": "2"}},
    }
    required = {"key": "nvidia.com/gpu.product", "operator": "In", "values": [product]}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [required]}]}
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "affinity": {"nodeAffinity": affinity}, **pod},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = "chat"
    return json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "chat"}, "spec": spec})


def without_product(body: str) -> str:
    """The same without any wish for a GPU product, so that only the nodes can tell it."""
    plain = json.loads(body)
    del plain["spec"]["template"]["spec"]["affinity"]
    return json.dumps(plain)


@pytest.fixture(scope="module", autouse=True)
def crd(cluster: LocalCluster) -> None:
    """The definition, so that what is written can be applied."""
    cluster.kubectl("apply", "-f", str(ROOT / "deploy/crd.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/scalingpolicies.inference-autoscaler.dev")


@pytest.mark.parametrize(("kind", "short"), [("Deployment", "deploy"), ("StatefulSet", "sts")])
def test_a_first_policy_is_written_and_can_be_applied(
    kind: str, short: str, cluster: LocalCluster, namespace: str, tmp_path: Path
) -> None:
    """What runs is recognised, the server takes the policy as it is, and the guesses are told on stderr."""
    cluster.apply(workload(kind, A100), namespace=namespace)
    file = tmp_path / "chat.yaml"
    done = init(cluster.kubeconfig, f"{short}/chat", "-n", namespace, "-o", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"read {kind} {namespace}/chat, container engine" in done.stderr
    assert "max sequences: 96 (from --max-num-seqs)" in done.stderr
    assert f"next: autoscaler policy check --explain {file}" in done.stderr
    (document,) = parse(file.read_text(), str(file))
    assert document.policy is not None
    spec = document.policy.spec
    assert (spec.target_ref.kind, spec.model.name) == (kind, "meta-llama/Llama-3.1-8B-Instruct")
    assert (spec.accelerator.class_, spec.accelerator.count_per_replica) == (A100, 2)
    assert (spec.model.parameters_billion, spec.replicas.max) == (8.0, 4)
    cluster.kubectl("apply", "-f", str(file))
    assert cluster.kubectl("get", "sp", "-n", namespace, "-o", "name").strip().endswith("/chat")


def test_the_nodes_tell_what_the_pods_do_not_say(cluster: LocalCluster, namespace: str) -> None:
    """Without a selector, the product is read off the nodes on which the pods run."""
    cluster.apply(without_product(workload("Deployment", A100)), namespace=namespace)
    names = "jsonpath={.items[*].spec.nodeName}"
    deadline = time.monotonic() + 30
    while len(nodes := cluster.kubectl("get", "pods", "-n", namespace, "-o", names).split()) < 2:
        assert time.monotonic() < deadline, nodes
        time.sleep(0.2)
    label = "jsonpath={.metadata.labels['nvidia\\.com/gpu\\.product']}"
    products = {cluster.kubectl("get", "node", node, "-o", label) for node in nodes}
    done = init(cluster.kubeconfig, "deploy/chat", "-n", namespace)
    assert done.returncode == 0
    (document,) = parse(done.stdout, "stdout")
    assert document.policy is not None
    expected = products.pop() if len(products) == 1 else "unknown"
    assert document.policy.spec.accelerator.class_ == expected


def test_a_deployment_that_is_not_there_names_those_that_are(cluster: LocalCluster, namespace: str) -> None:
    """One sentence, with what there is to choose from."""
    cluster.apply(workload("Deployment", A100), namespace=namespace)
    done = init(cluster.kubeconfig, "deploy/chatt", "-n", namespace)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: no Deployment chatt in namespace {namespace}; there are: chat\n"


def test_who_may_not_look_is_told_so(cluster: LocalCluster, namespace: str) -> None:
    """No right to read Deployments is one sentence, not a traceback."""
    done = init(cluster.kubeconfig_for(CONTROLLER), "deploy/chat", "-n", namespace)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: this user may not get deployments in namespace {namespace}")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_is_not_there_is_told_at_once(cluster: LocalCluster, tmp_path: Path) -> None:
    """No retries: the message comes in seconds, most of them the interpreter's on a busy machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = tmp_path / "kubeconfig"
    away.write_text(cluster.kubeconfig.read_text().replace(cluster.server, f"https://127.0.0.1:{port}"))
    began = time.monotonic()
    done = init(away, "deploy/chat")
    assert time.monotonic() - began < 45
    assert done.returncode == 1
    assert done.stderr == f"Error: the API server at https://127.0.0.1:{port} cannot be reached; is it running?\n"
