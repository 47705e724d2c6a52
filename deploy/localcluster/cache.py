"""Executables built or unpacked once a machine, named by the hash of what they come from.

An entry is a file or a folder `<name>-<hash>`. It appears under its name only when it is complete (built beside it and
renamed), so a build that is interrupted leaves nothing that looks finished. A lock per entry makes parallel callers
wait for the first one instead of building the same thing twice.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.localcluster.errors import LocalClusterError


def cache_folder() -> Path:
    """Where everything built is kept: `$XDG_CACHE_HOME/inference-autoscaler` or `~/.cache/inference-autoscaler`.

    Raises:
        LocalClusterError: the folder cannot be made.
    """
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(root) / "inference-autoscaler"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot use the cache folder {folder}: {error.strerror}; set XDG_CACHE_HOME to a writable folder"
        raise LocalClusterError(message) from error
    return folder


def content_hash(*parts: str | bytes) -> str:
    """Sixteen hexadecimal digits over the parts, each preceded by its length so that no two splits agree."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:16]


def progress(line: str) -> None:
    """Say on stderr what takes long; stdout belongs to results."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _exclusive(lock: Path, waiting_for: str) -> Iterator[None]:
    """Hold the lock file; say so once if another process has it."""
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that prepares {waiting_for} …")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The cache entry `<name>-<key>`, made by `build` if it is not there yet.

    Args:
        name: what it is, for people ("kwok").
        key: the hash of all it is made from; another key is another entry.
        build: writes a file or a folder at the path that it is given.

    Raises:
        LocalClusterError: the cache folder cannot be written, or `build` raised it.
    """
    entry = cache_folder() / f"{name}-{key}"
    if entry.exists():
        return entry
    try:
        with _exclusive(entry.with_name(f".{entry.name}.lock"), name):
            if not entry.exists():
                _build_aside(entry, build)
    except OSError as error:
        message = f"cannot write {entry}: {error.strerror}; free space there or set XDG_CACHE_HOME"
        raise LocalClusterError(message) from error
    return entry


def _build_aside(entry: Path, build: Callable[[Path], None]) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        build(aside / entry.name)
        (aside / entry.name).rename(entry)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
