"""A real Kubernetes control plane without containers, for `make cluster` and the tests.

It is no part of what is shipped.

Linux only: parent death signals and Debian's packages. Nothing here needs root, and nothing outside the cache folder
and temporary folders is written.
"""

from deploy.localcluster.cluster import LocalCluster
from deploy.localcluster.errors import LocalClusterError
from deploy.localcluster.kubeconfig import ADMIN, CONTROLLER, User, service_account
from deploy.localcluster.nodes import A100, DEFAULT_POOLS, H100, L4, NodePool
from deploy.localcluster.prometheus import LocalPrometheus

__all__ = [
    "A100",
    "ADMIN",
    "CONTROLLER",
    "DEFAULT_POOLS",
    "H100",
    "L4",
    "LocalCluster",
    "LocalClusterError",
    "LocalPrometheus",
    "NodePool",
    "User",
    "service_account",
]
