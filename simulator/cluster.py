"""One model's pool of replicas, advanced from one decision tick to the next.

Lives: ordered → starting (schedule, pull, load, warm-up) → ready → draining → gone. Between two changes of
life the compiled code routes arrivals and computes engine steps (routing.py, engine.py); the few changes are
applied here, each at its exact time. Two worlds use it: simulation (`trace`, `set_replicas`, `advance` to the
next tick) and the emulator, which follows the wall clock in small steps, is told by Kubernetes which replicas
exist, and hands in requests as they come (`submit`, `add_ready_replica`, `drain_replica`, `remove_replica`).

A `Cluster` is one model's pool; several may be advanced side by side. It is deterministic: the same calls
with the same seed give the same bytes, in every process. How the calls divide time changes results by
rounding only (below 1e-6 s).

Invariants (tested): arrived = finished + rejected + running + waiting + held; the KV blocks of a replica
never exceed its capacity; a draining replica gets no new request; a replica that is asked for and never ready
serves nothing.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator import routing as gateway_code
from simulator.lives import counters_of, lives_at, new_lives, starting_intervals
from simulator.profiles import EngineProfile
from simulator.records import PoolSnapshot, Records, ReplicaState, RequestStatus
from simulator.results import RequestTable
from simulator.startup import StartupModel
from simulator.storage import (
    clear_slot,
    engine_record,
    new_pool,
    place_replica,
    with_more_slots,
    with_requests,
)
from simulator.traces import Trace

__all__ = ["Cluster", "ClusterError", "RequestTable", "Routing"]

Routing = Literal["least_outstanding", "round_robin", "random"]

ROUTINGS: dict[Routing, int] = {
    "least_outstanding": gateway_code.LEAST_OUTSTANDING,
    "round_robin": gateway_code.ROUND_ROBIN,
    "random": gateway_code.RANDOM,
}

STARTING, READY = ReplicaState.STARTING, ReplicaState.READY
DRAINING, GONE = ReplicaState.DRAINING, ReplicaState.GONE


class ClusterError(ValueError):
    """A call that makes no sense at this time: time running back, an unknown replica."""


class Cluster:
    """One model's pool. Times are seconds of the simulation; they only move forward."""

    def __init__(
        self,
        *,
        profile: EngineProfile,
        startup: StartupModel,
        seed: int,
        trace: Trace | None = None,
        initial_replicas: int = 0,
        routing: Routing = "least_outstanding",
        grace_s: float = 300.0,
        stepwise: bool = False,
    ) -> None:
        """Make a pool with `initial_replicas` ready at time 0 and the requests of `trace` (if any) to come."""
        self.profile = profile
        self._startup = startup
        self._seed = seed
        self._grace_s = grace_s
        self._pool = new_pool(profile, routing=ROUTINGS[routing], seed=seed)
        self._engine = engine_record(profile, stepwise=stepwise)
        self._lives = new_lives(16)
        self._count = 0
        # States are kept twice: arrays answer for all replicas at once, a dictionary for one without numpy's overhead.
        self._alive: dict[int, ReplicaState] = {}
        self._free_slots: list[int] = []
        self._desired = 0
        self._now_s = 0.0
        self._next_change_s = np.inf
        self._any_draining = False
        if trace is not None:
            self.submit_many(trace.arrival_s, trace.prompt_tokens, trace.output_tokens)
        for _ in range(initial_replicas):
            self.add_ready_replica()

    @property
    def now_s(self) -> float:
        """The time advanced to."""
        return self._now_s

    @property
    def submitted_total(self) -> int:
        """Requests handed in so far, those that have not yet arrived included."""
        return int(self._pool.gateway["submitted"][0])

    def advance(self, until_s: float) -> None:
        """Let everything up to and including until_s happen: arrivals, engine steps, replicas that get ready or go.

        Raises:
            ClusterError: until_s lies in the past.
        """
        if until_s < self.now_s:
            raise ClusterError(f"cannot advance to {until_s:g} s: it is {self.now_s:g} s already")
        until_s = float(until_s)
        while self._next_change_s <= until_s:
            self._run_to(max(self._next_change_s, self.now_s))
            self._change_lives()
        self._run_to(until_s)

    def _run_to(self, until_s: float) -> None:
        gateway_code.advance(self._pool, until_s)
        self._now_s = until_s
        if self._any_draining:
            for replica_id in self._in_state(DRAINING):
                self._retire_if_empty(replica_id)

    def _in_state(self, *states: ReplicaState) -> list[int]:
        return [replica_id for replica_id, state in self._alive.items() if state in states]

    def _change_lives(self) -> None:
        """Apply the changes of life that are due now, in the order of replica ids."""
        for replica_id in self._in_state(STARTING):
            if self._lives["ready_s"][replica_id] <= self.now_s:
                self._activate(replica_id)
        for replica_id in self._in_state(DRAINING):
            if self._lives["deadline_s"][replica_id] <= self.now_s:
                self.remove_replica(replica_id)
        self._plan_next_change()

    def _plan_next_change(self) -> None:
        draining = self._in_state(DRAINING)
        self._any_draining = bool(draining)
        due = [float(self._lives["ready_s"][i]) for i in self._in_state(STARTING)]
        due += [float(self._lives["deadline_s"][i]) for i in draining]
        self._next_change_s = min(due, default=np.inf)

    def set_replicas(self, count: int) -> None:
        """Ask for `count` replicas (starting + ready), as a write to /scale does, effective at now_s.

        More: new ones are ordered. Fewer: victims as a ReplicaSet picks them, those not ready first (the
        youngest of them first; gone at once), then ready ones with the fewest requests in flight (the
        youngest at a tie; they drain).

        Raises:
            ClusterError: count is negative.
        """
        if count < 0:
            raise ClusterError(f"cannot set {count} replicas; give 0 or more")
        here = self._in_state(STARTING, READY)
        for _ in range(count - len(here)):
            self.order_replica()
        if count < len(here):
            for replica_id in sorted(here, key=self._victim_rank)[: len(here) - count]:
                self.drain_replica(replica_id)
        self._desired = count

    def _victim_rank(self, replica_id: int) -> tuple[bool, int, float, int]:
        life = self._lives[replica_id]
        ready = bool(life["state"] == READY)
        in_flight = int(self._pool.replicas["outstanding"][life["slot"]]) if ready else 0
        return ready, in_flight, -float(life["ready_s"] if ready else life["ordered_s"]), -replica_id

    def order_replica(self) -> int:
        """Order one replica now; its cold start is drawn from (seed, id). Returns its id."""
        replica_id = self._new_life(ordered_s=self.now_s)
        times = self._startup.draw(seed=self._seed, replica_id=replica_id)
        life = self._lives[replica_id]
        life["scheduled_s"] = life["ordered_s"] + times.schedule_s
        life["started_s"] = life["scheduled_s"] + times.pull_s
        life["loaded_s"] = life["started_s"] + times.load_s
        life["ready_s"] = life["loaded_s"] + times.warmup_s
        self._plan_next_change()
        return replica_id

    def add_ready_replica(self, ready_s: float | None = None, *, ordered_s: float | None = None) -> int:
        """Add a replica that somebody else started, ready at ready_s (default and earliest: now). Returns its id."""
        ready_s = max(self.now_s, self.now_s if ready_s is None else ready_s)
        replica_id = self._new_life(ordered_s=min(ready_s, self.now_s) if ordered_s is None else ordered_s)
        self._lives["ready_s"][replica_id] = ready_s
        self._desired += 1
        if ready_s <= self.now_s:
            self._activate(replica_id)
        self._plan_next_change()
        return replica_id

    def _new_life(self, *, ordered_s: float) -> int:
        if self._count == len(self._lives):
            self._lives = np.concatenate([self._lives, new_lives(self._count)])
        replica_id = self._count
        life = self._lives[replica_id]
        life["id"], life["ordered_s"] = replica_id, ordered_s
        self._count += 1
        self._set_state(replica_id, STARTING)
        return replica_id

    def _set_state(self, replica_id: int, state: ReplicaState) -> None:
        self._lives["state"][replica_id] = state
        self._alive[replica_id] = state

    def _activate(self, replica_id: int) -> None:
        """The replica is ready now: give it a slot and what the gateway holds."""
        slots = int(self._pool.gateway["slots"][0])
        if not self._free_slots:
            if slots == len(self._pool.replicas):
                self._pool = with_more_slots(self._pool)
            self._pool.gateway["slots"] = slots + 1
            self._free_slots.append(slots)
        slot = min(self._free_slots)
        self._free_slots.remove(slot)
        place_replica(self._pool, slot, engine=self._engine, replica_id=replica_id, at_s=self.now_s)
        self._lives["slot"][replica_id] = slot
        self._set_state(replica_id, READY)
        gateway_code.release_held(self._pool, self.now_s)

    def drain_replica(self, replica_id: int, *, grace_s: float | None = None) -> None:
        """Give a replica no new requests; it goes when empty or after grace_s, a starting one at once.

        Raises:
            ClusterError: no such replica.
        """
        life = self._existing(replica_id)
        if life["state"] == STARTING:
            self.remove_replica(replica_id)
        elif life["state"] == READY:
            self._pool.replicas["routable"][life["slot"]] = 0
            self._set_state(replica_id, DRAINING)
            life["draining_s"] = self.now_s
            life["deadline_s"] = self.now_s + (self._grace_s if grace_s is None else grace_s)
            self._retire_if_empty(replica_id)
            self._plan_next_change()

    def remove_replica(self, replica_id: int) -> None:
        """Take a replica away at once; requests in flight start anew from the gateway.

        Raises:
            ClusterError: no such replica.
        """
        life = self._existing(replica_id)
        if life["slot"] >= 0:
            gateway_code.evict(self._pool, int(life["slot"]))
            self._pool.replicas["outstanding"][life["slot"]] = 0
        self._retire(replica_id, self.now_s)
        gateway_code.release_held(self._pool, self.now_s)
        self._plan_next_change()

    def _existing(self, replica_id: int) -> np.void:
        if replica_id not in self._alive:
            raise ClusterError(f"no replica {replica_id}; there are: {', '.join(map(str, self._alive)) or 'none'}")
        life: np.void = self._lives[replica_id]
        return life

    def _retire_if_empty(self, replica_id: int) -> None:
        life = self._lives[replica_id]
        record = self._pool.replicas[life["slot"]]
        if record["outstanding"] == 0:
            # It emptied between two calls, at a time that the engine has noted.
            self._retire(replica_id, max(float(record["idle_since_s"]), float(life["draining_s"])))

    def _retire(self, replica_id: int, at_s: float) -> None:
        """The replica is gone since at_s: keep what its life amounted to, free its slot."""
        life = self._lives[replica_id]
        if life["slot"] >= 0:
            slot = int(life["slot"])
            final = counters_of(self._lives[replica_id : replica_id + 1], self._pool, at_s)[0]
            life["busy_s"], life["requests_finished"] = final["busy_s"], final["requests_finished"]
            clear_slot(self._pool, slot)
            self._free_slots.append(slot)
        life["slot"], life["state"], life["deleted_s"] = -1, GONE, at_s
        del self._alive[replica_id]
        self._plan_next_change()

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
        if not len(arrival_s):
            return
        submitted = self.submitted_total
        earliest = self._pool.requests["arrival_s"][submitted - 1] if submitted else -np.inf
        # A request may arrive at 0, before anything has happened.
        earliest = max(float(earliest), self.now_s)
        if arrival_s[0] < earliest or np.any(np.diff(arrival_s) < 0):
            raise ClusterError(
                f"arrivals must be in order and not before {earliest:g} s; the first is {arrival_s[0]:g} s"
            )
        self._pool = with_requests(self._pool, arrival_s, prompt_tokens, output_tokens)

    def snapshot(self) -> PoolSnapshot:
        """State, counters and gauges of every replica that exists, and of the gateway, at now_s. A copy."""
        life, engine = lives_at(self._lives[list(self._alive)], self._pool, self.now_s)
        gateway = self._pool.gateway[0]
        return PoolSnapshot(
            at_s=self.now_s,
            life=life,
            engine=engine,
            held=int(gateway["held"]),
            arrived_total=int(gateway["next_arrival"]),
            rejected_total=int(gateway["rejected"]),
            desired=self._desired,
        )

    def requests(self) -> RequestTable:
        """What became of every request that has arrived by now_s. A copy."""
        arrived = slice(0, int(self._pool.gateway["next_arrival"][0]))
        rows = self._pool.requests[arrived]
        finished = rows["status"] == RequestStatus.FINISHED
        return RequestTable(
            at_s=self.now_s,
            arrival_s=rows["arrival_s"].copy(),
            prompt_tokens=rows["prompt_tokens"].copy(),
            output_tokens=rows["output_tokens"].copy(),
            replica=rows["replica"].copy(),
            status=rows["status"].copy(),
            first_token_s=rows["first_token_s"].copy(),
            finish_s=np.where(finished, rows["last_token_s"], np.nan),
            preemptions=rows["preemptions"].copy(),
            retries=rows["retries"].copy(),
        )

    def history(self) -> Records:
        """LIFE records of every replica there ever was, by id, with busy_s and requests_finished up to now_s."""
        return lives_at(self._lives[: self._count], self._pool, self.now_s)[0]

    def starting_intervals(self) -> NDArray[np.float64]:
        """(n, 2) intervals in which a replica was starting: [ordered, ready), cut at deletion and at now_s."""
        return starting_intervals(self._lives[: self._count], self.now_s)
