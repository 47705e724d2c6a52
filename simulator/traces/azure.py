"""Azure's LLM inference traces as CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`, plain or compressed with gzip."""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from simulator.traces.trace import MAX_TOKENS, Trace, TraceError

_STAMP = re.compile(
    r"(?P<date>(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2})[ T](?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?)"
    r"(Z|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))?$"
)
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read_azure_csv(path: str | os.PathLike[str]) -> Trace:
    """Read a .csv or .csv.gz file with the columns TIMESTAMP, ContextTokens, GeneratedTokens.

    Raises:
        TraceError: no such file, wrong columns, a broken row, falling times, a row twice, or no row at all.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TraceError(f"{path}: no such trace; give a CSV file in Azure's form") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror}); give a readable CSV file") from None
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return parse_azure(name, str(path), decode_text(str(path), data))


def decode_text(place: str, data: bytes) -> str:
    """Return the text of a file that may be compressed with gzip; `place` is what messages call it.

    Raises:
        TraceError: damaged, or no text.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise TraceError(f"{place}: the gzip data is damaged; fetch or compress the file again") from None
    except UnicodeDecodeError:
        raise TraceError(f"{place}: not a text file; give a CSV file, plain or compressed with gzip") from None


def parse_azure(name: str, place: str, text: str) -> Trace:
    """Return the trace of a text in Azure's form.

    Raises:
        TraceError: wrong columns, a broken row, falling times, a row twice, or no row at all.
    """
    rows = csv.reader(io.StringIO(text))
    header = next(rows, None)
    if header is None:
        raise TraceError(f"{place}: the file is empty; give a header and one row per request")
    missing = [column for column in AZURE_COLUMNS if column not in header]
    if missing:
        raise TraceError(
            f"{place}, line 1: no column {' and '.join(missing)} (found: {', '.join(header)});"
            f" the header must name {', '.join(AZURE_COLUMNS)}"
        )
    columns = [header.index(column) for column in AZURE_COLUMNS]
    try:
        parsed = [(rows.line_num, _row(place, rows.line_num, row, columns)) for row in rows if row]
    except csv.Error as error:
        raise TraceError(f"{place}, line {rows.line_num}: {error}; repair or drop the line") from None
    if not parsed:
        raise TraceError(f"{place}: no request after the header; give one row per request")
    _refuse_disorder(place, parsed)
    stamps = np.array([row[0] for _, row in parsed])
    return Trace(
        name=name,
        arrival_s=(stamps - stamps[0]) / np.timedelta64(1, "ns") / 1e9,
        prompt_tokens=np.array([row[1] for _, row in parsed], dtype=np.int32),
        output_tokens=np.array([row[2] for _, row in parsed], dtype=np.int32),
    )


Row = tuple[np.datetime64, int, int]


def _row(place: str, line: int, row: Sequence[str], columns: Sequence[int]) -> Row:
    if len(row) <= max(columns):
        raise TraceError(
            f"{place}, line {line}: {len(row)} fields where the header has more; complete or drop the line"
        )
    stamp, prompt, output = (row[column].strip() for column in columns)
    return _time(place, line, stamp), _tokens(place, line, prompt, 1), _tokens(place, line, output, 2)


def _time(place: str, line: int, text: str) -> np.datetime64:
    # numpy alone would read "1900" as a year, "now" as the present, and wrap what nanoseconds cannot hold.
    found = _STAMP.match(text)
    try:
        if found is None:
            raise ValueError
        stamp = np.datetime64(f"{found['date']}T{found['clock']}", "ns")
        stamp -= np.timedelta64(_offset_minutes(found["sign"], found["hours"], found["minutes"]), "m")
    except ValueError:
        raise TraceError(
            f'{place}, line {line}: TIMESTAMP "{text[:40]}" is no time between 1970 and 2199; '
            "write UTC as in 2023-11-16 18:15:46.6805900"
        ) from None
    return stamp


def _offset_minutes(sign: str | None, hours: str | None, minutes: str | None) -> int:
    east = 60 * int(hours or 0) + int(minutes or 0)
    return -east if sign == "-" else east


def _tokens(place: str, line: int, text: str, column: int) -> int:
    name = AZURE_COLUMNS[column]
    try:
        value = int(text)
    except ValueError:
        raise TraceError(f'{place}, line {line}: {name} "{text}" is no whole number; give a token count') from None
    if not 0 <= value <= MAX_TOKENS:
        raise TraceError(f"{place}, line {line}: {name} is {value}; give a token count between 0 and {MAX_TOKENS}")
    return value


def _refuse_disorder(place: str, parsed: Sequence[tuple[int, Row]]) -> None:
    seen: set[Row] = set()
    for (_, before), (line, row) in pairwise(parsed):
        if row[0] < before[0]:
            raise TraceError(f"{place}, line {line}: earlier than the line before; sort the file by TIMESTAMP")
        # Only rows of one instant can be twins, so the set stays small.
        seen = {before} if row[0] > before[0] else seen | {before}
        if row in seen:
            raise TraceError(f"{place}, line {line}: a request that is there twice; remove the duplicate line")
