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
from simulator.faults.victims import Victims


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The next tick is the first of a new process, at this instant and with this memory."""

    at: float
    memory: Any


class ControllerFaults:
    """When nobody ticks. ``first`` is the memory that the decider begins with; instants are unix seconds."""

    def __init__(
        self,
        occurrences: Sequence[Occurrence],
        victims: Victims,
        *,
        first: Any,  # noqa: ANN401 - a memory of any decider
        epoch_at: float,
    ) -> None:
        self._first = first
        self._victims = victims
        self._epoch_at = epoch_at
        kinds = (ControllerRestart,) if isinstance(first, Memory) else (ControllerRestart, LeaderChange)
        self._down = [one for one in occurrences if isinstance(one.fault, kinds)]

    def begins_at(self, first_at: float) -> float:
        """Return when the first tick is that should be at ``first_at``: where it is down then, when it is up."""
        return self._up_at(first_at, first_at) or first_at

    def restart(self, at: float, next_at: float, memory: Any) -> Restart | None:  # noqa: ANN401
        """Return how it goes on after a tick at ``at`` if the process does not live to the next one, else None."""
        up_at = self._up_at(at, next_at)
        if up_at is None:
            return None
        return Restart(at=up_at, memory=self._recalled(memory, age_s=up_at - at))

    def _up_at(self, at: float, next_at: float) -> float | None:
        """Return when it is up again that is down at some time between two ticks; None if it is not."""
        up_at = None
        while self._down and self._epoch_at + self._down[0].begins_s <= max(next_at, up_at or next_at):
            one = self._down.pop(0)
            ends_at = self._epoch_at + one.ends_s
            if ends_at > at:
                up_at = max(ends_at, up_at or ends_at)
                self._victims.note(one, f"{next_at - self._epoch_at:g}")
        return up_at

    def _recalled(self, memory: Any, *, age_s: float) -> Any:  # noqa: ANN401
        if not isinstance(self._first, Memory):
            return self._first
        return recalled(decode(Memory, encode(memory)), age_s=age_s, first=self._first)
