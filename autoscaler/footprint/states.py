"""States: what each held accelerator did, millisecond by millisecond, from one journal entry to the next.

A replica *holds* its accelerators from the instant a device is assigned to it (``scheduled_at``; ``ordered_at`` where
that is unknown and the replica is beyond scheduling) to the instant its pod is gone. That time is cut at the instants
of its phases and each part goes to one state:

========  =======================================================================================================
warming   held and not Ready (also one whose readiness flapped: it serves nobody)
failed    held and reported as failed; the instant of the failure is not known, so the interval counts as a whole
draining  from ``deleted_at`` to ``gone_at``
busy      Ready, and running > 0 or waiting > 0 at either end, or a request or token counter rose in between
prewarm   Ready, not busy, and within the count that the policy holds on purpose
idle      Ready, not busy, beyond that: the waste candidate
unknown   Ready, and a sample that is needed to tell is absent, stale, invalid, or its scrape failed; or the interval
          is longer than three ticks. Never idle, never 0.
========  =======================================================================================================

``asleep`` and ``unallocated`` belong to the closed set, but no signal tells them yet, so nothing is put there.

Which ends are needed: the first, unless the replica became Ready inside the interval (its engine then began at zero);
the last, unless it stopped being Ready inside. One busy end suffices for busy; not busy needs every needed end.
A counter that fell is a restarted engine: the fall is no evidence of work, a value above 0 after it is.
Where counters rose and both gauges were 0, the *whole* interval is busy: the busy seconds within it could only be
derived from a sum of request latencies, which the signals do not carry. So busy is an upper bound, to within a tick.

On purpose means two counts, the larger of which holds. One is a floor: the policy's minimum, and the whole target where
a person or the fail-safe set it (pin, minimum, fail-safe); busy replicas use it up first. The other is the pool: what
the decision in force holds above present need, less surplus that only waits out the stabilization window. The pool
shares the work, so often all of it is busy; as many quiet replicas are pre-warm, the oldest Ready ones first, and
what is quiet beyond both counts is idle. Who decides without a pool (a ratio of a metric to its target) has none.

Memory keeps, for each pod's uid, the instant up to which it was charged. So nothing is charged twice or left out when
a pod is first seen late, is missing from a snapshot, or is reported gone twice; a pod that vanishes without a report
is charged no further than it was last seen, unless its end is reported within an hour.

Invariants, exact in integers: the states sum to what was held; the order of replicas does not matter; no row is
negative; cutting an interval in two changes no total of held time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from autoscaler.footprint.ledger import AcceleratorState, LedgerRow
from autoscaler.journal import Entry

GAP_TICKS = 3
FORGET_MS = 3_600_000
_WORK_COUNTERS = ("finished_requests", "prompt_tokens", "generation_tokens", "ttft_count", "itl_count", "tpot_count")
_TOKEN_COUNTERS = ("prompt_tokens", "generation_tokens")
_FLOORS = frozenset({Why.PIN, Why.MIN_REPLICAS, Why.FAIL_SAFE})


class _Activity(Enum):
    BUSY = 0
    QUIET = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one replica of a policy holds and costs, and how the policy ticks.

    ``price_usd_per_hour`` is for one accelerator; ``None`` where it is not known.
    """

    model: str
    accelerator: str
    count_per_replica: int = 1
    price_usd_per_hour: float | None = None
    min_replicas: int = 0
    tick_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One pod's account: charged up to ``until_ms``, its state and its present sample (if any) at that instant."""

    until_ms: int
    state: ReplicaState
    sample: PodSample | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMemory:
    """What the next entry needs: since when the ledger is kept, the last instant, and the accounts by pod uid.

    ``on_purpose`` and ``pool`` are the floor and the pool of the decision in force, in replicas.
    """

    since_ms: int
    at_ms: int
    on_purpose: int = 0
    pool: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of one replica's time: its state, or None for Ready with the activity still to be judged."""

    start_ms: int
    end_ms: int
    state: AcceleratorState | None
    activity: _Activity = _Activity.UNKNOWN
    rank: tuple[float, str] = (0.0, "")


def terms_of(spec: PolicySpec, price_usd_per_hour: float | None = None) -> Terms:
    """Return the terms of a policy. A price given here (a resolved reference) goes before the policy's own figure."""
    price = spec.accelerator.price
    if price_usd_per_hour is None and price is not None:
        price_usd_per_hour = price.usd_per_hour
    return Terms(
        model=spec.model.name,
        accelerator=spec.accelerator.class_,
        count_per_replica=spec.accelerator.count_per_replica,
        price_usd_per_hour=price_usd_per_hour,
        min_replicas=spec.replicas.min,
        tick_s=spec.timing.tick_seconds,
    )


