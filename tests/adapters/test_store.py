"""The store, on real SQLite files: what is written is there, whole, once, and adds up."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from autoscaler.adapters.store import Fault, Retention, Store, StoreError, Tick
from autoscaler.adapters.store_prune import BATCH, DAY_S
from autoscaler.adapters.store_rows import bucket_rows, bucket_sums
from autoscaler.adapters.store_schema import BUCKET_MS, metadata
from autoscaler.adapters.store_writes import accumulate
from autoscaler.footprint.ledger import AcceleratorState, LedgerRow
from autoscaler.footprint.states import account_all, terms_of
from autoscaler.journal import Entry, digest
from tests.adapters.journal_stories import BEGIN, hourly, spec, story


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A memory, as the core would keep one."""

    demand: float
    seen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LearntLater:
    """The same memory in a later version: nothing that was stored has its new field."""

    season: float


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return where the store is to be."""
    return str(tmp_path / "autoscaler.db")


def ticks(entries: list[Entry]) -> list[Tick]:
    """Return what is recorded for entries, with a memory that tells them apart."""
    return [Tick(entry=entry, memory=Learnt(demand=entry.at - BEGIN), spec=spec()) for entry in entries]


def test_what_is_recorded_is_read_back(path: str) -> None:
    """Entries come back equal, oldest first; a limit keeps the newest; bounds are inclusive."""
    entries = story(ticks=10)
    with Store.open(path) as store:
        for tick in ticks(entries):
            store.record(tick.entry, tick.memory, tick.spec)
        assert store.entries("prod/chat") == tuple(entries)
        assert store.entries("prod/chat", limit=3) == tuple(entries[-3:])
        assert store.entries("prod/chat", since=entries[2].at, until=entries[4].at) == tuple(entries[2:5])
        assert store.entries("prod/other") == ()
        assert store.policies() == ("prod/chat",)
        assert store.spec(digest(spec())) == spec()
        assert store.spec("0" * 16) is None


def test_recording_a_tick_again_changes_nothing(path: str) -> None:
    """Retry is harmless: an entry is known by policy and instant, and the ledger counts it once."""
    recorded = ticks(story())
    with Store.open(path) as store:
        store.record_all(recorded)
        before = store.ledger(), store.coldstarts("prod/chat"), store.entries("prod/chat")
        store.record_all(recorded)
        store.record_all(recorded[-3:])
        assert (store.ledger(), store.coldstarts("prod/chat"), store.entries("prod/chat")) == before


def test_the_ledger_is_the_same_however_ticks_are_batched(path: str, tmp_path: Path) -> None:
    """One tick at a time with reopening in between, or all at once: to the millisecond the same."""
    recorded = ticks(story())
    for begin in range(0, len(recorded), 40):
        with Store.open(path) as store:
            for tick in recorded[begin : begin + 40]:
                store.record_all([tick])
    with Store.open(path) as one, Store.open(str(tmp_path / "other.db")) as whole:
        whole.record_all(recorded)
        assert one.ledger() == whole.ledger()
        fold = account_all([tick.entry for tick in recorded], terms_of(spec()))
        assert sum(row.accelerator_ms for row in one.ledger()) == sum(row.accelerator_ms for row in fold)


def test_the_ledger_tells_what_the_story_tells(path: str) -> None:
    """Two accelerators a replica: 93 s of warming and 30 s of draining for the second one, at the policy's price."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        rows = store.ledger()
    by_state = {state: sum(row.accelerator_ms for row in rows if row.state is state) for state in AcceleratorState}
    assert by_state[AcceleratorState.WARMING] == 2 * 93_000
    assert by_state[AcceleratorState.DRAINING] == 2 * 30_000
    assert {row.price_usd_per_hour for row in rows} == {3.0}
    assert all(row.start_at * 1000 % BUCKET_MS == 0 for row in rows)


