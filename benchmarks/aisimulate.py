"""AISimulate (NVIDIA, Apache-2.0) on a trace of ours, in an environment of its own: nothing is installed by hand.

The package is installed from ``requirements/aisimulate.txt``, by hash, into the user's cache folder, once. Its clock is
the one that counts: ``wall_time_ms`` of its own report, without start-up, imports and the reading of its tables. Where
other processes held it up, that is more than the processor time of its whole process; then that counts.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.traces import Trace

LOCK = Path(__file__).parents[1] / "requirements" / "aisimulate.txt"
MODEL, HARDWARE = "meta-llama/Meta-Llama-3.1-8B", "h100_sxm"
MAX_SEQUENCES, MAX_BATCHED_TOKENS = 256, 8192
_BLOCK_TOKENS = 512


class AbsentError(Exception):
    """AISimulate cannot be had, or does not run here; the message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What AISimulate reports of a trace, with its times in seconds."""

    own_clock_s: float
    processor_s: float
    """Of the whole process and all its threads, start-up and imports included."""
    mean_tpot_ms: float

    @property
    def seconds(self) -> float:
        """The time that counts: the one that is better for AISimulate."""
        return min(self.own_clock_s, self.processor_s)


def replayed(trace: Trace, *, replicas: int, folder: Path) -> Replay:
    """Replay a trace on a fixed number of replicas; ``folder`` is for its files.

    Raises:
        AbsentError: it cannot be installed, or it fails.
    """
    _write_mooncake(trace, folder / "trace.jsonl")
    (folder / "config.yaml").write_text(json.dumps(_configuration(folder / "trace.jsonl", replicas)))
    program = str(_environment() / "bin" / "aisimulate")
    given = ["--config", str(folder / "config.yaml"), "--output-dir", str(folder / "out"), "--format", "json"]
    begun_s = _children_s()
    _ran([program, "predict", *given])
    processor_s = _children_s() - begun_s
    report: dict[str, Any] = json.loads((folder / "out" / "prediction.json").read_text())
    return Replay(
        own_clock_s=report["wall_time_ms"] / 1000, processor_s=processor_s, mean_tpot_ms=report["mean_tpot_ms"]
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _configuration(trace: Path, replicas: int) -> dict[str, Any]:
    scheduler = {"max_sequences": MAX_SEQUENCES, "max_batched_tokens": MAX_BATCHED_TOKENS}
    worker = {"parallelism": {"replicas": replicas}, "scheduler": scheduler}
    return {
        "traffic": {
            "source": {"type": "trace", "paths": [str(trace)], "format": "mooncake", "block_size": _BLOCK_TOKENS},
            "load": {"type": "trace_timestamps"},
        },
        "engine": {"model": MODEL, "hardware": HARDWARE, "backend": "vllm", "workers": {"aggregated": worker}},
    }


def _write_mooncake(trace: Trace, path: Path) -> None:
    """Write a trace in Mooncake's form. Every prefix block is another one: nothing is shared, as in our run."""
    block = 0
    with path.open("w") as file:
        columns = (trace.arrival_s.tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist())
        for arrival_s, given_tokens, output_tokens in zip(*columns, strict=True):
            prompt_tokens = max(1, given_tokens)
            blocks = -(-prompt_tokens // _BLOCK_TOKENS)
            row = {
                "timestamp": arrival_s * 1000,
                "input_length": prompt_tokens,
                "output_length": max(1, output_tokens),
                "hash_ids": list(range(block, block + blocks)),
            }
            file.write(json.dumps(row) + "\n")
            block += blocks


def _environment() -> Path:
    """Return the environment with the locked package, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inference-autoscaler"
    place = cache / f"aisimulate-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if not (place / "complete").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        shutil.rmtree(place, ignore_errors=True)
        _ran([uv, "venv", "--quiet", "--python", sys.executable, str(place)])
        python = str(place / "bin" / "python")
        _ran([uv, "pip", "sync", "--quiet", "--require-hashes", "--no-build", "--python", python, str(LOCK)])
        (place / "complete").touch()
    return place


def _ran(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise AbsentError(f"{Path(command[0]).name} {command[1]} failed: {''.join(last)}") from error
    except OSError as error:
        raise AbsentError(f"{command[0]} cannot be run: {error.strerror}") from error
