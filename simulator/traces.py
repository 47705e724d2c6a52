"""Request traces: when requests arrive and how long their prompts and answers are.

A `Trace` is an immutable value: arrival times in seconds from the trace's start, token counts, a name. This
module reads the form in which Azure published its LLM inference traces,

    TIMESTAMP,ContextTokens,GeneratedTokens
    2023-11-16 18:15:46.6805900,374,44

from .csv or .csv.gz, and refuses what is broken with one sentence that names file, line and remedy. Two such
traces are shipped (see data/ATTRIBUTION.md). One of them fills a fifth of one GPU: `superpose` makes the load
of a fleet from it without making it smoother or burstier than traffic of that kind is, by laying jittered
copies over one another with lengths of near neighbours.
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

SHIPPED_TRACES = {
    "azure-conv-2023": "AzureLLMInferenceTrace_conv.csv.gz",
    "azure-code-2023": "AzureLLMInferenceTrace_code.csv.gz",
}
"""Traces that are part of the package, by name."""

MAX_TOKENS = 2**31 - 1


class TraceError(ValueError):
    """A trace that cannot be used; the message is one sentence with file, line and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """N requests in order of arrival. Arrays are read-only.

    Raises:
        TraceError: arrays of different lengths, unordered or negative times, or negative lengths.
    """

    name: str
    arrival_s: NDArray[np.float64]
    """(N,) seconds from the start of the trace, never falling."""
    prompt_tokens: NDArray[np.int32]
    """(N,)"""
    output_tokens: NDArray[np.int32]
    """(N,)"""

    def __post_init__(self) -> None:
        size = self.arrival_s.size
        if not size == self.prompt_tokens.size == self.output_tokens.size:
            raise TraceError(f"{self.name}: arrays of different lengths; give one time and two lengths per request")
        if size and not np.all(np.isfinite(self.arrival_s)):
            raise TraceError(f"{self.name}: a time is not finite; give seconds")
        if size and (self.arrival_s[0] < 0 or np.any(np.diff(self.arrival_s) < 0)):
            raise TraceError(f"{self.name}: times fall or are negative; sort the requests by arrival")
        if size and min(int(self.prompt_tokens.min()), int(self.output_tokens.min())) < 0:
            raise TraceError(f"{self.name}: a length is negative; give token counts")
        for field, dtype in (("arrival_s", np.float64), ("prompt_tokens", np.int32), ("output_tokens", np.int32)):
            array = np.ascontiguousarray(getattr(self, field), dtype=dtype).view()
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def span_s(self) -> float:
        """Seconds from the start of the trace to its last arrival; 0 for an empty one."""
        return float(self.arrival_s[-1]) if len(self) else 0.0

    @property
    def mean_rps(self) -> float:
        """Requests per second over the span."""
        return len(self) / self.span_s if self.span_s > 0 else 0.0

    def slice(self, start_s: float, end_s: float) -> "Trace":
        """The requests that arrive in [start_s, end_s), with times counted from start_s.

        Raises:
            TraceError: the window is empty or reversed.
        """
        low, high = np.searchsorted(self.arrival_s, [start_s, end_s], side="left")
        if not start_s < end_s or low == high:
            raise TraceError(
                f"{self.name}: no request between {start_s:g} and {end_s:g} s; the trace spans 0 to {self.span_s:g} s"
            )
        return Trace(
            name=f"{self.name}[{start_s:g}:{end_s:g}]",
            arrival_s=self.arrival_s[low:high] - start_s,
            prompt_tokens=self.prompt_tokens[low:high],
            output_tokens=self.output_tokens[low:high],
        )


def load_trace(name_or_path: str | os.PathLike[str]) -> Trace:
    """A shipped trace by name, or a file in Azure's form.

    Raises:
        TraceError: neither a shipped name nor a readable, well-formed file.
    """
    text = os.fspath(name_or_path)
    if text in SHIPPED_TRACES:
        data = resources.files("simulator").joinpath("data", SHIPPED_TRACES[text]).read_bytes()
        return _parse(text, text, _decode(text, data))
    return read_azure_csv(text)


