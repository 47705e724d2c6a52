"""Stories of the telemetry: what a decider may see of a simulated pool, and how late."""

import copy
import pickle
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.signals import PodSample, Presence, ReplicaState, Signals
from autoscaler.journal import decode, encode
from simulator.cluster import Cluster
from simulator.nodes.node import Needs, NodeGroup
from simulator.nodes.nodepool import NodePool
from simulator.nodes.shared_nodes import SharedNodes
from simulator.startup.distributions import Fixed
from simulator.telemetry import EPOCH_AT, Scraping, Telemetry
from tests.simulator.simulated_pools import FIXED_120_S, engine, random_trace, requests

COUNTERS = (
    "prompt_tokens",
    "generation_tokens",
    "finished_requests",
    "steps",
    "ttft_count",
    "itl_sum_s",
    "itl_count",
    "tpot_count",
)


def pool(*, replicas: int = 2, seed: int = 1, size: int = 400) -> Cluster:
    """Return a pool with traffic for two minutes and cold starts of exactly two."""
    trace = random_trace(seed, size, span_s=120.0)
    return Cluster(
        profile=engine(), startup=FIXED_120_S, seed=seed, trace=trace, initial_replicas=replicas, grace_s=20.0
    )


def watched(cluster: Cluster, **scraping: float) -> Telemetry:
    """Return telemetry over a pool of the test engine."""
    return Telemetry(cluster, kv_tokens=400_000, scraping=Scraping(**scraping))  # type: ignore[arg-type]


def at(telemetry: Telemetry, second: float) -> Signals:
    """Return the signals at a second."""
    telemetry.advance(second)
    return telemetry.signals()


@settings(max_examples=25, deadline=None)
@given(
    scrape_s=st.sampled_from([5.0, 10.0, 15.0, 30.0]),
    lag_s=st.sampled_from([0.0, 3.0, 15.0, 40.0]),
    steps=st.lists(st.floats(0.5, 40.0), min_size=1, max_size=12),
)
def test_no_sample_is_younger_than_the_lag_or_older_than_a_scrape_more(
    scrape_s: float, lag_s: float, steps: list[float]
) -> None:
    """A decision sees the newest scrape that is at least the lag old: neither a younger nor an older one."""
    telemetry, second = watched(pool(), scrape_s=scrape_s, lag_s=lag_s), 0.0
    for step in steps:
        second += step
        signals = at(telemetry, second)
        ages = {round(signals.at - sample.at, 6) for sample in signals.samples}
        assert len(ages) <= 1
        assert all(lag_s - 1e-6 <= age < lag_s + scrape_s + 1e-6 for age in ages)
        assert bool(ages) == (second >= lag_s)
        assert (signals.held_requests is None) == (second < lag_s)


def test_a_counter_is_what_it_was_at_the_scrape_and_not_what_it_is_now() -> None:
    """A request that finished after the scrape is in no sample yet."""
    trace = requests((16.0, 100, 5))
    cluster = Cluster(profile=engine(), startup=FIXED_120_S, seed=1, trace=trace, initial_replicas=1)
    telemetry = watched(cluster, scrape_s=15.0, lag_s=15.0)
    assert at(telemetry, 30.0).samples[0].finished_requests == 0.0
    assert at(telemetry, 44.0).samples[0].finished_requests == 0.0
    assert at(telemetry, 45.0).samples[0].finished_requests == 1.0


def test_the_gateway_is_scraped_like_everything_else() -> None:
    """Requests that a gateway holds now are told with the scrape that saw them."""
    cluster = Cluster(profile=engine(), startup=FIXED_120_S, seed=1, trace=requests((20.0, 10, 1)))
    telemetry = watched(cluster, scrape_s=15.0, lag_s=15.0)
    assert [at(telemetry, second).held_requests for second in (10.0, 20.0, 44.0, 45.0)] == [None, 0.0, 0.0, 1.0]


def test_a_starting_replica_shows_its_past_and_nothing_of_its_future() -> None:
    """Phases are known from the instant at which they happen; a starting replica has no sample."""
    cluster = pool(replicas=1)
    telemetry = watched(cluster, scrape_s=15.0, lag_s=0.0)
    at(telemetry, 10.0)
    cluster.set_replicas(2)
    for second in range(10, 150, 5):
        signals = at(telemetry, float(second))
        mine = signals.replicas[1]
        for instant in (mine.scheduled_at, mine.started_at, mine.ready_at):
            assert instant is None or instant <= signals.at
        assert (mine.state is ReplicaState.READY) == (second >= 130)
        assert (mine.scheduled_at is None) == (second < 10 + 2.4)
        assert (mine.started_at is None) == (second < 10 + 14.4)
        sampled = {sample.pod for sample in signals.samples}
        assert (mine.pod in sampled) == (second >= 135)


