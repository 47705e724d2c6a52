"""The journal as the controller writes it: never in the way, and never a stale memory."""

import asyncio
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.kube import KubeApi
from autoscaler.adapters.store import Retention, Store, Tick
from autoscaler.controller import book as book_module
from autoscaler.controller import clerk
from autoscaler.controller.book import Book, Recollection
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus, digest
from autoscaler.recall import MEMORY_FRESH_S, carried
from tests.adapters.journal_stories import BEGIN, hourly, spec, story
from tests.adapters.kube_servers import Server, serving
from tests.small_controller import controller, policy

SPEC = PolicySpec.model_validate(
    {
        "targetRef": {"name": "chat"},
        "model": {"name": "m"},
        "accelerator": {"class": "L4"},
        "replicas": {"min": 1, "max": 4},
    }
)
NOON = 1_795_000_000.0


def tick(at: float) -> Tick:
    """Return one tick of a policy."""
    memory, decision = decide(SPEC, initial(SPEC), Signals(at=at, spec_replicas=1))
    outcome = Outcome(status=OutcomeStatus.UNCHANGED)
    signals = Signals(at=at, spec_replicas=1)
    entry = Entry(
        policy="p/chat", policy_digest=digest(SPEC), at=at, signals=signals, decision=decision, outcome=outcome
    )
    return Tick(entry=entry, memory=memory, spec=SPEC)


def learnt(memory: object) -> Memory:
    """Return a memory that has seen cold starts of 77 s."""
    assert isinstance(memory, Memory)
    cold = replace(memory.coldstart, observations=(77.0, 77.0, 77.0))
    return replace(memory, coldstart=cold)


@pytest.mark.parametrize(
    ("age_s", "all_of_it", "starts"), [(1.0, True, 3), (MEMORY_FRESH_S + 1.0, False, 3), (-5.0, False, 0)]
)
def test_only_a_fresh_memory_is_taken_up_whole(tmp_path: Path, age_s: float, all_of_it: bool, starts: int) -> None:
    """A restart goes on from the newest memory; of an old one only the cold starts are kept, of a later one nothing."""
    now = NOON
    book = Book(Store.open(str(tmp_path / "journal.db")), wall=lambda: now)
    written = replace(tick(NOON), memory=learnt(tick(NOON).memory))
    book.append([written])
    now = NOON + age_s
    found = book.recollect("p/chat")
    assert found is not None
    recalled = book.taken_up(found, SPEC, initial(SPEC))
    assert (recalled == written.memory) is all_of_it
    assert len(recalled.coldstart.observations) == starts
    assert all_of_it or recalled.guard == initial(SPEC).guard
    book.close()


def renamed(**changed: Any) -> PolicySpec:
    """Return the policy with other parts."""
    return PolicySpec.model_validate(SPEC.model_dump(by_alias=True) | changed)


@pytest.mark.parametrize(
    ("now", "demand", "starts"),
    [
        (renamed(replicas={"min": 2, "max": 9}), True, 3),
        (renamed(targetRef={"name": "other"}), False, 3),
        (renamed(targetRef={"name": "other"}, accelerator={"class": "B200"}), False, 0),
        (renamed(model={"name": "other"}), False, 0),
    ],
    ids=["the same target", "another target", "another target on others", "another model"],
)
def test_a_policy_made_anew_for_another_target_does_not_begin_with_the_demand_of_the_old_one(
    tmp_path: Path, now: PolicySpec, demand: bool, starts: int
) -> None:
    """A name once was enough: an idle target of 2 replicas went to 7 on what had been asked of the old one."""
    book = Book(Store.open(str(tmp_path / "journal.db")), wall=lambda: NOON + 30)
    written = replace(tick(NOON), memory=learnt(tick(NOON).memory))
    book.append([written])
    found = book.recollect("p/chat")
    assert found is not None
    for taken in (
        book.taken_up(found, now, initial(now)),  # Deleted and made anew.
        carried(learnt(written.memory), was=SPEC, now=now, first=initial(now)),  # Edited in place.
    ):
        assert (taken.guard == learnt(written.memory).guard) is demand
        assert len(taken.coldstart.observations) == starts
    book.close()


def test_a_policy_that_is_edited_to_another_target_begins_anew() -> None:
    """A new range of replicas keeps what was seen; a new target does not."""
    body = policy(0)
    target = {"targetRef": {"name": "other"}}

    async def story(api: KubeApi) -> None:
        fleet = controller(api, 0)._fleet
        fleet.refresh([body])
        driver = fleet.members[0].driver
        assert driver is not None
        driver.memory, _ = decide(driver.policy, driver.memory, Signals(at=NOON, spec_replicas=4))
        seen = driver.memory
        assert seen != initial(driver.policy)
        for changed, kept in (({"replicas": {"min": 1, "max": 3}}, True), (target, False)):
            fleet.refresh([body | {"spec": body["spec"] | changed}])
            driver = fleet.members[0].driver
            assert driver is not None
            assert driver.memory.guard == (seen if kept else initial(driver.policy)).guard

    with serving(Server) as api:
        asyncio.run(story(api))


