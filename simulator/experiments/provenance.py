"""Where a result comes from: everything that it follows from, so that the same again gives the same bytes."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from simulator.faults.plan import FaultPlan
from simulator.journalfile import whole
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.traces import Trace, Traffic, traffic_of

_PACKAGES = ("inference-autoscaler", "numpy", "numba")


def trace_digest(trace: Trace | Traffic) -> str:
    """Return 16 hex digits that stand for a trace's times, lengths and prefix blocks, whatever pieces they come in."""
    times, prompts, outputs, counts, ids = (hashlib.sha256() for _ in range(5))
    block_tokens = 0
    for piece in traffic_of(trace).pieces():
        times.update(piece.arrival_s.tobytes())
        prompts.update(piece.prompt_tokens.tobytes())
        outputs.update(piece.output_tokens.tobytes())
        if piece.block_offsets is not None and piece.block_ids is not None:
            block_tokens = piece.block_tokens
            counts.update(np.diff(piece.block_offsets).tobytes())
            ids.update(piece.block_ids.tobytes())
    parts = [times, prompts, outputs] + ([counts, ids] if block_tokens else [])
    return hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


def faults_json(plan: FaultPlan | None) -> dict[str, Any]:
    """Return what a result says of the faults it follows from: their kinds and a digest of all; nothing without any."""
    if plan is None:
        return {}
    return {"faults": {"digest": plan.digest, "kinds": [fault.fault.value for fault in plan.faults]}}


def cluster_json(cluster: ModelledCluster | None) -> dict[str, Any]:
    """Return what a result says of the nodes it follows from: the groups and a digest of all; nothing without nodes."""
    if cluster is None:
        return {}
    return {"cluster": {"digest": cluster.digest, "groups": [group.name for group in cluster.groups]}}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all, with its keys in order: the same value gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
