"""Pools on nodes: placing, pending, growing and shrinking, transfers, faults, and what nodes cost."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster, ClusterError
from simulator.engine.records import ReplicaState
from simulator.nodes.events import NodeFault
from simulator.nodes.node import Content, Needs, NodeGroup, Sleep, Tier
from simulator.nodes.nodepool import NodePool
from simulator.nodes.scaling import NodeScaling, Packing
from simulator.nodes.shared_nodes import SharedNodes
from simulator.startup.distributions import Fixed, LogNormal
from simulator.startup.phases import PhasedStartup, Startup
from simulator.traces import Trace
from tests.simulator.simulated_pools import FIXED_120_S, engine, random_trace, requests

STARTING, READY, DRAINING = ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING

GROUP = NodeGroup(
    name="l4", accelerator="l4", accelerators_per_node=2, provisioning=Fixed(seconds=90.0), usd_per_hour=4.0
)
NEEDS = Needs(accelerator="l4", accelerators=1)
QUICK = PhasedStartup(schedule=Fixed(seconds=1.0), warmup=Fixed(seconds=20.0))


def nodes_of(*groups: NodeGroup, seed: int = 1, **options: float) -> SharedNodes:
    """Nodes of these groups; options are those of their scaling."""
    return SharedNodes(NodePool(groups, seed=seed, scaling=NodeScaling(**options)))


def pool_on(
    nodes: SharedNodes,
    name: str = "a",
    *,
    needs: Needs = NEEDS,
    startup: Startup = QUICK,
    replicas: int = 0,
    trace: Trace | None = None,
) -> Cluster:
    """A pool on nodes, with a start that takes 21 s where nothing is waited for or transferred."""
    return Cluster(
        profile=engine(), startup=startup, seed=7, trace=trace, initial_replicas=replicas, nodes=nodes, needs=needs,
        name=name, grace_s=60.0,
    )  # fmt: skip


def instants(cluster: Cluster, replica_id: int) -> tuple[float, ...]:
    """When a replica was scheduled, started, loaded and ready; NaN what has not come."""
    life = cluster.history()[replica_id]
    return tuple(float(life[field]) for field in ("scheduled_s", "started_s", "loaded_s", "ready_s"))


def states(cluster: Cluster) -> dict[int, ReplicaState]:
    """Replica id → state, now."""
    snapshot = cluster.snapshot()
    return {int(i): ReplicaState(int(s)) for i, s in zip(snapshot.ids, snapshot.states, strict=True)}


def alive(nodes: SharedNodes) -> int:
    """Nodes that exist, those on their way included."""
    return len(nodes.nodes.nodes)


def test_with_room_for_all_a_start_takes_what_was_drawn() -> None:
    """The phases of a replica that finds room at once are those of the same replica without nodes, to the bit."""
    nodes = nodes_of(replace(GROUP, min_nodes=8))
    placed = pool_on(nodes, startup=FIXED_120_S)
    free = Cluster(profile=engine(), startup=FIXED_120_S, seed=7)
    for cluster in (placed, free):
        cluster.advance(10.0)
        cluster.set_replicas(9)
        cluster.advance(200.0)
    for replica_id in range(9):
        assert instants(placed, replica_id) == instants(free, replica_id)


def test_a_replica_without_room_waits_for_a_node() -> None:
    """Two fit on the node; the third is pending at 1 s, seen by the scan at 10 s, placed at 100 s, ready at 120 s."""
    nodes = nodes_of(replace(GROUP, min_nodes=1))
    cluster = pool_on(nodes)
    cluster.set_replicas(3)
    cluster.advance(50.0)
    assert states(cluster) == {0: READY, 1: READY, 2: STARTING}
    pending = cluster.snapshot().life[2]
    assert (pending["unschedulable"], pending["node"]) == (1, -1)
    assert np.isnan(pending["scheduled_s"])
    cluster.advance(300.0)
    assert instants(cluster, 2) == (100.0, 100.0, 100.0, 120.0)
    assert [int(node) for node in cluster.history()["node"]] == [0, 0, 1]
    assert cluster.history()["unschedulable"].sum() == 0


def test_at_the_groups_most_a_replica_stays_pending_until_another_goes() -> None:
    """No third node may come, so the fifth replica gets the place of one that has gone."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=2))
    other, cluster = pool_on(nodes, "b", replicas=2), pool_on(nodes, "a")
    cluster.set_replicas(3)
    cluster.advance(1000.0)
    assert states(cluster) == {0: READY, 1: READY, 2: STARTING}
    other.set_replicas(1)
    cluster.advance(1100.0)
    assert instants(cluster, 2)[0] == 1000.0
    assert states(cluster)[2] == READY


