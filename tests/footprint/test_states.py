"""States: who is charged for each millisecond."""

import dataclasses
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from autoscaler.footprint.ledger import AcceleratorState, LedgerRow
from autoscaler.footprint.states import LedgerMemory, Terms, account, account_all
from autoscaler.journal import Entry, Outcome, OutcomeStatus, decode, encode

TERMS = Terms(model="m", accelerator="H100-80GB", count_per_replica=2, price_usd_per_hour=3.0, tick_s=15.0)
BUSY, IDLE, PREWARM = AcceleratorState.BUSY, AcceleratorState.IDLE, AcceleratorState.PREWARM
WARMING, DRAINING, FAILED = AcceleratorState.WARMING, AcceleratorState.DRAINING, AcceleratorState.FAILED
UNKNOWN = AcceleratorState.UNKNOWN


def ready(pod: str = "a", **instants: float) -> Replica:
    """Return a replica that has been ready since long before 0, unless told."""
    values: dict[str, Any] = {"ordered_at": -200.0, "scheduled_at": -200.0, "ready_at": -90.0, **instants}
    return Replica(pod=pod, uid=f"uid-{pod}", state=ReplicaState.READY, **values)


def starting(pod: str = "a", **instants: Any) -> Replica:
    """Return a replica that is starting."""
    return Replica(pod=pod, uid=f"uid-{pod}", state=ReplicaState.STARTING, **{"ordered_at": 0.0, **instants})


def sample(at: float, pod: str = "a", **values: Any) -> PodSample:
    """Return a present sample with both gauges at 0 unless told."""
    return PodSample(pod=pod, at=at, **{"running": 0.0, "waiting": 0.0, **values})


def entry(
    at: float,
    *replicas: Replica,
    samples: tuple[PodSample, ...] = (),
    want: int | None = None,
    prewarm: int = 0,
    target: int | None = None,
    why: Why = Why.UTILIZATION,
) -> Entry:
    """Return an entry with the given replicas and samples."""
    return Entry(
        policy="ns/p",
        policy_digest="d",
        at=at,
        signals=Signals(at=at, spec_replicas=len(replicas), replicas=replicas, samples=samples),
        decision=Decision(
            at=at, target=target, spec_replicas=1, why=why, detail="", next_at=at + 15, want=want, prewarm=prewarm
        ),
        outcome=Outcome(status=OutcomeStatus.UNCHANGED),
    )


def totals(rows: tuple[LedgerRow, ...]) -> dict[AcceleratorState, int]:
    """Return accelerator-milliseconds by state."""
    counter: Counter[AcceleratorState] = Counter()
    for row in rows:
        counter[row.state] += row.accelerator_ms
    return dict(counter)


def test_the_first_entry_opens_the_ledger() -> None:
    """What happened before the first entry was not watched and is not charged."""
    memory, rows = account(None, entry(100, ready()), TERMS)
    assert rows == ()
    assert memory.since_ms == 100_000


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [
        ({"running": 1.0}, {}, BUSY),
        ({}, {"running": 1.0}, BUSY),
        ({}, {"waiting": 2.0}, BUSY),
        ({"generation_tokens": 5.0}, {"generation_tokens": 6.0}, BUSY),
        ({"generation_tokens": 5.0}, {"generation_tokens": 5.0}, IDLE),
        ({"generation_tokens": 5.0}, {"generation_tokens": 0.0}, IDLE),
        ({"generation_tokens": 5.0}, {"generation_tokens": 3.0}, BUSY),
        ({"running": None, "finished_requests": 1.0}, {"running": None, "finished_requests": 1.0}, UNKNOWN),
        ({"running": None, "prompt_tokens": 1.0}, {"running": None, "prompt_tokens": 1.0}, IDLE),
    ],
    ids=[
        "running at the start",
        "running at the end",
        "waiting at the end",
        "a counter rose between zero gauges: the whole interval",
        "nothing moved",
        "a counter fell to zero: a restart is no work",
        "a counter fell and rose again: work since the restart",
        "no gauge, and requests may last longer than the interval",
        "no gauge, tokens stood still",
    ],
)
def test_ready_time_is_judged_by_both_ends(
    first: dict[str, Any], last: dict[str, Any], state: AcceleratorState
) -> None:
    """A ready replica is busy by either gauge at either end or by a counter that rose; else not."""
    entries = [entry(0, ready(), samples=(sample(0, **first),)), entry(15, ready(), samples=(sample(15, **last),))]
    assert totals(account_all(entries, TERMS)) == {state: 30_000}


