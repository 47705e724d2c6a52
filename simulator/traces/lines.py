"""A file of requests, one a line: opened, parsed in batches, and what was wrong in it.

Two kinds of wrong are told apart. A line that cannot be read (a field is missing, a number is none) is *broken*: it is
left out, counted and named, or refused if the reading is strict. A line that says what cannot be (a negative length, a
time before the one of the line before, the same request twice) makes the whole file suspect and is always refused.
"""

import gzip
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from simulator.traces.trace import MAX_TOKENS, TraceError

BATCH_LINES = 50_000
TOLD = 60
"""Characters of a wrong field that a message tells; a field may be megabytes long."""
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 65_536

L = TypeVar("L")
Request = tuple[int, int, int, tuple[int, ...]]
"""One line's time in nanoseconds from any instant, prompt and output tokens, and prefix blocks."""


class BrokenLineError(ValueError):
    """A line that cannot be read; the message is the reason and a remedy, without the place."""


class WrongLineError(ValueError):
    """A line that says what cannot be; the message is the reason and a remedy, without the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """N requests in the order of their lines, and the lines among them that are no requests."""

    lines: NDArray[np.int64]
    """(N,)"""
    at_ns: NDArray[np.int64]
    """(N,) nanoseconds from any instant, the same for the whole file."""
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    identities: NDArray[np.int64]
    """(N,) equal for requests that are the same in everything."""
    block_offsets: NDArray[np.int64]
    """(N + 1,)"""
    block_ids: NDArray[np.int64]
    broken: tuple[tuple[int, str], ...]
    """Line and reason."""
    left_out: int
    """Lines that the form itself leaves out, such as failures."""


def batches(
    place: str, lines: Iterable[tuple[int, L]], parse: Callable[[L], Request | None], *, batch_lines: int = BATCH_LINES
) -> Iterator[Batch]:
    """Yield the requests of numbered lines; what `parse` gives None for is left out.

    Raises:
        TraceError: a line says what cannot be.
    """
    open_batch = _OpenBatch()
    for number, line in lines:
        try:
            request = parse(line)
        except BrokenLineError as error:
            open_batch.broken.append((number, str(error)))
            continue
        except WrongLineError as error:
            raise TraceError(f"{place}, line {number}: {error}") from None
        if request is None:
            open_batch.left_out += 1
            continue
        open_batch.numbers.append(number)
        open_batch.requests.append(request)
        if len(open_batch.requests) == batch_lines:
            yield open_batch.closed()
            open_batch = _OpenBatch()
    yield open_batch.closed()


@dataclass(slots=True)
class _OpenBatch:
    numbers: list[int] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    left_out: int = 0

    def closed(self) -> Batch:
        at_ns, prompts, outputs, blocks = zip(*self.requests, strict=True) if self.requests else ((), (), (), ())
        ids = [block for each in blocks for block in each]
        return Batch(
            lines=np.array(self.numbers, dtype=np.int64),
            at_ns=np.array(at_ns, dtype=np.int64),
            prompt_tokens=np.array(prompts, dtype=np.int32),
            output_tokens=np.array(outputs, dtype=np.int32),
            identities=np.array([hash(request) for request in self.requests], dtype=np.int64),
            block_offsets=np.cumsum([0, *map(len, blocks)], dtype=np.int64),
            block_ids=np.array(ids, dtype=np.int64),
            broken=tuple(self.broken),
            left_out=self.left_out,
        )


def tokens(name: str, value: int) -> int:
    """Return a length, or say why it can be none.

    Raises:
        WrongLineError: it is negative.
        BrokenLineError: it is beyond what any engine counts.
    """
    if value < 0:
        raise WrongLineError(f"{name} is {value}; give a token count between 0 and {MAX_TOKENS}")
    if value > MAX_TOKENS:
        raise BrokenLineError(f"{name} is {value}; give a token count between 0 and {MAX_TOKENS}")
    return value


@contextmanager
def opened(place: str, path: Path | Traversable) -> Iterator[IO[bytes]]:
    """Open a file, decompressed if it is a gzip file by its content.

    Raises:
        TraceError: it is not there, cannot be read, or can be read only once.
    """
    try:
        if isinstance(path, Path) and stat.S_ISFIFO(path.stat().st_mode):
            raise TraceError(f"{place}: a pipe can be read only once; save it to a file first")
        with cast("BufferedReader", path.open("rb")) as file:
            if file.peek(2)[:2] != _GZIP:
                yield file
            else:
                with gzip.open(file, "rb") as inner:
                    yield cast("IO[bytes]", inner)
    except FileNotFoundError:
        raise TraceError(f"{place}: no such file; give the path of a trace") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise TraceError(f"{place}: the gzip data is damaged; fetch or compress the file again") from None
    except OSError as error:
        raise TraceError(f"{place[:200]}: cannot be read ({error.strerror}); give a readable file") from None


def head(place: str, path: Path | Traversable) -> bytes:
    """Return the first 64 KiB of a file, decompressed.

    Raises:
        TraceError: as `opened`.
    """
    with opened(place, path) as file:
        return file.read(_HEAD_BYTES)


@contextmanager
def opened_text(place: str, path: Path | Traversable) -> Iterator[TextIOWrapper]:
    """Open a file of text.

    Raises:
        TraceError: as `opened`, or it is no text.
    """
    try:
        with opened(place, path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError:
        raise TraceError(f"{place}: not a text file; give the trace as text, plain or compressed with gzip") from None
