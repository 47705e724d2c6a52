"""What befalls a pool at instants between two looks at it, each at its exact time."""

from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from math import inf

from simulator.cluster import Cluster
from simulator.engine.records import ReplicaState
from simulator.faults.kinds import Fate, ReplicaCrash
from simulator.faults.plan import Occurrence
from simulator.faults.replicas import ReplicaFaults
from simulator.faults.victims import Victims, pod_name
from simulator.startup.phases import Startup
from simulator.telemetry import EPOCH_AT

Blow = Callable[[], None]


class Blows:
    """Crashes, changes of pace, and writes that are on their way, by time and the order in which they were entered."""

    def __init__(
        self, cluster: Cluster, faults: ReplicaFaults | None, victims: Victims, *, startup: Startup, seed: int
    ) -> None:
        self._cluster = cluster
        self._victims = victims
        self._faults = faults
        self._startup = startup
        self._seed = seed
        self._blows: list[tuple[float, int, Blow]] = []
        self._entered = 0
        if faults is not None:
            for crash in faults.crashes:
                self.enter(crash.begins_s, partial(self._crash, faults, crash))
            for second in faults.slow_changes_s():
                self.enter(second, cluster.set_slowness)

    @property
    def next_s(self) -> float:
        """The instant of the next of them; infinity if there is none."""
        return self._blows[0][0] if self._blows else inf

    def enter(self, at_s: float, blow: Blow) -> None:
        """Enter what happens at an instant."""
        heappush(self._blows, (at_s, self._entered, blow))
        self._entered += 1

    def due(self, at_s: float) -> Iterator[tuple[float, Blow]]:
        """Take out what happens up to an instant, in order."""
        while self._blows and self._blows[0][0] <= at_s:
            due_s, _, blow = heappop(self._blows)
            yield due_s, blow

    def _crash(self, faults: ReplicaFaults, crash: Occurrence) -> None:
        lives, at_s = self._cluster.snapshot().life, self._cluster.now_s
        ready = {int(life["id"]): life for life in lives if life["state"] == int(ReplicaState.READY)}
        lost = isinstance(crash.fault, ReplicaCrash) and crash.fault.requests is Fate.LOST
        for number in faults.victims(crash, list(ready)):
            self._victims.note(crash, pod_name(number))
            times = self._startup.draw(seed=self._seed, replica_id=number)
            first_ready_at = EPOCH_AT + float(ready[number]["ready_s"])
            start_s = times.load_s + times.warmup_s
            ready_s = faults.crashed(number, at_s, first_ready_at=first_ready_at, start_s=start_s)
            self._cluster.crash_replica(number, ready_s=ready_s, lost=lost)
