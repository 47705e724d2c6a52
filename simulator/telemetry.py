"""Telemetry: what Prometheus and the API server would show of a simulated pool, and no more.

The decision core must not see more in the simulator than in production. So the engines' metrics pass through a scrape:
every ``scrape_s`` all counters and gauges are copied, the gateway's too, and a decision at ``at`` sees the newest copy
that is at least ``lag_s`` old. Replica states come from the API server and are current. A replica that is starting
serves no metrics; one that became ready after the copy has none yet and is reported without a sample.

A replica that went takes what it counted after the copy with it, as a pod does between two scrapes.

Instants handed to the core are unix seconds: the simulation's seconds after ``epoch_at``.
"""

from dataclasses import dataclass
from math import inf, isnan

import numpy as np

from autoscaler.core.signals import PodSample, Replica, ReplicaState, Signals
from simulator.cluster import Cluster
from simulator.engine import records
from simulator.engine.records import BLOCK_TOKENS, PoolSnapshot
from simulator.faults.metrics import MetricFaults
from simulator.faults.plan import Occurrence
from simulator.faults.replicas import ReplicaFaults
from simulator.faults.victims import Victims, node_name, pod_name
from simulator.scraped import Histograms, ScrapedSample

EPOCH_AT = 1_700_000_000.0
"""The instant of second 0 of a simulation: 14 Nov 2023, 22:13:20 UTC."""

_STATES = {
    records.ReplicaState.STARTING: ReplicaState.STARTING,
    records.ReplicaState.READY: ReplicaState.READY,
    records.ReplicaState.DRAINING: ReplicaState.DRAINING,
    records.ReplicaState.GONE: ReplicaState.GONE,
}