def test_a_replica_that_became_ready_after_the_scrape_is_there_without_a_sample() -> None:
    """The API server knows it is Ready; Prometheus has not been there yet."""
    cluster = pool(replicas=1)
    telemetry = watched(cluster, scrape_s=15.0, lag_s=15.0)
    cluster.set_replicas(2)
    signals = at(telemetry, 121.0)
    assert signals.count(ReplicaState.READY) == 2
    assert [sample.pod for sample in signals.samples] == ["replica-0000"]


def test_the_replicas_of_the_beginning_hold_their_accelerators_from_the_beginning() -> None:
    """They have no phases of a start; scheduled is when they were ordered."""
    first = at(watched(pool()), 30.0).replicas[0]
    assert (first.scheduled_at, first.started_at, first.ready_at) == (EPOCH_AT, None, EPOCH_AT)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    orders=st.lists(st.tuples(st.floats(1.0, 40.0), st.integers(0, 6)), min_size=1, max_size=15),
)
def test_whoever_is_gone_is_told_so_exactly_once(seed: int, orders: list[tuple[float, int]]) -> None:
    """A replica that was seen and is there no longer is reported once as gone, with the instant; a name comes once."""
    cluster = pool(seed=seed)
    telemetry, second = watched(cluster), 0.0
    gone: Counter[str] = Counter()
    seen: set[str] = set()
    for step, count in [*orders, (400.0, 0), (400.0, 0)]:
        second += step
        signals = at(telemetry, second)
        pods = [replica.pod for replica in signals.replicas]
        assert len(pods) == len(set(pods))
        for replica in signals.replicas:
            assert (replica.state is ReplicaState.GONE) == (replica.gone_at is not None)
            assert replica.gone_at is None or replica.gone_at <= signals.at
            gone.update([replica.pod] if replica.gone_at is not None else [])
            seen.add(replica.pod)
        assert {sample.pod for sample in signals.samples} <= set(pods)
        cluster.set_replicas(count)
    assert gone == Counter(seen)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_counters_of_a_pod_never_fall(seed: int) -> None:
    """Counters and histogram buckets of one pod only grow, and a bucket holds all smaller ones."""
    cluster = pool(seed=seed, size=1500)
    telemetry = watched(cluster, scrape_s=5.0, lag_s=5.0)
    newest: dict[str, PodSample] = {}
    for second in range(5, 200, 7):
        for sample in at(telemetry, float(second)).samples:
            before = newest.get(sample.pod, sample)
            assert all(getattr(sample, name) >= getattr(before, name) for name in COUNTERS)
            for within in ("ttft_within", "tpot_within"):
                counts = [count for _, count in getattr(sample, within)]
                assert counts == sorted(counts)
                assert all(
                    now[1] >= then[1]
                    for now, then in zip(getattr(sample, within), getattr(before, within), strict=True)
                )
            assert sample.ttft_count is not None
            assert sample.ttft_count >= sample.ttft_within[-1][1]
            newest[sample.pod] = sample
        if second == 61:
            cluster.set_replicas(3)


def test_kv_use_is_the_share_of_blocks_as_vllm_tells_it() -> None:
    """One token in a block takes the whole block: a prompt of 17 tokens takes two of 25,000."""
    profile = engine(a_s=1.0)
    cluster = Cluster(profile=profile, startup=FIXED_120_S, seed=1, trace=requests((0.0, 17, 9)), initial_replicas=1)
    telemetry = Telemetry(cluster, kv_tokens=profile.kv_tokens, scraping=Scraping(scrape_s=1.5, lag_s=0.0))
    sample = at(telemetry, 1.5).samples[0]
    assert sample.kv_ratio == pytest.approx(2 / 25_000)
    assert sample.kv_capacity_tokens == 400_000.0
    assert (sample.running, sample.waiting) == (1.0, 0.0)


