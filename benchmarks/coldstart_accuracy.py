"""Cold starts by phase against measured ones: ``python -m benchmarks.coldstart_accuracy``.

The model is simulator/startup/physics.py. Each model of the data is left out in turn, with all its starts on all hosts;
the constants are fitted to the starts of the others, and the starts of the one left out are predicted from its sizes,
its tier and its host. Goal: error of the total under 10 %. An error is that of one start, |predicted / measured − 1|;
`over_starts_pct` is its mean over all starts, `over_models_pct` the mean over models of the mean over their starts.

Three of the 55 starts carry a label of the tier that is wrong or doubtful (benchmarks/startup_recordings.py), so
everything is given for the labels as they stand, with the two labels corrected that the publisher's logs contradict,
and without the three. `floor` is what remains if all phases but the weights were predicted exactly: less is not to be
had by a method that takes the label at its word. `tier_known_from_the_start_itself` is no prediction: it looks at the
time that the start took to load, and is there to be compared with.

The last line is one JSON object: errors by labels; with the corrected labels by phase, host, tier and model, and with
families of models left out whole; with ``--methods`` what other ways to fit give; versions and machine, and `passed`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import click
import numpy as np

from autoscaler.core.coldstart import ENGINE_START_S
from benchmarks.machine import machine, versions
from benchmarks.recordings import required_profiles
from benchmarks.startup_fit import METHODS, SHIPPED, Method, fit
from benchmarks.startup_recordings import MeasuredStart, corrected, measured_starts, recognised, undisputed
from simulator.startup.physics import EngineStart

TOTAL_GOAL_PCT = 10.0
LABELS: dict[str, Callable[[Iterable[MeasuredStart]], list[MeasuredStart]]] = {
    "as they stand": list,
    "corrected": corrected,
    "disputed set aside": undisputed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutStart:
    """A start, and what was predicted of it without any start of its model."""

    start: MeasuredStart
    predicted: EngineStart
    core_prior_s: float
    """The total by the decision core's prior, with the same bandwidth."""

    @property
    def error_pct(self) -> float:
        """Of the total, in percent, without its sign."""
        return 100 * abs(self.predicted.total_s / self.start.total_s - 1)

    @property
    def floor_pct(self) -> float:
        """The same, had every phase but the weights been predicted exactly."""
        return 100 * abs(self.predicted.weights_s - self.start.phases.weights_s) / self.start.total_s

    @property
    def core_prior_pct(self) -> float:
        """The same of the decision core's prior."""
        return 100 * abs(self.core_prior_s / self.start.total_s - 1)


def model_of(start: MeasuredStart) -> str:
    """What is left out together: all starts of a model, on all hosts and from all tiers."""
    return start.model


def family_of(start: MeasuredStart) -> str:
    """The same, stricter: all models that share an architecture."""
    return start.family


def leave_one_out(
    starts: list[MeasuredStart],
    *,
    method: Method = SHIPPED,
    group: Callable[[MeasuredStart], str] = model_of,
) -> list[HeldOutStart]:
    """Every start, predicted by constants fitted to all starts of the other groups."""
    result = []
    for left_out in sorted({group(start) for start in starts}):
        fitted = fit((start for start in starts if group(start) != left_out), method)
        result += [
            HeldOutStart(
                start=start,
                predicted=fitted.predict(start),
                core_prior_s=ENGINE_START_S + start.files.weights_gb / fitted.bandwidth_gbps[start.tier],
            )
            for start in starts
            if group(start) == left_out
        ]
    return result


def by_phase(held_out: list[HeldOutStart]) -> dict[str, dict[str, float]]:
    """Of each phase, in seconds: its mean, and the mean absolute error of its prediction."""
    result = {}
    for field in fields(EngineStart):
        real = np.array([getattr(item.start.phases, field.name) for item in held_out])
        ours = np.array([getattr(item.predicted, field.name) for item in held_out])
        result[field.name.removesuffix("_s")] = {
            "mean_s": round(float(real.mean()), 2),
            "error_s": round(float(np.abs(ours - real).mean()), 2),
        }
    return result