def test_the_burst_of_one_model_starves_the_other_in_order_of_the_orders() -> None:
    """A takes all eight places at 5 s; B, who orders at 6 s, gets what A gives back, and when A does."""
    nodes = nodes_of(replace(GROUP, min_nodes=4, max_nodes=4))
    a, b = pool_on(nodes, "a"), pool_on(nodes, "b")
    a.advance(5.0)
    a.set_replicas(10)
    b.advance(6.0)
    b.set_replicas(2)
    b.advance(100.0)
    assert (len([s for s in states(a).values() if s is READY]), set(states(b).values())) == (8, {STARTING})
    # A's own two pending replicas, the youngest without a node, go first and make no room; then two ready ones do.
    a.set_replicas(8)
    b.advance(200.0)
    assert set(states(b).values()) == {STARTING}
    a.set_replicas(6)
    b.advance(300.0)
    assert instants(b, 0)[0] == instants(b, 1)[0] == 200.0
    assert set(states(b).values()) == {READY}


def test_one_that_finds_no_room_does_not_keep_others_from_theirs() -> None:
    """A replica that needs four accelerators waits; one that needs one, ordered later, is placed on the node of two."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=1), replace(GROUP, name="l4x4", accelerators_per_node=4))
    big = pool_on(nodes, "big", needs=replace(NEEDS, accelerators=4))
    small = pool_on(nodes, "small")
    big.set_replicas(1)
    big.advance(2.0)
    small.set_replicas(1)
    small.advance(60.0)
    assert states(small) == {0: READY}
    assert states(big) == {0: STARTING}
    big.advance(200.0)
    assert instants(big, 0)[0] == 100.0


@pytest.mark.parametrize(("packing", "node"), [(Packing.FIRST_FIT, 0), (Packing.MOST_ALLOCATED, 1)])
def test_the_scheduler_takes_the_first_that_fits_or_the_fullest(packing: Packing, node: int) -> None:
    """With node 0 empty and node 1 half full, first fit takes 0 and most allocated takes 1."""
    nodes = SharedNodes(NodePool([replace(GROUP, min_nodes=2)], seed=1, packing=packing))
    cluster = pool_on(nodes, replicas=3)
    cluster.advance(1.0)
    # Replicas 0 and 1 are on the first node with either packing, 2 on the second.
    for replica_id in (0, 1):
        cluster.drain_replica(replica_id)
    cluster.advance(2.0)
    cluster.set_replicas(2)
    cluster.advance(50.0)
    assert int(cluster.history()["node"][3]) == node


def test_nodes_come_from_the_cheapest_group_that_could_hold_the_replica() -> None:
    """Dear nodes and nodes with another accelerator stay away; unknown prices come last."""
    nodes = nodes_of(
        replace(GROUP, name="unknown", usd_per_hour=None), replace(GROUP, name="dear", usd_per_hour=9.0),
        replace(GROUP, name="cheap", max_nodes=1), replace(GROUP, name="other", accelerator="t4", usd_per_hour=0.1),
    )  # fmt: skip
    cluster = pool_on(nodes)
    cluster.set_replicas(3)
    cluster.advance(200.0)
    assert [node.group.name for node in nodes.nodes.nodes.values()] == ["cheap", "dear"]


def test_an_empty_node_goes_after_its_idle_time_and_is_paid_until_then() -> None:
    """Emptied at 300 s, it goes at 900 s; the least number stays. Paid from the order at 10 s."""
    nodes = nodes_of(replace(GROUP, min_nodes=1))
    cluster = pool_on(nodes)
    cluster.set_replicas(4)
    cluster.advance(300.0)
    cluster.set_replicas(0)
    cluster.advance(899.0)
    assert alive(nodes) == 2
    cluster.advance(1200.0)
    assert alive(nodes) == 1
    assert [node.gone_s for node in nodes.nodes.gone] == [900.0]
    paid = nodes.nodes.paid()
    assert paid.accelerator_hours == pytest.approx(2 * (1200 + 890) / 3600)
    assert paid.usd == pytest.approx(4.0 * (1200 + 890) / 3600)


def test_pulls_share_a_nodes_link_and_the_next_replica_finds_the_image() -> None:
    """Two images of 8 GB over 0.2 GB/s take 80 s together instead of 40; a replica that comes later pulls nothing."""
    group = replace(GROUP, accelerators_per_node=4, min_nodes=1, gigabytes_per_s={Tier.REGISTRY: 0.2})
    nodes = nodes_of(group)
    a, b = (
        pool_on(nodes, name, needs=replace(NEEDS, image=Content(name=f"image-{name}", gigabytes=8.0)))
        for name in ("a", "b")
    )
    a.set_replicas(1)
    b.set_replicas(1)
    a.advance(200.0)
    assert instants(a, 0) == instants(b, 0) == (1.0, 81.0, 81.0, 101.0)
    a.set_replicas(2)
    a.advance(300.0)
    assert instants(a, 1) == (201.0, 201.0, 201.0, 221.0)


def test_replicas_of_one_image_wait_for_the_same_pull() -> None:
    """Three replicas on one node: one transfer of 40 s, that is there for all, also for one that came midway."""
    group = replace(GROUP, accelerators_per_node=4, min_nodes=1, gigabytes_per_s={Tier.REGISTRY: 0.2})
    cluster = pool_on(nodes_of(group), needs=replace(NEEDS, image=Content(name="image", gigabytes=8.0)))
    cluster.set_replicas(2)
    cluster.advance(20.0)
    cluster.set_replicas(3)
    cluster.advance(100.0)
    assert [instants(cluster, replica_id)[1] for replica_id in range(3)] == [41.0, 41.0, 41.0]


def test_weights_come_from_the_nearest_tier_that_has_them() -> None:
    """16 GB: from the store 32 s, then from memory 1 s, and from disk 4 s once another model has taken the memory."""
    group = replace(
        GROUP, min_nodes=1, max_nodes=1, disk_gigabytes=100.0, memory_gigabytes=20.0,
        gigabytes_per_s={Tier.OBJECT_STORE: 0.5, Tier.DISK: 4.0, Tier.MEMORY: 16.0},
    )  # fmt: skip
    nodes = nodes_of(group)
    a, b = (
        pool_on(nodes, name, needs=replace(NEEDS, weights=Content(name=f"model-{name}", gigabytes=16.0)))
        for name in ("a", "b")
    )

    def load_s(cluster: Cluster) -> float:
        cluster.set_replicas(1)
        cluster.advance(cluster.now_s + 100.0)
        _, started_s, loaded_s, _ = instants(cluster, len(cluster.history()) - 1)
        cluster.set_replicas(0)
        cluster.advance(cluster.now_s + 10.0)
        return loaded_s - started_s

    assert [load_s(a), load_s(a), load_s(b), load_s(a)] == pytest.approx([32.0, 1.0, 32.0, 4.0])


SLEEPY = Sleep(gigabytes=20.0, wake=Fixed(seconds=3.0))


def start_s(cluster: Cluster) -> float:
    """From the order of one replica to its Ready; it then leaves again, having nothing to do."""
    cluster.set_replicas(1)
    cluster.advance(cluster.now_s + 100.0)
    life = cluster.history()[-1]
    cluster.set_replicas(0)
    cluster.advance(cluster.now_s + 10.0)
    return float(life["ready_s"] - life["ordered_s"])


@pytest.mark.parametrize(("keeps_weights", "second_s"), [(True, 1.0 + 3.0), (False, 1.0 + 3.0 + 16.0)])
def test_one_that_sleeps_wakes_instead_of_starting(keeps_weights: bool, second_s: float) -> None:
    """16 GB at 1 GB/s and 20 s of warm-up the first time; then 3 s, or those and the weights at level 2."""
    group = replace(GROUP, min_nodes=1, max_nodes=1, sleep_gigabytes=30.0, gigabytes_per_s={Tier.OBJECT_STORE: 1.0})
    weights = Content(name="model", gigabytes=16.0)
    needs = replace(NEEDS, weights=weights, sleep=replace(SLEEPY, keeps_weights=keeps_weights))
    cluster = pool_on(nodes_of(replace(group, disk_gigabytes=0.0)), needs=needs)
    assert start_s(cluster) == pytest.approx(1.0 + 16.0 + 20.0)
    assert start_s(cluster) == pytest.approx(second_s)
    assert start_s(cluster) == pytest.approx(second_s)


def test_as_many_sleep_as_the_memory_holds_and_they_hold_no_accelerator() -> None:
    """Two replicas leave, one fits into 30 GB: of the next two one wakes, and another model had room meanwhile."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=1, sleep_gigabytes=30.0))
    cluster, other = pool_on(nodes, needs=replace(NEEDS, sleep=SLEEPY)), pool_on(nodes, "b")
    for pool, count in ((cluster, 2), (cluster, 0), (other, 2), (other, 0), (cluster, 2)):
        pool.set_replicas(count)
        pool.advance(pool.now_s + 50.0)
    assert states(cluster) == {2: READY, 3: READY}
    history = cluster.history()
    assert list(history["ready_s"][2:] - history["ordered_s"][2:]) == pytest.approx([4.0, 21.0])


