"""Where a result comes from: everything that it follows from, so that the same again gives the same bytes."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simulator.journalfile import whole
from simulator.traces import Trace

_PACKAGES = ("inference-autoscaler", "numpy", "numba")


def trace_digest(trace: Trace) -> str:
    """Return the first 16 hex digits of the SHA-256 of a trace's times and lengths."""
    sha = hashlib.sha256()
    for array in (trace.arrival_s, trace.prompt_tokens, trace.output_tokens):
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all, with its keys in order: the same value gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
