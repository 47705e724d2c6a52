"""Faults of replicas: starts that fail, hang or crash, engines that end, engines that are slow.

What is drawn for a start follows from the instant of its order and the replica's id: it makes the phases longer, by
the tries that fail and the kubelet's back-off between them. What of it befalls the start is known when it is placed: no
pull fails where there is none, and whoever wakes on a node has neither a pull nor a start. Which try goes on at an
instant is told as the API server tells it: *failed* with the reason while the kubelet waits, else *starting*.

An engine that crashes leaves its replica in its place, not ready: it starts again in its pod, where image and weights
are, and its first Ready stays what it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf

from autoscaler.core.signals import Replica, ReplicaState
from simulator.engine import routing as gateway_code
from simulator.engine.records import Pool, RequestStatus, StepKind
from simulator.faults.kinds import CrashLoop, FailedStart, Fault, HangingStart, ReplicaCrash, SlowReplicas, Stockout
from simulator.faults.plan import Occurrence
from simulator.faults.victims import Victims, pod_name
from simulator.startup.model import StartupTimes

BACKOFF_S, BACKOFF_MOST_S, BACKOFF_RESET_S = 10.0, 300.0, 600.0
"""The kubelet's: it doubles from try to try, and begins anew after a container has run for ten minutes (KEP-4603)."""
PULL_S = 5.0
"""What a pull takes that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tries:
    """Tries that fail, one after another: each takes ``try_s``; ``count`` None: for ever.

    A container that crashes is restarted at once the first time (``free`` 1); a pull is not.
    """

    reason: str
    try_s: float
    count: int | None
    free: int

    def backoff_s(self, number: int) -> float:
        """Return the wait after the ``number``-th failure, from 1."""
        return backoff_s(number - self.free)

    @property
    def total_s(self) -> float:
        """What all of them take."""
        if self.count is None:
            return inf
        return sum(self.try_s + self.backoff_s(number) for number in range(1, self.count + 1))

    def at(self, elapsed_s: float) -> tuple[bool, float]:
        """Return whether the kubelet waits after a failure at this time, and when the try of that time began."""
        began_s, number = 0.0, 1
        while self.count is None or number <= self.count:
            failed_s = began_s + self.try_s
            again_s = failed_s + self.backoff_s(number)
            if elapsed_s < again_s:
                return elapsed_s >= failed_s, began_s
            began_s, number = again_s, number + 1
        return False, began_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crash:
    """A replica whose engine crashed: ``count`` times without ten good minutes between."""

    first_ready_at: float
    count: int
    waits_until_s: float
    ready_s: float


def backoff_s(number: int) -> float:
    """Return the kubelet's ``number``-th wait, from 1; there is none before."""
    return 0.0 if number < 1 else min(BACKOFF_S * 2.0 ** min(number - 1, 10), BACKOFF_MOST_S)


class ReplicaFaults:
    """What befalls the replicas of one pool. ``nodes``: whether they run on nodes, which then tell of a stockout."""

    def __init__(self, occurrences: Sequence[Occurrence], victims: Victims, *, nodes: bool) -> None:
        self._victims = victims
        starts = (FailedStart, HangingStart, CrashLoop) if nodes else (Stockout, FailedStart, HangingStart, CrashLoop)
        self._starts = [one for one in occurrences if isinstance(one.fault, starts)]
        self._slow = [one for one in occurrences if isinstance(one.fault, SlowReplicas)]
        self.crashes = [one for one in occurrences if isinstance(one.fault, ReplicaCrash)]
        self._pulls: dict[int, _Tries] = {}
        self._runs: dict[int, _Tries] = {}
        self._out_of_stock_s: dict[int, float] = {}
        self._fates: dict[int, list[Occurrence]] = {}
        self._crashed: dict[int, _Crash] = {}

    def start(self, replica_id: int, times: StartupTimes, ordered_s: float) -> StartupTimes:
        """Return what the phases of a replica take that is ordered now."""
        for one in self._starts:
            if not (one.at(ordered_s) and one.hits(replica_id)):
                continue
            fault = one.fault
            if isinstance(fault, Stockout):
                self._victims.note(one, pod_name(replica_id))
                self._out_of_stock_s[replica_id] = max(one.ends_s, self._out_of_stock_s.get(replica_id, 0.0))
            else:
                self._fates.setdefault(replica_id, []).append(one)
                times = _prolonged(times, fault)
        if replica_id in self._out_of_stock_s:
            times = replace(times, schedule_s=times.schedule_s + self._out_of_stock_s[replica_id] - ordered_s)
        return times

    def placed(self, replica_id: int, *, cached: bool, woken: bool) -> None:
        """Take down what a start has found where it is: its image or not, or a server of its kind that it wakes.

        Of what was drawn for it, that befalls it now which can: whoever wakes has neither a pull nor a start.
        """
        for one in [] if woken else self._fates.pop(replica_id, []):
            fault = one.fault
            if isinstance(fault, FailedStart):
                if cached and fault.spares_cached:
                    continue
                self._pulls[replica_id] = _failing_pulls(fault)
            elif isinstance(fault, CrashLoop):
                self._runs[replica_id] = _failing_runs(fault)
            self._victims.note(one, pod_name(replica_id))

    def slowdown(self, replica_id: int, at_s: float) -> float:
        """Return how many times as long a step of a replica that serves takes at an instant."""
        slowdown = 1.0
        for one in self._slow:
            if isinstance(one.fault, SlowReplicas) and one.at(at_s) and one.hits(replica_id):
                self._victims.note(one, pod_name(replica_id))
                slowdown = max(slowdown, one.fault.factor)
        return slowdown

    def slow_changes_s(self) -> list[float]:
        """Return the instants at which replicas get slow, or quick again."""
        return sorted({second for one in self._slow for second in (one.begins_s, one.ends_s)})

    def victims(self, crash: Occurrence, ready: Sequence[int]) -> list[int]:
        """Return which of the ready replicas a crash befalls: those with the least luck in it."""
        count = crash.fault.replicas if isinstance(crash.fault, ReplicaCrash) else 0
        return sorted(sorted(ready, key=lambda number: (crash.luck(number), number))[:count])

    def crashed(self, replica_id: int, at_s: float, *, first_ready_at: float, start_s: float) -> float:
        """Take down that an engine crashed now, of which a start takes so long; return when it is ready again."""
        before = self._crashed.get(replica_id)
        again = before is not None and at_s - before.ready_s < BACKOFF_RESET_S
        count = before.count + 1 if before is not None and again else 1
        waits_until_s = at_s + backoff_s(count - 1)
        self._crashed[replica_id] = _Crash(
            first_ready_at=first_ready_at if before is None else before.first_ready_at,
            count=count,
            waits_until_s=waits_until_s,
            ready_s=waits_until_s + start_s,
        )
        return waits_until_s + start_s

    def told(self, replica: Replica, at: float, at_s: float) -> Replica:
        """Return a replica as the API server tells it at an instant (in unix seconds, and in the simulation's)."""
        number = int(replica.uid)
        if number in self._crashed:
            return _told_crashed(replica, self._crashed[number], at_s)
        if replica.state is not ReplicaState.STARTING:
            return replica
        if replica.scheduled_at is None:
            out_of_stock = at_s < self._out_of_stock_s.get(number, 0.0)
            return replace(replica, reason="Unschedulable") if out_of_stock else replica
        if replica.started_at is None:
            return _told_trying(replica, self._pulls.get(number), at - replica.scheduled_at)
        told = _told_trying(replica, self._runs.get(number), at - replica.started_at)
        if number in self._runs:
            # Of a container that is restarted until it is ready, the last start is told.
            _, began_s = self._runs[number].at(at - replica.started_at)
            told = replace(told, started_at=replica.started_at + began_s)
        return told


