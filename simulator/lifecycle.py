"""The lives of one pool's replicas: ordered → starting (schedule, pull, load, warm-up) → ready → draining → gone.

The compiled code computes what happens between two changes of life (routing.py, replica.py); here the few changes are
applied, each at its exact time. Which replicas there should be, and which go first, is decided as a ReplicaSet does.
"""

from collections.abc import Callable

import numpy as np

from simulator.engine import routing as gateway_code
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import Pool, Records, ReplicaState
from simulator.engine.storage import clear_slot, engine_record, place_replica, with_more_slots
from simulator.faults.replicas import ReplicaFaults, evict_lost, slow_down
from simulator.lives import counters_of, new_lives
from simulator.nodes.events import Happening, What
from simulator.nodes.tenancy import Tenancy
from simulator.startup.phases import Startup

STARTING, READY = ReplicaState.STARTING, ReplicaState.READY
DRAINING, GONE = ReplicaState.DRAINING, ReplicaState.GONE

_REACHED = {
    What.SCHEDULED: "scheduled_s",
    What.STARTED: "started_s",
    What.LOADED: "loaded_s",
    What.READY: "ready_s",
}
"""Instants that nodes tell, by the field of LIFE that keeps them."""


class ClusterError(ValueError):
    """A call that makes no sense at this time: time running back, an unknown replica."""


