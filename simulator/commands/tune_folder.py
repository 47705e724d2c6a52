"""The folder of a search: what it is a search of (``task.json``), and what was tried (``trials.jsonl``).

``trials.jsonl`` has one line for each setting, in the order of their numbers, on the disk before the next one is
tried. A line that was cut off, as the machine went down, was never tried. One search at a time writes to a folder.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import click

from simulator.commands import inputs
from simulator.experiments.policy_settings import Settings
from simulator.experiments.provenance import write_json
from simulator.experiments.search import Figures, Tried

TASK, TRIALS = "task.json", "trials.jsonl"
GO_ON = "all that was tried is kept: mend this and go on by --resume"
_GIVEN = {
    "trace": "another trace, or options of reading that make it another",
    "policy": "another policy",
    "coldstart_s": "another cold start (--cold-start, --cluster)",
    "faults": "other --faults",
    "cluster": "another --cluster",
    "joint": "another choice of --joint",
    "versions": "other versions of the simulator or its packages",
}
"""What a part of the task is called; the others are options of the same name."""


def begin(out: Path, task: Mapping[str, Any]) -> Path:
    """Make the folder of a new search.

    Raises:
        click.ClickException: it is there already, or cannot be made.
    """
    if (out / TASK).exists():
        raise click.ClickException(
            f"{out} is a search already, nothing was overwritten; go on with it by --resume,"
            " or name another folder by --out"
        )
    folder = inputs.new_folder(out)
    try:
        with inputs.told_writing(folder / TASK):
            write_json(folder / TASK, task)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def refuse_another(out: Path, task: Mapping[str, Any]) -> None:
    """Refuse to go on with a search of something else: what was tried there says nothing here.

    Raises:
        click.ClickException: it is one, by name of what is not the same, or there is none.
    """
    try:
        known = json.loads((out / TASK).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{out} holds no search to resume; leave --resume out to begin one") from error
    other = [key for key in sorted({*known, *task}) if known.get(key) != task.get(key)]
    if other:
        told = " and ".join(_difference(key, known.get(key), task.get(key)) for key in other)
        raise click.ClickException(
            f"{out} is a search on other input, this one has {told};"
            " give what it was begun with, or another folder by --out"
        )


def _difference(key: str, known: Any, given: Any) -> str:  # noqa: ANN401 - whatever stands in the file
    called = _GIVEN.get(key, f"another --{key}")
    return called if key in _GIVEN else f"{called} ({given}, not {known})"


@contextmanager
def opened(folder: Path) -> Iterator[tuple[tuple[Tried, ...], Callable[[Tried], None]]]:
    """Yield what was tried, and what keeps the next that was.

    Raises:
        click.ClickException: the file cannot be written or is damaged, or another search writes to it.
    """
    path = folder / TRIALS
    with ExitStack() as files:
        with inputs.told_writing(path, GO_ON):
            file = files.enter_context(path.open("a+b"))
            lines = _locked_lines(file, folder)
        tried = tuple(_read(path, number, line) for number, line in enumerate(lines))
        numbers = count(len(tried))

        def keep(one: Tried) -> None:
            with inputs.told_writing(path, GO_ON):
                file.write(_line(next(numbers), one))
                file.flush()
                os.fsync(file.fileno())

        yield tried, keep


def _locked_lines(file: BinaryIO, folder: Path) -> list[bytes]:
    """Return the whole lines of the file, which is this process's alone from now on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.ClickException(
            f"another search is going on in {folder}; wait for it, or name another folder by --out"
        ) from None
    file.seek(0)
    lines = file.read().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        file.truncate(sum(map(len, lines)))
    return lines


def _line(number: int, one: Tried) -> bytes:
    settings = None if one.settings is None else one.settings.as_json()
    return json.dumps({"number": number, "settings": settings, **asdict(one.figures)}).encode() + b"\n"


def _read(path: Path, number: int, line: bytes) -> Tried:
    try:
        value = json.loads(line)
        if value["number"] != number:
            raise ValueError(f"number {value['number']}")
        settings = None if value["settings"] is None else Settings.of_json(value["settings"])
        figures = Figures(
            attainments=tuple(map(float, value["attainments"])),
            hours_by_seed=tuple(map(float, value["hours_by_seed"])),
            requests=int(value["requests"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise click.ClickException(
            f"{path}:{number + 1}: the search is damaged here; delete this line and all after it, and resume,"
            " or begin anew in another folder by --out"
        ) from error
    return Tried(settings=settings, figures=figures)
