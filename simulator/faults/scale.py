"""Faults between a decision and the count that stands: writes to /scale that fail, and an API server that is slow.

What came of a write is told by the Driver's own outcomes, as ``autoscaler/controller/world.py`` tells it: a conflict
or a refusal is recorded and not retried before the next tick, which reads afresh; a target that could not be read is
not written; and after a write that was not carried out the signals say so (``unwritten``).
"""

from collections.abc import Sequence
from dataclasses import replace

from autoscaler.core.decision import Decision
from autoscaler.core.signals import Signals
from autoscaler.journal import Outcome, OutcomeStatus
from simulator.faults.kinds import Fault, LeaderChange, ScaleConflict, ScaleRefused, SlowApi
from simulator.faults.plan import Occurrence
from simulator.faults.victims import Victims

REQUEST_TIMEOUT_S = 3.0
"""After this the controller gives a request up (``autoscaler/adapters/kube.py``)."""

_CONFLICT = "409: the object has been modified; please apply your changes to the latest version and try again"
_REFUSED = "403: the API server refuses to update the scale of this target"
_NOT_LEADER = "this controller is not the leader; the lease of the one before it has not run out"
_TIMEOUT = f"no answer from the API server within {REQUEST_TIMEOUT_S:g} s"


class ScaleFaults:
    """What befalls reads and writes of one target's /scale."""

    def __init__(self, occurrences: Sequence[Occurrence], victims: Victims) -> None:
        kinds = (ScaleConflict, ScaleRefused, SlowApi, LeaderChange)
        self._occurrences = [one for one in occurrences if isinstance(one.fault, kinds)]
        self._victims = victims
        self._unwritten = False

    def told(self, signals: Signals, at_s: float) -> Signals:
        """Return what a read at an instant shows of the target, and whether the last decision was carried out."""
        if self._unwritten:
            signals = replace(signals, unwritten=True)
        if self._delay_s(at_s) > REQUEST_TIMEOUT_S:
            self._note(SlowApi, at_s)
            signals = replace(signals, spec_replicas=None, warnings=(*signals.warnings, _TIMEOUT))
        return signals

    def failure(self, decision: Decision, at_s: float) -> Outcome | None:
        """Return what comes of a decision that is not carried out; None: it is."""
        now = [one for one in self._occurrences if one.at(at_s)]
        led = not any(isinstance(one.fault, LeaderChange) for one in now)
        self._note(LeaderChange, at_s)
        failed = self._failed(now, at_s) if decision.moves and decision.target is not None else None
        self._unwritten = failed is not None or not led
        if failed is None:
            return None
        status, detail = failed
        before = decision.spec_replicas
        return Outcome(status=status, replicas_before=before, replicas_after=before, detail=detail)

    def counts_at_s(self, at_s: float) -> float:
        """Return when a write that is sent at an instant takes effect."""
        self._note(SlowApi, at_s)
        return at_s + self._delay_s(at_s)

    def restarted(self) -> None:
        """Forget what came of the last decision, as a new process has."""
        self._unwritten = False

    def _failed(self, now: Sequence[Occurrence], at_s: float) -> tuple[OutcomeStatus, str] | None:
        if any(isinstance(one.fault, LeaderChange) for one in now):
            return OutcomeStatus.REFUSED, _NOT_LEADER
        if self._delay_s(at_s) > REQUEST_TIMEOUT_S:
            return OutcomeStatus.ERROR, _TIMEOUT
        if any(isinstance(one.fault, ScaleRefused) for one in now):
            self._note(ScaleRefused, at_s)
            return OutcomeStatus.REFUSED, _REFUSED
        # Keyed by the second of the write, so that whoever writes then meets the conflict.
        if any(isinstance(one.fault, ScaleConflict) and one.hits(int(at_s)) for one in now):
            self._note(ScaleConflict, at_s)
            return OutcomeStatus.CONFLICT, _CONFLICT
        return None

    def _note(self, kind: type[Fault], at_s: float) -> None:
        """Take down that the faults of a kind that go on now were felt at this tick."""
        felt = (one for one in self._occurrences if isinstance(one.fault, kind) and one.at(at_s))
        self._victims.note_all((one for one in felt if one.hits(int(at_s))), f"{at_s:g}")

    def _delay_s(self, at_s: float) -> float:
        delays = (
            one.fault.delay_seconds for one in self._occurrences if isinstance(one.fault, SlowApi) and one.at(at_s)
        )
        return max(delays, default=0.0)
