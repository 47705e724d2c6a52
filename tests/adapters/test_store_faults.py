"""The store when things go wrong, on real files and real processes: told in one sentence, nothing half-written."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoscaler.adapters.store import Fault, Store, StoreError, Tick, open_or_quarantine
from tests.adapters.journal_stories import spec, story

ROOT = Path(__file__).resolve().parents[2]

# Writes the story for the policies that its arguments name, one transaction for each tick, then says so.
WRITER = """
import sys
from autoscaler.adapters.store import Store, Tick
from tests.adapters.journal_stories import spec, story
path, ticks, *names = sys.argv[1:]
stories = [story(name, int(ticks)) for name in names]
with Store.open(path) as store:
    for entries in zip(*stories):
        store.record_all([Tick(entry=entry, memory=None, spec=spec()) for entry in entries])
        print(entries[0].at, flush=True)
print("done")
"""


def writer(path: Path, ticks: int, *names: str) -> subprocess.Popen[str]:
    """Start a process that writes."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(ticks), *names], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def fill(path: Path) -> None:
    """Write a short story."""
    with Store.open(str(path)) as store:
        store.record_all([Tick(entry=entry, memory=None, spec=spec()) for entry in story(ticks=40)])


def fault_of(path: str, *, read_only: bool = False) -> tuple[Fault, str]:
    """Return the fault of opening a store, and its sentence."""
    with pytest.raises(StoreError) as caught:
        Store.open(path, read_only=read_only)
    return caught.value.fault, str(caught.value)


def test_two_processes_open_and_write_one_new_store(tmp_path: Path) -> None:
    """Both migrate at the same instant and write in turns; every tick of both is there."""
    path = tmp_path / "autoscaler.db"
    processes = [writer(path, 20, f"ns/{name}") for name in "ab"]
    outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [output.split()[-1] for output in outputs] == ["done", "done"]
    with Store.open(str(path)) as store:
        assert [len(store.entries(f"ns/{name}")) for name in "ab"] == [20, 20]


def test_a_kill_in_the_middle_leaves_whole_ticks_only(tmp_path: Path) -> None:
    """After kill -9, a tick is there for all policies or for none, the ledger fits it, and writing goes on."""
    path = tmp_path / "autoscaler.db"
    names = [f"ns/p{i}" for i in range(8)]
    process = writer(path, 120, *names)
    assert process.stdout is not None
    for _ in range(8):
        process.stdout.readline()
    time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    with Store.open(str(path)) as store:
        counts = {len(store.entries(name)) for name in names}
        assert len(counts) == 1
        (count,) = counts
        assert 8 <= count < 120
        store.record_all([Tick(entry=e, memory=None, spec=spec()) for name in names for e in story(name)])
        finished = store.ledger(policy=names[0])
    with Store.open(str(tmp_path / "whole.db")) as whole:
        whole.record_all([Tick(entry=e, memory=None, spec=spec()) for e in story(names[0])])
        assert finished == whole.ledger()


