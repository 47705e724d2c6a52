"""The report: what a stretch of the journal comes to, folded from its entries and from nothing else.

The same fold serves the simulator's live table, its comparison with other autoscalers, and the command line, so a
figure means the same wherever it stands:

- *attainment*: of the first tokens that engines counted, the share within the objective. Differences of each pod's own
  counters between two present samples; a pod that became ready in between counts from zero; a counter that fell, or a
  pod first seen when it had long been ready, contributes nothing. Where the objective is no bucket edge, the next lower
  edge is taken: attainment is then understated, never overstated. The edge is reported.
- *accelerator time*: the ledger's rows (see ``footprint.states``), exact.
- *cold starts*: pods whose first Ready came after the first entry, from order to first Ready.
- *moves*: the decisions that asked for another target than stood, with their reason and what came of it. One that is
  repeated tick by tick because nothing was written (recommend mode, a conflict) counts once.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, Replica, Signals
from autoscaler.footprint.ledger import AcceleratorState, LedgerRow, Line, plus
from autoscaler.footprint.states import LedgerMemory, Terms, account, terms_of
from autoscaler.journal import Entry, OutcomeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One cold start that came to its end. Instants in unix seconds; a phase that was not seen is ``None``."""

    pod: str
    uid: str
    ordered_at: float
    scheduled_at: float | None
    started_at: float | None
    ready_at: float

    @property
    def coldstart_s(self) -> float:
        """Seconds from the order to the first Ready."""
        return self.ready_at - self.ordered_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One change of the target: when, from what to what, why, in one sentence, and what became of it."""

    at: float
    before: int | None
    after: int
    why: Why
    detail: str
    status: OutcomeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a stretch of one policy's journal comes to.

    ``first_tokens`` and ``first_tokens_in_time`` are counts of requests; ``ttft_edge_s`` is the bucket edge in seconds
    that stood for the objective, ``None`` if no sample had one at or below it. ``ledger`` has accelerator-milliseconds
    by state and their cost.
    """

    policy: str
    since_at: float
    until_at: float
    ticks: int
    first_tokens: float
    first_tokens_in_time: float
    ttft_edge_s: float | None
    ledger: Line
    rows: tuple[LedgerRow, ...]
    starts: tuple[Start, ...]
    reasons: dict[Why, int]
    moves: tuple[Move, ...]

    @property
    def attainment(self) -> float | None:
        """Share of first tokens in time, ``None`` if none was counted."""
        return self.first_tokens_in_time / self.first_tokens if self.first_tokens > 0 else None

    @property
    def accelerator_hours(self) -> float:
        """Accelerator-hours held."""
        return self.ledger.total_ms / 3_600_000

    def hours(self, state: AcceleratorState) -> float:
        """Return the accelerator-hours in one state."""
        return self.ledger.ms.get(state, 0) / 3_600_000

    def coldstart_s(self, probability: float) -> float | None:
        """Return the empirical quantile of the cold starts in seconds (nearest rank), ``None`` if there were none."""
        return quantile([start.coldstart_s for start in self.starts], probability)


