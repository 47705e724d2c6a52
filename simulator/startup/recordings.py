"""What was recorded of starts, by phase: a CSV, a controller's store, or the journal of a run.

A CSV has a column for each phase that it knows (``schedule_s, pull_s, load_s, warmup_s``), and a row is one start. A
store or journal knows no instant between the container's start and Ready, so all of that is *load* in it; starts of
which an instant was not seen are left out.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from autoscaler.report import Start, starts_of
from simulator import journalfile
from simulator.startup.distributions import Empirical
from simulator.startup.model import StartupTimes
from simulator.startup.phases import PhasedStartup
from simulator.traces import TraceError
from simulator.traces.forms import SQLITE_MAGIC
from simulator.traces.journal import store_starts


class RecordingError(ValueError):
    """A recording of starts that cannot be used; the message says where and what to do."""


def recorded(starts: Iterable[StartupTimes]) -> PhasedStartup:
    """Return the distribution of recorded starts.

    Raises:
        ValueError: there is none.
    """
    rows = tuple(starts)
    return PhasedStartup(
        schedule=Empirical(samples_s=tuple(row.schedule_s for row in rows)),
        pull=Empirical(samples_s=tuple(row.pull_s for row in rows)),
        load=Empirical(samples_s=tuple(row.load_s for row in rows)),
        warmup=Empirical(samples_s=tuple(row.warmup_s for row in rows)),
    )


def times_of(starts: Iterable[Start]) -> tuple[StartupTimes, ...]:
    """Return the phases of the starts of which all instants are known, each replica once, in their order."""
    found: dict[str, StartupTimes] = {}
    for start in starts:
        if start.scheduled_at is None or start.started_at is None:
            continue
        found[start.uid] = StartupTimes(
            schedule_s=start.scheduled_at - start.ordered_at,
            pull_s=start.started_at - start.scheduled_at,
            load_s=start.ready_at - start.started_at,
            warmup_s=0.0,
        )
    return tuple(found.values())


def read_journal(place: str, folder: Path, policy: str | None = None) -> tuple[StartupTimes, ...]:
    """Return the starts in a controller's store (a path or a URL) or in the journal file of a run.

    Raises:
        RecordingError: it cannot be read, has no such policy, or no start in it came to Ready with all instants known.
    """
    # A URL may hold a password.
    url = "://" in place
    shown = "the store" if url else str(folder / place)
    try:
        if url or _begins_as_store(folder / place):
            starts = times_of(store_starts(place if url else shown, policy))
        else:
            starts = times_of(
                start
                for entry in journalfile.read(folder / place)
                if policy in {None, entry.policy}
                for start in starts_of(entry.signals, since_at=float("-inf"))
            )
    except TraceError as error:
        raise RecordingError(str(error)) from error
    except (OSError, ValueError) as error:
        raise RecordingError(
            f"cannot read the journal {shown}; give the journal.jsonl.gz of a run, or a controller's store"
        ) from error
    if not starts:
        which = "" if policy is None else f" of {policy}"
        raise RecordingError(
            f"no replica{which} came to Ready with all its phases seen in {shown}; give a longer journal"
        )
    return starts


def _begins_as_store(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def read_csv(path: Path, column: str) -> tuple[float, ...]:
    """Return one column of a CSV of durations in seconds, row by row.

    Raises:
        RecordingError: it cannot be read, has no such column or no row, or a cell is no duration.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if column not in (rows.fieldnames or ()):
                there = ", ".join(rows.fieldnames or ()) or "none"
                raise RecordingError(f"{path}: no column {column}; there are: {there}")
            samples = tuple(_cell(path, rows.line_num, column, row[column]) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not a CSV in UTF-8"
        raise RecordingError(f"cannot read {path}: {reason}; give a CSV of durations") from error
    if not samples:
        raise RecordingError(f"{path}: no row below the heading; give one row for each start")
    return samples


def _cell(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        return Empirical(samples_s=(float(text or ""),)).samples_s[0]
    except ValueError as error:
        raise RecordingError(
            f"{path}:{line}: {column} is {text!r}; give seconds, 0 or more, or leave the row out"
        ) from error
