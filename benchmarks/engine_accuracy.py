"""The simulated engine against real servers: ``python -m benchmarks.engine_accuracy``.

Goals: against recorded vLLM runs, coefficients fitted on one half of the requests, means of TTFT and TPOT on
the other half within 3 % and 95th percentiles within 10 %; against real load tests, TPOT within 15 % in the median.
TTFT of the load tests is reported. How each is done: benchmarks/run_fit.py and benchmarks/serving_accuracy.py.

The last line is one JSON object: errors of each recorded run on its held-out half (and the range over further seeds of
the fit), of the load tests by accelerator and model, what other ways to run the load tests would give (with
``--variants``), seed, versions and machine, and `passed`, which says of each goal whether it was reached.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.fit_profiles import fitted_name, grid_profile
from benchmarks.machine import machine, versions
from benchmarks.recordings import (
    RecordedRun,
    ServingPoint,
    recorded_runs,
    required_profiles,
    serving_points,
    step_grids,
)
from benchmarks.run_fit import RunErrors, errors_over, fit_run, halves, profile_of, replay
from benchmarks.serving_accuracy import (
    VARIANTS,
    PointError,
    Running,
    errors_with,
    held_out_errors,
    prior_of,
    summary,
)
from simulator.engine.profiles import EngineProfile

MEAN_GOAL, P95_GOAL, TPOT_MEDIAN_GOAL_PCT = 0.03, 0.10, 15.0
DENSE_MODEL, DENSE_BILLION = "Qwen/Qwen3-32B", 32.8
OTHER_ENGINES = ("sglang", "trtllm")


def reached(errors: RunErrors) -> bool:
    """Whether means and 95th percentiles are within the goals."""
    means = max(abs(errors.ttft_mean), abs(errors.tpot_mean))
    return means <= MEAN_GOAL and max(abs(errors.ttft_p95), abs(errors.tpot_p95)) <= P95_GOAL


def judge_run(run: RecordedRun, *, seed: int) -> tuple[tuple[float, ...], RunErrors, RunErrors]:
    """Coefficients fitted to the first half, errors on the second half, errors over all."""
    coefficients = fit_run(run, seed=seed)
    table = replay(run, profile_of(run, coefficients))
    _, second = halves(run)
    return coefficients, errors_over(run, table, second), errors_over(run, table, slice(None))


def recorded(profiles: Path, *, seed: int, seeds: int) -> dict[str, Any]:
    """Figures of every recorded run; errors in percent."""
    figures: dict[str, Any] = {}
    for run in recorded_runs(profiles):
        coefficients, held_out, overall = judge_run(run, seed=seed)
        further = [held_out, *(judge_run(run, seed=other)[1] for other in range(seed + 1, seed + seeds))]
        figures[run.name] = {
            "coefficients_s": coefficients,
            "kv_tokens": run.kv_tokens,
            "kv_source": run.kv_source,
            "held_out_pct": _percent(held_out),
            "all_pct": _percent(overall),
            "largest_over_seeds_pct": {
                name: round(100 * max(abs(getattr(errors, name)) for errors in further), 1) for name in asdict(held_out)
            },
            "seeds_that_reach_the_goals": f"{sum(reached(errors) for errors in further)} of {len(further)}",
            "passed": reached(held_out),
        }
        click.echo(f"{run.name}: held out {figures[run.name]['held_out_pct']}", err=True)
    return figures


def _percent(errors: RunErrors) -> dict[str, float]:
    return {name: round(100 * value, 1) for name, value in asdict(errors).items()}


def load_tests(profiles: Path) -> dict[str, Any]:
    """Figures of the load tests, by source of the coefficients, and by accelerator and model; errors in percent."""
    points = serving_points(profiles)
    grids = {profile.name: profile for profile in (grid_profile(grid)[0] for grid in step_grids(profiles))}
    by_grid, held_out = on_grids(points, grids), held_out_errors(points)
    dense = [point for point in points if point.model == DENSE_MODEL and not point.precision]
    prior = [error for point in dense for error in errors_with([point], prior_of(point, billion=DENSE_BILLION))]
    others = [(engine, on_grids(serving_points(profiles, engine=engine), grids)) for engine in OTHER_ENGINES]
    return {
        "grid": _by_pair(by_grid),
        "grid_budget_2048": _by_pair(on_grids(points, grids, VARIANTS["budget of 2,048 tokens"])),
        "grid_of_vllm_on_other_engines": {engine: _by_pair(errors) for engine, errors in others},
        "prior": _by_pair(prior),
        "held_out": _by_pair(held_out),
        "without_coefficients": len(points) - len(held_out),
    }


def on_grids(
    points: list[ServingPoint], grids: dict[str, EngineProfile], running: Running = VARIANTS["as described"]
) -> list[PointError]:
    """Errors of the BF16 points for which the step-time grid has accelerator, model and parallelism."""
    errors = []
    for point in points:
        engine = grids.get(fitted_name(point.system, point.tensor_parallel, point.model))
        if engine is not None and not point.precision:
            errors += errors_with([point], engine, running)
    return errors


def _by_pair(errors: list[PointError]) -> dict[str, dict[str, float]]:
    pairs = sorted({error.point.pair for error in errors})
    each = {pair: summary([error for error in errors if error.point.pair == pair]) for pair in pairs}
    return {"all": summary(errors)} | each


def passed(runs: dict[str, Any], tests: dict[str, Any]) -> dict[str, bool]:
    """Each goal, and whether it was reached."""
    result = {f"{name}: means within 3 %, p95 within 10 %": bool(run["passed"]) for name, run in runs.items()}
    for name in ("grid", "held_out"):
        result[f"load tests, {name}: TPOT median under 15 %"] = (
            tests[name]["all"]["tpot_median_pct"] < TPOT_MEDIAN_GOAL_PCT
        )
    return result


@click.command()
@click.option("--seed", default=0, show_default=True, help="Seed of the starts of the fits to recorded runs.")
@click.option("--seeds", default=6, show_default=True, type=click.IntRange(min=1), help="Seeds, to see the spread.")
@click.option("--variants", is_flag=True, help="Also run the load tests in all the other ways that were tried.")
def main(seed: int, seeds: int, variants: bool) -> None:
    """Hold the engine against recorded runs and load tests of real servers."""
    begun_s, profiles = time.perf_counter(), required_profiles()
    runs, tests = recorded(profiles, seed=seed, seeds=seeds), load_tests(profiles)
    figures: dict[str, Any] = {"runs": runs, "load_tests": tests, "passed": passed(runs, tests)}
    if variants:
        points = serving_points(profiles)
        figures["variants"] = {name: summary(held_out_errors(points, way)) for name, way in VARIANTS.items()}
    for name in ("grid", "held_out", "prior"):
        click.echo(f"load tests, {name}: {tests[name]['all']}", err=True)
    took = {"seed": seed, "seeds": seeds, "seconds": round(time.perf_counter() - begun_s, 1)}
    click.echo(json.dumps(figures | took | {"versions": versions("numpy", "numba", "scipy"), "machine": machine()}))


if __name__ == "__main__":
    main()