class Tally:
    """Folds the entries of one policy, in the order of their time; ``report`` may be asked for at any time."""

    def __init__(self, *, terms: Terms, ttft_s: float) -> None:
        self._terms = terms
        self._ttft_s = ttft_s
        self._memory: LedgerMemory | None = None
        self._rows: list[LedgerRow] = []
        self._ledger = Line(key="")
        self._starts: dict[str, Start] = {}
        self._reasons: Counter[Why] = Counter()
        self._moves: list[Move] = []
        self._samples: dict[str, PodSample] = {}
        self._first: Entry | None = None
        self._last: Entry | None = None
        self._tokens = [0.0, 0.0]
        self._edge_s: float | None = None

    def add(self, entry: Entry) -> None:
        """Fold one more entry in; one that is not later than the last is left out."""
        if self._last is not None and entry.at <= self._last.at:
            return
        self._first = self._first or entry
        self._memory, rows = account(self._memory, entry, self._terms)
        self._rows.extend(rows)
        for row in rows:
            self._ledger = plus(self._ledger, row)
        self._add_first_tokens(entry)
        self._starts.update((start.uid, start) for start in starts_of(entry.signals, since_at=self._first.at))
        self._reasons[entry.decision.why] += 1
        if is_move(entry.decision, entry.outcome.status, self._last.decision if self._last else None):
            self._moves.append(move_of(entry))
        self._last = entry

    def report(self) -> Report:
        """Return what has been folded so far.

        Raises:
            ValueError: nothing was added.
        """
        if self._first is None or self._last is None:
            raise ValueError("a report needs at least one entry")
        return Report(
            policy=self._first.policy,
            since_at=self._first.at,
            until_at=self._last.at,
            ticks=self._reasons.total(),
            first_tokens=self._tokens[0],
            first_tokens_in_time=self._tokens[1],
            ttft_edge_s=self._edge_s,
            ledger=self._ledger,
            rows=tuple(self._rows),
            starts=tuple(sorted(self._starts.values(), key=lambda start: (start.ready_at, start.uid))),
            reasons=dict(self._reasons),
            moves=tuple(self._moves),
        )

    def _add_first_tokens(self, entry: Entry) -> None:
        uids = {replica.pod: replica for replica in entry.signals.replicas if replica.gone_at is None}
        for sample in entry.signals.samples:
            replica = uids.get(sample.pod)
            if replica is None or sample.presence is not Presence.PRESENT:
                continue
            before = self._samples.get(replica.uid)
            if before is not None and sample.at <= before.at:
                continue
            total, in_time = self._new_first_tokens(before, sample, replica)
            self._tokens[0] += total
            self._tokens[1] += in_time
            self._samples[replica.uid] = sample

    def _new_first_tokens(self, before: PodSample | None, now: PodSample, replica: Replica) -> tuple[float, float]:
        """Return (first tokens, of these in time) since the sample before; (0, 0) where that cannot be told."""
        edge_s, within = _within(now, self._ttft_s)
        if now.ttft_count is None or within is None:
            return 0.0, 0.0
        self._edge_s = edge_s
        if before is None:
            return (now.ttft_count, within) if self._fresh(replica) else (0.0, 0.0)
        _, within_before = _within(before, self._ttft_s)
        if before.ttft_count is None or within_before is None or now.ttft_count < before.ttft_count:
            return 0.0, 0.0
        return now.ttft_count - before.ttft_count, max(0.0, within - within_before)

    def _fresh(self, replica: Replica) -> bool:
        """Whether a replica became ready while we watched, so that its counters began at zero then."""
        return self._first is not None and replica.ready_at is not None and replica.ready_at >= self._first.at


def report(entries: Iterable[Entry], spec: PolicySpec, price_usd_per_hour: float | None = None) -> Report:
    """Return what a policy's entries come to; they are in the order of their time.

    Raises:
        ValueError: there are no entries.
    """
    tally = Tally(terms=terms_of(spec, price_usd_per_hour), ttft_s=spec.objectives.ttft_seconds)
    for entry in entries:
        tally.add(entry)
    return tally.report()


def starts_of(signals: Signals, *, since_at: float) -> tuple[Start, ...]:
    """Return the cold starts among the replicas whose first Ready came at or after an instant."""
    return tuple(
        Start(
            pod=replica.pod,
            uid=replica.uid,
            ordered_at=replica.ordered_at,
            scheduled_at=replica.scheduled_at,
            started_at=replica.started_at,
            ready_at=replica.ready_at,
        )
        for replica in signals.replicas
        if replica.ready_at is not None and replica.ready_at > since_at
    )


def is_move(decision: Decision, status: OutcomeStatus, before: Decision | None) -> bool:
    """Return whether a decision is a move: it was written, or it asks for something else than the one before."""
    if not decision.moves:
        return False
    return status is OutcomeStatus.SCALED or before is None or before.target != decision.target


def move_of(entry: Entry) -> Move:
    """Return the change of the target that an entry's decision asks for.

    Raises:
        ValueError: it asks for none.
    """
    if entry.decision.target is None:
        raise ValueError("this decision has no target")
    return Move(
        at=entry.at,
        before=entry.decision.spec_replicas,
        after=entry.decision.target,
        why=entry.decision.why,
        detail=entry.decision.detail,
        status=entry.outcome.status,
    )


def quantile(values: Iterable[float], probability: float) -> float | None:
    """Return the empirical quantile by nearest rank: the smallest value with at least that share at or below it."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = next((i for i in range(len(ordered)) if (i + 1) / len(ordered) >= probability), len(ordered) - 1)
    return ordered[rank]


def _within(sample: PodSample, objective_s: float) -> tuple[float | None, float | None]:
    """Return (edge in seconds, cumulative count) of the highest bucket at or below the objective."""
    below = [bucket for bucket in sample.ttft_within if bucket[0] <= objective_s]
    return max(below) if below else (None, None)