@pytest.mark.parametrize(
    "presence", [Presence.STALE, Presence.ABSENT, Presence.INVALID, Presence.TARGET_DOWN], ids=lambda p: p.value
)
@pytest.mark.parametrize("end", ["first", "last"])
def test_an_end_without_a_good_sample_is_unknown(presence: Presence, end: str) -> None:
    """Without a sample that can be trusted at each end, ready time is unknown: never idle, never 0."""
    good, bad = sample(0), PodSample(pod="a", at=0, presence=presence, running=0.0, waiting=0.0)
    samples = (bad, good) if end == "first" else (good, bad)
    entries = [entry(0, ready(), samples=samples[:1]), entry(15, ready(), samples=samples[1:])]
    assert totals(account_all(entries, TERMS)) == {UNKNOWN: 30_000}


def test_one_busy_end_suffices_where_the_other_is_missing() -> None:
    """A missing end does not undo the evidence of the other."""
    entries = [entry(0, ready()), entry(15, ready(), samples=(sample(15, running=1.0),))]
    assert totals(account_all(entries, TERMS)) == {BUSY: 30_000}


def test_a_gap_of_more_than_three_ticks_is_unknown_for_ready_replicas_only() -> None:
    """What happened in a long gap was not seen, but a phase's instants are exact whenever they are learnt."""
    busy = (sample(0, running=3.0),)
    entries = [
        entry(0, ready(), starting("b", scheduled_at=0.0), samples=busy),
        entry(60, ready(), starting("b", scheduled_at=0.0), samples=(sample(60, running=3.0),)),
    ]
    assert totals(account_all(entries, TERMS)) == {UNKNOWN: 120_000, WARMING: 120_000}


def test_a_life_is_cut_at_the_instants_of_its_phases() -> None:
    """Not held until scheduled; then warming, ready, draining, each to the millisecond, until gone."""
    born = Replica(pod="a", uid="u", state=ReplicaState.STARTING, ordered_at=1.0)
    life = dataclasses.replace(born, scheduled_at=3.5)
    up = dataclasses.replace(life, state=ReplicaState.READY, ready_at=20.25)
    out = dataclasses.replace(up, state=ReplicaState.DRAINING, deleted_at=40.0)
    gone = dataclasses.replace(out, state=ReplicaState.GONE, gone_at=50.001)
    entries = [
        entry(0),
        entry(15, life),
        entry(30, up, samples=(sample(30),)),
        entry(45, out),
        entry(60, gone),
        entry(75, gone),
    ]
    expected = {WARMING: 2 * 16_750, IDLE: 2 * 19_750, DRAINING: 2 * 10_001}
    assert totals(account_all(entries, TERMS)) == expected


def test_a_replica_that_cannot_be_scheduled_holds_nothing() -> None:
    """A pending pod has no device, so nothing is charged, whatever its state is called."""
    failed = Replica(pod="a", uid="u", state=ReplicaState.FAILED, ordered_at=0, reason="Unschedulable")
    assert account_all([entry(0, failed), entry(15, failed)], TERMS) == ()


def test_a_crash_loop_is_failed_and_not_warming() -> None:
    """A replica that failed on its device is its own state."""
    failed = Replica(pod="a", uid="u", state=ReplicaState.FAILED, ordered_at=0, scheduled_at=0)
    assert totals(account_all([entry(0, failed), entry(15, failed)], TERMS)) == {FAILED: 30_000}


