"""Why a start took what it took: the way of each start is told as it came about, and kept with a run."""

import csv
import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from simulator.cli import main
from simulator.cluster import Cluster
from simulator.nodes import clusterfile
from simulator.nodes.node import Content, Tier
from simulator.nodes.placedstarts import ImageCame, PlacedStart, Room, Way, ways, write_csv
from simulator.nodes.shared_nodes import SharedNodes
from tests.simulator.test_clusterfile import call, inputs
from tests.simulator.test_nodes import GROUP, NEEDS, SLEEPY, nodes_of, pool_on

__all__ = ["inputs"]  # the fixture
FILES = replace(NEEDS, image=Content(name="vllm", gigabytes=10.0), weights=Content(name="llama", gigabytes=16.0))
LINKS = {Tier.REGISTRY: 1.0, Tier.OBJECT_STORE: 1.0, Tier.DISK: 4.0, Tier.MEMORY: 16.0}


def asked(cluster: Cluster, *counts: int) -> None:
    """Ask for these numbers of replicas, one after the other, each for long enough to be there."""
    for count in counts:
        cluster.set_replicas(count)
        cluster.advance(cluster.now_s + 300.0)


def told(nodes: SharedNodes) -> list[tuple[str, str, str]]:
    """The ways of all starts, in their order."""
    return [start.way for start in nodes.nodes.starts]


def test_a_start_tells_where_its_room_its_image_and_its_weights_came_from() -> None:
    """The first has all to fetch, the second finds it on the node, the third waits for a node that has nothing."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=2, memory_gigabytes=20.0, gigabytes_per_s=LINKS))
    asked(pool_on(nodes, needs=FILES), 1, 2, 3)
    assert told(nodes) == [
        ("found", "pulled", "objectStore"),
        ("found", "cached", "memory"),
        ("provisioned", "pulled", "objectStore"),
    ]
    first, second, third = nodes.nodes.starts
    assert [start.node for start in nodes.nodes.starts] == [0, 0, 1]
    assert first.total_s == 1.0 + 10.0 + 16.0 + 20.0
    assert second.total_s == 1.0 + 0.0 + 1.0 + 20.0
    assert third.total_s > first.total_s + 90.0


def test_room_that_another_left_is_told_apart_from_a_node_that_came() -> None:
    """At the group's most a replica waits for one to go: no node was provisioned for it."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=1))
    holder, waiting = pool_on(nodes, "holder", replicas=2), pool_on(nodes, "waiting")
    waiting.set_replicas(1)
    waiting.advance(50.0)
    holder.set_replicas(1)
    waiting.advance(100.0)
    assert [start.room for start in nodes.nodes.starts] == [Room.FREED]


def test_one_that_wakes_says_so_and_what_it_read() -> None:
    """From level 1 nothing is read; from level 2 the weights are, from wherever they are nearest."""
    group = replace(GROUP, min_nodes=1, max_nodes=1, memory_gigabytes=20.0, sleep_gigabytes=30.0, gigabytes_per_s=LINKS)
    for keeps_weights, read in ((True, ""), (False, "memory")):
        nodes = nodes_of(group)
        asked(pool_on(nodes, needs=replace(FILES, sleep=replace(SLEEPY, keeps_weights=keeps_weights))), 1, 0, 1)
        assert told(nodes) == [("found", "pulled", "objectStore"), ("found", "woken", read)]


def test_what_never_came_to_ready_is_no_start() -> None:
    """A replica that is taken away in its load is not counted."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, gigabytes_per_s=LINKS))
    cluster = pool_on(nodes, needs=FILES)
    cluster.set_replicas(1)
    cluster.advance(15.0)
    cluster.set_replicas(0)
    cluster.advance(100.0)
    assert nodes.nodes.starts == []


def start(number: int, ready_s: float, image: ImageCame) -> PlacedStart:
    """A start ordered at 10 s."""
    return PlacedStart(
        pool="a", replica_id=number, node=0, group="l4", ordered_s=10.0, scheduled_s=11.0, started_s=13.5,
        loaded_s=20.0, ready_s=ready_s, room=Room.FOUND, image=image, weights=None, woken=False,
    )  # fmt: skip


def test_ways_are_counted_the_most_frequent_first() -> None:
    """Median and longest are of the whole, from order to Ready."""
    starts = [start(0, 90.0, ImageCame.PULLED), start(1, 31.0, ImageCame.CACHED), start(2, 35.0, ImageCame.CACHED)]
    assert ways(starts) == (
        Way(room="found", image="cached", weights="", starts=2, median_s=23.0, longest_s=25.0),
        Way(room="found", image="pulled", weights="", starts=1, median_s=80.0, longest_s=80.0),
    )
    assert ways([]) == ()


def test_a_runs_starts_can_be_the_start_up_of_another(tmp_path: Path) -> None:
    """The file's phases have the names that a cluster file reads."""
    write_csv(tmp_path / "starts.csv", [start(0, 90.0, ImageCame.PULLED), start(1, 31.0, ImageCame.CACHED)])
    phases = ", ".join(f"{phase}Seconds: {{csv: starts.csv}}" for phase in ("schedule", "pull", "load", "warmup"))
    text = "nodeGroups: [{name: a, accelerator: l4, acceleratorsPerNode: 1, provisioningSeconds: 1}]\n"
    startup = clusterfile.parse(text + f"startup: {{{phases}}}\n", "c.yaml", tmp_path).startup
    assert startup is not None
    drawn = {startup.draw(seed=1, replica_id=number).total_s for number in range(20)}
    assert drawn == {80.0, 21.0}


def test_a_run_keeps_its_starts_and_its_page_tells_of_them(inputs: Path) -> None:
    """One row a cold start, as many as run.json counts by their ways."""
    nodes = ["--cluster", str(inputs / "starts.yaml"), "--copies", "6", "--out", str(inputs / "told")]
    done = call(inputs, "run", *nodes)
    assert done.exit_code == 0, done.output
    assert "starts on nodes" in done.output
    with (inputs / "told" / "starts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = json.loads((inputs / "told" / "run.json").read_text())["result"]
    assert len(rows) == sum(way["starts"] for way in result["starts"]) == result["coldstarts"] > 0
    assert {row["image"] for row in rows} <= {"cached", "pulled"}
    assert CliRunner().invoke(main, ["report", str(inputs / "told")]).exit_code == 0
    assert "<summary>starts on nodes</summary>" in (inputs / "told" / "report.html").read_text()
