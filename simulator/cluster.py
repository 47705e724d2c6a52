"""One model's pool of replicas, advanced from one decision tick to the next.

The requests that come in and what becomes of them are here, the replicas' lives in lifecycle.py. Two worlds use
it: simulation (`trace`, `set_replicas`, `advance` to the next tick) and the emulator, which follows the wall clock
in small steps, is told by Kubernetes which replicas exist, and hands in requests as they come (`submit`,
`add_ready_replica`, `drain_replica`, `remove_replica`).

A `Cluster` is one model's pool; several may be advanced side by side. It is deterministic: the same calls
with the same seed give the same bytes, in every process. How the calls divide time changes results by
rounding only (below 1e-6 s).

Invariants (tested): arrived = finished + rejected + running + waiting + held; the KV blocks of a replica
never exceed its capacity; a draining replica gets no new request; a replica that is asked for and never ready
serves nothing.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.engine import routing as gateway_code
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import Pool, PoolSnapshot, Records
from simulator.engine.results import RequestTable, table_of
from simulator.engine.storage import new_pool, with_requests, with_trace
from simulator.faults.replicas import ReplicaFaults
from simulator.handover import Handover, asked_for_prompts
from simulator.intake import Intake
from simulator.lifecycle import ClusterError, Lifecycle
from simulator.lives import known_at, lives_at, starting_intervals
from simulator.nodes.node import Needs
from simulator.nodes.shared_nodes import SharedNodes
from simulator.nodes.tenancy import Tenancy
from simulator.startup.phases import Startup
from simulator.traces import Trace, Traffic

__all__ = ["Cluster", "ClusterError", "RequestTable", "Routing"]

Routing = Literal["least_outstanding", "round_robin", "random", "prefix_aware"]

ROUTINGS: dict[Routing, int] = {
    "least_outstanding": gateway_code.LEAST_OUTSTANDING,
    "round_robin": gateway_code.ROUND_ROBIN,
    "random": gateway_code.RANDOM,
    "prefix_aware": gateway_code.PREFIX_AWARE,
}


class Cluster:
    """One model's pool. Times are seconds of the simulation; they only move forward."""

    def __init__(
        self,
        *,
        profile: EngineProfile,
        startup: Startup,
        seed: int,
        trace: Trace | None = None,
        traffic: Traffic | None = None,
        on_ended: Callable[[RequestTable], object] = lambda _: None,
        initial_replicas: int = 0,
        routing: Routing = "least_outstanding",
        grace_s: float = 300.0,
        stepwise: bool = False,
        nodes: SharedNodes | None = None,
        needs: Needs | None = None,
        name: str = "pool",
        faults: ReplicaFaults | None = None,
        sends: Handover | None = None,
        receives: Handover | None = None,
    ) -> None:
        """Make a pool with `initial_replicas` ready at time 0 and the requests of a `trace` or of `traffic` to come.

        Those of a trace are kept to the end. Those of traffic come in pieces, and `on_ended` is told in pieces what
        became of them, so that they need not be kept.

        With `nodes` its replicas are placed on them, under its `name`, each with its `needs`; without, there is always
        room. Of the initial replicas those that find none begin as ordered.

        A pool that ``sends`` computes the prompts of its traffic alone and hands the requests over; one that
        ``receives`` has its requests from there, and must be made after the pool that sends and be advanced after it.

        Raises:
            ClusterError: both a trace and traffic, nodes without needs, a name that another pool on them has, or nodes
                that have lived already.
        """
        self.profile = profile
        self._lifecycle = Lifecycle(
            pool=new_pool(profile, routing=ROUTINGS[routing], seed=seed),
            profile=profile,
            startup=startup,
            seed=seed,
            grace_s=grace_s,
            stepwise=stepwise,
            tenancy=None if nodes is None else _tenancy(nodes, name, needs),
            faults=faults,
            feed=_feed(traffic, on_ended, sends, receives),
        )
        if sends is not None:
            sends.connect(self._lifecycle)
        self._clock: Lifecycle | SharedNodes = self._lifecycle
        if trace is not None and traffic is not None:
            raise ClusterError("both a trace and traffic; give one of them")
        if nodes is not None:
            nodes.join(name, self._lifecycle)
            self._clock = nodes
        self._streams = traffic is not None or receives is not None
        if trace is not None:
            self.submit_trace(trace)
        self._lifecycle.begin_with(initial_replicas)

    @property
    def now_s(self) -> float:
        """The time advanced to."""
        return self._lifecycle.now_s

    @property
    def desired(self) -> int:
        """Replicas last asked for by set_replicas."""
        return self._lifecycle.desired

    @property
    def submitted_total(self) -> int:
        """Requests handed in so far, those that have not yet arrived included."""
        gateway = self._lifecycle.pool.gateway[0]
        return int(gateway["ended"] + gateway["submitted"])

    def advance(self, until_s: float) -> None:
        """Let everything up to and including until_s happen: arrivals, engine steps, replicas that get ready or go.

        Pools that share nodes advance together, whichever of them is asked.

        Raises:
            ClusterError: until_s lies in the past.
        """
        self._clock.advance(until_s)

    def set_replicas(self, count: int) -> None:
        """Ask for `count` replicas (starting + ready), as a write to /scale does, effective at now_s.

        Raises:
            ClusterError: count is negative.
        """
        self._lifecycle.set_replicas(count)

    def order_replica(self) -> int:
        """Order one replica now; its cold start is drawn from (seed, id). Returns its id."""
        return self._lifecycle.order()

    def add_ready_replica(self, ready_s: float | None = None, *, ordered_s: float | None = None) -> int:
        """Add a replica that somebody else started, ready at ready_s (default and earliest: now). Returns its id."""
        return self._lifecycle.add_ready(ready_s, ordered_s=ordered_s)

    def drain_replica(self, replica_id: int, *, grace_s: float | None = None) -> None:
        """Give a replica no new requests; it goes when empty or after grace_s, a starting one at once.

        Raises:
            ClusterError: no such replica.
        """
        self._lifecycle.drain(replica_id, grace_s=grace_s)

    def remove_replica(self, replica_id: int) -> None:
        """Take a replica away at once; requests in flight start anew from the gateway.

        Raises:
            ClusterError: no such replica.
        """
        self._lifecycle.remove(replica_id)

    def crash_replica(self, replica_id: int, *, ready_s: float, lost: bool) -> None:
        """End the engine of a ready replica now, and its requests (lost, or started anew); it serves again at ready_s.

        Raises:
            ClusterError: no such replica.
        """
        self._lifecycle.crash(replica_id, ready_s=ready_s, lost=lost)

    def set_slowness(self) -> None:
        """Let every replica be as slow as faults have it now."""
        self._lifecycle.set_slowness()

    def submit(self, arrival_s: float, prompt_tokens: int, output_tokens: int) -> int:
        """Append one request (arrival_s ≥ now_s and ≥ the last submitted). Returns its id.

        Raises:
            ClusterError: arrival_s lies before now or before the last submitted arrival.
        """
        self.submit_many(
            np.array([arrival_s]), np.array([prompt_tokens], dtype=np.int32), np.array([output_tokens], dtype=np.int32)
        )
        return self.submitted_total - 1

    def submit_many(
        self, arrival_s: NDArray[np.float64], prompt_tokens: NDArray[np.int32], output_tokens: NDArray[np.int32]
    ) -> None:
        """Append requests in order of arrival.

        Raises:
            ClusterError: as `submit`.
        """
        if len(arrival_s):
            self._refuse_early(arrival_s)
            self._lifecycle.pool = with_requests(self._lifecycle.pool, arrival_s, prompt_tokens, output_tokens)

    def submit_trace(self, trace: Trace, *, at_s: float = 0.0) -> None:
        """Append a trace's requests, at_s later than the trace has them; engines then cache the prefixes it names.

        Raises:
            ClusterError: as `submit`.
            TraceError: the trace's prefix blocks are not made of whole blocks of the engine.
        """
        if len(trace):
            self._refuse_early(trace.arrival_s + at_s)
            self._lifecycle.pool = with_trace(self._lifecycle.pool, trace, at_s=at_s)

    def _refuse_early(self, arrival_s: NDArray[np.float64]) -> None:
        if self._streams:
            raise ClusterError("this pool's requests come from its traffic; make one without to submit your own")
        submitted = int(self._lifecycle.pool.gateway["submitted"][0])
        earliest = self._lifecycle.pool.requests["arrival_s"][submitted - 1] if submitted else -np.inf
        # A request may arrive at 0, before anything has happened.
        earliest = max(float(earliest), self.now_s)
        if arrival_s[0] < earliest or np.any(np.diff(arrival_s) < 0):
            raise ClusterError(
                f"arrivals must be in order and not before {earliest:g} s; the first is {arrival_s[0]:g} s"
            )

    def snapshot(self) -> PoolSnapshot:
        """State, counters and gauges of every replica that exists, and of the gateway, at now_s. A copy."""
        life, engine = lives_at(self._lifecycle.alive, self._lifecycle.pool, self.now_s)
        gateway = self._lifecycle.pool.gateway[0]
        return PoolSnapshot(
            at_s=self.now_s,
            life=life,
            engine=engine,
            held=int(gateway["held"]),
            arrived_total=int(gateway["ended"] + gateway["next_arrival"]),
            rejected_total=int(gateway["rejected"]),
            desired=self._lifecycle.desired,
        )

    def requests(self) -> RequestTable:
        """What became of every request that has arrived by now_s, those apart that `on_ended` was told of. A copy."""
        arrived = int(self._lifecycle.pool.gateway["next_arrival"][0])
        return table_of(self._lifecycle.pool.requests[:arrived], self.now_s)

    def lives(self, ids: Sequence[int] | None = None) -> Records:
        """LIFE records of the replicas that exist, or of these ids, as known at now_s. A copy.

        As the API server tells them: the busy_s and requests_finished of one that lives are not looked up.
        """
        of = self._lifecycle.alive if ids is None else self._lifecycle.all[list(ids)]
        return known_at(of, self.now_s)

    def history(self) -> Records:
        """LIFE records of every replica there ever was, by id, with busy_s and requests_finished up to now_s."""
        return lives_at(self._lifecycle.all, self._lifecycle.pool, self.now_s)[0]

    def starting_intervals(self) -> NDArray[np.float64]:
        """(n, 2) intervals in which a replica was starting: [ordered, ready), cut at deletion and at now_s."""
        return starting_intervals(self._lifecycle.all, self.now_s)


def _feed(
    traffic: Traffic | None,
    on_ended: Callable[[RequestTable], object],
    sends: Handover | None,
    receives: Handover | None,
) -> Callable[[Pool, float], Pool] | None:
    """Return what hands the pool its requests; None where somebody submits them."""
    if receives is not None:
        return receives.feed
    if traffic is None:
        return None
    if sends is not None:
        return Intake(traffic, sends.ended, append=asked_for_prompts).feed
    return Intake(traffic, lambda rows, at_s: on_ended(table_of(rows, at_s))).feed


def _tenancy(nodes: SharedNodes, name: str, needs: Needs | None) -> Tenancy:
    if needs is None:
        raise ClusterError(f"{name}: say what a replica needs of a node")
    return Tenancy(nodes=nodes.nodes, pool=name, needs=needs)