def account(memory: LedgerMemory | None, entry: Entry, terms: Terms) -> tuple[LedgerMemory, tuple[LedgerRow, ...]]:
    """Charge the time since the last entry and return the new memory with the rows.

    The first entry opens the ledger and has no rows. An entry that is not later than the last changes nothing.
    """
    at_ms = _ms(entry.at)
    memory = memory or LedgerMemory(since_ms=at_ms, at_ms=at_ms - 1)
    if at_ms <= memory.at_ms:
        return memory, ()
    samples = _present(entry.signals)
    spans = [span for replica in entry.signals.replicas for span in _spans(memory, replica, samples, at_ms, terms)]
    rows = _rows(entry.policy, terms, _judged(spans, memory.on_purpose, memory.pool))
    return _remember(memory, entry, samples, at_ms, terms), rows


def account_all(entries: Iterable[Entry], terms: Terms) -> tuple[LedgerRow, ...]:
    """Return the rows of a policy's entries, which are in the order of their time."""
    memory: LedgerMemory | None = None
    rows: list[LedgerRow] = []
    for entry in entries:
        memory, new = account(memory, entry, terms)
        rows.extend(new)
    return tuple(rows)


def _ms(at: float) -> int:
    return round(at * 1000)


def _present(signals: Signals) -> dict[str, PodSample]:
    return {sample.pod: sample for sample in signals.samples if sample.presence is Presence.PRESENT}


def _sample_of(replica: Replica, samples: dict[str, PodSample]) -> PodSample | None:
    """Return a replica's sample. A pod that is gone has none: the name may already belong to its successor."""
    return None if replica.state is ReplicaState.GONE else samples.get(replica.pod)


def _held_from_ms(replica: Replica) -> int | None:
    if replica.scheduled_at is not None:
        return _ms(replica.scheduled_at)
    beyond = replica.state is ReplicaState.READY or replica.started_at is not None or replica.ready_at is not None
    return _ms(replica.ordered_at) if beyond else None


def _held_until_ms(replica: Replica, at_ms: int) -> int:
    if replica.gone_at is None:
        return at_ms
    return min(at_ms, _ms(replica.gone_at))


def _bounds(memory: LedgerMemory, replica: Replica, at_ms: int) -> tuple[int, int] | None:
    """Return the part of a replica's held time that is still to be charged, or None if there is none."""
    held_from = _held_from_ms(replica)
    if held_from is None:
        return None
    known = memory.accounts.get(replica.uid)
    # A pod without an account was never seen, or its account was forgotten: either way nothing older is charged.
    start = known.until_ms if known else max(held_from, memory.since_ms, memory.at_ms - FORGET_MS)
    end = _held_until_ms(replica, at_ms)
    return (start, end) if start < end else None


def _spans(
    memory: LedgerMemory, replica: Replica, samples: dict[str, PodSample], at_ms: int, terms: Terms
) -> Iterator[_Span]:
    bounds = _bounds(memory, replica, at_ms)
    if bounds is None:
        return
    start, end = bounds
    known = memory.accounts.get(replica.uid)
    last_state = known.state if known else replica.state
    state = last_state if replica.state is ReplicaState.GONE else replica.state
    deleted = _deleted_ms(replica, start, end)
    ready = _ready_ms(replica, state, last_state, start, deleted)
    if start < ready:
        failed = state is ReplicaState.FAILED
        yield _Span(start, ready, AcceleratorState.FAILED if failed else AcceleratorState.WARMING)
    if ready < deleted:
        fresh = replica.ready_at is not None and _ms(replica.ready_at) >= start
        activity = _activity(
            first=known.sample if known else None,
            last=_sample_of(replica, samples),
            fresh=fresh,
            reaches_end=deleted == at_ms,
        )
        if deleted - ready > GAP_TICKS * _ms(terms.tick_s):
            activity = _Activity.UNKNOWN
        rank = (replica.ordered_at if replica.ready_at is None else replica.ready_at, replica.uid)
        yield _Span(ready, deleted, None, activity, rank)
    if deleted < end:
        yield _Span(deleted, end, AcceleratorState.DRAINING)


def _deleted_ms(replica: Replica, start: int, end: int) -> int:
    if replica.deleted_at is not None:
        return min(max(_ms(replica.deleted_at), start), end)
    return start if replica.state is ReplicaState.DRAINING else end


def _ready_ms(replica: Replica, state: ReplicaState, last_state: ReplicaState, start: int, deleted: int) -> int:
    """Return when the Ready part begins, between start and deleted; at ``deleted`` if there is none."""
    if state is ReplicaState.FAILED or replica.state is ReplicaState.STARTING:
        return deleted
    if replica.ready_at is not None:
        return min(max(_ms(replica.ready_at), start), deleted)
    return start if ReplicaState.READY in {state, last_state} else deleted


