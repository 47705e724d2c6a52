"""The controller as a process of its own on the test's control plane, and the few objects that its tests need.

It always acts as the service account that deploy/install.yaml describes, never as an administrator. No Prometheus
answers it: the bounds of a policy are orders that hold even when metrics are missing, and they are enough to make it
write.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from deploy.localcluster import LocalCluster
from deploy.localcluster.kubeconfig import CONTROLLER
from deploy.localcluster.processes import free_ports

V = TypeVar("V")
NO_PROMETHEUS = "http://127.0.0.1:9"


class RunningController:
    """One ``autoscaler run``. ``log`` is its stderr so far, ``scratch`` where it may keep temporary files."""

    def __init__(self, cluster: LocalCluster, *arguments: str, folder: Path) -> None:
        [self.port] = free_ports(1)
        self._log = folder / f"controller-{self.port}.log"
        self.scratch = folder / f"scratch-{self.port}"
        self.scratch.mkdir()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "autoscaler", "run", f"--prometheus={NO_PROMETHEUS}"),
                *("--kubeconfig", str(cluster.kubeconfig_for(CONTROLLER)), f"--listen=127.0.0.1:{self.port}"),
                *("--tick-seconds=0.5", *arguments),
            ],
            stderr=self._log.open("w"),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(self.scratch)},
        )

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    def metric(self, name: str) -> float | None:
        """Return one of its metrics without labels, None if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=1) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        found = re.search(rf"^inference_autoscaler_{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def health(self) -> dict[str, Any]:
        """Return what /healthz says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def stop(self) -> float:
        """Stop it as Kubernetes does, and return how many seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(15)
        return time.monotonic() - began


@contextmanager
def controller(cluster: LocalCluster, folder: Path, *arguments: str, ready: bool = True) -> Iterator[RunningController]:
    """Run a controller; by default, wait until it is ready."""
    running = RunningController(cluster, *arguments, folder=folder)
    try:
        if ready:
            eventually(lambda: "ready:" in running.log or None, what="the controller's start", log=lambda: running.log)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def eventually(
    look: Callable[[], V | None], *, what: str, within_s: float = 60.0, log: Callable[[], str] = lambda: ""
) -> V:
    """Return the first result that is not None and not False."""
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come within {within_s:g} s\n{log()}")


def deployment(name: str, *, replicas: int = 1) -> dict[str, Any]:
    """Return a Deployment of fake engines on L4 or larger nodes, ready after about a second."""
    engine = {
        "name": "engine",
        "image": "engine:test",
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
    }
    annotations = {f"coldstart.inference-autoscaler.dev/{phase}": "200ms" for phase in ("pull", "load", "warmup")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [engine], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def policy(name: str, *, target: str, mode: str = "Enforce", least: int = 3, **spec: Any) -> dict[str, Any]:
    """Return a policy whose lower bound makes the controller move."""
    return {
        "apiVersion": "inference-autoscaler.dev/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRef": {"name": target},
            "mode": mode,
            "model": {"name": "test"},
            "accelerator": {"class": "L4"},
            "replicas": {"min": least, "max": 9},
            "timing": {"tickSeconds": 0.5},
            **spec,
        },
    }


def apply(cluster: LocalCluster, namespace: str, objects: Sequence[dict[str, Any]]) -> None:
    """Apply objects as the administrator."""
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), namespace=namespace)


def get(cluster: LocalCluster, namespace: str, kind: str, name: str) -> dict[str, Any]:
    """Return an object as the API server has it."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
    return found


def replicas(cluster: LocalCluster, namespace: str, name: str) -> int:
    """Return what stands in a Deployment's spec."""
    return int(get(cluster, namespace, "deployment", name)["spec"]["replicas"])


def conditions(cluster: LocalCluster, namespace: str, name: str) -> dict[str, tuple[str, str, str]]:
    """Return status, reason and message of a policy's conditions by type."""
    status = get(cluster, namespace, "scalingpolicy", name).get("status") or {}
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in status.get("conditions", ())}
