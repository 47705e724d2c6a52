"""Which faults of starts befall whom, as Kubernetes has it: who finds its image on the node pulls nothing."""

from dataclasses import replace
from itertools import pairwise

import pytest

from simulator.cluster import Cluster
from simulator.faults import faultfile
from simulator.faults.replicas import PULL_S, ReplicaFaults, backoff_s
from simulator.faults.victims import Victims
from simulator.nodes.node import Content, Tier
from tests.simulator.simulated_pools import engine
from tests.simulator.test_nodes import GROUP, NEEDS, QUICK, READY, SLEEPY, STARTING, nodes_of, states

IMAGE = replace(NEEDS, image=Content(name="vllm", gigabytes=30.0))
LINKS = {Tier.REGISTRY: 1.0, Tier.DISK: 4.0}
TWO_TRIES_S = 2 * PULL_S + backoff_s(1) + backoff_s(2)
BEGINS_S = 200


def starts(fault: str, *, sleeps: bool = False, counts: tuple[int, ...] = (1, 2)) -> tuple[Cluster, tuple[str, ...]]:
    """One start that pulls the image, then one that finds it on the same node, and whom the fault befell."""
    occurrences = faultfile.parse(f"faults:\n  - {{{fault}}}\n", "f.yaml", span_s=2000.0).occurrences(
        seed=1, span_s=2000.0
    )
    victims = Victims(nodes=True)
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=1, sleep_gigabytes=30.0, gigabytes_per_s=LINKS))
    cluster = Cluster(
        profile=engine(), startup=QUICK, seed=7, nodes=nodes, name="a", grace_s=60.0,
        needs=replace(IMAGE, sleep=SLEEPY if sleeps else None),
        faults=ReplicaFaults(occurrences, victims, nodes=True),
    )  # fmt: skip
    for number, count in enumerate(counts):
        cluster.advance(number * BEGINS_S)
        cluster.set_replicas(count)
    cluster.advance(600.0)
    (befallen,) = victims.told(occurrences)
    return cluster, befallen.names


def phases_s(cluster: Cluster, replica_id: int) -> tuple[float, ...]:
    """From the order to scheduled, to started, to loaded, to ready."""
    life = cluster.history()[replica_id]
    fields = ("ordered_s", "scheduled_s", "started_s", "loaded_s", "ready_s")
    return tuple(float(life[end] - life[begin]) for begin, end in pairwise(fields))


@pytest.mark.parametrize(
    ("how", "befalls"),
    [
        ("reason: ImagePullBackOff", False),
        ("reason: ImagePullBackOff, imagePullPolicy: Always", True),
        ("reason: CreateContainerError", True),
        ("reason: InvalidImageName", True),
    ],
)
def test_a_pull_that_fails_passes_by_who_finds_its_image_on_the_node(how: str, befalls: bool) -> None:
    """With IfNotPresent, Kubernetes' default for a tag, there is no pull; Always asks the registry each time."""
    cluster, names = starts(f"fault: failedStart, startSeconds: {BEGINS_S}, durationSeconds: 60, attempts: 2, {how}")
    assert phases_s(cluster, 0) == (1.0, 30.0, 0.0, 20.0)
    assert phases_s(cluster, 1) == (1.0, TWO_TRIES_S if befalls else 0.0, 0.0, 20.0)
    assert names == (("replica-0001",) if befalls else ())


@pytest.mark.parametrize("how", ["reason: ImagePullBackOff", "reason: CreateContainerError"])
def test_whoever_must_pull_does_so_after_the_tries_that_failed(how: str) -> None:
    """The image is not on the node before: it comes once the tries that fail are over."""
    cluster, names = starts(f"fault: failedStart, startSeconds: 0, durationSeconds: 60, attempts: 2, {how}")
    assert phases_s(cluster, 0) == (1.0, TWO_TRIES_S + 30.0, 0.0, 20.0)
    assert names == ("replica-0000",)


def test_an_image_whose_pulls_fail_for_ever_never_comes_to_the_node() -> None:
    """So the next one, which no fault befalls, finds nothing there, and pulls it."""
    cluster, _ = starts("fault: failedStart, startSeconds: 0, durationSeconds: 60")
    assert states(cluster) == {0: STARTING, 1: READY}
    assert phases_s(cluster, 1) == (1.0, 30.0, 0.0, 20.0)


@pytest.mark.parametrize(
    "fault", ["failedStart, reason: InvalidImageName", "hangingStart", "crashLoop", "failedStart, attempts: 1"]
)
def test_whoever_wakes_on_a_node_has_no_start_that_could_fail(fault: str) -> None:
    """No container is made and no engine begins: the server has been there all along, and the fault finds nobody."""
    kind, _, more = fault.partition(", ")
    line = f"fault: {kind}, startSeconds: {2 * BEGINS_S}, durationSeconds: 60" + (f", {more}" if more else "")
    cluster, names = starts(line, sleeps=True, counts=(1, 0, 1))
    assert phases_s(cluster, 1)[1:] == (0.0, 0.0, 3.0)
    assert names == ()
