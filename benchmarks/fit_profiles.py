"""The fitted profiles of simulator/data/profiles.yaml: ``python -m benchmarks.fit_profiles``.

It writes the part of the file below the line `GENERATED`; what stands above is written by hand and stays. The same
measurements give the same bytes.

From the step-time grid (AISimulate: sums of measured operators of vLLM, BF16; no scheduler or host in them). Decode and
prefill are fitted apart, each by least squares in relative errors with coefficients of at least 0, in seconds:

    decode  = a + c·B + d·B·s                 B sequences with a context of s tokens each
    prefill = a' + b·B·s + e·B·s²/2           B prompts of s tokens

The engine adds b·P and e·A to a decode step, so it takes a from decode and drops a': prompts are computed among
sequences that decode, and there b and e are what they add. Alone, a prompt then costs a − a' too much, or the first
term is paid twice; how much that is over the grid's prefill points is stated beside the fit's own error.

From real runs (the recorded runs of LLMServingSim's bench): benchmarks/run_fit.py, fitted to the first half of the
requests, with the errors on the second half beside.

KV capacities are computed from memory (benchmarks/kv_memory.py) where no engine reported one. Limits are vLLM's
defaults for an API server: on accelerators of 70 GB and more, the A100 excepted, 1,024 sequences and 8,192 tokens;
else 256 and 2,048.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from scipy.optimize import nnls

from benchmarks.kv_memory import geometry_of, kv_tokens
from benchmarks.recordings import (
    GIB,
    ROOT,
    Floats,
    RecordedRun,
    StepGrid,
    recorded_runs,
    required_profiles,
    step_grids,
)
from benchmarks.run_fit import errors_over, fit_run, halves, profile_of, replay
from simulator.engine.profiles import EngineProfile

LINE = 120
PROFILES = ROOT / "simulator/data/profiles.yaml"
GENERATED = "# ---- Below: written by `python -m benchmarks.fit_profiles`; do not edit. ----\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One accelerator of the grid: the name in profiles, and its memory as CUDA reports it, in GiB."""

    name: str
    memory_gib: float

    @property
    def is_large(self) -> bool:
        """Whether vLLM's larger defaults hold."""
        return self.memory_gib >= 70 and not self.name.startswith("A100")


