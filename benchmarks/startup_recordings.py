"""The measured starts of engines, phase by phase, and which of their labels are known to be wrong.

55 starts of vLLM 0.10 by Kabakibo et al., "Breaking the Ice" (MLSys 2026), as ``vllm_startup_phases.csv``. What a start
read its weights from (``weights_from``) is not in the publisher's data: whoever made the file added it for whole
experiments. The publisher's repository (github.com/upb-cn/vllm-startup-profiler at 9ef96f47) contradicts it for the
starts in `CONTRADICTED` and makes it doubtful for `DOUBTED`; docs/accuracy.md has the proof. Neither list was made from
the time that a start took to load.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.recordings import read_csv
from simulator.startup.physics import EngineStart, ModelFiles

REFERENCE_CPU = "EPYC9354"
PAGE_CACHE = "page cache"
TIERS = {"disk": "disk", "RAM (": PAGE_CACHE, "RAM or disk": "not stated"}
"""Tiers by how the label begins. That of the A100 node is not stated; its starts agree on 1.8 GB/s."""
CONTRADICTED = frozenset({("figure-rest/avg", "granite4.0-h-32b"), ("figure-rest/avg", "granite4.0-h-3b")})
"""Started in turn, 71 GB every 61 s on a host with 251 GB of memory: never from a disk of 0.54 GB/s, and no step of the
publisher's script empties the page cache in this experiment."""
DOUBTED = frozenset({("figure-10/gpu0/uncached (single run)", "qwen-0.5b")})
"""``uncached`` means the compile cache. What the host had read before is not recorded; it loaded in 0.13 s as it does
from memory, and takes 1.71 s from the disk in ten other starts."""
DISK_GBPS_MAX = 5.0
"""Faster than this a start has not read from the disks of these hosts."""
BYTES_PER_PARAMETER = 2.0
PARAMETERS_BILLION = {
    "deepseek-r1-distill-qwen-7b": 7.616,
    "deepseek-v2-lite-16b": 15.706,
    "falcon-7b": 6.922,
    "gemma-7b": 8.538,
    "granite4.0-h-32b": 32.2,
    "granite4.0-h-3b": 3.2,
    "llama2-13b-hf": 13.016,
    "llama2-7b-hf": 6.738,
    "llama3-3b": 3.213,
    "qwen-0.5b": 0.464,
    "qwen-1.8b": 1.837,
    "qwen-14b": 14.167,
    "qwen-4b": 3.95,
    "yi-6b": 6.061,
    "yi-9b": 8.829,
}
"""What is loaded, embeddings that are tied counted once: counted from the published configurations, of the two Granite
models as the engine reports it. The name says 7 of models that have 6.7 to 8.5."""
FAMILIES = ("deepseek-r1", "deepseek-v2", "falcon", "gemma", "granite", "llama", "qwen", "yi")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStart:
    """One start of an engine, as it was measured."""

    experiment: str
    model: str
    host: str
    """The processor: the reference, or another."""
    tier: str
    files: ModelFiles
    named_gb: float
    """The weights by the model's name: 14 for "7B"."""
    graph_size: int
    """What the compiler left behind, known after a first start only."""
    compile_cached: bool
    phases: EngineStart

    @property
    def total_s(self) -> float:
        """Process start to Ready."""
        return self.phases.total_s

    @property
    def family(self) -> str:
        """Models that share an architecture."""
        return next(family for family in FAMILIES if self.model.startswith(family))

    @property
    def contradicted(self) -> bool:
        """Whether the publisher's logs contradict the label of the tier."""
        return (self.experiment, self.model) in CONTRADICTED

    @property
    def disputed(self) -> bool:
        """Whether the label of the tier is contradicted or doubtful."""
        return self.contradicted or (self.experiment, self.model) in DOUBTED


def measured_starts(profiles: Path) -> list[MeasuredStart]:
    """All starts, in order of the file, labelled as they are there."""
    return [_start(row) for row in read_csv(profiles / "vllm_startup/vllm_startup_phases.csv")]


def corrected(starts: Iterable[MeasuredStart]) -> list[MeasuredStart]:
    """With the tier of the contradicted starts as the publisher's logs have it."""
    return [replace(start, tier=PAGE_CACHE) if start.contradicted else start for start in starts]


def recognised(starts: Iterable[MeasuredStart]) -> list[MeasuredStart]:
    """With the tier by the time that the start itself took to load. That is no prediction: it is known afterwards."""
    return [
        replace(start, tier=PAGE_CACHE)
        if start.tier == "disk" and start.files.weights_gb / start.phases.weights_s > DISK_GBPS_MAX
        else start
        for start in starts
    ]


def undisputed(starts: Iterable[MeasuredStart]) -> list[MeasuredStart]:
    """Without the starts whose label is contradicted or doubtful."""
    return [start for start in starts if not start.disputed]


def _start(row: dict[str, str]) -> MeasuredStart:
    cached = not row["graph_compile_cold"]
    number = {key: float(value) for key, value in row.items() if value and _is_number(value)}
    phases = _phases(number, compile_s=number["graph_compile_cached" if cached else "graph_compile_cold"])
    weights_gb = BYTES_PER_PARAMETER * PARAMETERS_BILLION[row["model"]]
    return MeasuredStart(
        experiment=row["experiment"],
        model=row["model"],
        host=REFERENCE_CPU if REFERENCE_CPU in row["host"] else row["gpu"],
        tier=next(tier for start, tier in TIERS.items() if row["weights_from"].startswith(start)),
        files=ModelFiles(weights_gb=weights_gb, layers=int(row["layers"]), tokenizer_mb=number["tokenizer_mb"]),
        named_gb=BYTES_PER_PARAMETER * number["size_b"],
        graph_size=int(row["compiled_graph_size"]),
        compile_cached=cached,
        phases=phases,
    )


def _phases(number: dict[str, float], *, compile_s: float) -> EngineStart:
    """In seconds; `other` is what the named phases leave of the total."""
    known_s = sum(number[key] for key in ("framework_bootstrap", "load_weights", "model_init", "tokenizer_init"))
    known_s += sum(number[key] for key in ("dynamo_transform", "kv_cache_profiling", "graph_capturing"))
    return EngineStart(
        bootstrap_s=number["framework_bootstrap"],
        weights_s=number["load_weights"],
        model_init_s=number["model_init"],
        transform_s=number["dynamo_transform"],
        compile_s=compile_s,
        profiling_s=number["kv_cache_profiling"],
        capture_s=number["graph_capturing"],
        tokenizer_s=number["tokenizer_init"],
        other_s=number["actual_total"] - known_s - compile_s,
    )


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
