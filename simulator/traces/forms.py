"""Which form a file of requests has, and the one way in for all of them.

The form is told from the file itself: its first bytes, the names of its columns, the fields of its first line.
"""

import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import urlsplit

from simulator.traces import azure_columns, native
from simulator.traces.azure import AZURE_COLUMNS, azure_batches
from simulator.traces.burstgpt import BURSTGPT_COLUMNS, burstgpt_batches
from simulator.traces.lines import TOLD, Batch, head
from simulator.traces.mooncake import BLOCK_TOKENS, mooncake_batches
from simulator.traces.pieces import in_memory
from simulator.traces.servegen import SERVEGEN_COLUMNS, open_servegen
from simulator.traces.source import Input, Reading, Source
from simulator.traces.survey import Survey, surveyed, traffic_from
from simulator.traces.trace import Trace, TraceError

SHIPPED_TRACES = {
    "azure-conv-2023": "AzureLLMInferenceTrace_conv.csv.gz",
    "azure-code-2023": "AzureLLMInferenceTrace_code.csv.gz",
}
"""Traces that are part of the package, by name."""


SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """A form with one request a line."""

    batches: Callable[[str, Path | Traversable], Iterator[Batch]]
    block_tokens: int = 0
    least_quantum_ns: int = 0
    left_out: str = ""
    """What its left out lines are called."""


_LINES = {
    "azure": _Lines(batches=azure_batches),
    "burstgpt": _Lines(
        batches=burstgpt_batches, least_quantum_ns=10**9, left_out="failed requests (no response tokens) are left out"
    ),
    "mooncake": _Lines(batches=mooncake_batches, block_tokens=BLOCK_TOKENS),
}


def _open_lines(form: str, given: Input, reading: Reading) -> Source:
    lines = _LINES[form]

    read, found = _looked_through(form, given, reading)
    block_tokens = lines.block_tokens if found.has_blocks else 0
    return Source(
        traffic=traffic_from(given.name, read, found, seed=reading.seed, block_tokens=block_tokens),
        form=form,
        requests=found.requests,
        block_tokens=block_tokens,
        notes=tuple(_notes(found, lines, reading.seed)),
        broken=found.broken,
    )


def _looked_through(form: str, given: Input, reading: Reading) -> tuple[Callable[[], Iterator[Batch]], Survey]:
    """Return what reads a file, and what was found in it: by columns where it is large and nothing is wrong."""
    lines, path = _LINES[form], given.file()
    if form == "azure" and isinstance(path, Path) and azure_columns.is_large(path):
        read = partial(azure_columns.azure_columns, given.place, path)
        with suppress(azure_columns.NotPlainError, TraceError):
            return read, surveyed(given.place, read)
    read = partial(lines.batches, given.place, path)
    return read, surveyed(given.place, read, strict=reading.strict, least_quantum_ns=lines.least_quantum_ns)


def _notes(found: Survey, lines: _Lines, seed: int) -> Iterator[str]:
    if found.quantum_ns:
        all_but = f" of all but {found.off_quantum:,}" if found.off_quantum else ""
        yield (
            f"times{all_but} are cut to {found.quantum_ns / 1e9:g} s; each request is moved by its own uniform draw"
            f" within that (seed {seed})"
        )
    if found.left_out:
        yield f"{found.left_out:,} {lines.left_out}"
    if found.broken:
        named = "; ".join(f"line {line}: {reason}" for line, reason in found.named)
        more = f"; and {found.broken - len(found.named):,} more" if found.broken > len(found.named) else ""
        lines_are = "line is" if found.broken == 1 else "lines are"
        yield f"{found.broken:,} broken {lines_are} left out ({named}{more})"


def _open_native(_form: str, given: Input, _reading: Reading) -> Source:
    traffic, requests, notes = native.read_native(given.local())
    first = next(traffic.pieces(), None)
    return Source(
        traffic=traffic,
        form="native",
        requests=requests,
        block_tokens=0 if first is None else first.block_tokens,
        notes=notes,
    )


def _open_production(form: str, given: Input, reading: Reading) -> Source:
    from simulator.traces import production  # noqa: PLC0415 - clients of servers, which no other form should cost

    return production.OPENERS[form](given, reading)


FORMS: dict[str, Callable[[str, Input, Reading], Source]] = {
    **dict.fromkeys(_LINES, _open_lines),
    "servegen": open_servegen,
    "prometheus": _open_production,
    "journal": _open_production,
    "native": _open_native,
}
"""What opens a file of each form."""


SLOW_FORMS = frozenset(_LINES)
"""Forms whose every line is parsed."""


