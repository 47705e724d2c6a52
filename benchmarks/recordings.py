"""The measurements that the accuracy benchmarks are held against, read from the folder ``../shared/profiles``.

They are other people's work (sources and licences in the README there), are not part of this repository, and nothing
that a user runs needs them. Where the folder is absent `shared_profiles` says so and tests skip; ``SHARED`` in the
environment names another place for ``../shared``.
"""

import csv
import gzip
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kv_memory import geometry_of, kv_tokens

ROOT = Path(__file__).resolve().parent.parent
ABSENT = "the measurements of ../shared/profiles are not on this machine"
GIB = 2**30

Floats = NDArray[np.float64]


def shared_profiles() -> Path | None:
    """The folder of measurements, or None where it is absent."""
    folder = Path(os.environ.get("SHARED") or ROOT.parent / "shared") / "profiles"
    return folder if folder.is_dir() else None


def required_profiles() -> Path:
    """The folder of measurements.

    Raises:
        FileNotFoundError: it is absent; the message says how to name another.
    """
    folder = shared_profiles()
    if folder is None:
        raise FileNotFoundError(f"{ABSENT}; put them beside this checkout, or name their folder in SHARED")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, plain or gzipped."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"))))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepGrid:
    """Step times of one model on one accelerator: batch sequences of equal context, (N,) each.

    Decode steps compute one token for each sequence with that context in the cache; prefill steps compute prompts of
    that length from nothing.
    """

    system: str
    model: str
    tensor_parallel: int
    engine_version: str
    decode: NDArray[np.bool_]
    batch: Floats
    context_tokens: Floats
    step_s: Floats