ACCELERATORS = {
    "a100_sxm": Accelerator(name="A100-80GB", memory_gib=79.15),
    "h100_sxm": Accelerator(name="H100", memory_gib=79.11),
    "h200_sxm": Accelerator(name="H200", memory_gib=139.8),
    "b200_sxm": Accelerator(name="B200", memory_gib=178.3),
    "l40s": Accelerator(name="L40S", memory_gib=44.4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFit:
    """Coefficients in seconds and mean absolute relative errors in percent."""

    a_s: float
    b_s: float
    c_s: float
    d_s: float
    attention_s: float
    decode_pct: float
    decode_max_pct: float
    prefill_pct: float
    prefill_max_pct: float
    prefill_with_a_pct: float
    decode_points: int
    prefill_points: int


def fit_grid(grid: StepGrid) -> GridFit:
    """Fit one grid as this module's head says; coefficients are rounded to four digits, errors are those after it."""
    tokens = grid.batch * grid.context_tokens
    ones = np.ones_like(tokens)
    decode, prefill = grid.decode, ~grid.decode
    for_decode = np.stack([ones, grid.batch, tokens], axis=1)[decode]
    for_prefill = np.stack([ones, tokens, tokens * grid.context_tokens / 2], axis=1)[prefill]
    decode_terms = _relative_fit(for_decode, grid.step_s[decode])
    prefill_terms = _relative_fit(for_prefill, grid.step_s[prefill])
    decode_errors = for_decode @ decode_terms / grid.step_s[decode] - 1
    prefill_errors = for_prefill @ prefill_terms / grid.step_s[prefill] - 1
    as_charged = np.array([decode_terms[0], *prefill_terms[1:]])
    a_s, c_s, d_s = (float(term) for term in decode_terms)
    return GridFit(
        a_s=a_s,
        b_s=float(prefill_terms[1]),
        c_s=c_s,
        d_s=d_s,
        attention_s=float(prefill_terms[2]),
        decode_pct=100 * float(np.abs(decode_errors).mean()),
        decode_max_pct=100 * float(np.abs(decode_errors).max()),
        prefill_pct=100 * float(np.abs(prefill_errors).mean()),
        prefill_max_pct=100 * float(np.abs(prefill_errors).max()),
        prefill_with_a_pct=100 * float(np.abs(for_prefill @ as_charged / grid.step_s[prefill] - 1).mean()),
        decode_points=int(decode.sum()),
        prefill_points=int(prefill.sum()),
    )


def _relative_fit(terms: Floats, step_s: Floats) -> Floats:
    """Non-negative least squares in relative errors, rounded to four digits."""
    matrix = terms / step_s[:, None]
    scale = matrix.max(axis=0)
    solution, _ = nnls(matrix / scale, np.ones_like(step_s))
    return np.array([float(f"{value:.4g}") for value in solution / scale])


def fitted_name(system: str, tensor_parallel: int, model: str) -> str:
    """The name of the profile fitted to a grid; that of an accelerator without one is nobody's."""
    accelerator = ACCELERATORS[system].name if system in ACCELERATORS else system
    many = f"{tensor_parallel}x" if tensor_parallel > 1 else ""
    short = model.rsplit("/", maxsplit=1)[-1].removeprefix("Meta-").removesuffix("-Instruct")
    return f"{many}{accelerator}/{short}-fit".lower()


def grid_profile(grid: StepGrid) -> tuple[EngineProfile, GridFit]:
    """The profile of one grid, and its fit."""
    fit, accelerator = fit_grid(grid), ACCELERATORS[grid.system]
    limits = {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}
    if not accelerator.is_large:
        limits = {"max_num_batched_tokens": 2048, "max_num_seqs": 256}
    capacity = kv_tokens(
        geometry_of(grid.model),
        memory_bytes=accelerator.memory_gib * GIB,
        accelerators=grid.tensor_parallel,
        **limits,
    )
    profile = EngineProfile(
        name=fitted_name(grid.system, grid.tensor_parallel, grid.model),
        model=grid.model.replace("Meta-", ""),
        accelerator=accelerator.name,
        accelerators_per_replica=grid.tensor_parallel,
        a_s=fit.a_s,
        b_s=fit.b_s,
        c_s=fit.c_s,
        d_s=fit.d_s,
        attention_s=fit.attention_s,
        kv_tokens=capacity,
        **limits,
        async_scheduling=True,
        evidence="DERIVED",
        source=_grid_source(grid, fit),
    )
    return profile, fit


def _grid_source(grid: StepGrid, fit: GridFit) -> str:
    return (
        f"AISimulate operator tables, vLLM {grid.engine_version}, BF16, TP{grid.tensor_parallel}."
        f" Mean (largest) error of the fit: decode {fit.decode_pct:.1f} % ({fit.decode_max_pct:.0f} %) over"
        f" {fit.decode_points} points, prefill {fit.prefill_pct:.1f} % ({fit.prefill_max_pct:.0f} %) over"
        f" {fit.prefill_points}; {fit.prefill_with_a_pct:.1f} % for prompts alone with the decode fit's fixed term, as"
        " the engine charges it. Host and scheduler are not in the tables. KV capacity computed from memory."
    )


def run_profile(run: RecordedRun) -> EngineProfile:
    """The profile of a recorded run, fitted to its first half."""
    engine = profile_of(run, fit_run(run))
    first, second = halves(run)
    held_out = errors_over(run, replay(run, engine), second)
    many = f"{run.accelerators_per_replica}x" if run.accelerators_per_replica > 1 else ""
    return EngineProfile(
        name=f"{many}{engine.accelerator}/{run.model.rsplit('/', maxsplit=1)[-1]}".lower(),
        model=run.model,
        accelerator=engine.accelerator,
        accelerators_per_replica=run.accelerators_per_replica,
        a_s=engine.a_s,
        b_s=engine.b_s,
        c_s=engine.c_s,
        d_s=engine.d_s,
        attention_s=engine.attention_s,
        max_num_seqs=run.max_num_seqs,
        kv_tokens=run.kv_tokens,
        max_num_batched_tokens=run.max_num_batched_tokens,
        async_scheduling=run.async_scheduling,
        evidence="MEASURED",
        source=(
            f"A real vLLM {run.engine_version} run of LLMServingSim's published bench, {run.arrival_s.size} requests"
            f" under overload; fitted to requests 0 to {first.stop - 1}. Errors on the others: TTFT mean"
            f" {100 * held_out.ttft_mean:+.1f} %, p95 {100 * held_out.ttft_p95:+.1f} %; TPOT mean"
            f" {100 * held_out.tpot_mean:+.1f} %, p95 {100 * held_out.tpot_p95:+.1f} %. KV capacity {run.kv_source}."
        ),
    )


def yaml_of(profile: EngineProfile) -> str:
    """One entry of profiles.yaml."""
    numbers = {name: f"{getattr(profile, name):.4g}" for name in ("a_s", "b_s", "c_s", "d_s", "attention_s")}
    # A parser may read 5e-08 as a string; with a point it is a number in all of them.
    numbers = {name: text if "." in text else text.replace("e", ".0e") for name, text in numbers.items()}
    lines = [
        f"{profile.name}:",
        f"  model: {profile.model}",
        f"  accelerator: {profile.accelerator}",
        f"  accelerators_per_replica: {profile.accelerators_per_replica}",
        *(f"  {name}: {text}" for name, text in numbers.items()),
        f"  max_num_seqs: {profile.max_num_seqs}",
        f"  kv_tokens: {profile.kv_tokens}",
        f"  max_num_batched_tokens: {profile.max_num_batched_tokens}",
        f"  async_scheduling: {str(profile.async_scheduling).lower()}",
        f"  evidence: {profile.evidence}",
        "  source: >-",
        *textwrap.wrap(profile.source, width=LINE, initial_indent="    ", subsequent_indent="    "),
    ]
    return "\n".join(lines) + "\n"


def generated(profiles: Path) -> str:
    """All that stands below the line `GENERATED`."""
    grids = sorted((grid_profile(grid)[0] for grid in step_grids(profiles)), key=lambda profile: profile.name)
    runs = [run_profile(run) for run in recorded_runs(profiles)]
    return "\n".join(yaml_of(profile) for profile in [*grids, *runs])


@click.command()
def main() -> None:
    """Write the fitted profiles anew."""
    by_hand = PROFILES.read_text(encoding="utf-8").partition(GENERATED)[0]
    text = generated(required_profiles())
    PROFILES.write_text(f"{by_hand}{GENERATED}\n{text}", encoding="utf-8")
    click.echo(f"{text.count('source:')} fitted profiles in {PROFILES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
