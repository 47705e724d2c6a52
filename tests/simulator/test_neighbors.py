"""Neighbors: other models on the same nodes, that come and go by a plan."""

import csv
import json
from pathlib import Path

import pytest

from simulator.nodes.clusterfile import parse
from simulator.nodes.events import NodeFault
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.nodes.shared_nodes import SharedNodes
from tests.simulator.test_clusterfile import NODES, call, inputs, told
from tests.simulator.test_nodes import pool_on

__all__ = ["inputs"]  # the fixture
ONE_NODE = NODES.replace("maxNodes: 3", "maxNodes: 1").replace("A100-80GB", "l4")
NEIGHBORS = """\
neighbors:
  - name: embeddings
    accelerator: l4
    replicas: [{atSeconds: 0, count: 1}, {atSeconds: 100, count: 3}, {atSeconds: 400, count: 0}]
"""


def cluster_of(text: str) -> ModelledCluster:
    """The cluster of a text."""
    return parse(text, "c.yaml", Path())


def held(nodes: SharedNodes) -> list[int]:
    """Accelerators that are held, node by node."""
    return [node.group.accelerators_per_node - node.free for node in nodes.nodes.nodes.values()]


def test_a_neighbor_takes_and_gives_back_room_by_its_plan() -> None:
    """One of four from the beginning, three from 100 s on, none after 400 s."""
    nodes = cluster_of(ONE_NODE + NEIGHBORS).nodes(seed=1)
    seen = []
    for until_s in (0.0, 99.0, 101.0, 399.0, 401.0):
        nodes.advance(until_s)
        seen.append(held(nodes))
    assert seen == [[1], [1], [3], [3], [0]]


def test_the_model_waits_for_the_room_that_its_neighbor_has() -> None:
    """Two accelerators at 150 s: one is free, the other one comes when the neighbor leaves at 400 s."""
    nodes = cluster_of(ONE_NODE + NEIGHBORS).nodes(seed=1)
    cluster = pool_on(nodes)
    cluster.advance(150.0)
    cluster.set_replicas(2)
    cluster.advance(500.0)
    assert list(cluster.history()["scheduled_s"]) == [151.0, 400.0]


def test_a_neighbor_that_is_lost_comes_again() -> None:
    """Its node goes at 150 s; what it had is ordered anew and finds the next node."""
    nodes = cluster_of(ONE_NODE.replace("maxNodes: 1", "maxNodes: 2") + NEIGHBORS).nodes(seed=1)
    nodes.nodes.schedule_fault(NodeFault(at_s=150.0, replaced_after_s=10.0))
    nodes.advance(390.0)
    assert held(nodes) == [3]
    nodes.advance(410.0)
    assert held(nodes) == [0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("count: 3", "count: -1"), "neighbors[0].replicas[1].count: -1 is too small; it must be at least 0"),
        (
            ("atSeconds: 400", "atSeconds: 100"),
            "not in the order of their atSeconds, each once; sort them",
        ),
        (("accelerator: l4\n    replicas", "accelerator: H100\n    replicas"), "1 × H100; add a group with such nodes"),
        (("name: embeddings", "title: embeddings"), "there is no field 'title' here"),
    ],
)
def test_a_neighbor_that_cannot_be_is_told(wrong: tuple[str, str], sentence: str) -> None:
    """With its place and what to do."""
    assert any(sentence in line for line in told((ONE_NODE + NEIGHBORS).replace(*wrong)))


def test_a_run_has_only_its_own_starts_and_the_same_bytes_again(inputs: Path) -> None:
    """Neighbors take the nodes, and their starts are not the model's."""
    text = (inputs / "starts.yaml").read_text()
    accelerator = text.split("accelerator: ")[1].split()[0]
    (inputs / "neighbors.yaml").write_text(text + NEIGHBORS.replace("l4", accelerator))
    for name in ("near", "nearer"):
        options = ["--cluster", str(inputs / "neighbors.yaml"), "--copies", "6", "--out", str(inputs / name)]
        done = call(inputs, "run", *options)
        assert done.exit_code == 0, done.output
    assert (inputs / "near" / "run.json").read_bytes() == (inputs / "nearer" / "run.json").read_bytes()
    with (inputs / "near" / "starts.csv").open(newline="") as file:
        replicas = [row["replica"] for row in csv.DictReader(file)]
    result = json.loads((inputs / "near" / "run.json").read_text())["result"]
    assert len(replicas) == len(set(replicas)) == result["coldstarts"] > 0
