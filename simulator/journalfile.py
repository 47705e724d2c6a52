"""Journals of runs as files: one JSON entry a line, compressed, the same bytes for the same entries."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autoscaler.journal import Entry, decode, encode


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes ``path`` if the block succeeds and is removed if it does not."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries to a file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    write_all({path: entries})


def write_all(journals: Mapping[Path, Iterable[Entry]]) -> None:
    """Write journals to their files: all of them, or none.

    Raises:
        OSError: a file cannot be written.
    """
    with ExitStack() as files:
        for path, entries in journals.items():
            _fill(files.enter_context(whole(path)), entries)


def _fill(path: Path, entries: Iterable[Entry]) -> None:
    with _compressed(path) as file:
        for entry in entries:
            file.write(encode(entry) + b"\n")


@contextmanager
def writer(path: Path) -> Iterator[Callable[[Entry], object]]:
    """Yield what appends an entry to a file as it comes; the file appears if the block succeeds.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part, _compressed(part) as file:
        yield lambda entry: file.write(encode(entry) + b"\n")


@contextmanager
def _compressed(path: Path) -> Iterator[gzip.GzipFile]:
    # No name and no time in the header: they would make two runs of one seed differ.
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=1) as file:
        yield file


def read(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file in their order.

    Raises:
        OSError: the file is not there, not compressed, cut off or damaged.
        pydantic.ValidationError: a line is no entry of this version.
    """
    with gzip.open(path, "rb") as file:
        try:
            for line in file:
                yield decode(Entry, line)
        except (EOFError, zlib.error) as error:
            raise OSError(f"{path}: the journal is cut off or damaged; run the demo again") from error
