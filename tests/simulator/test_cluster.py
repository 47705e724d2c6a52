"""A pool of replicas: lives, routing, the gateway, and determinism."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster, ClusterError, Routing
from simulator.engine.records import ReplicaState, RequestStatus
from simulator.startup.model import StartupModel
from simulator.traces import Trace, load_trace, superpose
from tests.simulator.simulated_pools import (
    FIXED_120_S,
    assert_nothing_lost,
    drain_all,
    engine,
    pool,
    random_trace,
    requests,
)

STARTING, READY, DRAINING = ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING


def states(cluster: Cluster) -> dict[int, ReplicaState]:
    """Replica id → state, now."""
    snapshot = cluster.snapshot()
    return {int(i): ReplicaState(int(s)) for i, s in zip(snapshot.ids, snapshot.states, strict=True)}


def replica_of(cluster: Cluster) -> list[int]:
    """Where each request went."""
    return [int(i) for i in cluster.requests().replica]


def test_a_replica_lives_from_order_to_deletion() -> None:
    """Ordered at 10 s with a cold start of 120 s it is ready at 130 s; each phase shows when it is past, not before."""
    cluster = pool(replicas=0)
    cluster.advance(10.0)
    cluster.set_replicas(1)
    life = cluster.snapshot().life[0]
    assert (life["state"], life["ordered_s"]) == (STARTING, 10.0)
    assert np.isnan([life["scheduled_s"], life["started_s"], life["loaded_s"], life["ready_s"]]).all()
    cluster.advance(100.0)
    life = cluster.snapshot().life[0]
    assert (life["scheduled_s"], life["started_s"], life["loaded_s"]) == pytest.approx((12.4, 24.4, 82.0))
    assert np.isnan(life["ready_s"])
    cluster.advance(130.0)
    assert states(cluster) == {0: READY}
    assert cluster.snapshot().life["ready_s"][0] == pytest.approx(130.0)
    cluster.set_replicas(0)
    assert states(cluster) == {}
    assert cluster.history()[0]["deleted_s"] == 130.0


def test_a_replica_gets_ready_between_two_ticks_at_its_own_time() -> None:
    """A request held since 5 s is served from the instant the replica is ready, whatever the tick."""
    cluster = pool(requests((5.0, 100, 2)), replicas=0)
    cluster.set_replicas(1)
    cluster.advance(119.0)
    assert cluster.snapshot().held == 1
    cluster.advance(1000.0)
    assert cluster.requests().first_token_s[0] == pytest.approx(120.0 + 0.0115 + 70e-6 * 100, abs=1e-9)
    # The engine measures from its own arrival, the client from the gateway's.
    assert cluster.snapshot().engine["ttft_sum_s"][0] == pytest.approx(0.0185, abs=1e-9)
    assert cluster.requests().ttft_s[0] == pytest.approx(115.0185, abs=1e-9)


def test_held_requests_leave_the_gateway_in_order() -> None:
    """First come, first served, also across the gateway."""
    cluster = pool(requests(*((float(i), 10, 5) for i in range(20))), replicas=0, max_num_seqs=1)
    cluster.set_replicas(1)
    drain_all(cluster)
    assert np.all(np.diff(cluster.requests().first_token_s) > 0)


def test_scale_down_takes_those_not_ready_first_and_the_youngest_of_them() -> None:
    """As a ReplicaSet: 3 starting ordered at 0, 0 and 10 s go in the order youngest first, before any ready one."""
    cluster = pool(replicas=2)
    cluster.set_replicas(4)
    cluster.advance(10.0)
    cluster.set_replicas(5)
    cluster.set_replicas(4)
    assert states(cluster) == {0: READY, 1: READY, 2: STARTING, 3: STARTING}
    cluster.set_replicas(3)
    assert states(cluster) == {0: READY, 1: READY, 2: STARTING}
    cluster.set_replicas(1)
    assert states(cluster) == {0: READY}


def test_among_ready_ones_the_victim_has_the_fewest_requests_in_flight() -> None:
    """Pod deletion cost = requests in flight: the idle replica goes, though it is the oldest."""
    cluster = pool(requests((1.0, 100, 10), (1.1, 100, 2000), (1.2, 100, 2000)), replicas=3)
    cluster.advance(5.0)
    assert replica_of(cluster) == [0, 1, 2]
    cluster.set_replicas(2)
    assert states(cluster) == {1: READY, 2: READY}


def test_one_that_was_there_from_the_beginning_is_no_more_a_victim_than_others() -> None:
    """At a tie the youngest goes; that nobody scheduled the first ones does not make them pending."""
    cluster = pool(replicas=2)
    cluster.set_replicas(3)
    cluster.advance(200.0)
    cluster.set_replicas(2)
    assert states(cluster) == {0: READY, 1: READY}


def test_a_draining_replica_finishes_what_it_has_and_gets_nothing_new() -> None:
    """It keeps its request, newcomers go elsewhere, and it goes at the instant it is empty, not at the tick."""
    cluster = pool(requests((1.0, 100, 500), (1.1, 100, 1000), (3.0, 100, 5)), replicas=2)
    cluster.advance(2.0)
    cluster.drain_replica(0)
    assert states(cluster) == {0: DRAINING, 1: READY}
    cluster.advance(1000.0)
    table = cluster.requests()
    assert replica_of(cluster) == [0, 1, 1]
    assert (states(cluster), table.retries.sum()) == ({1: READY}, 0)
    assert cluster.history()[0]["deleted_s"] == pytest.approx(table.finish_s[0], abs=1e-9)
    assert cluster.history()[0]["requests_finished"] == 1


def test_after_the_grace_period_requests_start_anew_elsewhere() -> None:
    """A drain that takes too long is cut: the request is retried, its arrival stays, nothing is lost."""
    cluster = pool(requests((1.0, 100, 2000), (1.1, 100, 10)), replicas=2)
    cluster.advance(2.0)
    cluster.drain_replica(0, grace_s=3.0)
    cluster.advance(10.0)
    assert states(cluster) == {1: READY}
    drain_all(cluster)
    table = cluster.requests()
    assert (replica_of(cluster), table.retries.tolist()) == ([1, 1], [1, 0])
    assert table.first_token_s[0] > 5.0
    assert cluster.history()[0]["deleted_s"] == 5.0


def test_a_removed_replica_loses_no_request() -> None:
    """With nobody else there, running, waiting and later requests wait at the gateway for the next replica."""
    cluster = pool(random_trace(1, 100, span_s=10.0), max_num_seqs=8)
    cluster.advance(5.0)
    cluster.remove_replica(0)
    in_flight = int(cluster.requests().retries.sum())
    assert in_flight > 8
    assert cluster.snapshot().held == in_flight
    cluster.set_replicas(1)
    drain_all(cluster)
    assert (cluster.requests().status == RequestStatus.FINISHED).all()


def test_busy_and_idle_sum_to_the_life_of_a_replica() -> None:
    """The ledger's truth: busy seconds never exceed the seconds since ready, and survive deletion."""
    cluster = pool(load_trace("azure-conv-2023").slice(0, 600), replicas=2)
    cluster.advance(300.0)
    before = cluster.snapshot().engine["busy_s"]
    cluster.set_replicas(1)
    cluster.advance(700.0)
    lives = cluster.history()
    assert np.all(lives["busy_s"] >= before)
    assert np.all(lives["busy_s"] <= np.fmin(lives["deleted_s"], 700.0) - lives["ready_s"] + 1e-9)