def _activity(*, first: PodSample | None, last: PodSample | None, fresh: bool, reaches_end: bool) -> _Activity:
    """Judge a Ready part by the samples at its ends; see the essay above for which are needed."""
    seen = [sample for sample in (first, last) if sample is not None]
    if any((sample.running or 0) > 0 or (sample.waiting or 0) > 0 for sample in seen):
        return _Activity.BUSY
    if _rose(first, last, fresh=fresh):
        return _Activity.BUSY
    needed = ([] if fresh else [first]) + ([last] if reaches_end else [])
    if not seen or any(sample is None for sample in needed):
        return _Activity.UNKNOWN
    if all(sample.running is not None for sample in seen):
        return _Activity.QUIET
    return _Activity.QUIET if _tokens_stood_still(first, last, fresh=fresh) else _Activity.UNKNOWN


def _rose(first: PodSample | None, last: PodSample | None, *, fresh: bool) -> bool:
    if last is None or (first is None and not fresh):
        return False
    for name in _WORK_COUNTERS:
        before, after = 0.0 if first is None else getattr(first, name), getattr(last, name)
        if before is None or after is None:
            continue
        if after > (before if after >= before else 0.0):
            return True
    return False


def _tokens_stood_still(first: PodSample | None, last: PodSample | None, *, fresh: bool) -> bool:
    """Whether a token counter is known at both ends, so that its not rising says that nothing ran."""
    if last is None or (first is None and not fresh):
        return False
    ends = [last] if first is None else [first, last]
    return any(all(getattr(sample, name) is not None for sample in ends) for name in _TOKEN_COUNTERS)


def _judged(spans: list[_Span], on_purpose: int, pool: int) -> list[tuple[AcceleratorState, int, int]]:
    ready = [span for span in spans if span.state is None]
    busy = sum(1 for span in ready if span.activity is _Activity.BUSY)
    quiet = sorted(
        (span for span in ready if span.activity is _Activity.QUIET), key=lambda span: (span.rank, span.start_ms)
    )
    spare = max(pool, on_purpose - busy)
    judged = [(span.state, span.start_ms, span.end_ms) for span in spans if span.state is not None]
    for index, span in enumerate(quiet):
        state = AcceleratorState.PREWARM if index < spare else AcceleratorState.IDLE
        judged.append((state, span.start_ms, span.end_ms))
    outcome = {_Activity.BUSY: AcceleratorState.BUSY, _Activity.UNKNOWN: AcceleratorState.UNKNOWN}
    judged.extend(
        (outcome[span.activity], span.start_ms, span.end_ms) for span in ready if span.activity is not _Activity.QUIET
    )
    return judged


def _rows(policy: str, terms: Terms, judged: list[tuple[AcceleratorState, int, int]]) -> tuple[LedgerRow, ...]:
    """Return one row for each state and span, so that a row can be cut at any instant without a remainder."""
    counts: dict[tuple[AcceleratorState, int, int], int] = {}
    for part in judged:
        counts[part] = counts.get(part, 0) + terms.count_per_replica
    return tuple(
        LedgerRow(
            policy=policy,
            model=terms.model,
            accelerator=terms.accelerator,
            state=state,
            start_at=start_ms / 1000,
            end_at=end_ms / 1000,
            accelerator_ms=accelerators * (end_ms - start_ms),
            price_usd_per_hour=terms.price_usd_per_hour,
        )
        for (state, start_ms, end_ms), accelerators in sorted(counts.items())
    )


def pool_of(decision: Decision) -> int:
    """Return the pre-warm pool of a decision: replicas above present need that are wanted, not only held a while."""
    surplus = max(0, (decision.target or 0) - decision.want) if decision.want is not None else 0
    return max(0, decision.prewarm - surplus)


def _on_purpose(decision: Decision, terms: Terms) -> int:
    target = decision.target if decision.why in _FLOORS else None
    return max(terms.min_replicas, target or 0)


def _remember(
    memory: LedgerMemory, entry: Entry, samples: dict[str, PodSample], at_ms: int, terms: Terms
) -> LedgerMemory:
    accounts = {uid: known for uid, known in memory.accounts.items() if known.until_ms > at_ms - FORGET_MS}
    for replica in entry.signals.replicas:
        known = memory.accounts.get(replica.uid)
        held_from = _held_from_ms(replica)
        if known is None and (held_from is None or held_from > at_ms):
            continue
        until_ms = max(known.until_ms if known else 0, _held_until_ms(replica, at_ms))
        accounts[replica.uid] = Account(until_ms=until_ms, state=replica.state, sample=_sample_of(replica, samples))
    return LedgerMemory(
        since_ms=memory.since_ms,
        at_ms=at_ms,
        on_purpose=_on_purpose(entry.decision, terms),
        pool=pool_of(entry.decision),
        accounts=accounts,
    )