def test_a_file_that_is_no_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    """Opening never destroys what it cannot read, neither to read nor to write."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database at all\n" * 50)
    before = path.read_bytes()
    for read_only in (False, True):
        fault, sentence = fault_of(str(path), read_only=read_only)
        assert (fault, sentence) == (
            Fault.CORRUPT,
            f"store {path} is not a database; name another file, or move this one away",
        )
    assert path.read_bytes() == before


def test_a_damaged_file_is_quarantined_by_the_controller_only(tmp_path: Path) -> None:
    """The controller keeps the damaged file under another name and begins a new one; the reader only reports."""
    path = tmp_path / "autoscaler.db"
    fill(path)
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 : 4096 * 6] = b"\xa5" * 4096 * 4
    path.write_bytes(damaged)
    store, message = open_or_quarantine(str(path), 1_800_000_000.4)
    with store:
        assert store.policies() == ()
    kept = tmp_path / "autoscaler.db.corrupt-1800000000"
    assert kept.read_bytes() == damaged
    assert message is not None
    assert message.startswith(f"STORE DAMAGED: {path} was kept as {kept}")


def test_a_file_that_is_no_database_is_left_where_it_is(tmp_path: Path) -> None:
    """A mistyped --store must not move somebody's kubeconfig away: it is refused, and stays as it was."""
    path = tmp_path / "precious.yaml"
    path.write_text("precious: secret\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"precious\.yaml is not a database; name another file"):
        open_or_quarantine(str(path), 0.0)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["precious.yaml"]


def test_a_sound_store_is_not_quarantined(tmp_path: Path) -> None:
    """Only damage moves a file away: a locked, missing or later one is somebody's data."""
    path = tmp_path / "autoscaler.db"
    fill(path)
    store, message = open_or_quarantine(str(path), 0.0)
    with store:
        assert message is None
        assert len(store.entries("prod/chat")) == 40
    with pytest.raises(StoreError, match="does not exist"):
        open_or_quarantine(str(tmp_path / "none" / "autoscaler.db"), 0.0)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["autoscaler.db"]


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    """A store of a later version is neither read wrongly nor migrated backwards."""
    path = tmp_path / "autoscaler.db"
    fill(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    for read_only in (False, True):
        fault, sentence = fault_of(str(path), read_only=read_only)
        assert fault is Fault.SCHEMA
        assert sentence == f"store {path} was written by a later version (schema 9999); upgrade this program"


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """Our tables are never put among somebody else's."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE accounts (id INTEGER)")
    raw.close()
    assert fault_of(str(path))[0] is Fault.SCHEMA
    assert fault_of(str(path), read_only=True)[0] is Fault.SCHEMA


def test_an_empty_file_is_filled_by_the_writer_and_refused_by_the_reader(tmp_path: Path) -> None:
    """A file of no bytes is a store not yet begun: the reader says who begins it."""
    path = tmp_path / "autoscaler.db"
    path.touch()
    fault, sentence = fault_of(str(path), read_only=True)
    assert fault is Fault.SCHEMA
    assert "start this version's controller" in sentence
    Store.open(str(path)).close()
    Store.open(str(path), read_only=True).close()


def test_a_missing_store_is_named_with_its_remedy(tmp_path: Path) -> None:
    """Reading never makes a file; writing never makes a directory."""
    missing = tmp_path / "none.db"
    assert fault_of(str(missing), read_only=True)[0] is Fault.MISSING
    assert not missing.exists()
    assert fault_of(str(tmp_path / "none" / "a.db")) == (
        Fault.MISSING,
        f"store {tmp_path}/none/a.db cannot be made: directory {tmp_path}/none does not exist; make it first",
    )
    assert fault_of(str(tmp_path))[0] is Fault.BAD_URL


READ_THEN_WRITE = """
import sys
from autoscaler.adapters.store import Store, StoreError
for name, read_only in ((sys.argv[1], True), (sys.argv[1], False), (sys.argv[1] + ".new", False)):
    try:
        with Store.open(name, read_only=read_only) as store:
            print(len(store.entries("prod/chat")))
    except StoreError as error:
        print(error.fault)
"""


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root needs setpriv")
@pytest.mark.parametrize(
    ("mode", "lines"),
    [(0o555, ["40", "unwritable", "unwritable"]), (0o000, ["unwritable", "unwritable", "unwritable"])],
    ids=["read-only directory", "directory of somebody else"],
)
def test_a_directory_without_rights_is_told(tmp_path: Path, mode: int, lines: list[str]) -> None:
    """As a user without rights: a closed store can be read where it can be reached; writing names the rights."""
    place = tmp_path / "var"
    place.mkdir()
    fill(place / "autoscaler.db")
    # All folders of pytest's own, of which there is one more where tests run side by side.
    for parent in tmp_path.parents[:-2]:
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    (place / "autoscaler.db").chmod(0o444)
    place.chmod(mode)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-B", "-c", READ_THEN_WRITE, str(place / "autoscaler.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    place.chmod(0o755)
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


def test_a_locked_store_is_told_and_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that holds the write lock costs the busy timeout, then one sentence; the tick can come again."""
    monkeypatch.setattr("autoscaler.adapters.store_engine.BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "autoscaler.db"
    entries = story(ticks=2)
    with Store.open(str(path)) as store:
        store.record(entries[0], None, spec())
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process") as caught:
            store.record(entries[1], None, spec())
        assert caught.value.fault is Fault.LOCKED
        holder.execute("ROLLBACK")
        holder.close()
        store.record(entries[1], None, spec())
        assert store.entries("prod/chat") == tuple(entries)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """SQLite's own page limit stands in for the disk: the tick that does not fit is not there at all."""
    path = tmp_path / "autoscaler.db"
    with Store.open(str(path)) as store:
        store.record_all([Tick(entry=entry, memory=None, spec=spec()) for entry in story(ticks=2)])
        with store._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        many = [Tick(entry=e, memory=None, spec=spec()) for i in range(60) for e in story(f"ns/{i}", 3)]
        with pytest.raises(StoreError, match="disk is full") as caught:
            store.record_all(many)
        assert caught.value.fault is Fault.FULL
        assert store.policies() == ("prod/chat",)
        assert len(store.entries("prod/chat")) == 2


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://host/db", "store mysql://host/db must be sqlite or postgresql"),
        ("://", "store '://' is no path and no URL, e.g. sqlite:///autoscaler.db"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str, sentence: str) -> None:
    """An address is judged before anything is opened."""
    assert fault_of(url) == (Fault.BAD_URL, sentence)


def test_a_password_is_never_shown() -> None:
    """The sentence about a server that cannot be used names the place without its secret."""
    assert "secret" not in fault_of("postgresql+nodriver://user:secret@localhost/db")[1]
