"""The stage: control plane, emulated engines, Prometheus and the controller; nothing of it stays.

``make cluster`` plays on it, and so does the end-to-end test. The controller is the real ``autoscaler run``, acting as
the service account of deploy/install.yaml and never as an administrator.
"""

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from deploy.localcluster import manifests
from deploy.localcluster.cluster import LocalCluster
from deploy.localcluster.external_metrics import external_metrics
from deploy.localcluster.kubeconfig import CONTROLLER
from deploy.localcluster.nodes import NodePool
from deploy.localcluster.processes import Component, free_ports, wait_until
from deploy.localcluster.prometheus import LocalPrometheus

ROOT = Path(__file__).parents[2]
NAMESPACE = "stage"
INSTALLED_KINDS_LEFT_OUT = {"Deployment", "Service"}


class Stage:
    """A context manager; ``time_factor`` divides cold starts, scrapes, ticks and holds alike.

    Attributes:
        cluster: the control plane.
        prometheus: may be killed and started again.
        store: the controller's journal and ledger, an SQLite file.
    """

    def __init__(self, *, deployments: Sequence[str], time_factor: float, pools: Sequence[NodePool]) -> None:
        self.time_factor = time_factor
        self.tick_s = 15 / time_factor
        self._deployments = deployments
        self._stack = contextlib.ExitStack()
        self.cluster = LocalCluster(pools=pools, hpa_sync_period=f"{15 / time_factor:g}s")
        self._engine_port, self._metrics_port, self._controller_port = free_ports(3)
        self.engines_url = f"http://127.0.0.1:{self._engine_port}"
        self._replayed_until_at = 0.0
        self._controller: Component | None = None
        self._emulator: Component | None = None
        self.prometheus: LocalPrometheus

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """Where the processes of the stage keep their logs."""
        return self.cluster.folder

    @property
    def store(self) -> Path:
        """The controller's store."""
        return self.folder / "journal.db"

    def _start(self) -> None:
        self._stack.enter_context(self.cluster)
        self.cluster.apply(installed())
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        self._emulator = Component("emulator", self._emulator_command(), self.folder, _environment())
        self._stack.callback(self._emulator.stop)
        wait_until(self._emulator_answers, what="the emulator's start", watching=[self._emulator], timeout_s=60)
        self._stack.enter_context(external_metrics(self._metrics_port, self.cluster.certificate, self.waiting))
        self.cluster.apply(json.dumps(manifests.external_metrics(self._metrics_port)))
        scrape_s = 15 / self.time_factor
        self.prometheus = LocalPrometheus(
            http_sd_url=f"{self.engines_url}/sd",
            scrape_interval=f"{scrape_s * 1000:.0f}ms",
            refresh_interval="1s",
            folder=self.folder / "prometheus",
        )
        self.prometheus.start()
        self._stack.callback(self.prometheus.stop)

    def _emulator_command(self) -> list[str | Path]:
        return [
            *(sys.executable, "-m", "simulator.emulator", "--kubeconfig", self.cluster.kubeconfig),
            *(word for name in self._deployments for word in ("--deployment", f"{NAMESPACE}/{name}")),
            *("--model", manifests.MODEL, "--time-factor", f"{self.time_factor:g}"),
            *("--listen", f"127.0.0.1:{self._engine_port}"),
        ]

    def _emulator_answers(self) -> bool:
        try:
            self.engine_page("sd")
        except OSError:
            return False
        return True

    def engine_page(self, page: str, asked: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON page of the emulator; with something asked, by POST."""
        data = None if asked is None else json.dumps(asked).encode()
        with urllib.request.urlopen(f"{self.engines_url}/{page}", data=data, timeout=5) as answer:
            return json.load(answer)

    def replay(self, trace: Path) -> float:
        """Begin to replay a trace file to every Deployment as soon as the one before has ended; return the instant."""
        time.sleep(max(0.0, self._replayed_until_at - time.time()))
        # A trace ends with its last request; the emulator takes the next one a step of its clock later.
        time.sleep(0.2)
        begun = self.engine_page("replay", {"trace": str(trace)})
        self._replayed_until_at = float(begun["ends_at"])
        return float(begun["begins_at"])

    def replicas(self, name: str) -> int:
        """How many replicas a Deployment is set to."""
        return int(self.get("deployment", name)["spec"]["replicas"])

    def quiet_until_fewer(self, than: Mapping[str, int], trace: Path, *, at_most_s: float) -> None:
        """Repeat a quiet piece of traffic until each Deployment is set to fewer replicas than given.

        Raises:
            TimeoutError: one was not in that time.
        """
        ends_at = time.monotonic() + at_most_s
        self.replay(trace)
        while high := [name for name, most in than.items() if self.replicas(name) >= most]:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{' and '.join(high)} did not fall in {at_most_s:g} s of quiet")
            if time.time() > self._replayed_until_at:
                self.replay(trace)
            time.sleep(0.5)

    def late(self, name: str) -> int:
        """How many of a Deployment's requests waited longer than the objective so far, or wait that long now."""
        return sum(one["late"] for one in self._outcomes(name)["replays"])

    def waiting(self, name: str) -> int:
        """How many requests wait at a Deployment now."""
        return int(self._outcomes(name)["now"]["waiting"])

    def _outcomes(self, name: str) -> Any:  # noqa: ANN401 - JSON
        found = self.engine_page("results")["deployments"]
        return found[f"{NAMESPACE}/{name}"]

    def start_controller(self) -> None:
        """Start the controller and wait until its loop turns."""
        command: list[str | Path] = [
            *(sys.executable, "-m", "autoscaler", "run", f"--prometheus=default={self.prometheus.url}"),
            *("--kubeconfig", self.cluster.kubeconfig_for(CONTROLLER), "--store", self.store),
            *("--tick-seconds", f"{self.tick_s:g}", "--listen", f"127.0.0.1:{self._controller_port}"),
        ]
        self._controller = Component("controller", command, self.folder, _environment())
        self._stack.callback(self._controller.stop)
        wait_until(self._controller_ticks, what="the controller's start", watching=[self._controller], timeout_s=30)

    def stop_controller(self) -> None:
        """Stop the controller as Kubernetes does."""
        if self._controller is not None:
            self._controller.stop()

    def controller_log(self) -> str:
        """The controller's last lines."""
        return self._controller.last_lines() if self._controller else "(not started)"

    def _controller_ticks(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._controller_port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def apply(self, *items: manifests.Manifest) -> None:
        """Apply objects in the stage's namespace."""
        self.cluster.apply(json.dumps(manifests.listed(*items)), namespace=NAMESPACE)

    def get(self, kind: str, name: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return an object of the stage's namespace, or the items of a kind."""
        words = [word for word in (kind, name) if word]
        found = json.loads(self.cluster.kubectl("get", *words, "-n", NAMESPACE, "-o", "json"))
        return found if name else found["items"]

    def wait_for_ready(self, deployment: str, replicas: int, *, timeout_s: float) -> None:
        """Wait until a Deployment has so many ready replicas."""
        ends_at = time.monotonic() + timeout_s
        while self.get("deployment", deployment)["status"].get("readyReplicas", 0) < replicas:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{deployment} did not get {replicas} ready replicas in {timeout_s:g} s")
            time.sleep(0.3)


def installed() -> str:
    """Return deploy/install.yaml without the controller's own Deployment: here it runs beside the cluster."""
    documents = YAML(typ="safe", pure=True).load_all((ROOT / "deploy/install.yaml").read_text())
    return json.dumps(manifests.listed(*(d for d in documents if d and d["kind"] not in INSTALLED_KINDS_LEFT_OUT)))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
