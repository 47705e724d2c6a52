"""The registry of peers: who may be compared, by what knob, in which styles.

``simulator compare`` sweeps a peer's knob over its grid and widens the grid by itself until the best point lies inside;
so a grid is only where the search begins, and wide enough that no peer begins outside of where it is good.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from simulator.baselines import peer_settings as settings
from simulator.baselines.aibrix import Strategy
from simulator.baselines.peer_settings import Make, Style
from simulator.baselines.sight import PodsMetric

__all__ = ["PEERS", "Knob", "Peer", "Style"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """What a sweep turns: a name for tables, an ascending grid to begin with, and hard bounds.

    ``scale`` is how a sweep widens the grid: by its ratio, by the ratio of 1 − value, or by its distance.
    """

    name: str
    grid: tuple[float, ...]
    least: float
    most: float
    whole: bool = False
    scale: Literal["geometric", "quantile", "linear"] = "geometric"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One autoscaler: its name on the command line and in prose, what it reproduces, its knob, and how it is made."""

    name: str
    title: str
    upstream: str
    knob: Knob
    styles: tuple[Style, ...]
    contender: Make


def _geometric(low: float, high: float, points: int) -> tuple[float, ...]:
    """Return a geometric grid, to three digits."""
    ratio = (high / low) ** (1 / (points - 1))
    return tuple(float(f"{low * ratio**step:.3g}") for step in range(points))


BOTH = (Style.DEFAULT, Style.EXPERT)
IN_FLIGHT = Knob(name="in flight a replica", grid=_geometric(0.5, 80.0, 12), least=0.05, most=2048.0)
WAITING = Knob(name="waiting a replica", grid=_geometric(0.1, 40.0, 11), least=0.01, most=2048.0)
KV_USE = Knob(name="KV use", grid=_geometric(0.02, 0.95, 11), least=0.001, most=1.0)
QUANTILE = Knob(
    name="quantile of demand",
    grid=(0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99),
    least=0.5,
    most=0.999,
    scale="quantile",
)
OBJECTIVES = Knob(name="share of the objectives", grid=_geometric(0.2, 4.0, 10), least=0.01, most=20.0)
REPLICAS = Knob(name="replicas", grid=(1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48), least=1, most=10_000, whole=True)
UTILIZATION = Knob(
    name="utilization", grid=(0.3, 0.45, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97), least=0.02, most=0.99, scale="quantile"
)


def _peer(name: str, title: str, upstream: str, *, knob: Knob, make: Make, styles: tuple[Style, ...] = BOTH) -> Peer:
    return Peer(name=name, title=title, upstream=upstream, knob=knob, styles=styles, contender=make)


_KUBERNETES = "Kubernetes v1.36"
_AIBRIX = "AIBrix e3e10f9 (2026-08-22); expert: as it was meant"
_ONE = (Style.DEFAULT,)
_ALL = (
    _peer("ours", "Inference Autoscaler", "this product", knob=QUANTILE, make=settings.ours, styles=_ONE),
    _peer("hpa", "HPA, in flight", _KUBERNETES, knob=IN_FLIGHT, make=settings.hpa_on("HPA", PodsMetric.CONCURRENCY)),
    _peer("hpa-queue", "HPA, queue", _KUBERNETES, knob=WAITING, make=settings.hpa_on("HPA queue", PodsMetric.WAITING)),
    _peer("hpa-kv", "HPA, KV cache", _KUBERNETES, knob=KV_USE, make=settings.hpa_on("HPA KV", PodsMetric.KV_USE)),
    _peer("keda", "KEDA", "KEDA 8b4f083 (2026-08-20)", knob=IN_FLIGHT, make=settings.keda_peer),
    _peer("kpa", "Knative KPA", "knative/serving 98e5ef9 (2026-08-21)", knob=IN_FLIGHT, make=settings.kpa_peer),
    _peer("apa", "AIBrix APA", _AIBRIX, knob=IN_FLIGHT, make=settings.aibrix_with("APA", Strategy.APA)),
    _peer("aibrix-kpa", "AIBrix KPA", _AIBRIX, knob=IN_FLIGHT, make=settings.aibrix_with("AIBrix KPA", Strategy.KPA)),
    _peer("ray", "Ray Serve", "Ray, main of 2026", knob=IN_FLIGHT, make=settings.ray_peer),
    _peer("watermark", "Datadog Watermark", "WPA 70e8425 (2026-04-09)", knob=IN_FLIGHT, make=settings.watermark_peer),
    _peer("wva", "llm-d WVA, V1", "WVA b08b1c7 (2026-02-19)", knob=KV_USE, make=settings.wva_peer),
    _peer("dynamo", "Dynamo-like planner", "Dynamo, main of 2026", knob=OBJECTIVES, make=settings.dynamo_peer),
    _peer("static", "a fixed number", "none", knob=REPLICAS, make=settings.static_peer, styles=_ONE),
    _peer("oracle", "an oracle", "none: it knows the future", knob=UTILIZATION, make=settings.oracle_peer, styles=_ONE),
)

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
"""Every peer by its name on the command line, ours first."""
