"""The registry of peers: every one of them runs, the same way each time, within the policy's bounds."""

from functools import cache
from itertools import pairwise
from math import isnan
from typing import Any

import pytest

from autoscaler.core.decision import Decision
from autoscaler.core.signals import PodSample, Presence, Signals
from autoscaler.pricelist import shipped_prices
from simulator.baselines.peers import PEERS, Knob, Style
from simulator.baselines.sight import PodsMetric, summed, value_of
from simulator.experiments import demo
from simulator.experiments.demo import Setup
from simulator.run import run
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.world import Scenario, SimulatedWorld
from tests.baselines.admission import PEERS as ADMITTED
from tests.simulator.simulated_pools import FIXED_120_S, engine, requests
from tests.simulator.small_demo import bursty_trace, policy

NAMES = (
    *("ours", "hpa", "hpa-queue", "hpa-kv", "keda", "kpa", "apa", "aibrix-kpa"),
    *("ray", "watermark", "wva", "dynamo", "static", "oracle"),
)
CASES = [(name, style) for name, peer in PEERS.items() for style in peer.styles]


@cache
def setup() -> Setup:
    """Return four minutes around the beginning of a burst, with cold starts of forty seconds."""
    trace = bursty_trace().slice(420.0, 660.0)
    return demo.setup(policy(), trace, need_replicas=2.0, seed=3, coldstart_s=40.0, prices=shipped_prices())


def decisions(name: str, style: Style) -> list[Decision]:
    """Return a peer's decisions over those minutes, with a knob from the middle of its grid."""
    peer, spec = PEERS[name], setup().policy.spec
    grid = peer.knob.grid
    contender = peer.contender(setup().scenario, spec, grid[len(grid) // 2], style)
    return [entry.decision for entry, _ in run(setup().scenario, contender)]


def test_the_registry_has_every_peer_under_its_name() -> None:
    """The names that the command line knows."""
    assert tuple(PEERS) == NAMES
    assert all(peer.name == name for name, peer in PEERS.items())


@pytest.mark.parametrize(("name", "style"), CASES, ids=[f"{name}-{style}" for name, style in CASES])
def test_a_peer_runs_and_decides_the_same_each_time(name: str, style: Style) -> None:
    """Twice the same scenario, twice the same decisions, all within the policy's bounds."""
    first = decisions(name, style)
    assert first == decisions(name, style)
    bounds = setup().policy.spec.replicas
    targets = [decision.target for decision in first]
    assert all(target is not None and bounds.min <= target <= bounds.max for target in targets)
    assert all(later.at == earlier.next_at for earlier, later in pairwise(first))


@pytest.mark.parametrize("knob", [peer.knob for peer in PEERS.values()], ids=list(PEERS))
def test_a_grid_ascends_within_its_bounds(knob: Knob) -> None:
    """What a sweep begins with; whole knobs have whole grids."""
    assert all(low < high for low, high in pairwise(knob.grid))
    assert knob.least <= knob.grid[0]
    assert knob.grid[-1] <= knob.most
    assert not knob.whole or all(value == int(value) for value in knob.grid)


def test_requests_in_flight_are_swept_from_half_a_request_to_eighty() -> None:
    """A grid that began too high once made a peer look hopeless."""
    knob = PEERS["hpa"].knob
    assert (knob.grid[0], knob.grid[-1], knob.scale) == (0.5, 80.0, "geometric")
    assert max(high / low for low, high in pairwise(knob.grid)) < 1.7


def test_styles_differ_and_are_named() -> None:
    """Two styles of one peer are two policies, and a table tells them apart."""
    for name, style in CASES:
        peer, spec = PEERS[name], setup().policy.spec
        if style is Style.EXPERT:
            both = [peer.contender(setup().scenario, spec, peer.knob.grid[3], each) for each in peer.styles]
            assert len({contender.digest for contender in both}) == 2
            assert len({contender.name for contender in both}) == 2


def test_a_peer_that_reads_its_own_metrics_sees_them_fresher() -> None:
    """The KPA's ticks see metrics of that very second; the HPA's those of the scrape before."""
    scenario, spec = setup().scenario, setup().policy.spec
    for name, age_s in (("kpa", 0.0), ("hpa", 15.0)):
        contender = PEERS[name].contender(scenario, spec, 20.0, Style.DEFAULT)
        entry, _ = next(iter(run(scenario, contender)))
        assert {entry.at - sample.at for sample in entry.signals.samples} == {age_s}


def test_a_world_that_is_handed_in_is_seen_through_the_contenders_scraping() -> None:
    """Who keeps the world to ask it afterwards changes nothing for the peer."""
    scenario, spec = setup().scenario, setup().policy.spec
    contender = PEERS["kpa"].contender(scenario, spec, 20.0, Style.DEFAULT)
    assert contender.scraping == Scraping(scrape_s=2.0, lag_s=0.0, mean_in_flight=True)
    world = SimulatedWorld(scenario)
    entries = [entry for entry, _ in run(scenario, contender, world)]
    assert entries == [entry for entry, _ in run(scenario, contender)]
    assert world.cluster.now_s == entries[-1].at - EPOCH_AT


def test_every_upstream_peer_is_admitted_by_vectors() -> None:
    """What runs beside ours has been held against its project's own tests."""
    by_vectors = {"hpa-queue": "hpa", "hpa-kv": "hpa", "apa": "aibrix", "aibrix-kpa": "aibrix"}
    upstream = {by_vectors.get(name, name) for name in PEERS} - {"ours", "static", "oracle"}
    assert upstream == set(ADMITTED)


@pytest.mark.parametrize("peer", ["kpa", "ray"])
def test_short_requests_now_and_then_keep_who_measures_means_from_zero(peer: str) -> None:
    """A request every 15 s that lasts for half a second: no window is without one, so there is always a replica."""
    trace = requests(*((15.0 * number + 0.7, 500, 40) for number in range(80)))
    base = policy().spec
    spec = base.model_copy(update={"replicas": base.replicas.model_copy(update={"min": 0})})
    scenario = Scenario(
        name="light",
        trace=trace,
        profile=engine(),
        startup=FIXED_120_S,
        initial_replicas=1,
        seed=1,
        scraping=Scraping(),
    )
    contender = PEERS[peer].contender(scenario, spec, 20.0, Style.DEFAULT)
    targets = {entry.decision.target for entry, _ in run(scenario, contender)}
    assert targets == {1}


@pytest.mark.parametrize("metric", PodsMetric)
def test_a_nan_blinds_those_alone_who_read_it(metric: PodsMetric) -> None:
    """Of a pod whose other series are NaN a value is read as ever, by pod and in a sum; a NaN makes neither."""
    read = {
        PodsMetric.WAITING: {"waiting"},
        PodsMetric.CONCURRENCY: {"waiting", "running"},
        PodsMetric.KV_USE: {"kv_ratio"},
    }[metric]
    for lost in ("waiting", "running", "kv_ratio"):
        told: dict[str, Any] = {"waiting": 2.0, "running": 3.0, "kv_ratio": 0.5}
        odd = PodSample(pod="a", at=0.0, presence=Presence.INVALID, **(told | {lost: None}))
        signals = Signals(at=0.0, spec_replicas=1, samples=(odd,))
        total = summed(metric, signals)
        assert total is not None
        assert (value_of(metric, odd) is None) is isnan(total) is (lost in read)