def pragma(store: Store, text: str) -> int:
    """Set or read something of a store's one connection, outside of any transaction."""
    raw = store._engine.raw_connection()
    (value,) = raw.cursor().execute(f"PRAGMA {text}").fetchone() or (0,)
    raw.close()
    return int(value)


def writable(store: Store, *, yes: bool) -> None:
    """Let a store be written or not: SQLite itself refuses, as it does on a volume that became read-only."""
    pragma(store, f"query_only={'OFF' if yes else 'ON'}")


def no_larger(store: Store) -> None:
    """Let a store's file grow no more: SQLite's own limit of pages stands in for a disk that is full."""
    pragma(store, f"max_page_count={pragma(store, 'page_count')}")


def lived(ticks: int) -> list[Tick]:
    """Return the ticks of a policy's life: a replica more comes and goes, and costs."""
    return [Tick(entry=entry, memory=None, spec=spec()) for entry in story(ticks=ticks)]


def untroubled(ticks: list[Tick], folder: Path) -> Store:
    """Return a store in which all was written in time."""
    store = Store.open(str(folder / "untroubled.db"))
    store.record_all(ticks)
    return store


def test_what_could_not_be_written_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that cannot be written stops nothing, is told of once, and loses nothing that fits into memory."""
    store = Store.open(str(tmp_path / "journal.db"))
    book = Book(store, wall=lambda: NOON)
    writable(store, yes=False)
    book.append([tick(NOON)])
    book.append([tick(NOON + 15)])
    assert (book.waiting, book.lost) == (2, 0)
    assert "scaling goes on without them" in book.trouble
    assert "may not be written; check the rights" in book.trouble
    writable(store, yes=True)
    book.append([tick(NOON + 30)])
    assert (book.waiting, book.lost, book.trouble) == (0, 0, "")
    assert [entry.at for entry in store.entries("p/chat")] == [NOON, NOON + 15, NOON + 30]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    book.close()


@pytest.mark.parametrize("written_before", [0, 1, 30], ids=["never", "once", "for a while"])
def test_of_what_waits_too_long_the_entries_are_given_up_and_the_ledger_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_before: int
) -> None:
    """A long trouble costs journal entries, and says how many: of the ledger not a millisecond, nor a cold start."""
    monkeypatch.setattr(book_module, "WAITING_MAX", 20)
    ticks = lived(400)
    store = Store.open(str(tmp_path / "journal.db"))
    book = Book(store, wall=lambda: BEGIN)
    for one in ticks[:written_before]:
        book.append([one])
    writable(store, yes=False)
    for one in ticks[written_before:-1]:
        book.append([one])
        assert book.waiting <= 20
    assert book.lost == 400 - written_before - 1 - 20
    writable(store, yes=True)
    book.append(ticks[-1:])
    assert len(store.entries("prod/chat")) == written_before + 21
    with untroubled(ticks, tmp_path) as whole:
        assert hourly(store.ledger()) == hourly(whole.ledger())
        assert store.coldstarts("prod/chat") == whole.coldstarts("prod/chat")
    book.close()


def test_what_another_controller_wrote_meanwhile_is_not_charged_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger goes on from what is in the store: whoever comes back with older sums drops them."""
    monkeypatch.setattr(book_module, "WAITING_MAX", 5)
    ticks = lived(200)
    mine, other = (Store.open(str(tmp_path / "shared.db")) for _ in range(2))
    book = Book(mine, wall=lambda: BEGIN)
    book.append(ticks[:10])
    writable(mine, yes=False)
    for one in ticks[10:100]:
        book.append([one])
    other.record_all(ticks[10:150])
    writable(mine, yes=True)
    book.append(ticks[150:])
    with untroubled(ticks, tmp_path) as whole:
        assert hourly(mine.ledger()) == hourly(whole.ledger())
    other.close()
    book.close()


def test_on_a_full_disk_the_oldest_entries_make_room_and_the_ledger_is_whole(tmp_path: Path) -> None:
    """The newest hours are what one asks for at night; the file does not grow, and it is told."""
    ticks = lived(1500)
    store = Store.open(str(tmp_path / "journal.db"))
    book = Book(store, wall=lambda: BEGIN)
    book.append(ticks[:600])
    no_larger(store)
    full = pragma(store, "page_count")
    for one in ticks[600:]:
        book.append([one])
        assert book.waiting == 0
    assert "the disk is full, so the oldest journal entries make room" in book.trouble
    kept = store.entries("prod/chat")
    assert kept == tuple(one.entry for one in ticks[-len(kept) :])
    assert len(kept) >= 100
    with untroubled(ticks, tmp_path) as whole:
        assert store.ledger() == whole.ledger()
    assert pragma(store, "page_count") == full
    book.close()


