"""A real Kubernetes control plane in child processes, with GPU nodes that kwok keeps alive.

    with LocalCluster(pools=[H100], hpa_sync_period="2s") as cluster:
        cluster.apply(Path("deploy/crd.yaml"))
        run_controller(kubeconfig=cluster.kubeconfig_for(CONTROLLER))

Order matters at both ends. Start: etcd and the API server, then (once that is ready) everyone who talks to it.
Stop: the reverse, etcd last, because an API server whose etcd went first ignores SIGTERM and keeps its port.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from deploy.localcluster import binaries
from deploy.localcluster.errors import LocalClusterError
from deploy.localcluster.kubeconfig import (
    ADMIN,
    User,
    administrator,
    service_account,
    write_kubeconfig,
    write_tokens,
)
from deploy.localcluster.nodes import DEFAULT_POOLS, NodePool, node_list
from deploy.localcluster.processes import Component, free_ports, unwind_on_sigterm, wait_until

_STAGES: Final = Path(__file__).with_name("kwok.yaml")
_START_TIMEOUT_S: Final = 90.0
_ATTEMPTS: Final = 3


class LocalCluster:
    """One control plane; several may run side by side. A context manager, or `start()` and `stop()`.

    Args:
        pools: the GPU nodes to begin with; more with `add_nodes`.
        users: who may come besides the administrator and `CONTROLLER`.
        hpa_sync_period: how often the HPA controller looks, in Go's duration form (Kubernetes' own default is "15s").
        controller_manager_flags: further flags of kube-controller-manager, such as
            `--horizontal-pod-autoscaler-downscale-stabilization=30s`.
        folder: where data and logs are kept and stay; without it a temporary folder that goes with the cluster.

    Attributes:
        folder: data, logs (`<component>.log`) and kubeconfigs.
        server: base URL of the API server.
        kubeconfig: path of the administrator's kubeconfig.
    """

    folder: Path
    server: str
    kubeconfig: Path

    def __init__(
        self,
        *,
        pools: Sequence[NodePool] = DEFAULT_POOLS,
        users: Sequence[User] = (),
        hpa_sync_period: str = "15s",
        controller_manager_flags: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        own = (administrator(), service_account("inference-autoscaler", "inference-autoscaler"))
        self._users = {user.name: user for user in (*own, *users)}
        self._pools = pools
        self._controller_manager_flags = (
            f"--horizontal-pod-autoscaler-sync-period={hpa_sync_period}",
            *controller_manager_flags,
        )
        self._given_folder = folder
        self._components: list[Component] = []
        self._handles_sigterm = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def certificate(self) -> Path:
        """The API server's own certificate, for 127.0.0.1 and localhost; its key is `apiserver.key` beside it."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each running component."""
        return {component.name: component.pid for component in self._components if component.running()}

    def start(self) -> None:
        """Start everything, wait for /readyz and for the nodes to be Ready.

        Raises:
            LocalClusterError: an executable cannot be had, or a component died; with its last log lines.
        """
        executables = (binaries.controlplane(), binaries.kwok(), binaries.kubectl())
        self._handles_sigterm = self._handles_sigterm or unwind_on_sigterm()
        try:
            self._start_with_free_ports(*executables[:2])
            self.add_nodes(self._pools)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in order, wait for its end, remove the temporary folder. May be called twice."""
        clients, servers = self._components[2:], self._components[:2]
        for component in clients:
            component.send(signal.SIGTERM)
        for component in (*reversed(clients), *reversed(servers)):
            component.stop()
        self._components = []
        if self._given_folder is None and hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._handles_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._handles_sigterm = False

    def kubeconfig_for(self, user: str) -> Path:
        """A kubeconfig that acts as this user, with the rights that RBAC gives it.

        Raises:
            LocalClusterError: the cluster was not started with such a user.
        """
        if user not in self._users:
            raise LocalClusterError(f"no user {user!r}: the cluster knows {', '.join(sorted(self._users))}")
        path = self.folder / f"{re.sub('[^a-z0-9-]+', '-', user)}.kubeconfig"
        if path.exists():
            return path
        return write_kubeconfig(path, server=self.server, certificate=self.certificate, user=self._users[user])

    def apply(self, manifest: str | Path, *, namespace: str | None = None) -> str:
        """`kubectl apply` of YAML text or of a file; returns what kubectl says.

        Args:
            manifest: any number of YAML documents.
            namespace: where to put what names no namespace; kubectl refuses a document that names another one.

        Raises:
            LocalClusterError: kubectl refused it; with its words.
        """
        text = manifest.read_text() if isinstance(manifest, Path) else manifest
        where = [] if namespace is None else ["-n", namespace]
        return self.kubectl("apply", *where, "-f", "-", stdin=text)

    def kubectl(self, *arguments: str, user: str = ADMIN, stdin: str | None = None) -> str:
        """Run kubectl as this user and return its stdout.

        Raises:
            LocalClusterError: it failed; with its words.
        """
        done = subprocess.run(
            [binaries.kubectl(), *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig_for(user))},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LocalClusterError(f"kubectl {' '.join(arguments[:3])} failed: {done.stderr.strip()}")
        return done.stdout

    def add_nodes(self, pools: Sequence[NodePool]) -> None:
        """Add the pools' nodes and wait until all nodes are Ready.

        Raises:
            LocalClusterError: a node of that name is there already, or a component died meanwhile.
        """
        if not any(pool.nodes for pool in pools):
            return
        self.kubectl("create", "-f", "-", stdin=node_list(pools))
        self._wait(self._nodes_ready, "the nodes' way to Ready")

    def _start_with_free_ports(self, controlplane: Path, kwok: Path) -> None:
        """Another process may take a port between our look and the component's bind: then once more."""
        for attempt in range(1, _ATTEMPTS + 1):
            self.folder = self._given_folder or Path(tempfile.mkdtemp(prefix="inference-autoscaler-cluster-"))
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._start_servers(controlplane)
                self._start_clients(controlplane, kwok)
            except LocalClusterError as error:
                if attempt == _ATTEMPTS or "address already in use" not in error.message:
                    raise
                self.stop()
            else:
                return

    def _start_servers(self, controlplane: Path) -> None:
        etcd_port, peer_port, api_port = free_ports(3)
        self.server = f"https://127.0.0.1:{api_port}"
        etcd_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
        write_tokens(list(self._users.values()), self.folder / "tokens.csv")
        key = self.folder / "service-account.key"
        if not key.exists():
            subprocess.run([controlplane, "service-account-key", key], check=True)
        self._run(
            "etcd",
            controlplane,
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._run(
            "kube-apiserver",
            controlplane,
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--secure-port={api_port}",
            "--bind-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true",
            # Pods here need no token of their own, and would otherwise wait for their service account.
            "--disable-admission-plugins=ServiceAccount",
        )
        self._wait(lambda: self._get("/readyz") is not None, "the start of kube-apiserver")
        self.kubeconfig = self.kubeconfig_for(ADMIN)

    def _start_clients(self, controlplane: Path, kwok: Path) -> None:
        self._run(
            "kube-controller-manager",
            controlplane,
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
            "--leader-elect=false",
            "--secure-port=0",
            "--controllers=*,-nodeipam,-cloud-node-lifecycle",
            *self._controller_manager_flags,
        )
        self._run(
            "kube-scheduler",
            controlplane,
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        # Without leases the controller manager takes the nodes for dead after 40 s, and their pods lose Ready for good.
        self._run(
            "kwok",
            kwok,
            f"--kubeconfig={self.kubeconfig}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",
            f"--config={_STAGES}",
        )
        # Neither the controller manager nor the scheduler has a port to ask; this is the first trace of the former.
        default = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait(lambda: self._get(default) is not None, "the start of kube-controller-manager")

    def _run(self, name: str, *command: str | Path) -> None:
        self._components.append(Component(name, command, self.folder))

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        wait_until(ready, what=what, watching=self._components, timeout_s=_START_TIMEOUT_S)

    def _nodes_ready(self) -> bool:
        answer = self._get("/api/v1/nodes")
        if answer is None:
            return False
        nodes = json.loads(answer)["items"]
        conditions = [{each["type"]: each["status"] for each in node["status"].get("conditions", [])} for node in nodes]
        # A node without the taint can be scheduled on; the controller manager takes it away after Ready.
        return all(each.get("Ready") == "True" for each in conditions) and not any(
            node["spec"].get("taints") for node in nodes
        )

    def _get(self, path: str) -> bytes | None:
        """The API server's answer to the administrator, None where it is not 200 or does not come."""
        if not self.certificate.exists():
            return None
        host, port = self.server.removeprefix("https://").split(":")
        try:
            context = ssl.create_default_context(cafile=str(self.certificate))
            connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", path, headers={"Authorization": f"Bearer {self._users[ADMIN].token}"})
                answer = connection.getresponse()
                return answer.read() if answer.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
