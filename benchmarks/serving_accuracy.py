"""The engine against real load tests of vLLM servers (AISimulate's sample of measured serving points).

A point says how many clients sent requests of which lengths to which server, and the mean TTFT and TPOT that they saw.
Each is run as a closed loop. Coefficients never come from the point itself:

* `grid`: fitted to the step-time grid of operators (benchmarks/fit_profiles.py). No serving point was seen.
* `prior`: the physics prior of the decision core (autoscaler/core/capacity.py), from bandwidth and FLOPs alone.
* `held out`: fitted to the other loads of the same server. All points of the load that is judged are left out. For
  servers (model, accelerator, precision, parallelism, engine version) with at least six points.

How a point is run. The sample does not say, so it is assumed: ten requests a client, all clients start at once, and
the means are over all requests, the rush at the start included (InferenceMAX, where many of the points come from, runs
``--num-prompts $((CONC * 10)) --max-concurrency $CONC --request-rate inf --max-num-batched-tokens 8192``). 8,192 is
also vLLM's default budget for servers on accelerators of 70 GB and more. Lengths are fixed; InferenceMAX's command
draws them from 80 to 100 %, which makes TPOT a little better and TTFT worse. `VARIANTS` holds what was tried,
docs/accuracy.md what came of it.

The fit. While the KV cache is not full, a closed loop without pauses takes the same steps whatever they cost: who is
in which step follows from the lengths. TTFT and TPOT are then *linear* in the coefficients, and their five slopes are
those of five simulations. So each fold is a non-negative least-squares problem in relative errors, TTFT at a fifth of
the weight.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import nnls

from autoscaler.core.capacity import physics_prior
from autoscaler.core.policy import PolicySpec
from benchmarks.closed_loop import LoadTest, run_load_test
from benchmarks.recordings import Floats, ServingPoint
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import MAX_SEQS

SERVER_POINTS_MIN = 6
TTFT_WEIGHT = 0.2
BUDGET_TOKENS = 8192
UNBOUND_KV_TOKENS = 10**9
UNIT = np.array([1e-2, 1e-5, 1e-5, 1e-8, 1e-10])
"""Coefficients of the right order of magnitude, at which slopes are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How load tests are run: what the sample does not say."""

    budget_tokens: int = BUDGET_TOKENS
    shortest: float = 1.0
    pause_s: float = 0.0
    first_round: bool = True
    median: bool = False
    async_scheduling: bool = False


VARIANTS: dict[str, Running] = {
    "as described": Running(),
    "budget of 2,048 tokens": Running(budget_tokens=2048),
    "budget of 16,384 tokens": Running(budget_tokens=16384),
    "lengths from 80 to 100 %": Running(shortest=0.8),
    "without the first round": Running(first_round=False),
    "lengths from 80 to 100 %, without the first round": Running(shortest=0.8, first_round=False),
    "medians instead of means": Running(median=True),
    "clients pause 10 ms": Running(pause_s=0.01),
    "clients pause 10 ms, scheduling ahead": Running(pause_s=0.01, async_scheduling=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PointError:
    """Simulated over real, less one, of one point."""

    point: ServingPoint
    tpot: float
    ttft: float


def engine_of(values: Floats, running: Running, *, kv_tokens: int = UNBOUND_KV_TOKENS) -> EngineProfile:
    """An engine with these coefficients (a, b, c, d, attention; seconds)."""
    a_s, b_s, c_s, d_s, attention_s = (float(value) for value in values)
    return EngineProfile(
        name="load test",
        model="",
        accelerator="",
        accelerators_per_replica=1,
        a_s=a_s,
        b_s=b_s,
        c_s=c_s,
        d_s=d_s,
        attention_s=attention_s,
        max_num_seqs=min(MAX_SEQS, running.budget_tokens),
        kv_tokens=kv_tokens,
        max_num_batched_tokens=running.budget_tokens,
        async_scheduling=running.async_scheduling,
    )


def simulate(profile: EngineProfile, load: tuple[int, int, int], running: Running) -> tuple[float, float]:
    """TPOT and TTFT, in seconds, that a load test reports."""
    clients, prompt_tokens, output_tokens = load
    test = LoadTest(
        clients=clients,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        shortest=running.shortest,
        pause_s=running.pause_s,
    )
    result = run_load_test(profile, test)
    counted = slice(0 if running.first_round else clients, None)
    of = np.median if running.median else np.mean
    return float(of(result.tpot_s[counted])), float(of(result.ttft_s[counted]))


def errors_with(
    points: Iterable[ServingPoint], profile: EngineProfile, running: Running = VARIANTS["as described"]
) -> list[PointError]:
    """Errors of one engine; its token budget and its way of scheduling are replaced by those of `running`."""
    engine = replace(
        profile,
        max_num_batched_tokens=max(running.budget_tokens, profile.max_num_seqs),
        async_scheduling=running.async_scheduling,
    )
    return [_error(point, *simulate(engine, point.load, running)) for point in points]


def prior_of(point: ServingPoint, *, billion: float) -> EngineProfile:
    """The engine that the decision core assumes where nothing was measured."""
    accelerator = {"h100_sxm": "H100-80GB", "h200_sxm": "H200", "b200_sxm": "B200"}[point.system]
    spec = PolicySpec.model_validate(
        {
            "targetRef": {"name": "server"},
            "model": {"name": "model", "parametersBillion": billion},
            "accelerator": {"class": accelerator, "countPerReplica": point.tensor_parallel},
            "replicas": {"min": 1, "max": 1},
        }
    )
    prior = physics_prior(spec)
    return engine_of(np.array([prior.a_s, prior.b_s, prior.c_s, prior.d_s, 0.0]), VARIANTS["as described"])


def held_out_errors(points: Iterable[ServingPoint], running: Running = VARIANTS["as described"]) -> list[PointError]:
    """Errors of every point of the servers with enough of them, each with its load left out of the fit."""
    servers: dict[tuple[str, ...], list[ServingPoint]] = defaultdict(list)
    for point in points:
        servers[point.server].append(point)
    errors = []
    for server in servers.values():
        if len(server) < SERVER_POINTS_MIN:
            continue
        for load in sorted({point.load for point in server}):
            values = fit_server([point for point in server if point.load != load], running)
            predicted = simulate(engine_of(values, running), load, running)
            errors += [_error(point, *predicted) for point in server if point.load == load]
    return errors


def fit_server(points: list[ServingPoint], running: Running) -> Floats:
    """Coefficients of one server (5,) by relative non-negative least squares over its points."""
    rows, wanted = [], []
    for point in points:
        slopes, constant = linear(point.load, running)
        real = np.array([point.tpot_s, point.ttft_s])
        weight = np.array([1.0, TTFT_WEIGHT]) / real
        rows.append(slopes * weight[:, None])
        wanted.append((real - constant) * weight)
    matrix = np.concatenate(rows)
    scale = np.abs(matrix).max(axis=0)
    solution, _ = nnls(matrix / scale, np.concatenate(wanted))
    values = np.asarray(solution / scale, dtype=np.float64)
    # An engine needs some time for a step.
    values[0] = max(values[0], 1e-6)
    return values


@cache
def linear(load: tuple[int, int, int], running: Running) -> tuple[Floats, Floats]:
    """Slopes (2, 5) of TPOT and TTFT in the coefficients, and what is left at none: pauses, in effect (2,)."""
    at_unit = np.array(simulate(engine_of(UNIT, running), load, running))
    slopes = np.empty((2, UNIT.size))
    for index, value in enumerate(UNIT):
        doubled = UNIT.copy()
        doubled[index] *= 2
        slopes[:, index] = (np.array(simulate(engine_of(doubled, running), load, running)) - at_unit) / value
    return slopes, at_unit - slopes @ UNIT


def _error(point: ServingPoint, tpot_s: float, ttft_s: float) -> PointError:
    return PointError(point=point, tpot=tpot_s / point.tpot_s - 1, ttft=ttft_s / point.ttft_s - 1)


def summary(errors: Iterable[PointError]) -> dict[str, float]:
    """Points, and the median absolute error, mean absolute error and median error of TPOT and TTFT, in percent."""
    chosen = list(errors)
    result: dict[str, float] = {"points": len(chosen)}
    for name in ("tpot", "ttft"):
        values = 100 * np.array([getattr(error, name) for error in chosen])
        result[f"{name}_median_pct"] = round(float(np.median(np.abs(values))), 1)
        result[f"{name}_mean_pct"] = round(float(np.abs(values).mean()), 1)
        result[f"{name}_bias_pct"] = round(float(np.median(values)), 1)
    return result