def test_a_disk_so_full_that_nothing_can_be_deleted_leaves_the_ticks_waiting(tmp_path: Path) -> None:
    """Without an old entry to give up there is no room to make: the ticks wait, and the file is as it was."""
    store = Store.open(str(tmp_path / "journal.db"))
    no_larger(store)
    book = Book(store, wall=lambda: NOON)
    book.append([tick(NOON + 15 * i) for i in range(200)])
    assert book.waiting == 200
    assert "the disk is full" in book.trouble
    assert store.policies() == ()
    book.close()


def test_what_was_never_written_is_told_when_the_controller_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Sums that only this process knew are gone with it: how many hours, the log says."""
    monkeypatch.setattr(book_module, "WAITING_MAX", 10)
    store = Store.open(str(tmp_path / "journal.db"))
    book = Book(store, wall=lambda: BEGIN)
    writable(store, yes=False)
    book.append(lived(251))
    book.close()
    assert "251 journal entries and 2.6 accelerator-hours of the ledger were never written" in caplog.text


def test_what_grew_old_while_nobody_ran_goes_with_the_first_tick(tmp_path: Path) -> None:
    """A controller that is restarted every half hour keeps its journal as bounded as one that runs for weeks."""
    store = Store.open(str(tmp_path / "journal.db"))
    store.record_all([tick(NOON)])
    book = Book(store, retention=Retention(entries_s=3600.0), wall=lambda: NOON + 7200)
    book.append([tick(NOON + 7200)])
    assert [entry.at for entry in store.entries("p/chat")] == [NOON + 7200]
    book.close()


def test_without_a_store_nothing_is_kept(tmp_path: Path) -> None:
    """No store is a choice, not a fault."""
    book = Book(None)
    book.append([tick(NOON)])
    assert book.recollect("p/chat") == Recollection()
    assert book.taken_up(Recollection(), SPEC, initial(SPEC)) == initial(SPEC)


@pytest.mark.servers
def test_a_store_in_trouble_is_told_and_targets_are_scaled_all_the_same(tmp_path: Path) -> None:
    """Who is asked at night why explain is silent finds it in the policy's status, the metrics and the log."""

    async def story(api: KubeApi) -> None:
        store = Store.open(str(tmp_path / "journal.db"))
        made = controller(api, 2, Book(store))
        writable(store, yes=False)
        await made.tick(NOON)
        await made.tick(NOON + 15)
        for member in made._fleet.members:
            told = member.status.condition("StoreTrouble")
            assert told is not None
            assert "journal and ledger are not written, scaling goes on without them" in told.message
            able = member.status.condition("AbleToScale")
            assert (able and able.status) == "True"
        assert made.metrics.registry.get_sample_value("inference_autoscaler_store_trouble") == 1.0
        assert made.metrics.registry.get_sample_value("inference_autoscaler_waiting_entries") == 4.0
        writable(store, yes=True)
        await made.tick(NOON + 30)
        await made.tick(NOON + 45)
        assert made.metrics.registry.get_sample_value("inference_autoscaler_store_trouble") == 0.0
        assert {member.status.condition("StoreTrouble") for member in made._fleet.members} == {None}
        assert len(store.entries("prod/chat-000")) == 4
        store.close()

    with serving(Server) as api:
        asyncio.run(story(api))


@pytest.mark.servers
def test_a_store_that_hangs_does_not_hold_up_the_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process keeps the file locked and never lets go: ticks go on, all of it is written when it does."""
    monkeypatch.setattr("autoscaler.adapters.store_engine.BUSY_TIMEOUT_S", 60.0)
    monkeypatch.setattr(clerk, "WAITED_S", 0.3)

    async def story(api: KubeApi) -> None:
        store = Store.open(str(tmp_path / "journal.db"))
        made = controller(api, 2, Book(store))
        holder = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for i in range(4):
            await made.tick(NOON + 15 * i)
        assert time.monotonic() - began < 10.0
        told = made._fleet.members[0].status.condition("StoreTrouble")
        assert told is not None
        assert "the store has not answered for 0.3 s; scaling goes on" in told.message
        assert made.metrics.registry.get_sample_value("inference_autoscaler_store_trouble") == 1.0
        holder.execute("ROLLBACK")
        holder.close()
        await made._clerk.finish()
        assert made._clerk.trouble == ""
        assert [entry.at for entry in store.entries("prod/chat-001")] == [NOON, NOON + 15, NOON + 30, NOON + 45]
        store.close()

    with serving(Server) as api:
        asyncio.run(story(api))


def test_a_store_that_cannot_be_read_is_asked_once_and_not_by_every_policy(tmp_path: Path) -> None:
    """Hundreds of policies that recall their memories from a server that is down do not add up its timeouts."""
    store = Store.open(str(tmp_path / "journal.db"))
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE memories")
    now = NOON
    book = Book(store, wall=lambda: now)
    assert book.recollect("p/a") is None
    assert "lacks a table" in book.trouble
    book.trouble = ""
    assert book.recollect("p/b") is None
    assert book.trouble == "", "it was not asked again"
    now += 31.0
    book.recollect("p/c")
    assert "lacks a table" in book.trouble
    book.close()
