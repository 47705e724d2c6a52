"""Traffic written to a file, in the form that the file's name asks for.

Only our own form (.parquet) is without loss. Azure's (.csv) keeps times to the nanosecond and no prefix blocks,
Mooncake's (.jsonl) times to the nanosecond and prefix blocks of 512 tokens. Both are for other tools.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import numpy as np

from simulator.traces.azure import AZURE_COLUMNS
from simulator.traces.mooncake import BLOCK_TOKENS
from simulator.traces.native import native_writer
from simulator.traces.trace import Trace, TraceError, Traffic

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
_EPOCH = np.datetime64("2000-01-01T00:00:00", "ns")
"""Azure's form wants a date, which ours does not have."""

Append = Callable[[Trace], object]


def refuse_name(name: str) -> None:
    """Refuse the name of a file that says no form.

    Raises:
        TraceError: it has none of the known endings.
    """
    if not name.endswith(SUFFIXES):
        raise TraceError(f"{name}: its ending says no form; end it with one of {', '.join(SUFFIXES)}")


def write_traffic(
    path: Path,
    traffic: Traffic,
    *,
    name: str,
    block_tokens: int = 0,
    notes: Sequence[str] = (),
    on_share: Callable[[float], object] = lambda _: None,
) -> int:
    """Write traffic to a file in the form that `name` ends with; return the number of requests.

    Raises:
        TraceError: no such form, no request at all, or one that the form cannot hold.
        OSError: the file cannot be written.
    """
    refuse_name(name)
    requests = 0
    with _writer(path, traffic.name, name, notes, block_tokens) as append:
        for piece in traffic.pieces():
            append(piece)
            requests += len(piece)
            on_share(min(1.0, piece.span_s / traffic.span_s) if traffic.span_s else 1.0)
    if not requests:
        raise TraceError(f"{traffic.name}: no request in it; nothing was written")
    return requests


@contextmanager
def _writer(path: Path, title: str, name: str, notes: Sequence[str], block_tokens: int) -> Iterator[Append]:
    if name.endswith(".parquet"):
        with native_writer(path, name=title, notes=notes, block_tokens=block_tokens) as append:
            yield append
        return
    if ".jsonl" in name and block_tokens not in {0, BLOCK_TOKENS}:
        raise TraceError(f"{name}: Mooncake's blocks have {BLOCK_TOKENS} tokens, these {block_tokens}; use .parquet")
    with _text(path, compressed=name.endswith(".gz")) as file:
        if ".jsonl" in name:
            yield lambda piece: file.writelines(_mooncake(piece))
        else:
            file.write(",".join(AZURE_COLUMNS) + "\n")
            yield lambda piece: file.writelines(_azure(piece))


@contextmanager
def _text(path: Path, *, compressed: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        if not compressed:
            with TextIOWrapper(raw, encoding="utf-8", newline="") as file:
                yield file
            return
        # No name and no time in the header: they would make two files of one trace differ.
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
        with packed, TextIOWrapper(packed, encoding="utf-8", newline="") as file:
            yield file


def _azure(piece: Trace) -> Iterator[str]:
    stamps = np.datetime_as_string(_EPOCH + np.round(piece.arrival_s * 1e9).astype("timedelta64[ns]"), unit="ns")
    for stamp, prompt, output in zip(stamps, piece.prompt_tokens, piece.output_tokens, strict=True):
        yield f"{stamp.replace('T', ' ')},{prompt},{output}\n"


def _mooncake(piece: Trace) -> Iterator[str]:
    offsets = np.zeros(len(piece) + 1, dtype=np.int64) if piece.block_offsets is None else piece.block_offsets
    ids = [] if piece.block_ids is None else piece.block_ids.tolist()
    columns = (piece.arrival_s.tolist(), piece.prompt_tokens.tolist(), piece.output_tokens.tolist())
    for number, (arrival_s, prompt, output) in enumerate(zip(*columns, strict=True)):
        fields = {"timestamp": round(arrival_s * 1000, 6), "input_length": prompt, "output_length": output}
        if piece.block_ids is not None:
            fields["hash_ids"] = ids[offsets[number] : offsets[number + 1]]
        yield json.dumps(fields) + "\n"