def read_azure_csv(path: str | os.PathLike[str]) -> Trace:
    """Read a .csv or .csv.gz file with the columns TIMESTAMP, ContextTokens, GeneratedTokens.

    Raises:
        TraceError: no such file, wrong columns, a broken row, falling times, a row twice, or no row at all.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        names = ", ".join(SHIPPED_TRACES)
        raise TraceError(f"{path}: no such trace; give a CSV file in Azure's form, or one of: {names}") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror}); give a readable CSV file") from None
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return _parse(name, str(path), _decode(str(path), data))


def _decode(place: str, data: bytes) -> str:
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise TraceError(f"{place}: the gzip data is damaged; fetch or compress the file again") from None
    except UnicodeDecodeError:
        raise TraceError(f"{place}: not a text file; give a CSV file, plain or compressed with gzip") from None


def _parse(name: str, place: str, text: str) -> Trace:
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
    parsed = [(rows.line_num, _row(place, rows.line_num, row, columns)) for row in rows if row]
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
    try:
        stamp: np.datetime64 | None = np.datetime64(text.removesuffix("+00:00").removesuffix("Z"), "ns")
    except ValueError:
        stamp = None
    if stamp is None or np.isnat(stamp):
        raise TraceError(
            f'{place}, line {line}: TIMESTAMP "{text}" is no time; write UTC as in 2023-11-16 18:15:46.6805900'
        )
    return stamp


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


def superpose(
    trace: Trace, *, copies: int, jitter_s: float = 30.0, length_resample_window: int = 100, seed: int = 0
) -> Trace:
    """Lay `copies` of a trace over one another: more traffic of the same kind.

    In every copy each arrival moves by its own uniform draw from ±jitter_s (times beyond an end are mirrored
    into the trace, so that neither end is piled up), and takes both lengths together from a request at most
    `length_resample_window` places away. Rates are `copies` times as high; the minute-scale shape stays.

    Raises:
        TraceError: copies below 1, a negative jitter or window.
    """
    if copies < 1 or jitter_s < 0 or length_resample_window < 0:
        raise TraceError(
            f"{trace.name}: cannot lay {copies} copies with jitter {jitter_s:g} s; give 1 or more and 0 or more"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    size = len(trace)
    times, sources = [], []
    for _ in range(copies):
        times.append(_mirror(trace.arrival_s + rng.uniform(-jitter_s, jitter_s, size), trace.span_s))
        offsets = rng.integers(-length_resample_window, length_resample_window, size, endpoint=True)
        sources.append(np.clip(np.arange(size) + offsets, 0, max(size - 1, 0)))
    arrival_s, source = np.concatenate(times), np.concatenate(sources)
    order = np.argsort(arrival_s, kind="stable")
    return Trace(
        name=f"{trace.name}×{copies}",
        arrival_s=arrival_s[order],
        prompt_tokens=trace.prompt_tokens[source[order]],
        output_tokens=trace.output_tokens[source[order]],
    )


def _mirror(times_s: NDArray[np.float64], span_s: float) -> NDArray[np.float64]:
    """Reflect times below 0 and above the span back inside; clip what jitter longer than the trace leaves."""
    inside = np.abs(times_s)
    inside = np.where(inside > span_s, 2 * span_s - inside, inside)
    return np.clip(inside, 0.0, span_s)


def chain(traces: Sequence[Trace], *, period_s: float) -> Trace:
    """Traces one after the other, each starting period_s after the one before.

    Raises:
        TraceError: none given, or one is longer than the period.
    """
    if not traces or any(trace.span_s > period_s for trace in traces):
        raise TraceError(
            f"cannot chain {len(traces)} traces every {period_s:g} s; give traces no longer than the period"
        )
    return Trace(
        name="+".join(dict.fromkeys(trace.name for trace in traces)),
        arrival_s=np.concatenate([trace.arrival_s + i * period_s for i, trace in enumerate(traces)]),
        prompt_tokens=np.concatenate([trace.prompt_tokens for trace in traces]),
        output_tokens=np.concatenate([trace.output_tokens for trace in traces]),
    )