@pytest.mark.parametrize(
    ("want", "prewarm", "target", "why", "floor", "expected"),
    [
        (3, 1, 3, Why.BURST, 0, {BUSY: 30_000, PREWARM: 30_000, IDLE: 30_000}),
        (2, 2, 3, Why.STABILIZATION, 0, {BUSY: 30_000, PREWARM: 30_000, IDLE: 30_000}),
        (3, 0, 3, Why.CONCURRENCY, 0, {BUSY: 30_000, IDLE: 60_000}),
        (None, 0, 3, Why.BLIND, 0, {BUSY: 30_000, IDLE: 60_000}),
        (1, 2, 3, Why.PIN, 0, {BUSY: 30_000, PREWARM: 60_000}),
        (0, 0, 3, Why.STABILIZATION, 3, {BUSY: 30_000, PREWARM: 60_000}),
    ],
    ids=[
        "a pool of one",
        "a pool of one and a surplus of one that waits out its hold",
        "three wanted, none of them as a pool: an HPA's ratio",
        "nothing wanted",
        "pinned",
        "the policy's minimum",
    ],
)
def test_what_the_policy_holds_on_purpose_is_prewarm(
    want: int | None, prewarm: int, target: int, why: Why, floor: int, expected: dict[AcceleratorState, int]
) -> None:
    """Quiet replicas are pre-warm up to the pool, or to a floor that busy ones use up first; the rest is idle."""
    pods = ready("a"), ready("b"), ready("c")
    quiet = tuple(sample(0, pod) for pod in "ab")
    first = entry(
        0, *pods, samples=(*quiet, sample(0, "c", running=1.0)), want=want, prewarm=prewarm, target=target, why=why
    )
    last = entry(15, *pods, samples=(*quiet, sample(15, "c")), want=0)
    assert totals(account_all([first, last], dataclasses.replace(TERMS, min_replicas=floor))) == expected


def test_a_pod_that_reuses_a_name_has_its_own_account() -> None:
    """A StatefulSet's next pod of the same name is another pod: accounts are kept by uid."""
    old = dataclasses.replace(ready(), state=ReplicaState.GONE, deleted_at=5.0, gone_at=6.0)
    new = dataclasses.replace(ready(ordered_at=6.0, scheduled_at=7.0, ready_at=10.0), uid="next")
    entries = [entry(0, ready(), samples=(sample(0),)), entry(15, old, new, samples=(sample(15, running=4.0),))]
    expected = {IDLE: 10_000, DRAINING: 2_000, WARMING: 6_000, BUSY: 10_000}
    assert totals(account_all(entries, TERMS)) == expected


def test_a_pod_missing_from_one_snapshot_is_neither_lost_nor_charged_twice() -> None:
    """A snapshot without the pod charges nothing; the next one with it charges from where it stopped."""
    seen = (sample(0, running=1.0),)
    entries = [entry(at, ready(), samples=seen) for at in (0, 15, 45)]
    entries.insert(2, entry(30))
    assert totals(account_all(entries, TERMS)) == {BUSY: 90_000}


def test_an_entry_that_is_not_later_changes_nothing() -> None:
    """A repeated or older entry has no rows and leaves the memory as it was."""
    memory, _ = account(None, entry(30, ready()), TERMS)
    assert account(memory, entry(30, ready()), TERMS) == (memory, ())
    assert account(memory, entry(15, ready()), TERMS) == (memory, ())


@dataclasses.dataclass(frozen=True)
class Life:
    """The true life of one pod, in milliseconds."""

    uid: int
    scheduled: int
    ready: int
    deleted: int
    gone: int
    fails: bool

    def replica(self, at_ms: int) -> Replica | None:
        """Return what a cluster tells of this life at an instant; for a minute after its end it tells it is gone."""
        if at_ms < self.scheduled - 1000 or at_ms > self.gone + 60_000:
            return None
        known: dict[str, Any] = {
            name: ms / 1000
            for name, ms in (
                ("scheduled_at", self.scheduled),
                ("ready_at", self.ready),
                ("deleted_at", self.deleted),
                ("gone_at", self.gone),
            )
            if ms <= at_ms and not (name == "ready_at" and (self.fails or self.ready > self.deleted))
        }
        state = ReplicaState.FAILED if self.fails else ReplicaState.STARTING
        for name, reached in (
            ("ready_at", ReplicaState.READY),
            ("deleted_at", ReplicaState.DRAINING),
            ("gone_at", ReplicaState.GONE),
        ):
            state = reached if name in known else state
        ordered_at = (self.scheduled - 1000) / 1000
        return Replica(pod=f"p{self.uid}", uid=str(self.uid), state=state, ordered_at=ordered_at, **known)

    def held_ms(self, since: int, until: int) -> int:
        """Return the milliseconds held between two instants."""
        return max(0, min(self.gone, until) - max(self.scheduled, since))