def step_grids(profiles: Path) -> list[StepGrid]:
    """AISimulate's grid, one entry for each accelerator, model and degree of tensor parallelism, in order of the file.

    The times are sums of measured operators; scheduler and host are not in them.
    """
    groups: dict[tuple[str, str, int, str], list[dict[str, str]]] = {}
    for row in read_csv(profiles / "aisimulate/steptime_grid_vllm.csv.gz"):
        key = row["system"], row["model"], int(row["tp"]), row["vllm_version"]
        groups.setdefault(key, []).append(row)
    return [
        StepGrid(
            system=system,
            model=model,
            tensor_parallel=tp,
            engine_version=engine_version,
            decode=np.array([row["phase"] == "decode" for row in rows]),
            batch=np.array([float(row["batch"]) for row in rows]),
            context_tokens=np.array([float(row["context_tokens_per_seq"]) for row in rows]),
            step_s=np.array([float(row["step_ms"]) for row in rows]) / 1000,
        )
        for (system, model, tp, engine_version), rows in groups.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPoint:
    """One real benchmark of a server: `clients` that each send the next request when the last is answered."""

    engine: str
    engine_version: str
    model: str
    system: str
    precision: str
    tensor_parallel: int
    expert_parallel: str
    clients: int
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float

    @property
    def pair(self) -> str:
        """Accelerator and model, for tables."""
        return f"{self.system.split('_')[0]} {self.model.split('/')[-1]}"

    @property
    def server(self) -> tuple[str, ...]:
        """What is one server: points that share it differ by load alone."""
        tp = str(self.tensor_parallel)
        return self.model, self.system, self.precision, tp, self.expert_parallel, self.engine_version

    @property
    def load(self) -> tuple[int, int, int]:
        """Clients, prompt tokens, output tokens."""
        return self.clients, self.prompt_tokens, self.output_tokens


def serving_points(profiles: Path, *, engine: str = "vllm") -> list[ServingPoint]:
    """The real points of one engine on one set of accelerators (no separate prefill, no data parallelism)."""
    return [
        ServingPoint(
            engine=engine,
            engine_version=row["backend_version"],
            model=row["model_path"],
            system=row["system"],
            precision=row["precision"],
            tensor_parallel=int(row["tp_size"]),
            expert_parallel=row["moe_ep_size"],
            clients=int(row["batch_size"]),
            prompt_tokens=int(row["isl"]),
            output_tokens=int(row["osl"]),
            ttft_s=float(row["silicon_ttft_ms"]) / 1000,
            tpot_s=float(row["silicon_tpot_ms"]) / 1000,
        )
        for row in read_csv(profiles / "aisimulate/silicon_sample.csv.gz")
        if row["backend"] == engine and row["mode"] == "agg" and row["attention_dp_size"] in {"", "1"}
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedRun:
    """A real vLLM run, request by request, in order of arrival: (N,) each, seconds from the first arrival."""

    name: str
    model: str
    engine_version: str
    arrival_s: Floats
    """At the API server. What lies between that and the engine's queue is part of what a client waits for."""
    first_token_s: Floats
    last_token_s: Floats
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    accelerators_per_replica: int
    replicas: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int
    kv_source: str
    async_scheduling: bool

    @property
    def ttft_s(self) -> Floats:
        """Arrival to first token, (N,)."""
        return self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> Floats:
        """Mean time per output token after the first, (N,)."""
        return (self.last_token_s - self.first_token_s) / np.maximum(self.output_tokens - 1, 1)


def recorded_runs(profiles: Path) -> list[RecordedRun]:
    """Every recorded run of the folder llmservingsim_bench, sorted by name."""
    return [recorded_run(file.parent) for file in sorted(profiles.glob("llmservingsim_bench/*/vllm_requests.jsonl.gz"))]


def recorded_run(folder: Path) -> RecordedRun:
    """One run: vllm_requests.jsonl.gz, vllm_meta.json and config.json of a folder.

    Arrivals are on another clock (epoch) than the engine's times (monotonic). The two are joined by the request that
    took the least from the API server to the queue, which is taken to have needed no time.
    """
    meta = json.loads((folder / "vllm_meta.json").read_text(encoding="utf-8"))
    with gzip.open(folder / "vllm_requests.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = sorted((json.loads(line) for line in lines), key=lambda row: float(row["arrival_time"]))
    arrival_s, queued_s, first_s, last_s = (
        np.array([row[key] for row in rows], dtype=np.float64)
        for key in ("arrival_time", "queued_ts", "first_token_ts", "last_token_ts")
    )
    arrival_s = arrival_s - arrival_s[0]
    origin_s = float((queued_s - arrival_s).min())
    kwargs = meta["engine_kwargs"]
    capacity, source = _kv_capacity(meta, folder)
    return RecordedRun(
        name=folder.name,
        model=meta["model"],
        engine_version=meta["vllm_version"],
        arrival_s=arrival_s,
        first_token_s=first_s - origin_s,
        last_token_s=last_s - origin_s,
        prompt_tokens=np.array([row["input_toks"] for row in rows], dtype=np.int32),
        output_tokens=np.array([row["output_toks"] for row in rows], dtype=np.int32),
        accelerators_per_replica=int(kwargs["tensor_parallel_size"]),
        replicas=int(kwargs.get("data_parallel_size") or 1),
        max_num_seqs=int(kwargs["max_num_seqs"]),
        max_num_batched_tokens=int(kwargs["max_num_batched_tokens"]),
        kv_tokens=capacity,
        kv_source=source,
        async_scheduling=_schedules_ahead(meta),
    )


def _kv_capacity(meta: dict[str, Any], folder: Path) -> tuple[int, str]:
    """The capacity that the engine reported; where it did not, computed from the accelerator's memory."""
    reported = (meta.get("kv_cache") or {}).get("num_kv_tokens")
    if reported:
        return int(reported), "reported by the engine"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kwargs = meta["engine_kwargs"]
    computed = kv_tokens(
        geometry_of(meta["model"]),
        memory_bytes=config["nodes"][0]["instances"][0]["npu_mem"]["mem_size"] * GIB,
        accelerators=int(kwargs["tensor_parallel_size"]),
        max_num_batched_tokens=int(kwargs["max_num_batched_tokens"]),
        max_num_seqs=int(kwargs["max_num_seqs"]),
    )
    return computed, "computed from memory"


def _schedules_ahead(meta: dict[str, Any]) -> bool:
    """What the engine reported; where it did not, its default: on since 0.14."""
    reported = meta.get("resolved_config", {}).get("scheduler_config", {}).get("async_scheduling")
    if reported is not None:
        return bool(reported)
    major, minor = (int(part) for part in meta["vllm_version"].split(".")[:2])
    return (major, minor) >= (0, 14)