_SERVE = {ReplicaState.READY, ReplicaState.DRAINING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraping:
    """How metrics reach the decider: scrape interval and least age at the decision, in seconds.

    A sample that faults have kept for longer than ``stale_after_s`` is told as stale.

    With ``mean_in_flight`` running and waiting requests add up to the mean number in flight since the scrape before, as
    those see it who are told of every beginning and end. An engine's gauges, by default, tell of an instant.
    """

    scrape_s: float = 15.0
    lag_s: float = 15.0
    stale_after_s: float = 90.0
    mean_in_flight: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scrape:
    """What one scrape copied: a sample of each serving replica, and the requests that the gateway held."""

    at_s: float
    samples: tuple[PodSample, ...]
    held: float


class Telemetry:
    """Scrapes one pool and turns what was scraped into signals."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        kv_tokens: int,
        scraping: Scraping | None = None,
        faults: tuple[Occurrence, ...] = (),
        replica_faults: ReplicaFaults | None = None,
        victims: Victims | None = None,
    ) -> None:
        self._cluster = cluster
        self._kv_tokens = kv_tokens
        self._scraping = scraping or Scraping()
        self._next_scrape_s = 0.0
        self._scraped: list[_Scrape] = []
        self._seen_s = -inf
        self._integrals: dict[int, float] = {}
        self._integrals_at_s = 0.0
        self._known: set[int] = set()
        self._replica_faults = replica_faults
        self._replicas: dict[bytes, Replica] = {}
        """What was told of each replica at the last look, by the bytes of its life; faults are told beside it."""
        self._faults: MetricFaults | None = None
        if faults:
            self._faults = MetricFaults(
                faults, victims or Victims(), stale_after_s=self._scraping.stale_after_s, epoch_at=EPOCH_AT
            )

    @property
    def next_scrape_s(self) -> float:
        """The instant of the next scrape."""
        return self._next_scrape_s

    def advance(self, until_s: float) -> None:
        """Let the pool live until ``until_s``, scraping it at every multiple of the scrape interval."""
        while self._next_scrape_s <= until_s:
            self._cluster.advance(self._next_scrape_s)
            snapshot = self._cluster.snapshot()
            samples = scrape(snapshot, self._kv_tokens, self._means(snapshot))
            if self._faults is not None:
                samples = self._faults.scraped(samples, snapshot.at_s)
            self._scraped.append(_Scrape(at_s=snapshot.at_s, samples=samples, held=float(snapshot.held)))
            self._next_scrape_s += self._scraping.scrape_s
        self._cluster.advance(until_s)

    def _means(self, snapshot: PoolSnapshot) -> list[float] | None:
        """Return the mean in flight of each serving replica since the scrape before; None where nobody asks for it."""
        if not self._scraping.mean_in_flight:
            return None
        serving = snapshot.states != int(records.ReplicaState.STARTING)
        engines = snapshot.engine[serving]
        # ∫ n(t) dt of the requests in flight: all of those that ended, and of the others what has passed by now.
        request_s = engines["e2e_sum_s"] + engines["outstanding"] * snapshot.at_s - engines["came_sum_s"]
        integrals = dict(zip(snapshot.ids[serving].tolist(), request_s.tolist(), strict=True))
        span_s = max(snapshot.at_s - self._integrals_at_s, self._scraping.scrape_s)
        means = [max(0.0, total - self._integrals.get(number, 0.0)) / span_s for number, total in integrals.items()]
        self._integrals, self._integrals_at_s = integrals, snapshot.at_s
        return means

    def signals(self) -> Signals:
        """Return what is known now: current replica states, and the newest scrape that is old enough."""
        now_s = self._cluster.now_s
        replicas = self._alive(now_s)
        # One whose engine has crashed is known to be there, and no sample of it is believed any more.
        pods = {replica.pod for replica in replicas if replica.state in _SERVE}
        visible = self._visible(now_s)
        signals = Signals(
            at=EPOCH_AT + now_s,
            spec_replicas=self._cluster.desired,
            replicas=replicas + self._gone(replicas),
            samples=() if visible is None else tuple(sample for sample in visible.samples if sample.pod in pods),
            held_requests=None if visible is None else visible.held,
        )
        return signals if self._faults is None else self._faults.told(signals)

    def _visible(self, at_s: float) -> "_Scrape | None":
        """Return the newest scrape that is old enough, and forget all before it."""
        late_s = 0.0 if self._faults is None else self._faults.lag_s(at_s)
        # What was seen once stays seen, though those after it may come later than usual.
        newest_s = self._seen_s = max(self._seen_s, at_s - self._scraping.lag_s - late_s)
        while len(self._scraped) > 1 and self._scraped[1].at_s <= newest_s:
            self._scraped.pop(0)
        return self._scraped[0] if self._scraped and self._scraped[0].at_s <= newest_s else None

    def _gone(self, alive: tuple[Replica, ...]) -> tuple[Replica, ...]:
        """Return the replicas that went since the last look, each once, with the instant."""
        here = {int(replica.uid) for replica in alive}
        lost = sorted(self._known - here)
        self._known = here
        if not lost:
            return ()
        return tuple(self._faulty(replica_of(life), 0.0) for life in self._cluster.lives(lost))

    def _alive(self, at_s: float) -> tuple[Replica, ...]:
        """Return the replicas that exist. Most are as they were at the last look, and are not made anew."""
        by_bytes = {life.tobytes(): life for life in self._cluster.lives()}
        self._replicas = {key: self._replicas.get(key) or replica_of(life) for key, life in by_bytes.items()}
        return tuple(self._faulty(replica, at_s) for replica in self._replicas.values())

    def _faulty(self, replica: Replica, at_s: float) -> Replica:
        if self._replica_faults is None:
            return replica
        return self._replica_faults.told(replica, EPOCH_AT + at_s, at_s)


def replica_of(life: np.void) -> Replica:
    """Return a replica as the API server shows it. NaN instants have not come yet."""
    seconds = dict(zip(life.dtype.names or (), life.item(), strict=True))

    def instant(field: str) -> float | None:
        second: float = seconds[field]
        return None if isnan(second) else EPOCH_AT + second

    ordered_at, ready_at = EPOCH_AT + seconds["ordered_s"], instant("ready_s")
    scheduled_at = instant("scheduled_s")
    if scheduled_at is None and ready_at is not None:
        # A replica that was there from the beginning has no phases; it held its accelerator since it was ordered.
        scheduled_at = ordered_at
    return Replica(
        pod=pod_name(seconds["id"]),
        uid=str(seconds["id"]),
        state=_STATES[seconds["state"]],
        ordered_at=ordered_at,
        scheduled_at=scheduled_at,
        started_at=instant("started_s"),
        ready_at=ready_at,
        deleted_at=instant("draining_s"),
        gone_at=instant("deleted_s"),
        reason="Unschedulable" if seconds["unschedulable"] else None,
        node=None if seconds["node"] < 0 else node_name(seconds["node"]),
    )


# The sample's fields that are one engine field each. Prompt tokens are those that were computed: what cached prefixes
# save is no work, and the presets read the same from a real vLLM.
_COPIED = {
    "waiting": "waiting",
    "prompt_tokens": "prefill_tokens",
    "generation_tokens": "generation_tokens",
    "finished_requests": "requests_finished",
    "steps": "steps",
    "ttft_count": "ttft_count",
    "itl_sum_s": "itl_sum_s",
    "itl_count": "itl_count",
    "tpot_count": "tpot_count",
}


def scrape(snapshot: PoolSnapshot, kv_tokens: int, in_flight: list[float] | None = None) -> tuple[PodSample, ...]:
    """Return one sample for each replica that serves metrics, as a scrape at the snapshot's instant gives them.

    With means of what is ``in_flight`` on each of them, running and waiting requests add up to these.
    """
    serving = snapshot.states != int(records.ReplicaState.STARTING)
    engines, blocks = snapshot.engine[serving], kv_tokens // BLOCK_TOKENS
    # Whole columns are turned into floats at once: field by field, this was a fifth of the demo's time.
    columns = {name: engines[field].astype(float).tolist() for name, field in _COPIED.items()}
    columns["running"] = (engines["decoding"] + engines["prefilling"]).astype(float).tolist()
    if in_flight is not None:
        columns["waiting"] = [min(pair) for pair in zip(columns["waiting"], in_flight, strict=True)]
        columns["running"] = [mean - waits for mean, waits in zip(in_flight, columns["waiting"], strict=True)]
    # As vllm:kv_cache_usage_perc: the share of blocks in use, a block begun counts as a whole.
    columns["kv_ratio"] = (engines["kv_blocks"] / blocks).tolist()
    at, capacity = EPOCH_AT + snapshot.at_s, float(blocks * BLOCK_TOKENS)
    names, histograms = tuple(columns), Histograms(engines)
    numbers = snapshot.ids[serving].tolist()
    samples = []
    for row, (number, values) in enumerate(zip(numbers, zip(*columns.values(), strict=True), strict=True)):
        known = dict(zip(names, values, strict=True), pod=pod_name(number), at=at, kv_capacity_tokens=capacity)
        samples.append(ScrapedSample.of(histograms, row, known))
    return tuple(samples)