class Lifecycle:
    """All replicas of a pool and the time up to which they have lived, in seconds of the simulation."""

    def __init__(
        self,
        *,
        pool: Pool,
        profile: EngineProfile,
        startup: Startup,
        seed: int,
        grace_s: float,
        stepwise: bool,
        tenancy: Tenancy | None = None,
        feed: Callable[[Pool, float], Pool] | None = None,
        faults: ReplicaFaults | None = None,
    ) -> None:
        """Make an empty pool. ``feed`` hands it the requests up to an instant, before it goes there."""
        self.pool = pool
        """The pool's arrays: replaced by larger ones as replicas and requests come, so read them here each time."""
        self.now_s = 0.0
        self.desired = 0
        self._startup = startup
        self._seed = seed
        self._grace_s = grace_s
        self._tenancy = tenancy
        self._feed = feed
        self._faults = faults
        self._engine = engine_record(profile, stepwise=stepwise)
        self._lives = new_lives(16)
        self._count = 0
        # States are kept twice: arrays answer for all replicas at once, a dictionary for one without numpy's overhead.
        self._alive: dict[int, ReplicaState] = {}
        self._free_slots: list[int] = []
        self.next_change_s = np.inf
        """Nothing changes in a life before this instant unless somebody asks; nodes tell the rest."""
        self.any_draining = False

    @property
    def alive(self) -> Records:
        """The LIFE records of the replicas that exist, by id. A copy."""
        return self._lives[list(self._alive)]

    @property
    def all(self) -> Records:
        """The LIFE records of every replica there ever was, by id. A view."""
        return self._lives[: self._count]

    def advance(self, until_s: float) -> None:
        """Let everything up to and including until_s happen, where there are no nodes (``SharedNodes`` has its own).

        Raises:
            ClusterError: until_s lies in the past.
        """
        if until_s < self.now_s:
            raise ClusterError(f"cannot advance to {until_s:g} s: it is {self.now_s:g} s already")
        until_s = float(until_s)
        while self.next_change_s <= until_s:
            self.run_to(max(self.next_change_s, self.now_s))
            self.change_lives()
        self.run_to(until_s)

    def run_to(self, until_s: float) -> None:
        """Let the engines run; nothing changes in a life up to until_s but that a draining replica empties."""
        if self._feed is not None:
            self.pool = self._feed(self.pool, until_s)
        gateway_code.advance(self.pool, until_s)
        self.now_s = until_s
        if self.any_draining:
            for replica_id in self._in_state(DRAINING):
                self._retire_if_empty(replica_id)

    def _in_state(self, *states: ReplicaState) -> list[int]:
        return [replica_id for replica_id, state in self._alive.items() if state in states]

    def change_lives(self) -> None:
        """Apply the changes of life that are due now, in the order of replica ids."""
        for replica_id in self._in_state(STARTING):
            if self._lives["ready_s"][replica_id] <= self.now_s:
                self._activate(replica_id)
        for replica_id in self._in_state(DRAINING):
            if self._lives["deadline_s"][replica_id] <= self.now_s:
                self.remove(replica_id)
        self._plan_next_change()

    def _plan_next_change(self) -> None:
        draining = self._in_state(DRAINING)
        self.any_draining = bool(draining)
        due = [float(self._lives["ready_s"][i]) for i in self._in_state(STARTING)]
        due += [float(self._lives["deadline_s"][i]) for i in draining]
        self.next_change_s = min(due, default=np.inf)

    def set_replicas(self, count: int) -> None:
        """Ask for `count` replicas (starting + ready), as a write to /scale does, effective at now_s.

        More: new ones are ordered. Fewer: victims as a ReplicaSet picks them, those not ready first (of them those
        without a node, then the youngest; gone at once), then ready ones with the fewest requests in flight (the
        youngest at a tie; they drain).

        Raises:
            ClusterError: count is negative.
        """
        if count < 0:
            raise ClusterError(f"cannot set {count} replicas; give 0 or more")
        here = self._in_state(STARTING, READY)
        for _ in range(count - len(here)):
            self.order()
        if count < len(here):
            for replica_id in sorted(here, key=self._victim_rank)[: len(here) - count]:
                self.drain(replica_id)
        self.desired = count

    def _victim_rank(self, replica_id: int) -> tuple[bool, bool, int, float, int]:
        life = self._lives[replica_id]
        ready = bool(life["state"] == READY)
        in_flight = int(self.pool.replicas["outstanding"][life["slot"]]) if ready else 0
        placed = bool(life["scheduled_s"] != np.inf)  # NaN: there from the beginning
        return ready, placed, in_flight, -float(life["ready_s"] if ready else life["ordered_s"]), -replica_id

    def order(self) -> int:
        """Order one replica now; its cold start is drawn from (seed, id). Returns its id."""
        replica_id = self._new_life(ordered_s=self.now_s)
        times = self._startup.draw(seed=self._seed, replica_id=replica_id)
        if self._faults is not None:
            times = self._faults.start(replica_id, times, self.now_s)
        life = self._lives[replica_id]
        if self._tenancy is not None:
            life["scheduled_s"] = life["started_s"] = life["loaded_s"] = life["ready_s"] = np.inf
            self._tenancy.order(replica_id, times, self.now_s)
            return replica_id
        life["scheduled_s"] = life["ordered_s"] + times.schedule_s
        if self._faults is not None:
            self._faults.placed(replica_id, cached=False, woken=False)
        life["started_s"] = life["scheduled_s"] + times.until_pull_s(cached=False) + times.pull_s
        life["loaded_s"] = life["started_s"] + times.load_s
        life["ready_s"] = life["loaded_s"] + times.warmup_s
        self._plan_next_change()
        return replica_id

    def begin_with(self, count: int) -> None:
        """Have replicas that run from the beginning; those for which there is no node with room are ordered."""
        for replica_id in range(count):
            node = -1 if self._tenancy is None else self._tenancy.occupy(replica_id)
            if self._tenancy is not None and node < 0:
                self.order()
                self.desired += 1
            else:
                self.add_ready()
                self._lives["node"][replica_id] = node

    def apply(self, happening: Happening) -> None:
        """Apply what nodes tell of a replica, now."""
        replica_id, what = happening.replica_id, happening.what
        if what is What.RESTORE:
            for _ in range(self.desired - len(self._in_state(STARTING, READY))):
                self.order()
        elif replica_id not in self._alive:
            return
        elif what is What.LOST:
            self.remove(replica_id)
        elif what is What.DRAIN:
            self.drain(replica_id, grace_s=happening.grace_s)
        else:
            self._reach(self._lives[replica_id], happening)

    def _reach(self, life: np.void, happening: Happening) -> None:
        life["unschedulable"] = happening.what is What.UNSCHEDULABLE
        if happening.what in _REACHED:
            life[_REACHED[happening.what]] = happening.at_s
        if happening.what is What.SCHEDULED:
            life["node"] = happening.node
            if self._faults is not None:
                self._faults.placed(happening.replica_id, cached=happening.cached, woken=happening.woken)
        elif happening.what is What.READY:
            self._activate(happening.replica_id)

    def add_ready(self, ready_s: float | None = None, *, ordered_s: float | None = None) -> int:
        """Add a replica that somebody else started, ready at ready_s (default and earliest: now). Returns its id."""
        ready_s = max(self.now_s, self.now_s if ready_s is None else ready_s)
        replica_id = self._new_life(ordered_s=min(ready_s, self.now_s) if ordered_s is None else ordered_s)
        self._lives["ready_s"][replica_id] = ready_s
        self.desired += 1
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
        slots = int(self.pool.gateway["slots"][0])
        if not self._free_slots:
            if slots == len(self.pool.replicas):
                self.pool = with_more_slots(self.pool)
            self.pool.gateway["slots"] = slots + 1
            self._free_slots.append(slots)
        slot = min(self._free_slots)
        self._free_slots.remove(slot)
        place_replica(self.pool, slot, engine=self._engine, replica_id=replica_id, at_s=self.now_s)
        if self._faults is not None:
            self.pool.replicas["slowdown"][slot] = self._faults.slowdown(replica_id, self.now_s)
        self._lives["slot"][replica_id] = slot
        self._set_state(replica_id, READY)
        gateway_code.release_held(self.pool, self.now_s)

    def drain(self, replica_id: int, *, grace_s: float | None = None) -> None:
        """Give a replica no new requests; it goes when empty or after grace_s, a starting one at once.

        Raises:
            ClusterError: no such replica.
        """
        life = self._existing(replica_id)
        if life["state"] == STARTING:
            self.remove(replica_id)
        elif life["state"] == READY:
            self.pool.replicas["routable"][life["slot"]] = 0
            self._set_state(replica_id, DRAINING)
            life["draining_s"] = self.now_s
            life["deadline_s"] = self.now_s + (self._grace_s if grace_s is None else grace_s)
            self._retire_if_empty(replica_id)
            self._plan_next_change()

    def close(self, replica_id: int) -> None:
        """Let the gateway pick a replica no more, if it exists and is ready; nothing else changes."""
        if self._alive.get(replica_id) is READY:
            self.pool.replicas["routable"][self._lives["slot"][replica_id]] = 0

    def remove(self, replica_id: int) -> None:
        """Take a replica away at once; requests in flight start anew from the gateway.

        Raises:
            ClusterError: no such replica.
        """
        life = self._existing(replica_id)
        if life["slot"] >= 0:
            gateway_code.evict(self.pool, int(life["slot"]))
            self.pool.replicas["outstanding"][life["slot"]] = 0
        self._retire(replica_id, self.now_s)
        gateway_code.release_held(self.pool, self.now_s)
        self._plan_next_change()

    def crash(self, replica_id: int, *, ready_s: float, lost: bool) -> None:
        """End the engine of a ready replica, which serves again at ready_s; its requests are lost, or start anew.

        Raises:
            ClusterError: no such replica.
        """
        life = self._existing(replica_id)
        if life["state"] != READY:
            return
        slot = int(life["slot"])
        (evict_lost if lost else gateway_code.evict)(self.pool, slot)
        clear_slot(self.pool, slot)
        self._free_slots.append(slot)
        if np.isnan(life["scheduled_s"]):
            # It was there from the beginning: it has held its device since.
            life["scheduled_s"] = life["ordered_s"]
        life["slot"], life["ready_s"] = -1, ready_s
        self._set_state(replica_id, STARTING)
        gateway_code.release_held(self.pool, self.now_s)
        self._plan_next_change()

    def set_slowness(self) -> None:
        """Let every replica be as slow as faults have it now, from the step on that it computes."""
        for replica_id in self._in_state(READY, DRAINING):
            if self._faults is not None:
                slot = int(self._lives["slot"][replica_id])
                slow_down(self.pool, slot, self._faults.slowdown(replica_id, self.now_s), self.now_s)

    def _existing(self, replica_id: int) -> np.void:
        if replica_id not in self._alive:
            raise ClusterError(f"no replica {replica_id}; there are: {', '.join(map(str, self._alive)) or 'none'}")
        life: np.void = self._lives[replica_id]
        return life

    def _retire_if_empty(self, replica_id: int) -> None:
        life = self._lives[replica_id]
        record = self.pool.replicas[life["slot"]]
        if record["outstanding"] == 0:
            # It emptied between two calls, at a time that the engine has noted.
            emptied_s = max(float(record["idle_since_s"]), float(life["draining_s"]))
            self._retire(replica_id, emptied_s, in_order=True)

    def _retire(self, replica_id: int, at_s: float, *, in_order: bool = False) -> None:
        """The replica is gone since at_s: keep what its life amounted to, free its slot."""
        life = self._lives[replica_id]
        if life["slot"] >= 0:
            slot = int(life["slot"])
            final = counters_of(self._lives[replica_id : replica_id + 1], self.pool, at_s)[0]
            life["busy_s"], life["requests_finished"] = final["busy_s"], final["requests_finished"]
            clear_slot(self.pool, slot)
            self._free_slots.append(slot)
        life["slot"], life["state"], life["deleted_s"] = -1, GONE, at_s
        del self._alive[replica_id]
        if self._tenancy is not None:
            self._tenancy.release(replica_id, at_s, in_order=in_order)
        self._plan_next_change()