_USED_BY = {
    "lengths": ("--lengths", ("servegen",)),
    "whose": ("--journal-policy", ("journal",)),
    "model": ("--model", ("prometheus",)),
    "since_s": ("--since", ("journal", "prometheus")),
    "step_s": ("--step", ("prometheus",)),
    "token_file": ("--token-file", ("prometheus",)),
}
"""Of the fields of ``Reading``: their options, and the forms that they say something of."""


def useless_options(reading: Reading, form: str) -> Iterator[str]:
    """Yield the options that are given and say nothing of a form."""
    usual = Reading()
    for name, (option, forms) in _USED_BY.items():
        if getattr(reading, name) != getattr(usual, name) and form not in forms:
            yield option


def open_trace(name_or_path: str | os.PathLike[str], reading: Reading | None = None) -> Source:
    """Open a shipped trace by name, or a file of any form, and look through it as far as its form needs.

    Raises:
        TraceError: neither a shipped name nor a readable, well-formed file.
    """
    reading = reading or Reading()
    given = _input(os.fspath(name_or_path))
    form = reading.form or form_of(given)
    if form not in FORMS:
        raise TraceError(f"no form {form}; there are: {', '.join(FORMS)}")
    return FORMS[form](form, given, reading)


def load_trace(name_or_path: str | os.PathLike[str], reading: Reading | None = None) -> Trace:
    """Return all requests of a trace, held in memory at once.

    Raises:
        TraceError: as `open_trace`, or there are too many.
    """
    return in_memory(open_trace(name_or_path, reading).traffic)


def _input(text: str) -> Input:
    if text in SHIPPED_TRACES:
        shipped = resources.files("simulator").joinpath("data", SHIPPED_TRACES[text])
        return Input(place=text, name=text, path=shipped)
    if "://" in text:
        return Input(place=text, name=urlsplit(text).hostname or "history", path=None)
    if "\0" in text:
        raise TraceError("the name of the trace has a NUL character; give the path of a trace")
    path = Path(text)
    try:
        there = path.exists()
    except OSError:
        there = True  # A name too long, or no right to look: the reader says which.
    if not there:
        names = ", ".join(SHIPPED_TRACES)
        raise TraceError(f"{text}: no such trace; give a file of requests, or one of: {names}")
    name = path.name.removesuffix(".gz")
    for suffix in (".csv", ".jsonl", ".json", ".parquet"):
        name = name.removesuffix(suffix)
    return Input(place=text, name=name, path=path)


def form_of(given: Input) -> str:
    """Return the form of a file, as its beginning tells.

    Raises:
        TraceError: it cannot be read, or has none of the forms.
    """
    if given.path is None:
        return "prometheus" if given.place.startswith(("http://", "https://")) else "journal"
    start = head(given.place, given.path)
    if start.startswith(SQLITE_MAGIC):
        return "journal"
    if start.startswith(native.MAGIC):
        return "native"
    try:
        # The decoder does not mind a character that is cut in two at the end.
        text = getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        text = "\0"
    if not text.strip() or "\0" in text:
        what = "the file is empty" if not text.strip() else "not a text file"
        raise TraceError(f"{given.place}: {what}; give a trace in one of the forms {', '.join(FORMS)}")
    line = text.lstrip().splitlines()[0]
    form = _of_json(text) if line.startswith(("{", "[")) else _of_columns(line)
    if form is None:
        raise TraceError(
            f'{given.place}, line 1: "{line[:TOLD]}" begins no trace of a known form; give one of these'
            f" ({', '.join(FORMS)}), or say which it is by `simulator trace convert --form NAME IN OUT.parquet`"
        )
    return form


def _of_columns(line: str) -> str | None:
    columns = {column.strip().strip('"') for column in line.split(",")}
    known = {"azure": AZURE_COLUMNS, "burstgpt": BURSTGPT_COLUMNS, "servegen": SERVEGEN_COLUMNS}
    # A file that lacks one of the columns is told so by the reader of the form that it resembles most.
    shared = {form: len(columns & set(names)) for form, names in known.items()}
    best = max(shared, key=lambda form: shared[form])
    return best if shared[best] else None


def _of_json(text: str) -> str | None:
    # The first line of a journal, and the only one of an export, may be longer than what was read of it.
    if '"resultType"' in text or '"errorType"' in text:
        return "prometheus"
    if '"policy_digest"' in text and '"signals"' in text:
        return "journal"
    # Its first line may be broken: then another one tells.
    return "mooncake" if any(f'"{name}"' in text for name in ("input_length", "output_length")) else None
