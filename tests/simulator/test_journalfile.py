"""Journal files: what is written is read again, whole or not at all, and the same entries give the same bytes."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.journal import Entry
from simulator import journalfile
from tests.simulator.small_demo import told


def entries() -> tuple[Entry, ...]:
    """Return the journal of a real run, its first ten minutes."""
    return told(0).entries[:40]


def broken() -> Iterator[Entry]:
    """Yield two entries and fail, as a run that is interrupted."""
    yield from entries()[:2]
    raise KeyboardInterrupt


def test_a_journal_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every entry, every number, every missing value, in their order."""
    path = tmp_path / "journal.jsonl.gz"
    journalfile.write(path, entries())
    assert tuple(journalfile.read(path)) == entries()
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_entries_give_the_same_bytes_whatever_the_file_is_called(tmp_path: Path) -> None:
    """Neither name nor time of day gets into the file."""
    journalfile.write(tmp_path / "a.jsonl.gz", entries())
    journalfile.write(tmp_path / "b.jsonl.gz", entries())
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    """The old journal stays, and no part of the new one."""
    path = tmp_path / "journal.jsonl.gz"
    journalfile.write(path, entries()[:1])
    with pytest.raises(KeyboardInterrupt):
        journalfile.write(path, broken())
    assert tuple(journalfile.read(path)) == entries()[:1]
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_journals_all_are_written_or_none(tmp_path: Path) -> None:
    """The second fails: the first is not there either."""
    with pytest.raises(KeyboardInterrupt):
        journalfile.write_all({tmp_path / "a.gz": entries()[:3], tmp_path / "b.gz": broken()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut off", "not compressed", "flipped"])
def test_a_damaged_file_is_an_error_of_reading(tmp_path: Path, damage: str) -> None:
    """Cut off, plain text, or a byte flipped: OSError, which the command line tells in a sentence."""
    path = tmp_path / "journal.jsonl.gz"
    journalfile.write(path, entries())
    data = path.read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0xFF]) + data[len(data) // 2 + 1 :]
    path.write_bytes({"cut off": data[:-20], "not compressed": b"{}\n", "flipped": flipped}[damage])
    with pytest.raises((OSError, ValueError)):
        tuple(journalfile.read(path))


def test_a_line_of_another_version_is_refused(tmp_path: Path) -> None:
    """An entry without its fields is no entry."""
    path = tmp_path / "journal.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"policy": "m/x"}\n'))
    with pytest.raises(ValueError, match="signals"):
        tuple(journalfile.read(path))
