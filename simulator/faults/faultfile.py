"""Fault files: YAML to a ``FaultPlan``; every mistake at once, each with its line and what to do about it.

faults:
  - fault: prometheusDown
    startSeconds: 600
    durationSeconds: 120
  - fault: targetDown
    perHour: 2
    durationSeconds: 60
    share: 0.5
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from simulator.faults.kinds import MODELS, Fault, Kind, NodeLoss, SpotReclaim, Stockout
from simulator.faults.plan import FaultPlan
from simulator.inputfile import InputFile, InputFileError, Part, read_text

_REMEDY = "give one list of faults, which begins with faults:"


class _Lines(Part):
    faults: tuple[Any, ...] = Field(min_length=1, description="a list; begin each fault with '- fault: '.")


class _Named(Part):
    model_config = ConfigDict(extra="ignore")

    fault: Kind = Field(description="what goes wrong, e.g. prometheusDown.")


def read(path: Path, *, span_s: float, groups: Sequence[str] | None = None) -> FaultPlan:
    """Return the faults of a file for a trace of ``span_s`` seconds, and nodes of these groups (None: no nodes).

    Raises:
        InputFileError: the file cannot be read, or all that is wrong in it.
    """
    return parse(read_text(path, "the faults"), str(path), span_s=span_s, groups=groups)


def parse(text: str, source: str, *, span_s: float, groups: Sequence[str] | None = None) -> FaultPlan:
    """Return the faults of a text, which messages call ``source``.

    Raises:
        InputFileError: as ``read``.
    """
    file = InputFile(text, source, remedy=_REMEDY)
    lines = file.part(_Lines, file.data).faults
    faults: list[Fault] = []
    problems: list[str] = []
    for index, line in enumerate(lines):
        try:
            kind = file.part(_Named, line, ("faults", index)).fault
            fault = file.part(MODELS[kind], line, ("faults", index))
        except InputFileError as error:
            problems.append(str(error))
            continue
        problems += [file.told(("faults", index, *path), said) for path, said in _unfit(fault, span_s, groups)]
        faults.append(fault)
    if problems:
        raise InputFileError("\n".join(problems))
    return FaultPlan(faults=tuple(faults))


def _unfit(fault: Fault, span_s: float, groups: Sequence[str] | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with a fault on traffic of this length and on these nodes."""
    if fault.start_seconds is not None and fault.start_seconds >= span_s:
        yield (
            ("startSeconds",),
            f"{fault.start_seconds:g} s is after the trace's end; it lasts {span_s:.0f} s, so begin before that",
        )
    if isinstance(fault, (NodeLoss, SpotReclaim)) and groups is None:
        yield ("fault",), f"{fault.fault.value} befalls nodes, and there are none; give some by --cluster"
    named = fault.group if isinstance(fault, (NodeLoss, SpotReclaim, Stockout)) else None
    if named is not None and named not in (groups or ()):
        there = ", ".join(groups or ()) or "none; give some by --cluster"
        yield ("group",), f"there is no node group {named}; there are: {there}"