@pytest.mark.parametrize("routing", ["least_outstanding", "round_robin", "random", "prefix_aware"])
def test_every_routing_serves_all_and_uses_every_replica(routing: Routing) -> None:
    """Each policy spreads the load; least outstanding keeps queues shortest."""
    trace = load_trace("azure-conv-2023").slice(0, 900)
    cluster = Cluster(profile=engine(), startup=FIXED_120_S, seed=7, trace=trace, initial_replicas=3, routing=routing)
    drain_all(cluster)
    shares = np.bincount(cluster.requests().replica, minlength=3) / len(trace)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)


def test_round_robin_takes_turns() -> None:
    """Request i goes to replica i mod n."""
    cluster = Cluster(
        profile=engine(),
        startup=FIXED_120_S,
        seed=0,
        trace=requests(*((float(i), 10, 1) for i in range(9))),
        initial_replicas=3,
        routing="round_robin",
    )
    cluster.advance(100.0)
    assert replica_of(cluster) == [0, 1, 2] * 3


def test_live_requests_and_replicas_come_as_time_goes() -> None:
    """The emulator's way: submit while time runs, replicas ready at an exact time, removed from outside."""
    live = pool(replicas=0)
    first = live.submit(0.1, 100, 200)
    live.advance(0.2)
    assert live.snapshot().held == 1
    replica = live.add_ready_replica(0.3, ordered_s=0.0)
    live.advance(0.4)
    live.submit(0.5, 100, 20)
    live.advance(0.6)
    live.remove_replica(replica)
    assert live.snapshot().held == 2
    live.add_ready_replica()
    live.advance(50.0)
    table = live.requests()
    assert (first, len(table), live.submitted_total) == (0, 2, 2)
    assert table.retries.tolist() == [1, 1]
    assert (table.status == RequestStatus.FINISHED).all()
    assert live.history()["ready_s"].tolist() == [0.3, 0.6]


def test_submitting_piece_by_piece_equals_replaying_a_trace() -> None:
    """Live and replayed runs are one engine: the same requests give the same times."""
    trace = load_trace("azure-code-2023").slice(0, 300)
    replayed = drain_all(pool(trace, replicas=2), tick_s=0.2)
    live = pool(replicas=2)
    for arrival_s, prompt, output in zip(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True):
        live.advance(max(live.now_s, float(arrival_s) - 0.05))
        live.submit(float(arrival_s), int(prompt), int(output))
    drain_all(live)
    assert np.abs(live.requests().finish_s - replayed.requests().finish_s).max() < 1e-6