def test_a_price_given_with_the_tick_goes_before_the_policys_own(path: str) -> None:
    """A resolved reference is recorded as it was at that time; no price at all stays unknown."""
    free = spec(accelerator={"class": "H100-80GB"})
    recorded = [Tick(entry=entry, memory=None, spec=free) for entry in story("a/unpriced", 5)]
    recorded += [Tick(entry=e, memory=None, spec=free, price_usd_per_hour=6.88) for e in story("a/priced", 5)]
    with Store.open(path) as store:
        store.record_all(recorded)
        assert {row.price_usd_per_hour for row in store.ledger(policy="a/unpriced")} == {None}
        assert {row.price_usd_per_hour for row in store.ledger(policy="a/priced")} == {6.88}


def test_a_cold_start_is_kept_once_with_the_instants_of_its_phases(path: str) -> None:
    """Only starts that came while we watched are samples; the pod that was ready before is none."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        (start,) = store.coldstarts("prod/chat")
    assert (start.uid, start.coldstart_s) == ("uid-b", 95.0)
    assert (start.scheduled_at, start.started_at) == (BEGIN + 122, BEGIN + 140)


def test_the_newest_memory_is_kept_and_a_checkpoint_every_quarter_of_an_hour(path: str) -> None:
    """A restart resumes from the newest; a replay begins at the checkpoint before its beginning."""
    recorded = ticks(story())
    with Store.open(path) as store:
        store.record_all(recorded)
        store.record_all(recorded[:5])
        newest = store.newest_memory("prod/chat", Learnt)
        assert newest is not None
        assert (newest.at, newest.memory) == (recorded[-1].entry.at, recorded[-1].memory)
        checkpoint = store.memory_before("prod/chat", Learnt, BEGIN + 1000)
        assert checkpoint is not None
        assert checkpoint.at == BEGIN + 900
        assert store.newest_memory("prod/other", Learnt) is None


def test_a_memory_of_another_version_is_none(path: str) -> None:
    """A memory that this version cannot read is as good as none: the core then starts afresh."""
    with Store.open(path) as store:
        store.record_all(ticks(story(ticks=2)))
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE memories SET kind = replace(kind, 'Learnt', 'LearntLater')")
        raw.close()
        assert store.newest_memory("prod/chat", LearntLater) is None


def test_moves_are_the_changes_of_the_target(path: str) -> None:
    """The newest changes come with their reason and sentence; ticks that hold are none."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        moves = store.moves("prod/chat")
        assert [(move.before, move.after, move.at - BEGIN) for move in moves] == [(1, 2, 120), (2, 1, 1200)]
        assert store.moves("prod/chat", limit=1) == moves[1:]


def test_pruning_keeps_the_newest_memory_the_cold_starts_and_the_ledger(path: str) -> None:
    """Entries and checkpoints go by age, the ledger much later; what a restart knows never goes."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        held, starts = store.ledger(), store.coldstarts("prod/chat")
        removed = store.prune(BEGIN + 3600, Retention(entries_s=3600 - 1700))
        assert removed == {"entries": 114, "memories": 2}
        assert len(store.entries("prod/chat")) == 6
        assert store.ledger() == held
        assert store.spec(digest(spec())) == spec()
        store.prune(BEGIN + 5000 * DAY_S, Retention(entries_s=1, ledger_s=1))
        assert (store.entries("prod/chat"), store.ledger()) == ((), ())
        assert store.newest_memory("prod/chat", Learnt) is not None
        assert (store.coldstarts("prod/chat"), len(starts)) == (starts, 1)
        assert store.spec(digest(spec())) == spec(), "the newest memory still names it"


def test_a_step_of_pruning_is_small_and_what_is_left_is_done_the_next_time(path: str) -> None:
    """No tick waits for a fortnight's backlog: it is taken down step by step, the oldest entries first."""
    with Store.open(path) as store:
        store.record_all(ticks(story(ticks=BATCH + 300)))
        before = store.entries("prod/chat")
        retention = Retention(entries_s=0.0, buckets_s=DAY_S)
        assert store.prune(BEGIN + DAY_S, retention, within_s=0.0)["entries"] == BATCH
        assert store.entries("prod/chat") == before[BATCH:]
        assert store.prune(BEGIN + DAY_S, retention)["entries"] == 300
        assert store.prune(BEGIN + DAY_S, retention) == {}