def test_what_is_cut_off_or_lost_does_not_sleep() -> None:
    """A replica that is killed in its work leaves nothing behind, nor does a node that goes."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=2, sleep_gigabytes=90.0))
    cluster = pool_on(nodes, needs=replace(NEEDS, sleep=SLEEPY), replicas=1)
    cluster.submit(0.0, 100, 200_000)
    cluster.advance(10.0)
    cluster.set_replicas(0)
    cluster.advance(100.0)
    assert states(cluster) == {}
    assert nodes.nodes.paid().asleep_hours == 0


def test_a_disk_that_is_full_forgets_what_was_used_longest_ago() -> None:
    """Room for two images: the third takes the place of the first, which has to be pulled again."""
    group = replace(GROUP, min_nodes=1, max_nodes=1, disk_gigabytes=20.0, gigabytes_per_s={Tier.REGISTRY: 1.0})
    nodes = nodes_of(group)
    pools = [
        pool_on(nodes, name, needs=replace(NEEDS, image=Content(name=name, gigabytes=8.0))) for name in ("a", "b", "c")
    ]
    pulls = []
    for cluster in (*pools, pools[1], pools[0]):
        cluster.set_replicas(1)
        cluster.advance(cluster.now_s + 60.0)
        scheduled_s, started_s, *_ = instants(cluster, len(cluster.history()) - 1)
        pulls.append(started_s - scheduled_s)
        cluster.set_replicas(0)
        cluster.advance(cluster.now_s + 10.0)
    assert pulls == pytest.approx([8.0, 8.0, 8.0, 0.0, 8.0])


def test_a_replica_removed_in_its_pull_gives_its_place_back_and_the_image_comes_all_the_same() -> None:
    """Nobody waits for the transfer any more; the next replica finds the image there."""
    group = replace(GROUP, min_nodes=1, max_nodes=1, gigabytes_per_s={Tier.REGISTRY: 0.2})
    cluster = pool_on(nodes_of(group), needs=replace(NEEDS, image=Content(name="image", gigabytes=8.0)))
    cluster.set_replicas(1)
    cluster.advance(20.0)
    cluster.set_replicas(0)
    cluster.advance(60.0)
    cluster.set_replicas(1)
    cluster.advance(120.0)
    assert instants(cluster, 1) == (61.0, 61.0, 61.0, 81.0)


def test_a_lost_node_takes_its_replicas_and_their_requests_start_anew() -> None:
    """Both replicas of node 0 are gone at 50 s; replacements are ordered 30 s later; no request is lost."""
    nodes = nodes_of(replace(GROUP, min_nodes=2, max_nodes=2))
    cluster = pool_on(nodes, replicas=3, trace=random_trace(0, 200, span_s=60.0))
    nodes.nodes.schedule_fault(NodeFault(at_s=50.0, replaced_after_s=30.0))
    cluster.advance(50.0)
    assert states(cluster) == {2: READY}
    assert alive(nodes) == 1
    cluster.advance(400.0)
    assert states(cluster) == {2: READY, 3: READY, 4: READY}
    assert [float(s) for s in cluster.history()["ordered_s"][3:]] == [80.0, 80.0]
    # One finds room on the other node, one waits for the node that the group restores to its least number.
    assert [instants(cluster, replica_id)[0] for replica_id in (3, 4)] == [81.0, 150.0]
    table = cluster.requests()
    assert table.retries.max() == 1, "one loss, one retry: not by way of another replica of the same node"
    assert np.isfinite(table.finish_s).all()


def test_a_spot_reclaim_gives_notice_and_replacements_are_ordered_at_once() -> None:
    """Only the spot node is told to go, at 20 s; its replica drains, what is left at 140 s is cut."""
    nodes = nodes_of(replace(GROUP, min_nodes=1, max_nodes=2), replace(GROUP, name="spot", spot=True, min_nodes=1))
    cluster = pool_on(nodes, replicas=3, trace=requests(*((5.0 + i, 100, 100_000) for i in range(3))))
    nodes.nodes.schedule_fault(NodeFault(at_s=20.0, notice_s=120.0))
    cluster.advance(20.0)
    assert states(cluster) == {0: READY, 1: READY, 2: DRAINING, 3: STARTING}
    cluster.advance(139.0)
    assert states(cluster)[2] == DRAINING
    cluster.advance(140.0)
    assert 2 not in states(cluster)
    assert [node.group.name for node in nodes.nodes.gone] == ["spot"]
    assert cluster.requests().retries.sum() == 1


def test_a_group_without_stock_is_left_alone_for_a_while_and_another_one_grows() -> None:
    """The cheap group refuses at the first scan, the dear one is asked at the next; after 300 s the cheap one again."""
    nodes = nodes_of(replace(GROUP, name="dear", usd_per_hour=9.0, max_nodes=1), replace(GROUP, name="cheap"))
    nodes.nodes.close_group("cheap", begins_s=0.0, ends_s=200.0)
    cluster = pool_on(nodes)
    cluster.set_replicas(4)
    cluster.advance(600.0)
    assert [(node.group.name, node.asked_s) for node in nodes.nodes.nodes.values()] == [
        ("dear", 20.0),
        ("cheap", 310.0),
    ]


def test_what_the_node_draws_follows_from_the_seed_and_not_from_the_pools() -> None:
    """The n-th node of a group takes the same to come, whoever asks for it."""

    def ready_s(names: tuple[str, ...]) -> list[float]:
        nodes = nodes_of(replace(GROUP, provisioning=LogNormal(median_s=90.0, sigma=0.5)), seed=5)
        pools = [pool_on(nodes, name) for name in names]
        for cluster in pools:
            cluster.set_replicas(2)
        pools[0].advance(1000.0)
        return [node.ready_s for node in nodes.nodes.nodes.values()]

    assert ready_s(("a", "b", "c")) == ready_s(("x", "y", "z"))
    assert len(set(ready_s(("a", "b", "c")))) == 3


def test_pools_on_nodes_have_names_of_their_own_and_begin_together() -> None:
    """Each mistake is one sentence."""
    nodes = nodes_of(GROUP)
    cluster = pool_on(nodes)
    with pytest.raises(ClusterError, match="give each a name of its own"):
        pool_on(nodes)
    cluster.advance(5.0)
    with pytest.raises(ClusterError, match="begin together"):
        pool_on(nodes, "late")
    with pytest.raises(ClusterError, match="4 s: it is 5 s"):
        cluster.advance(4.0)
    with pytest.raises(ClusterError, match="what a replica needs"):
        Cluster(profile=engine(), startup=QUICK, seed=1, nodes=nodes, name="b")


def story(seed: int, names: tuple[str, ...] = ("a", "b"), *, step_s: float = 15.0) -> tuple[SharedNodes, list[Cluster]]:
    """Two pools with traffic, on a few nodes with everything that varies, scaled at random, with faults."""
    rng = np.random.default_rng(seed)
    group = replace(
        GROUP, accelerators_per_node=4, max_nodes=3, provisioning=LogNormal(median_s=60.0, sigma=0.5), spot=True,
        gigabytes_per_s={Tier.REGISTRY: 0.5, Tier.OBJECT_STORE: 1.0, Tier.DISK: 3.0, Tier.MEMORY: 20.0},
        disk_gigabytes=30.0, memory_gigabytes=20.0, sleep_gigabytes=45.0,
    )  # fmt: skip
    sleep = Sleep(
        gigabytes=20.0, wake=LogNormal(median_s=3.0, sigma=0.3), keeps_accelerators=seed % 2 == 0, most_s=100.0
    )
    nodes = nodes_of(group, replace(group, name="dear", min_nodes=1, usd_per_hour=8.0), seed=seed, empty_s=60.0)
    sizes = {"a": 1, "b": 2}
    startup = PhasedStartup(
        schedule=Fixed(seconds=1.0), load=LogNormal(median_s=5.0, sigma=0.4), warmup=LogNormal(median_s=20.0, sigma=0.3)
    )
    pools = {
        name: pool_on(
            nodes, name, startup=startup, trace=random_trace(seed + sizes[name], 300, span_s=600.0),
            needs=Needs(accelerator="l4", accelerators=sizes[name], image=Content(name=f"i-{name}", gigabytes=8.0),
                        weights=Content(name=f"w-{name}", gigabytes=14.0), sleep=sleep if name == "a" else None),
        )
        for name in names
    }  # fmt: skip
    nodes.nodes.schedule_fault(NodeFault(at_s=170.0, pick=0.4, replaced_after_s=40.0))
    nodes.nodes.schedule_fault(NodeFault(at_s=300.0, pick=0.9, notice_s=30.0))
    nodes.nodes.close_group("l4", begins_s=100.0, ends_s=200.0)
    orders = [{name: int(rng.integers(0, 9)) for name in sorted(names)} for _ in range(60)]
    for tick, counts in enumerate(orders):
        at_s = 15.0 * tick
        while pools["a"].now_s < at_s:
            pools["a"].advance(min(at_s, pools["a"].now_s + step_s))
        for name in names:
            pools[name].set_replicas(counts[name])
        assert_within_bounds(nodes, list(pools.values()))
    return nodes, [pools[name] for name in sorted(pools)]


def assert_within_bounds(nodes: SharedNodes, pools: list[Cluster]) -> None:
    """No accelerator is held twice, no node of a group is beyond its most, and caches hold what they may."""
    for node in nodes.nodes.nodes.values():
        assert node.free >= 0
        assert node.disk.used_gigabytes <= 30.0 + 1e-9
        assert node.memory.used_gigabytes <= 20.0 + 1e-9
    for group in nodes.nodes.groups:
        assert sum(node.group.name == group.name for node in nodes.nodes.nodes.values()) <= group.max_nodes
    for cluster in pools:
        life = cluster.snapshot().life
        assert np.array_equal(life["node"] >= 0, ~np.isnan(life["scheduled_s"]))


def digest(pools: list[Cluster]) -> str:
    """What became of the pools, as a digest."""
    sha = hashlib.sha256()
    for cluster in pools:
        history, table = cluster.history(), cluster.requests()
        for field in ("ordered_s", "scheduled_s", "started_s", "loaded_s", "ready_s", "deleted_s", "node"):
            sha.update(np.ascontiguousarray(history[field]).tobytes())
        sha.update(table.replica.tobytes() + table.finish_s.tobytes() + table.retries.tobytes())
    return sha.hexdigest()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_pools_is_of_no_matter(seed: int) -> None:
    """Made and scaled in the other order, at the same instants, the pools live the same lives, to the bit."""
    assert digest(story(seed)[1]) == digest(story(seed, ("b", "a"))[1])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_time_is_conserved(seed: int) -> None:
    """On each node what is held fits its accelerators at every instant; paid covers held; instants are in order."""
    nodes, pools = story(seed)
    held_hours = 0.0
    changes: dict[int, list[tuple[float, int]]] = {}
    for cluster, accelerators in zip(pools, (1, 2), strict=True):
        for life in cluster.history():
            if np.isnan(life["scheduled_s"]):
                continue
            begun_s, end_s = life["scheduled_s"], np.fmin(life["deleted_s"], cluster.now_s)
            held_hours += accelerators * (end_s - begun_s) / 3600
            changes.setdefault(int(life["node"]), []).extend(((begun_s, accelerators), (end_s, -accelerators)))
            known = [life[f] for f in ("ordered_s", "scheduled_s", "started_s", "loaded_s", "ready_s", "deleted_s")]
            known = [at_s for at_s in known if not np.isnan(at_s)]
            assert known == sorted(known)
    for number, steps in changes.items():
        levels = np.cumsum([step for _, step in sorted(steps)])
        node = nodes.nodes.nodes.get(number) or next(node for node in nodes.nodes.gone if node.number == number)
        assert levels.min() >= 0
        assert levels.max() <= node.group.accelerators_per_node
    paid = nodes.nodes.paid()
    assert held_hours + paid.asleep_accelerator_hours <= paid.accelerator_hours + 1e-9
    assert 0 <= paid.asleep_accelerator_hours <= paid.asleep_hours


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_how_calls_divide_time_changes_rounding_only(seed: int) -> None:
    """In steps of 15 s or of 0.7 s, every instant of every life is the same to 1e-6 s."""
    for one, two in zip(story(seed)[1], story(seed, step_s=0.7)[1], strict=True):
        for field in ("scheduled_s", "started_s", "ready_s", "deleted_s"):
            np.testing.assert_allclose(one.history()[field], two.history()[field], rtol=0, atol=1e-6)


def test_the_same_seed_gives_the_same_lives_in_every_process() -> None:
    """Hash randomisation changes nothing."""
    code = "from tests.simulator.test_nodes import digest, story; print(digest(story(11)[1]))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": str(salt)}, capture_output=True,
            text=True, check=True,
        ).stdout
        for salt in (1, 2)
    }  # fmt: skip
    assert found == {digest(story(11)[1]) + "\n"}
