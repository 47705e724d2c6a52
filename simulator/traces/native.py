"""Our own form: one Parquet file, written as the requests come and read back without loss, in pieces.

Parquet keeps what a text would not or not cheaply: times as the doubles that they are, whole numbers in few bits,
prefix blocks as lists. It is read by every data tool, several times as fast as CSV, a row group at a time; and its end
says how many requests there are and over which span, so that nobody has to look through the file to know.

Columns: `arrival_s` (double, seconds from the start), `prompt_tokens`, `output_tokens` (int32) and, where the trace
has prefix blocks, `block_ids` (list of int64). The header is a JSON object under the key `inference-autoscaler.trace`:
version, name, requests, span_s, block_tokens, and notes on where the requests come from.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.traces.trace import Trace, TraceError, Traffic

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
VERSION = 1
_HEADER = b"inference-autoscaler.trace"
_ROWS = 100_000
_COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")


@contextmanager
def native_writer(
    path: Path, *, name: str, notes: Sequence[str] = (), block_tokens: int = 0
) -> Iterator[Callable[[Trace], object]]:
    """Yield what appends a piece of traffic to a file; times must count from one start.

    Raises:
        TraceError: a piece that begins before the one before it ends.
        OSError: the file cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second, which no other form should cost
    import pyarrow.parquet as pq  # noqa: PLC0415

    fields = [pa.field("arrival_s", pa.float64()), pa.field("prompt_tokens", pa.int32())]
    fields += [pa.field("output_tokens", pa.int32())]
    fields += [pa.field("block_ids", pa.list_(pa.int64()))] if block_tokens else []
    schema = pa.schema([field.with_nullable(False) for field in fields])
    requests, span_s = 0, 0.0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def append(piece: Trace) -> None:
            nonlocal requests, span_s
            if len(piece) and piece.arrival_s[0] < span_s:
                raise TraceError(f"{name}: a piece begins before the one before it ends; give them in order")
            arrays = [pa.array(getattr(piece, column)) for column in _COLUMNS]
            arrays += [_lists(piece)] if block_tokens else []
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=_ROWS)
            requests, span_s = requests + len(piece), piece.span_s if len(piece) else span_s

        yield append
        header = {"version": VERSION, "name": name, "requests": requests, "span_s": span_s}
        header |= {"block_tokens": block_tokens, "notes": list(notes)}
        writer.add_key_value_metadata({_HEADER: json.dumps(header).encode()})


def _lists(piece: Trace) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415

    offsets = np.zeros(len(piece) + 1, dtype=np.int64) if piece.block_offsets is None else piece.block_offsets
    ids = np.zeros(0, dtype=np.int64) if piece.block_ids is None else piece.block_ids
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(ids))


def read_native(path: Path) -> tuple[Traffic, int, tuple[str, ...]]:
    """Return the traffic of a file, its number of requests, and the notes that were written into it.

    Raises:
        TraceError: no such file, a damaged one, or one of a newer version or of somebody else's.
    """
    with _file(path) as file:
        header = _header(path, file)
    name, block_tokens = str(header["name"]), int(header["block_tokens"])

    def pieces() -> Iterator[Trace]:
        with _file(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                columns = {column: batch.column(column).to_numpy() for column in _COLUMNS}
                blocks = batch.column("block_ids") if block_tokens else None
                yield Trace(
                    name=name,
                    **columns,
                    block_offsets=None if blocks is None else _offsets(blocks),
                    block_ids=None if blocks is None else blocks.flatten().to_numpy(),
                    block_tokens=block_tokens,
                )

    traffic = Traffic(name=name, span_s=float(header["span_s"]), pieces=pieces)
    return traffic, int(header["requests"]), tuple(map(str, header["notes"]))


def _offsets(lists: Any) -> Any:  # noqa: ANN401
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0]


@contextmanager
def _file(path: Path) -> Iterator["pq.ParquetFile"]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file; give the path of a trace") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:100]
        raise TraceError(f"{path}: damaged or no Parquet file ({reason}); convert the trace again") from None


def _header(path: Path, file: "pq.ParquetFile") -> dict[str, Any]:
    text = (file.metadata.metadata or {}).get(_HEADER)
    if text is None:
        raise TraceError(f"{path}: a Parquet file without a trace's header; make it by simulator trace convert")
    header: dict[str, Any] = json.loads(text)
    if header["version"] != VERSION:
        raise TraceError(
            f"{path}: version {header['version']} of the form, this simulator reads {VERSION}; convert the trace again"
        )
    return header