def _failing_pulls(fault: FailedStart) -> _Tries:
    return _Tries(reason=fault.reason.value, try_s=PULL_S, count=fault.attempts, free=0)


def _failing_runs(fault: CrashLoop) -> _Tries:
    return _Tries(reason="CrashLoopBackOff", try_s=fault.after_seconds, count=fault.attempts, free=1)


def _prolonged(times: StartupTimes, fault: Fault) -> StartupTimes:
    """Return what phases take under a fault of starts, each as far as it finds what it needs there."""
    if isinstance(fault, HangingStart):
        return replace(times, load_s=inf)
    if isinstance(fault, CrashLoop):
        return replace(times, load_s=times.load_s + _failing_runs(fault).total_s)
    if not isinstance(fault, FailedStart):
        return times
    fails_s = _failing_pulls(fault).total_s
    if fault.spares_cached:
        return replace(times, failed_pulls_s=times.failed_pulls_s + fails_s)
    return replace(times, failed_containers_s=times.failed_containers_s + fails_s)


def _told_crashed(replica: Replica, crash: _Crash, at_s: float) -> Replica:
    replica = replace(replica, ready_at=crash.first_ready_at)
    if replica.state is not ReplicaState.STARTING:
        return replica
    if at_s < crash.waits_until_s:
        return replace(replica, state=ReplicaState.FAILED, reason="CrashLoopBackOff")
    return replace(replica, reason="NotReady")


def _told_trying(replica: Replica, tries: _Tries | None, elapsed_s: float) -> Replica:
    if tries is None or not tries.at(elapsed_s)[0]:
        return replica
    return replace(replica, state=ReplicaState.FAILED, reason=tries.reason)


def evict_lost(pool: Pool, slot: int) -> None:
    """The engine of a slot has crashed, and all requests that it had are lost."""
    gateway, requests = pool.gateway, pool.requests
    held, tail = int(gateway["held"][0]), int(gateway["held_tail"][0])
    gateway_code.evict(pool, slot)
    for request in _behind(pool, held, tail):
        requests["status"][request] = int(RequestStatus.LOST)
        requests["next"][request] = -1
    gateway["held"] = held
    if held > 0:
        gateway["held_tail"] = tail
        requests["next"][tail] = -1


def _behind(pool: Pool, held: int, tail: int) -> list[int]:
    """Return the requests that the gateway holds behind those that it held before, of which ``tail`` was the last."""
    found: Iterator[int] = _queue(pool, int(pool.requests["next"][tail] if held > 0 else pool.gateway["held_head"][0]))
    count = int(pool.gateway["held"][0]) - held
    return [request for request, _ in zip(found, range(count), strict=False)]


def _queue(pool: Pool, first: int) -> Iterator[int]:
    while True:
        yield first
        first = int(pool.requests["next"][first])


def slow_down(pool: Pool, slot: int, slowdown: float, at_s: float) -> None:
    """Let the steps of a slot take so many times as long from now on; of the present one, what is left of it."""
    replica = pool.replicas[slot]
    before = float(replica["slowdown"])
    if before == slowdown:
        return
    ratio = slowdown / before
    replica["slowdown"] = slowdown
    if isinf(float(replica["wake_s"])) or replica["step_kind"] == int(StepKind.IDLE):
        return
    # What is done of the present step stays done: its beginning moves as if all of it had been at the new pace.
    replica["wake_s"] = at_s + (float(replica["wake_s"]) - at_s) * ratio
    if replica["step_kind"] == int(StepKind.MIXED):
        replica["step_end_s"] = replica["wake_s"]
    else:
        replica["clock_s"] = at_s - (at_s - float(replica["clock_s"])) * ratio
