"""Start-up by phase, each phase with a distribution of its own, and what was recorded of starts.

A recording is a CSV with a column for each phase that it knows (``schedule_s, pull_s, load_s, warmup_s``; a row is one
start) or a run's journal. A journal knows no instant between the container's start and Ready, so all of that is *load*
in it. Phases that come from a recording are drawn from one and the same start of it: what was slow together stays slow
together. All others are drawn each for itself.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from autoscaler.core.signals import Replica
from autoscaler.journal import Entry
from simulator import journalfile
from simulator.distributions import NOTHING, Distribution, Empirical, uniforms
from simulator.startup import StartupModel, StartupTimes

PHASES = ("schedule_s", "pull_s", "load_s", "warmup_s")


class RecordingError(ValueError):
    """A recording of starts that cannot be used; the message says where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedStartup:
    """The distribution of each phase. Where replicas are placed on nodes, transfers come on top (``nodepool``)."""

    schedule: Distribution = NOTHING
    pull: Distribution = NOTHING
    load: Distribution = NOTHING
    warmup: Distribution = NOTHING

    def draw(self, *, seed: int, replica_id: int) -> StartupTimes:
        """Return the durations of replica ``replica_id``; the same for the same (seed, replica_id), always."""
        *own, recorded = uniforms(seed, replica_id, count=5)
        phases = (self.schedule, self.pull, self.load, self.warmup)
        schedule, pull, load, warmup = (
            phase.at(recorded if isinstance(phase, Empirical) else u) for phase, u in zip(phases, own, strict=True)
        )
        return StartupTimes(schedule_s=schedule, pull_s=pull, load_s=load, warmup_s=warmup)


Startup: TypeAlias = StartupModel | PhasedStartup
"""Whatever the durations of a replica's phases are drawn from."""


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


def starts_of(entries: Iterable[Entry]) -> tuple[StartupTimes, ...]:
    """Return the starts in a journal that came to Ready with all instants known, in the order of their first Ready."""
    found: dict[str, StartupTimes] = {}
    for entry in entries:
        for replica in entry.signals.replicas:
            if replica.uid not in found and (times := _times(replica)) is not None:
                found[replica.uid] = times
    return tuple(found.values())


def _times(replica: Replica) -> StartupTimes | None:
    if replica.scheduled_at is None or replica.started_at is None or replica.ready_at is None:
        return None
    return StartupTimes(
        schedule_s=replica.scheduled_at - replica.ordered_at,
        pull_s=replica.started_at - replica.scheduled_at,
        load_s=replica.ready_at - replica.started_at,
        warmup_s=0.0,
    )


def read_journal(path: Path) -> tuple[StartupTimes, ...]:
    """Return the starts in a journal file of a run.

    Raises:
        RecordingError: it cannot be read, or no start in it came to Ready.
    """
    try:
        starts = starts_of(journalfile.read(path))
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read the journal {path}; give the journal.jsonl.gz of a run") from error
    if not starts:
        raise RecordingError(f"no replica came to Ready in {path}; give the journal of a longer run")
    return starts


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