def _by(
    held_out: list[HeldOutStart],
    of: Callable[[MeasuredStart], str],
    error: Callable[[HeldOutStart], float] = lambda item: item.error_pct,
) -> dict[str, dict[str, float]]:
    """Starts and mean error of the total in percent, by what `of` gives."""
    result = {}
    for name in sorted({of(item.start) for item in held_out}):
        errors = [error(item) for item in held_out if of(item.start) == name]
        result[name] = {"starts": len(errors), "mape_pct": round(float(np.mean(errors)), 2)}
    return result


def score(
    held_out: list[HeldOutStart], error: Callable[[HeldOutStart], float] = lambda item: item.error_pct
) -> dict[str, float]:
    """Mean over starts, mean over models, median and largest error of the total, in percent."""
    errors = [error(item) for item in held_out]
    models = {model_of(item.start) for item in held_out}
    of_models = [np.mean([error(item) for item in held_out if model_of(item.start) == model]) for model in models]
    return {
        "over_starts_pct": round(float(np.mean(errors)), 2),
        "over_models_pct": round(float(np.mean(of_models)), 2),
        "median_pct": round(float(np.median(errors)), 2),
        "largest_pct": round(max(errors), 2),
    }


def figures(starts: list[MeasuredStart]) -> dict[str, Any]:
    """All figures of the benchmark but those of other methods."""
    held_out = {name: leave_one_out(select(starts)) for name, select in LABELS.items()}
    true = held_out["corrected"]
    by_labels = {name: score(items) for name, items in held_out.items()}
    return {
        "starts": len(starts),
        "models": len({start.model for start in starts}),
        "labels": by_labels,
        "tier_known_from_the_start_itself": score(leave_one_out(recognised(starts))),
        "floor": {name: score(items, lambda item: item.floor_pct) for name, items in held_out.items()},
        "core_prior": {name: score(items, lambda item: item.core_prior_pct) for name, items in held_out.items()},
        "families_left_out": score(leave_one_out(corrected(starts), group=family_of)),
        "phases": by_phase(true),
        "by_host": _by(true, lambda start: start.host),
        "by_tier": _by(true, lambda start: start.tier),
        "by_compile_cache": _by(true, lambda start: "cached" if start.compile_cached else "cold"),
        "by_model": _by(true, model_of),
        "by_model_as_labelled": _by(held_out["as they stand"], model_of),
        "passed": {
            f"leave-one-model-out error of the total under 10 %, labels {name}, over {what}": (
                errors[f"over_{what}_pct"] < TOTAL_GOAL_PCT
            )
            for name, errors in by_labels.items()
            for what in ("starts", "models")
        },
    }


def by_method(starts: list[MeasuredStart]) -> dict[str, dict[str, dict[str, float]]]:
    """The score of every method that was tried, by labels."""
    return {
        name: {labels: score(leave_one_out(select(starts), method=method)) for labels, select in LABELS.items()}
        for name, method in METHODS.items()
    }


@click.command()
@click.option("--methods", is_flag=True, help="Also judge the other ways to fit that were tried.")
def main(*, methods: bool) -> None:
    """Predict the measured starts of models that were left out."""
    starts = measured_starts(required_profiles())
    result = figures(starts)
    for phase, error in result["phases"].items():
        click.echo(f"{phase:12} {error['mean_s']:6.2f} s, off by {error['error_s']:.2f} s", err=True)
    if methods:
        result["methods"] = by_method(starts)
        for name, scores in result["methods"].items():
            cells = [f"{one['over_starts_pct']:5.2f} {one['over_models_pct']:5.2f}" for one in scores.values()]
            click.echo(f"{name:48} {' | '.join(cells)}", err=True)
    click.echo(json.dumps(result | {"versions": versions("numpy", "scipy"), "machine": machine()}))


if __name__ == "__main__":
    main()