@st.composite
def lives(draw: st.DrawFn) -> tuple[Life, ...]:
    """Draw up to five pods whose phases follow one another."""
    steps = st.integers(min_value=0, max_value=90_000)
    return tuple(
        Life(uid, a, a + draw(steps), b := a + draw(steps), b + draw(steps), draw(st.booleans()))
        for uid, a in enumerate(draw(st.lists(steps, max_size=5)))
    )


def seen(all_lives: tuple[Life, ...], at_ms: int, running: float, shift: int = 0) -> Entry:
    """Return the entry at an instant; ``shift`` rotates the order of the replicas."""
    replicas = [replica for life in all_lives if (replica := life.replica(at_ms)) is not None]
    replicas = replicas[shift:] + replicas[:shift]
    samples = tuple(
        sample(at_ms / 1000, replica.pod, running=running if int(replica.uid) % 2 else 0.0)
        for replica in replicas
        if replica.state is ReplicaState.READY and int(replica.uid) % 3
    )
    return entry(at_ms / 1000, *replicas, samples=samples, want=1)


TICKS = st.lists(st.integers(min_value=1, max_value=59_000), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(lives(), TICKS, st.sampled_from([0.0, 2.0]))
def test_the_states_sum_to_what_was_held(all_lives: tuple[Life, ...], ticks: list[int], running: float) -> None:
    """Whatever the ticks, the sum over states is exactly the held time, and no row is negative."""
    instants = [sum(ticks[: i + 1]) for i in range(len(ticks))]
    rows = account_all([seen(all_lives, at, running) for at in instants], TERMS)
    held = sum(life.held_ms(instants[0], instants[-1]) for life in all_lives)
    assert sum(row.accelerator_ms for row in rows) == 2 * held
    assert all(row.accelerator_ms > 0 and row.start_at < row.end_at for row in rows)


@settings(max_examples=100, deadline=None)
@given(lives(), TICKS, st.integers(min_value=1, max_value=4))
def test_the_order_of_replicas_does_not_matter(all_lives: tuple[Life, ...], ticks: list[int], shift: int) -> None:
    """The rows are a function of the set of replicas."""
    instants = [sum(ticks[: i + 1]) for i in range(len(ticks))]
    plain = account_all([seen(all_lives, at, 1.0) for at in instants], TERMS)
    assert account_all([seen(all_lives, at, 1.0, shift) for at in instants], TERMS) == plain


@settings(max_examples=100, deadline=None)
@given(lives(), st.integers(1, 90_000), st.integers(2, 59_000), st.floats(0.01, 0.99))
def test_cutting_an_interval_in_two_keeps_what_was_held(
    all_lives: tuple[Life, ...], start: int, length: int, share: float
) -> None:
    """Held time, and the time of every phase that has an instant, do not depend on when one looks."""
    middle = start + max(1, min(length - 1, int(length * share)))
    whole = totals(account_all([seen(all_lives, at, 0.0) for at in (start, start + length)], TERMS))
    cut = totals(account_all([seen(all_lives, at, 0.0) for at in (start, middle, start + length)], TERMS))
    assert sum(whole.values()) == sum(cut.values())


def test_the_memory_survives_json() -> None:
    """The ledger's memory is kept in the store, so it goes through JSON and back unchanged."""
    memory, _ = account(None, entry(30, ready(), samples=(sample(30, running=1.0),)), TERMS)
    assert decode(LedgerMemory, encode(memory)) == memory
