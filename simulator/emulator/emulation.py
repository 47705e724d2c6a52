"""The engine model behind pods that exist elsewhere: which replicas there are is seen, what they do is computed.

An ``Emulation`` holds one ``Cluster`` for each emulated Deployment. It is told which pods there are (``see``) and what
time it is (``advance``), and takes requests for all Deployments at once (``replay``), so that two of them that stand
side by side meet the identical traffic. It does no I/O and reads no clock. Seconds count from its making.

A pod serves from the look that first shows it Ready; from the look that shows its deletion it takes no new requests;
when it is gone, what it still had starts anew elsewhere. Readiness that is lost without a deletion is not modelled.

Time can be compressed: ``compressed`` divides all step times of an engine and all arrival times of a trace by one
factor, and tokens stay. Everything then happens that many times as fast, the engine's latencies included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.cluster import Cluster
from simulator.emulator.pages import EnginePage
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import BLOCK_TOKENS, ReplicaState, RequestStatus
from simulator.startup.model import StartupModel
from simulator.traces import Trace

# Pods come from outside, so nothing is ever drawn from it.
_NO_STARTUP = StartupModel(schedule_s=0.0, pull_s=0.0, load_s=0.0, warmup_s=0.0)
# How long a pod may drain is the cluster's business: it stays until it is no longer seen.
_UNTIL_GONE_S = 1e9


class ReplayError(ValueError):
    """Requests that cannot be replayed now; one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPod:
    """A pod as the API server shows it."""

    namespace: str
    name: str
    uid: str
    ready: bool
    deleting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A stretch of traffic: the first arrival is at or after ``begins_s``, the last one before ``ends_s``."""

    name: str
    begins_s: float
    ends_s: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the requests of one Deployment that arrived in a window.

    ``late``: waited longer for their first token than the objective; those that still wait count by their wait so far.
    """

    arrived: int
    finished: int
    rejected: int
    late: int
    retried: int


def compressed(profile: EngineProfile, factor: float) -> EngineProfile:
    """Return the same engine, so many times as fast."""
    return replace(
        profile,
        a_s=profile.a_s / factor,
        b_s=profile.b_s / factor,
        c_s=profile.c_s / factor,
        d_s=profile.d_s / factor,
        attention_s=profile.attention_s / factor,
    )


class EmulatedPool:
    """One Deployment's replicas: pods by uid, each with its replica in the model."""

    def __init__(self, *, model: str, profile: EngineProfile, seed: int) -> None:
        self._model = model
        self._kv_tokens = profile.kv_blocks * BLOCK_TOKENS
        self.cluster = Cluster(profile=profile, startup=_NO_STARTUP, seed=seed, grace_s=_UNTIL_GONE_S)
        self._replicas: dict[str, int] = {}
        self._draining: set[str] = set()
        self._pods: dict[str, SeenPod] = {}

    def see(self, pods: Sequence[SeenPod]) -> None:
        """Bring the model's replicas in line with the pods that there are."""
        here = {pod.uid: pod for pod in pods}
        for uid in [uid for uid in self._replicas if uid not in here]:
            self._remove(uid)
        for uid, pod in here.items():
            if pod.deleting:
                self._drain(uid)
            elif pod.ready and uid not in self._replicas:
                self._replicas[uid] = self.cluster.add_ready_replica()
        self._pods = here

    def serving(self) -> tuple[SeenPod, ...]:
        """Return the pods whose engines run, draining ones included."""
        alive = {int(number) for number in self.cluster.snapshot().ids}
        return tuple(self._pods[uid] for uid, number in self._replicas.items() if number in alive)

    def page(self, name: str) -> bytes | None:
        """Return the ``/metrics`` of the pod of this name; None if its engine does not run."""
        number = next((self._replicas.get(uid) for uid, pod in self._pods.items() if pod.name == name), None)
        snapshot = self.cluster.snapshot()
        rows = np.flatnonzero(snapshot.ids == (-1 if number is None else number))
        if not len(rows):
            return None
        return EnginePage(snapshot.engine[rows[0]], model=self._model, kv_tokens=self._kv_tokens).text()

    def outcomes(self, *, begins_s: float, ends_s: float, objective_s: float) -> Outcomes:
        """Return what became, by now, of the requests that arrived in [begins_s, ends_s)."""
        table = self.cluster.requests()
        inside = (table.arrival_s >= begins_s) & (table.arrival_s < ends_s)
        return Outcomes(
            arrived=int(inside.sum()),
            finished=int((inside & (table.status == RequestStatus.FINISHED)).sum()),
            rejected=int((inside & (table.status == RequestStatus.REJECTED)).sum()),
            late=int((inside & (table.waited_s > objective_s)).sum()),
            retried=int((inside & (table.retries > 0)).sum()),
        )

    def figures(self) -> dict[str, int]:
        """Return what a person wants to see at a glance: replicas that serve, requests running and waiting."""
        snapshot = self.cluster.snapshot()
        return {
            "ready": snapshot.count(ReplicaState.READY),
            "running": int(snapshot.running.sum()),
            "waiting": int(snapshot.waiting.sum()) + snapshot.held,
        }

    def _alive(self, uid: str) -> bool:
        return uid in self._replicas and self._replicas[uid] in self.cluster.snapshot().ids

    def _drain(self, uid: str) -> None:
        if uid not in self._draining and self._alive(uid):
            self.cluster.drain_replica(self._replicas[uid])
        self._draining.add(uid)

    def _remove(self, uid: str) -> None:
        # A replica that had drained is gone from the model before its pod goes.
        if self._alive(uid):
            self.cluster.remove_replica(self._replicas[uid])
        del self._replicas[uid]
        self._draining.discard(uid)


class Emulation:
    """All emulated Deployments, by ``namespace/name``."""

    def __init__(self, deployments: Sequence[str], *, model: str, profile: EngineProfile, seed: int = 0) -> None:
        self.pools = {name: EmulatedPool(model=model, profile=profile, seed=seed) for name in deployments}
        self.replays: list[Replay] = []
        self.now_s = 0.0

    def advance(self, now_s: float) -> None:
        """Let all engines run until now_s; a time that has passed already changes nothing."""
        self.now_s = max(self.now_s, now_s)
        for pool in self.pools.values():
            pool.cluster.advance(self.now_s)

    def see(self, pods: Mapping[str, Sequence[SeenPod]]) -> None:
        """Take in the pods of some Deployments; those of the others stay as they were."""
        for name, seen in pods.items():
            self.pools[name].see(seen)

    def replay(self, trace: Trace) -> Replay:
        """Send a trace to every Deployment, from now on.

        Raises:
            ReplayError: one is still under way.
        """
        if self.replays and self.now_s < self.replays[-1].ends_s:
            left_s = self.replays[-1].ends_s - self.now_s
            raise ReplayError(f"{self.replays[-1].name} is still replayed for {left_s:.0f} s; wait until it has ended")
        for pool in self.pools.values():
            pool.cluster.submit_trace(trace, at_s=self.now_s)
        ends_s = float(np.nextafter(self.now_s + trace.span_s, np.inf))
        self.replays.append(Replay(name=trace.name, begins_s=self.now_s, ends_s=ends_s, requests=len(trace)))
        return self.replays[-1]
