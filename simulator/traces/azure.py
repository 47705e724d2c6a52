"""Azure's LLM inference traces as CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`, plain or compressed with gzip.

Those of 2023 write `2023-11-16 18:15:46.6805900`; those of 2024 write `2024-05-10 00:00:00.009930+00:00`, without the
fraction where it is 0. Both are read, and any other offset; without one a time is taken as UTC.
"""

import datetime
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from simulator.traces.csvlines import csv_lines, fields_of, token_field
from simulator.traces.lines import TOLD, Batch, BrokenLineError, Request, batches

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# A reader of many forms would take 1700000000 as a year and "now" as this second.
TIME_PATTERN = (
    r"(\d{4}-\d{2}-\d{2})[ T]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?"
    r" ?(?:Z|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):?(?P<minutes>[0-5]\d))?"
)
_TIME = re.compile(TIME_PATTERN, re.ASCII)
FIRST_YEAR, LAST_YEAR = 1970, 2199
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_SECOND_NS = 10**9


def azure_batches(place: str, path: Path | Traversable) -> Iterator[Batch]:
    """Yield the requests of a file in Azure's form.

    Raises:
        TraceError: no such file, wrong columns, no CSV, or a negative length.
    """
    return batches(place, csv_lines(place, path, AZURE_COLUMNS), _request)


def _request(row: Sequence[str]) -> Request:
    stamp, prompt, output = fields_of(row)
    return _at_ns(stamp), token_field(AZURE_COLUMNS[1], prompt), token_field(AZURE_COLUMNS[2], output), ()


def _at_ns(text: str) -> int:
    """Return nanoseconds since 1970.

    Raises:
        BrokenLineError: that is no time.
    """
    found = _TIME.fullmatch(text)
    day = None if found is None else _day(found[1])
    if found is None or day is None:
        raise BrokenLineError(
            f'TIMESTAMP "{text[:TOLD]}" is no time between {FIRST_YEAR} and {LAST_YEAR};'
            " write UTC as in 2023-11-16 18:15:46.6805900"
        )
    minutes = (day * 24 + int(found[2])) * 60 + int(found[3])
    if found["sign"]:
        ahead = 60 * int(found["hours"]) + int(found["minutes"])
        minutes += ahead if found["sign"] == "-" else -ahead
    return (minutes * 60 + int(found[4] or 0)) * _SECOND_NS + int((found[5] or "").ljust(9, "0"))


@lru_cache(maxsize=64)
def _day(text: str) -> int | None:
    """Return days since 1970, None where there is no such day or nobody can mean it."""
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        return None
    return day.toordinal() - _EPOCH_DAY if FIRST_YEAR <= day.year <= LAST_YEAR else None