@pytest.mark.parametrize(
    "senseless",
    [
        pytest.param(lambda c: c.advance(1.0), id="time runs back"),
        pytest.param(lambda c: c.submit(1.0, 1, 1), id="arrival in the past"),
        pytest.param(lambda c: c.set_replicas(-1), id="negative replicas"),
        pytest.param(lambda c: c.drain_replica(9), id="unknown replica"),
        pytest.param(lambda c: c.remove_replica(9), id="unknown replica, removed"),
    ],
)
def test_senseless_calls_are_refused(senseless: object) -> None:
    """The error says what is wrong; the pool stays as it was."""
    cluster = pool()
    cluster.advance(2.0)
    assert callable(senseless)
    with pytest.raises(ClusterError):
        senseless(cluster)
    assert (cluster.now_s, states(cluster)) == (2.0, {0: READY})


def test_more_replicas_than_room_at_first() -> None:
    """The arrays grow, and slots of those gone are used again."""
    cluster = pool(superpose(load_trace("azure-conv-2023"), copies=5).slice(0, 400), replicas=40)
    cluster.advance(60.0)
    cluster.set_replicas(2)
    cluster.advance(150.0)
    cluster.set_replicas(50)
    drain_all(cluster)
    assert len(states(cluster)) == 50
    assert len(np.unique(cluster.requests().replica)) > 40


def test_waiting_for_a_cold_start_is_told_from_being_late() -> None:
    """Late and a replica was starting: counted. Late with none on its way, or in time: not counted."""
    rows = [(float(i), 1000, 1) for i in range(10)]
    cluster = pool(requests(*rows, (200.0, 10, 1), (300.0, 4000, 1)), replicas=0)
    cluster.advance(2.5)
    cluster.set_replicas(1)
    cluster.advance(400.0)
    table, starting = cluster.requests(), cluster.starting_intervals()
    assert starting.tolist() == [[2.5, 122.5]]
    waited = table.waited_for_coldstart(starting=starting, objective_s=0.2)
    assert waited.tolist() == [True] * 10 + [False, False]
    assert table.ttft_s[11] > 0.2
    assert not table.waited_for_coldstart(starting=starting, objective_s=1e3).any()
    assert not table.waited_for_coldstart(starting=starting[:0], objective_s=0.2).any()


def test_those_still_waiting_count_with_what_they_have_waited() -> None:
    """A request without a first token is late once it has waited longer than the objective."""
    cluster = pool(requests((10.0, 10, 1)), replicas=0)
    cluster.set_replicas(1)
    for at_s, expected in ((11.0, False), (13.0, True)):
        cluster.advance(at_s)
        late = cluster.requests().waited_for_coldstart(starting=cluster.starting_intervals(), objective_s=2.0)
        assert late.tolist() == [expected]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    actions=st.lists(st.tuples(st.floats(0.01, 60), st.integers(0, 6), st.booleans()), min_size=1, max_size=25),
)
def test_whatever_is_done_nothing_is_lost(seed: int, actions: list[tuple[float, int, bool]]) -> None:
    """Any sequence of scalings and removals keeps every request in exactly one place, and all finish in the end."""
    cluster = Cluster(
        profile=engine(kv_tokens=9000, max_num_seqs=16),
        startup=StartupModel.of_total(20.0),
        seed=seed,
        trace=random_trace(seed, 300, span_s=200.0),
        initial_replicas=1,
        grace_s=5.0,
    )
    for step_s, count, remove in actions:
        cluster.advance(cluster.now_s + step_s)
        assert_nothing_lost(cluster, cluster.snapshot())
        here = cluster.snapshot().ids
        if remove and len(here):
            cluster.remove_replica(int(here[seed % len(here)]))
        cluster.set_replicas(count)
        assert_nothing_lost(cluster, cluster.snapshot())
        assert cluster.snapshot().count(STARTING) + cluster.snapshot().count(READY) == count
    cluster.set_replicas(2)
    drain_all(cluster)
    assert (cluster.requests().status == RequestStatus.FINISHED).all()


def digest_of_a_run(seed: int) -> str:
    """A run with scalings, as a hash of every byte that it leaves."""
    trace: Trace = superpose(load_trace("azure-conv-2023").slice(0, 600), copies=3, seed=seed)
    cluster = Cluster(
        profile=engine(),
        startup=StartupModel.of_total(60.0),
        seed=seed,
        trace=trace,
        initial_replicas=1,
        routing="random",
    )
    digest = hashlib.sha256()
    for tick in range(1, 50):
        cluster.advance(15.0 * tick)
        cluster.set_replicas(1 + tick * 7 % 5)
        snapshot = cluster.snapshot()
        digest.update(snapshot.life.tobytes() + snapshot.engine.tobytes())
    digest.update(cluster.requests().first_token_s.tobytes() + cluster.requests().finish_s.tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    """Runs repeat here and in a fresh interpreter with another hash seed; another seed gives another run."""
    code = "from tests.simulator.test_cluster import digest_of_a_run; print(digest_of_a_run(11))"
    here = digest_of_a_run(11)
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
    )
    assert here == digest_of_a_run(11) == elsewhere.stdout.strip()
    assert here != digest_of_a_run(12)
