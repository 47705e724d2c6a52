"""Traces as comma-separated values: a header that names the columns, then a request on each line."""

import csv
import re
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from simulator.traces.lines import TOLD, BrokenLineError, opened_text, tokens
from simulator.traces.trace import TraceError

_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def csv_lines(place: str, path: Path | Traversable, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of every line after the header, the wanted columns in their order; short lines whole.

    Raises:
        TraceError: no such file, an empty one, a column is not there, or no CSV.
    """
    with opened_text(place, path) as file:
        rows = csv.reader(file)
        try:
            header = next(rows, None)
            if header is None:
                raise TraceError(f"{place}: the file is empty; give a header and one row per request")
            wanted = _places(place, [name.strip() for name in header], columns)
            for row in rows:
                if row:
                    yield rows.line_num, [row[at] for at in wanted] if len(row) > max(wanted) else row[:0]
        except csv.Error as error:
            remedy = "give one request per line, comma-separated"
            raise TraceError(f"{place}, line {rows.line_num}: no CSV ({error}); {remedy}") from None


def _places(place: str, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    missing = [column for column in columns if column not in header]
    if missing:
        raise TraceError(
            f"{place}, line 1: no column {' and '.join(missing)} (found: {', '.join(header)[:TOLD]});"
            f" the header must name {', '.join(columns)}"
        )
    return [header.index(column) for column in columns]


def fields_of(row: Sequence[str]) -> list[str]:
    """Return the fields of a line without the space around them.

    Raises:
        BrokenLineError: there were fewer than the header has.
    """
    if not row:
        raise BrokenLineError("fewer fields than the header has; complete or drop the line")
    return [text.strip() for text in row]


def token_field(name: str, text: str) -> int:
    """Return the length that a field holds.

    Raises:
        BrokenLineError: it is no whole number, or beyond what any engine counts.
        WrongLineError: it is negative.
    """
    if _WHOLE.fullmatch(text) is None:
        raise BrokenLineError(f'{name} "{text[:TOLD]}" is no whole number; give a token count')
    return tokens(name, int(text))