def test_a_pending_replica_is_told_as_kubernetes_tells_it() -> None:
    """Unschedulable and without a node while there is no room; with its node and no reason once it is placed."""
    group = NodeGroup(name="l4", accelerator="l4", accelerators_per_node=1, provisioning=Fixed(seconds=40.0))
    cluster = Cluster(
        profile=engine(), startup=FIXED_120_S, seed=1, nodes=SharedNodes(NodePool([group], seed=1)),
        needs=Needs(accelerator="l4", accelerators=1),
    )  # fmt: skip
    telemetry = Telemetry(cluster, kv_tokens=1000)
    cluster.set_replicas(1)
    told = []
    for second in (1.0, 15.0, 60.0):
        telemetry.advance(second)
        (replica,) = telemetry.signals().replicas
        told.append((replica.reason, replica.node, replica.scheduled_at))
    assert told == [(None, None, None), ("Unschedulable", None, None), (None, "node-0000", EPOCH_AT + 50.0)]


def test_a_sample_whose_histograms_are_made_late_is_a_sample() -> None:
    """It equals what a journal gives back, from either side, and is written, copied, changed and sent as any other."""
    signals = at(watched(pool(), lag_s=0.0), 60.0)
    written = decode(Signals, encode(signals))
    for scraped, plain in zip(signals.samples, written.samples, strict=True):
        assert type(plain) is PodSample is not type(scraped)
        assert scraped == plain == scraped
        assert hash(scraped) == hash(plain)
        assert asdict(scraped) == asdict(plain)
        sent = pickle.loads(pickle.dumps(scraped))
        assert all(each == plain for each in (replace(scraped), copy.copy(scraped), copy.deepcopy(scraped), sent))
        assert replace(scraped, presence=Presence.STALE) == replace(plain, presence=Presence.STALE) != plain
        assert plain.ttft_within[-1][1] == plain.ttft_count != 0
    assert encode(written) == encode(signals)


def test_histograms_are_of_the_scrape_and_not_of_when_they_are_read() -> None:
    """The pool has gone on since; what a sample tells has not."""
    cluster, other = pool(), pool()
    early, late = at(watched(cluster, lag_s=0.0), 60.0), at(watched(other, lag_s=0.0), 60.0)
    encode(early)
    other.advance(115.0)
    assert [sample.tpot_within for sample in late.samples] == [sample.tpot_within for sample in early.samples]


def test_a_replica_that_did_not_change_is_not_told_anew() -> None:
    """The same value tick after tick; a change of its life makes another."""
    cluster = pool()
    telemetry = watched(cluster)
    first, second = at(telemetry, 15.0), at(telemetry, 30.0)
    assert all(one is other for one, other in zip(first.replicas, second.replicas, strict=True))
    cluster.set_replicas(1)
    states = Counter(replica.state for replica in at(telemetry, 30.5).replicas)
    assert states == {ReplicaState.READY: 1, ReplicaState.DRAINING: 1}


def test_a_mean_in_flight_is_the_integral_of_what_was_in_flight() -> None:
    """Against a brute force over every request: the seconds that it spent at a replica within each scrape interval."""
    cluster = pool(size=150)
    telemetry = watched(cluster, scrape_s=2.0, lag_s=0.0, mean_in_flight=True)
    seen = []
    for second in range(2, 140, 2):
        samples = at(telemetry, float(second)).samples
        seen.append(sum((sample.running or 0.0) + (sample.waiting or 0.0) for sample in samples))
    table = cluster.requests()
    ends_s = np.where(np.isnan(table.finish_s), cluster.now_s, table.finish_s)
    for number, mean in enumerate(seen):
        low, high = 2.0 * number, 2.0 * number + 2.0
        overlap_s = np.clip(np.minimum(ends_s, high) - np.maximum(table.arrival_s, low), 0.0, None)
        assert mean == pytest.approx(overlap_s.sum() / 2.0, abs=1e-6)


def test_requests_shorter_than_a_scrape_interval_are_in_its_mean() -> None:
    """A gauge tells of an instant and misses them; who is told of every beginning and end does not."""
    short = requests(*((10.0 * number + 0.5, 50, 5) for number in range(6)))
    for mean_in_flight, told in ((False, False), (True, True)):
        cluster = Cluster(profile=engine(), startup=FIXED_120_S, seed=1, trace=short, initial_replicas=1)
        telemetry = watched(cluster, scrape_s=2.0, lag_s=0.0, mean_in_flight=mean_in_flight)
        seen = [at(telemetry, float(second)).samples[0].running or 0.0 for second in range(2, 60, 2)]
        assert any(running > 0 for running in seen) is told
