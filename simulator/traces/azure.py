"""Azure's LLM inference traces as CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`, plain or compressed with gzip."""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from simulator.traces.trace import MAX_TOKENS, Trace, TraceError

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# numpy alone would read 1700000000 as a year, "now" as this second, and drop an offset.
_TIME = re.compile(
    r"(?P<date>(?P<year>\d{4})-\d{2}-\d{2})[ T](?P<time>\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)"
    r" ?(Z|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):?(?P<minutes>[0-5]\d))?",
    re.ASCII,
)
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_TOLD = 60
"""Characters of a wrong field that a message tells; a field may be megabytes long."""


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
        raise TraceError(f"{str(path)[:200]}: cannot be read ({error.strerror}); give a readable CSV file") from None
    except ValueError:
        raise TraceError("the name of the trace has a NUL character; give a CSV file in Azure's form") from None
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
    lines = _lines(place, text)
    _, header = next(lines, (0, None))
    if header is None:
        raise TraceError(f"{place}: the file is empty; give a header and one row per request")
    missing = [column for column in AZURE_COLUMNS if column not in header]
    if missing:
        raise TraceError(
            f"{place}, line 1: no column {' and '.join(missing)} (found: {', '.join(header)[:_TOLD]});"
            f" the header must name {', '.join(AZURE_COLUMNS)}"
        )
    columns = [header.index(column) for column in AZURE_COLUMNS]
    parsed = [(line, _row(place, line, row, columns)) for line, row in lines if row]
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


def _lines(place: str, text: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(text))
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        remedy = "give one request per line, comma-separated"
        raise TraceError(f"{place}, line {rows.line_num}: no CSV ({error}); {remedy}") from None


Row = tuple[np.datetime64, int, int]


def _row(place: str, line: int, row: Sequence[str], columns: Sequence[int]) -> Row:
    if len(row) <= max(columns):
        raise TraceError(
            f"{place}, line {line}: {len(row)} fields where the header has more; complete or drop the line"
        )
    stamp, prompt, output = (row[column].strip() for column in columns)
    return _time(place, line, stamp), _tokens(place, line, prompt, 1), _tokens(place, line, output, 2)


def _time(place: str, line: int, text: str) -> np.datetime64:
    found = _TIME.fullmatch(text)
    if found is not None and _FIRST_YEAR <= int(found["year"]) <= _LAST_YEAR:
        try:
            stamp = np.datetime64(f"{found['date']}T{found['time']}", "ns")
        except ValueError:
            pass  # A month 13 or a minute 60.
        else:
            return stamp - _offset(found) if found["sign"] else stamp
    raise TraceError(
        f'{place}, line {line}: TIMESTAMP "{text[:_TOLD]}" is no time between {_FIRST_YEAR} and {_LAST_YEAR};'
        " write UTC as in 2023-11-16 18:15:46.6805900"
    )


def _offset(found: re.Match[str]) -> np.timedelta64:
    """Return how far a time with an offset is ahead of UTC."""
    minutes = 60 * int(found["hours"]) + int(found["minutes"])
    return np.timedelta64(-minutes if found["sign"] == "-" else minutes, "m")


def _tokens(place: str, line: int, text: str, column: int) -> int:
    name = AZURE_COLUMNS[column]
    if _WHOLE.fullmatch(text) is None:
        raise TraceError(f'{place}, line {line}: {name} "{text[:_TOLD]}" is no whole number; give a token count')
    value = int(text)
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
