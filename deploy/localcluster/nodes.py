"""GPU nodes as the cloud's device plugin and feature discovery would label them; kwok keeps them alive."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

REGION: Final = "local-1"
ZONES: Final = ("local-1a", "local-1b", "local-1c")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """Nodes of one GPU class.

    Attributes:
        name: prefix of the nodes' names, and their label `node-pool`.
        nodes: how many.
        gpus_per_node: `nvidia.com/gpu` of each.
        product: label `nvidia.com/gpu.product`, as NVIDIA's feature discovery writes it.
        family: label `nvidia.com/gpu.family`.
        memory_mib: label `nvidia.com/gpu.memory`, of one GPU.
        instance_type: label `node.kubernetes.io/instance-type`.
    """

    name: str
    nodes: int
    gpus_per_node: int
    product: str
    family: str
    memory_mib: int
    instance_type: str


H100: Final = NodePool(
    name="h100",
    nodes=4,
    gpus_per_node=8,
    product="NVIDIA-H100-80GB-HBM3",
    family="hopper",
    memory_mib=81559,
    instance_type="gpu-h100-8",
)
A100: Final = NodePool(
    name="a100",
    nodes=2,
    gpus_per_node=8,
    product="NVIDIA-A100-SXM4-80GB",
    family="ampere",
    memory_mib=81920,
    instance_type="gpu-a100-8",
)
L4: Final = NodePool(
    name="l4",
    nodes=4,
    gpus_per_node=1,
    product="NVIDIA-L4",
    family="ada-lovelace",
    memory_mib=23034,
    instance_type="gpu-l4-1",
)
DEFAULT_POOLS: Final = (H100, A100, L4)


def node_list(pools: Iterable[NodePool]) -> str:
    """A JSON `List` of all nodes of the pools, for `kubectl create`."""
    items = [node for pool in pools for node in _nodes(pool)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _nodes(pool: NodePool) -> Iterator[dict[str, object]]:
    for number in range(pool.nodes):
        name = f"{pool.name}-{number}"
        resources = {
            "cpu": str(12 * pool.gpus_per_node),
            "memory": f"{128 * pool.gpus_per_node}Gi",
            "pods": "110",
            "nvidia.com/gpu": str(pool.gpus_per_node),
        }
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": _labels(pool, name, ZONES[number % len(ZONES)])},
            "status": {"capacity": resources, "allocatable": resources},
        }


def _labels(pool: NodePool, name: str, zone: str) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": pool.instance_type,
        "topology.kubernetes.io/region": REGION,
        "topology.kubernetes.io/zone": zone,
        "node-pool": pool.name,
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": pool.product,
        "nvidia.com/gpu.family": pool.family,
        "nvidia.com/gpu.memory": str(pool.memory_mib),
        "nvidia.com/gpu.count": str(pool.gpus_per_node),
    }
