"""Faults of whoever decides: restarts, and changes of the leader.

A restart takes up what the journal kept, by the controller's own rule (``autoscaler/recall.py``), after the memory has
gone through the journal's own JSON. A peer keeps its memory in its process, and loses it.

A change of the leader is felt differently: our followers decide along and only may not write (``scale``), while
the followers of a kube-controller-manager, of KEDA or of Knative are idle. So for peers it is a restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.core.decide import Memory
from autoscaler.journal import decode, encode
from autoscaler.recall import recalled
from simulator.faults.kinds import ControllerRestart, LeaderChange
from simulator.faults.plan import Occurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The next tick is the first of a new process, at this instant and with this memory."""

    at: float
    memory: Any


class ControllerFaults:
    """When nobody ticks. ``first`` is the memory that the decider begins with; instants are unix seconds."""

    def __init__(self, occurrences: Sequence[Occurrence], *, first: Any, epoch_at: float) -> None:  # noqa: ANN401
        self._first = first
        kinds = (ControllerRestart,) if isinstance(first, Memory) else (ControllerRestart, LeaderChange)
        self._down = [
            (epoch_at + one.begins_s, epoch_at + one.ends_s) for one in occurrences if isinstance(one.fault, kinds)
        ]

    def restart(self, at: float, next_at: float, memory: Any) -> Restart | None:  # noqa: ANN401
        """Return how it goes on after a tick at ``at`` if the process does not live to the next one, else None."""
        up_at = None
        while self._down and self._down[0][0] <= max(next_at, up_at or next_at):
            _, ends_at = self._down.pop(0)
            if ends_at > at:
                up_at = max(ends_at, up_at or ends_at)
        if up_at is None:
            return None
        return Restart(at=up_at, memory=self._recalled(memory, age_s=up_at - at))

    def _recalled(self, memory: Any, *, age_s: float) -> Any:  # noqa: ANN401
        if not isinstance(self._first, Memory):
            return self._first
        return recalled(decode(Memory, encode(memory)), age_s=age_s, first=self._first)
