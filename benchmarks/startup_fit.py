"""Fit the constants of simulator/startup/physics.py to measured starts, in the way that ships and in others.

Lines are Theil and Sen's: the median of the slopes between all pairs of starts. A model that is built unlike the others
(Granite's layers are mostly not attention, and compile twice as fast) does not tilt them as it tilts least squares.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import gmean, hmean, theilslopes

from benchmarks.startup_recordings import REFERENCE_CPU, MeasuredStart
from simulator.startup.physics import EngineStart, Host, Line, StartPhysics, engine_start

Fitted = Callable[[Sequence[float], Sequence[float]], Line]
Center = Callable[[Sequence[float]], float]


def theil_sen(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line through medians (Sen 1968), seconds over amounts."""
    slope, start_s, _, _ = theilslopes(seconds, amounts)
    return Line(float(start_s), float(slope))


def least_squares(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line of least squared errors, seconds over amounts."""
    slope, start_s = np.polyfit(amounts, seconds, 1)
    return Line(float(start_s), float(slope))


def as_measured(start: MeasuredStart) -> MeasuredStart:
    """A start with the sizes that its model has."""
    return start


def by_name(start: MeasuredStart) -> MeasuredStart:
    """A start whose weights are what the model's name says."""
    return replace(start, files=replace(start.files, weights_gb=start.named_gb))


def by_graph(start: MeasuredStart) -> MeasuredStart:
    """A start that compiles in proportion to its compiled graph and not to its layers, as the publisher predicts it."""
    return replace(start, files=replace(start.files, layers=start.graph_size))


def by_experiment(start: MeasuredStart) -> MeasuredStart:
    """A start whose host is known by experiment: attention backend and day differ, the processor does not."""
    if start.host != REFERENCE_CPU:
        return start
    return replace(start, host=f"{REFERENCE_CPU} in {start.experiment}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to fit: how lines, typical values and bandwidths are taken, and what of a start is looked at."""

    line: Fitted = theil_sen
    typical: Center = np.median
    bandwidth: Center = np.median
    seen: Callable[[MeasuredStart], MeasuredStart] = as_measured


SHIPPED = Method()
METHODS = {
    "as shipped: true sizes, Theil-Sen, medians": SHIPPED,
    "sizes by name, least squares, means": Method(line=least_squares, typical=np.mean, seen=by_name),
    "sizes by name": Method(seen=by_name),
    "least squares, means": Method(line=least_squares, typical=np.mean),
    "compiling by graph size": Method(seen=by_graph),
    "compiling by graph size, least squares, means": Method(line=least_squares, typical=np.mean, seen=by_graph),
    "hosts told apart by experiment": Method(seen=by_experiment),
    "bandwidth: harmonic mean": Method(bandwidth=hmean),
    "bandwidth: geometric mean": Method(bandwidth=gmean),
    "bandwidth: mean": Method(bandwidth=np.mean),
}
"""What was tried, the way that ships first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPhysics:
    """All constants, fitted to some starts."""

    physics: StartPhysics
    hosts: dict[str, Host]
    bandwidth_gbps: dict[str, float]
    method: Method

    def predict(self, start: MeasuredStart) -> EngineStart:
        """The phases of a start, from its sizes, tier and host; what it took is not looked at."""
        seen = self.method.seen(start)
        return engine_start(
            seen.files,
            bandwidth_gbps=self.bandwidth_gbps[seen.tier],
            compile_cached=seen.compile_cached,
            host=self.hosts[seen.host],
            physics=self.physics,
        )


def fit(starts: Iterable[MeasuredStart], method: Method = SHIPPED) -> FittedPhysics:
    """Constants: lines on the reference's processor; of each host what it takes for itself, and its slowness."""
    chosen = [method.seen(start) for start in starts]
    physics = _physics([start for start in chosen if start.host.startswith(REFERENCE_CPU)], method)
    hosts, tiers = {start.host for start in chosen}, {start.tier for start in chosen}
    return FittedPhysics(
        physics=physics,
        hosts={host: _host([start for start in chosen if start.host == host], physics, method) for host in hosts},
        bandwidth_gbps={
            tier: float(method.bandwidth([_bandwidth(start) for start in chosen if start.tier == tier]))
            for tier in tiers
        },
        method=method,
    )


def _physics(reference: list[MeasuredStart], method: Method) -> StartPhysics:
    cached = [start for start in reference if start.compile_cached]
    cold = [start for start in reference if not start.compile_cached]
    per_mb = [start.phases.tokenizer_s / start.files.tokenizer_mb for start in reference]
    return StartPhysics(
        model_init_s=float(method.typical([start.phases.model_init_s for start in reference])),
        transform=method.line(_layers(reference), [start.phases.transform_s for start in reference]),
        compile_cached=method.line(_layers(cached), [start.phases.compile_s for start in cached]),
        compile_cold=method.line(_layers(cold), [start.phases.compile_s for start in cold]),
        profiling=method.line(_weights(cached), [start.phases.profiling_s for start in cached]),
        profiling_cold=method.line(_weights(cold), [start.phases.profiling_s for start in cold]),
        capture=method.line(_weights(reference), [start.phases.capture_s for start in reference]),
        tokenizer_s_per_mb=float(method.typical(per_mb)),
    )


def _host(starts: list[MeasuredStart], physics: StartPhysics, method: Method) -> Host:
    return Host(
        bootstrap_s=float(method.typical([start.phases.bootstrap_s for start in starts])),
        other_s=float(method.typical([start.phases.other_s for start in starts])),
        slowness=float(method.typical([_slowness(start, physics) for start in starts])),
    )


def _slowness(start: MeasuredStart, physics: StartPhysics) -> float:
    """What a start took to compile, over what it would take on the reference; 1 there by definition."""
    if start.host == REFERENCE_CPU:
        return 1.0
    ours = engine_start(start.files, bandwidth_gbps=1.0, compile_cached=start.compile_cached, physics=physics)
    return (start.phases.transform_s + start.phases.compile_s) / (ours.transform_s + ours.compile_s)


def _bandwidth(start: MeasuredStart) -> float:
    return start.files.weights_gb / start.phases.weights_s


def _layers(starts: list[MeasuredStart]) -> list[float]:
    return [float(start.files.layers) for start in starts]


def _weights(starts: list[MeasuredStart]) -> list[float]:
    return [start.files.weights_gb for start in starts]
