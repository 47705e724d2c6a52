"""Replicas that sleep: with their accelerators or without, for how long, and what that comes to."""

import json
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from simulator.nodes.clusterfile import parse
from simulator.nodes.node import Sleep
from simulator.nodes.shared_nodes import SharedNodes
from simulator.startup.distributions import Fixed
from tests.simulator.test_clusterfile import NODES, STARTS, call, inputs
from tests.simulator.test_nodes import GROUP, NEEDS, alive, nodes_of, pool_on, start_s

__all__ = ["inputs"]  # the fixture
SLEEP = Sleep(gigabytes=20.0, wake=Fixed(seconds=3.0))
KEEPS = replace(SLEEP, keeps_accelerators=True)
ONE = replace(GROUP, accelerators_per_node=1, min_nodes=1, max_nodes=1, sleep_gigabytes=30.0)


def rested(sleep: Sleep, *, rest_s: float = 500.0, empty_s: float = 600.0) -> tuple[SharedNodes, float]:
    """Nodes on which a replica came, went at 200 s, and came again after a rest; and what the second start took.

    NaN if it took more than 100 s, as where a node has to come first.
    """
    nodes = nodes_of(replace(ONE, min_nodes=0), empty_s=empty_s)
    cluster = pool_on(nodes, needs=replace(NEEDS, sleep=sleep))
    cluster.set_replicas(1)
    cluster.advance(200.0)
    cluster.set_replicas(0)
    cluster.advance(200.0 + rest_s)
    return nodes, start_s(cluster)


def test_one_that_keeps_its_accelerators_leaves_no_room_for_others_but_for_itself() -> None:
    """The node is full as long as it sleeps: another model waits, its own wakes in 1 s of scheduling and 3 s."""
    for sleep, other_ready in ((SLEEP, 1), (KEEPS, 0)):
        nodes = nodes_of(ONE)
        cluster, other = pool_on(nodes, needs=replace(NEEDS, sleep=sleep)), pool_on(nodes, "other")
        assert start_s(cluster) == pytest.approx(21.0)
        other.set_replicas(1)
        other.advance(other.now_s + 50.0)
        assert len(nodes.nodes.starts) == 1 + other_ready
        other.set_replicas(0)
        other.advance(other.now_s + 50.0)
        assert start_s(cluster) == pytest.approx(4.0)


@pytest.mark.parametrize(("sleep", "accelerators"), [(SLEEP, 0.0), (KEEPS, 1.0)])
def test_sleep_is_accounted_to_the_second(sleep: Sleep, accelerators: float) -> None:
    """Asleep from 200 s until the order at 700 s is placed at 701 s, and from 800 s until the end at 810 s."""
    nodes, _ = rested(sleep)
    paid = nodes.nodes.paid()
    assert paid.asleep_hours * 3600 == pytest.approx(501.0 + 10.0)
    assert paid.asleep_accelerator_hours == pytest.approx(accelerators * paid.asleep_hours)


def test_a_node_goes_with_those_that_hold_nothing_and_stays_for_those_that_do() -> None:
    """After 60 s without work the first is removed, sleeper and all; the second is kept by its pod."""
    nodes, second_s = rested(SLEEP, empty_s=60.0)
    assert isnan(second_s)
    assert nodes.nodes.paid().nodes == 2
    nodes, second_s = rested(KEEPS, empty_s=60.0)
    assert second_s == pytest.approx(4.0)
    assert nodes.nodes.paid().nodes == 1


def test_who_has_slept_for_long_enough_ends_and_its_node_may_go() -> None:
    """After 100 s nobody can wake it; its accelerator is free then, and 60 s later the node goes."""
    brief = replace(KEEPS, most_s=100.0)
    assert rested(brief, rest_s=90.0)[1] == pytest.approx(4.0)
    nodes, second_s = rested(brief, rest_s=110.0)
    assert second_s == pytest.approx(21.0)
    nodes, _ = rested(brief, rest_s=130.0, empty_s=60.0)
    assert alive(nodes) == 1
    nodes, second_s = rested(brief, rest_s=300.0, empty_s=60.0)
    assert isnan(second_s)
    assert nodes.nodes.paid().asleep_hours * 3600 == pytest.approx(100.0)


def test_a_cluster_file_says_how_replicas_sleep() -> None:
    """Without accelerators and for ever, unless it says otherwise."""
    text = NODES.replace("usdPerHour: 8", "sleepGigabytes: 100") + STARTS
    sleep = "  sleep: {gigabytes: 4, wakeSeconds: 3, keepsAccelerators: true, mostSeconds: 900}\n"
    found = parse(text.replace("startup:", sleep + "startup:"), "c.yaml", Path()).sleep
    assert found == Sleep(gigabytes=4.0, wake=Fixed(seconds=3.0), keeps_accelerators=True, most_s=900.0)


def test_a_run_pays_for_accelerators_that_are_held_asleep(inputs: Path) -> None:
    """They are in its accelerator-hours, and in the state asleep of what it prints; held nowhere else."""
    text = (inputs / "starts.yaml").read_text().replace("usdPerHour: 8", "sleepGigabytes: 300")
    for keeps in ("true", "false"):
        sleep = f"  sleep: {{gigabytes: 20, wakeSeconds: 3, keepsAccelerators: {keeps}}}\n"
        (inputs / f"sleep-{keeps}.yaml").write_text(text.replace("startup:", sleep + "startup:"))
        options = ["--cluster", str(inputs / f"sleep-{keeps}.yaml"), "--peer", "kpa", "--copies", "3"]
        done = call(inputs, "run", *options, "--out", str(inputs / f"sleep-{keeps}"))
        assert done.exit_code == 0, done.output
        result = json.loads((inputs / f"sleep-{keeps}" / "run.json").read_text())["result"]
        paid = result["paid"]
        assert paid["asleep_hours"] > 0
        assert (paid["asleep_accelerator_hours"] > 0) == (keeps == "true")
        # The last column of the printed states is what was held, in seconds.
        lines = done.output.splitlines()
        heading = next(number for number, line in enumerate(lines) if line.split()[-1:] == ["held"])
        assert ("asleep" in lines[heading].split()) == (keeps == "true")
        held_s = float(lines[heading + 1].split()[-1])
        assert held_s / 3600 == pytest.approx(result["accelerator_hours"], rel=0.03)
        assert paid["asleep_accelerator_hours"] < result["accelerator_hours"] <= paid["accelerator_hours"]