def test_a_file_that_gets_too_large_loses_its_oldest_entries_alone(path: str) -> None:
    """A volume with a limit must not be reached: the pod would be evicted, and with it the ledger gone."""
    with Store.open(path) as store:
        store.record_all(ticks(story(ticks=1800)))
    full = Path(path).stat().st_size
    with Store.open(path) as store:
        before, kept = store.entries("prod/chat"), store.ledger()
        store.prune(BEGIN + 3600, Retention(most_bytes=full // 2))
        left = store.entries("prod/chat")
        assert 900 - BATCH < len(left) < 1000, "half of the file, less at most a step"
        assert left == before[-len(left) :]
        assert store.ledger() == kept
        assert store.newest_memory("prod/chat", Learnt) is not None
        store.record_all(ticks(story("prod/second", ticks=300)))
    assert Path(path).stat().st_size <= full, "what was freed is filled before the file grows"


def test_a_file_above_its_limit_is_shortened_and_one_within_it_keeps_its_free_pages(path: str) -> None:
    """A limit that was lowered is kept on the disk, not only inside of the file."""
    with Store.open(path) as store:
        store.record_all(ticks(story(ticks=1800)))
    full = Path(path).stat().st_size
    with Store.open(path) as store:
        store.prune(BEGIN + DAY_S, Retention(entries_s=0.0, most_bytes=full * 2))
    assert Path(path).stat().st_size == full, "the next entries fill it again"
    with Store.open(path) as store:
        store.prune(BEGIN + DAY_S, Retention(most_bytes=full // 4))
    assert Path(path).stat().st_size <= full // 4


def test_a_limit_that_the_ledger_alone_exceeds_ends_with_no_entries(path: str) -> None:
    """Nothing loops for ever, and the ledger is not given up for space."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        kept = store.ledger()
        store.prune(BEGIN + 3600, Retention(most_bytes=1))
        assert (store.entries("prod/chat"), store.ledger()) == ((), kept)


KEPT_ROWS = st.builds(
    lambda policy, state, accelerator, price, start, length, count: LedgerRow(
        policy=policy,
        model="m",
        accelerator=accelerator,
        state=state,
        start_at=BEGIN + start / 1000,
        end_at=BEGIN + (start + length) / 1000,
        accelerator_ms=count * length,
        price_usd_per_hour=price,
    ),
    policy=st.sampled_from(["a/x", "b/y"]),
    state=st.sampled_from(AcceleratorState),
    accelerator=st.sampled_from(["H100", "L4"]),
    price=st.sampled_from([None, 0.0, 2.5, 6.88]),
    start=st.integers(0, 9 * 3_600_000),
    length=st.integers(1, 5_000_000),
    count=st.integers(1, 16),
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(KEPT_ROWS, max_size=30),
    late=st.lists(KEPT_ROWS, max_size=8),
    ages=st.lists(st.integers(0, 12 * 3_600_000), min_size=1, max_size=4),
)
def test_rolling_up_preserves_every_sum_to_the_millisecond(
    rows: list[LedgerRow], late: list[LedgerRow], ages: list[int]
) -> None:
    """Whatever was recorded, whenever it is rolled up, and whatever comes late: no state, price or hour changes."""
    with Store.open(":memory:") as store:
        with store._engine.begin() as connection:
            accumulate(connection, bucket_rows(bucket_sums(rows)))
        expected = hourly(store.ledger())
        assert expected.total() == sum(row.accelerator_ms for row in rows)
        for age_ms in ages:
            store.prune(BEGIN + age_ms / 1000, Retention(buckets_s=0.0))
            assert hourly(store.ledger()) == expected
        with store._engine.begin() as connection:
            accumulate(connection, bucket_rows(bucket_sums(late)))
        expected = hourly(store.ledger())
        store.prune(BEGIN + DAY_S, Retention(buckets_s=0.0))
        rolled = store.ledger()
        assert hourly(rolled) == expected
        assert all(row.end_at - row.start_at == 3600 for row in rolled)
        assert len(rolled) == len(expected), "an hour is one row for each of its keys"


def test_an_hour_that_is_not_over_stays_in_buckets(path: str) -> None:
    """What is newer than the limit is as fine as it was, up to a whole hour."""
    with Store.open(path) as store:
        store.record_all(ticks(story(ticks=960)))
        store.prune(BEGIN + 3.5 * 3600, Retention(buckets_s=3600.0))
        hours = [(row.start_at - BEGIN) / 3600 for row in store.ledger() if row.end_at - row.start_at == 3600]
        fine = [(row.start_at - BEGIN) / 3600 for row in store.ledger() if row.end_at - row.start_at == 300]
        assert (max(hours), min(fine)) == (1.0, 2.0)
        assert {row.start_at for row in store.ledger(since=BEGIN + 1800, until=BEGIN + 3600)} == {BEGIN}


def test_a_store_of_the_version_before_is_migrated_and_its_ledger_is_in_buckets(path: str) -> None:
    """An upgrade keeps every row, and says of each how long it is."""
    with Store.open(path) as store:
        store.record_all(ticks(story()))
        kept = store.ledger()
    with sqlite3.connect(path) as raw:
        for index in ("ledger_by_length", "entries_by_digest", "memories_by_digest", "memories_by_time"):
            raw.execute(f"DROP INDEX {index}")
        raw.execute("ALTER TABLE ledger DROP COLUMN length_ms")
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
    raw.close()
    with pytest.raises(StoreError, match="start this version's controller on it once"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        assert store.ledger() == kept


def test_the_migrations_make_exactly_the_tables_of_the_schema(path: str) -> None:
    """The schema module and the migrations are two texts of one thing; they may not drift apart."""
    Store.open(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_reader_sees_ticks_while_the_writer_has_the_store_open(path: str) -> None:
    """Reading needs no stop of the controller, and a reader cannot write."""
    recorded = ticks(story(ticks=4))
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        writer.record_all(recorded[:2])
        assert len(reader.entries("prod/chat")) == 2
        writer.record_all(recorded[2:])
        assert len(reader.entries("prod/chat")) == 4
        with pytest.raises(StoreError, match="may not be written") as caught:
            reader.prune(BEGIN)
        assert caught.value.fault is Fault.UNWRITABLE


SPANS = st.builds(
    lambda start, length, n: LedgerRow(
        policy="p",
        model="m",
        accelerator="a",
        state=AcceleratorState.BUSY,
        start_at=start / 1000,
        end_at=(start + length) / 1000,
        accelerator_ms=n * length,
        price_usd_per_hour=None,
    ),
    st.integers(0, 2_000_000_000_000),
    st.integers(1, 2_000_000),
    st.integers(1, 64),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SPANS, max_size=6))
def test_cutting_rows_into_buckets_loses_nothing(rows: list[LedgerRow]) -> None:
    """Buckets sum to the rows exactly, and no bucket holds more than its length times the accelerators."""
    buckets = bucket_rows(bucket_sums(rows))
    assert sum(bucket["accelerator_ms"] for bucket in buckets) == sum(row.accelerator_ms for row in rows)
    accelerators = sum(row.accelerator_ms // round((row.end_at - row.start_at) * 1000) for row in rows)
    assert all(0 < bucket["accelerator_ms"] <= accelerators * BUCKET_MS for bucket in buckets)
