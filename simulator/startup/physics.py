"""How long an engine takes from its process start to Ready, by phase, from the sizes of model, storage and host.

For a deployment of which no start has been seen yet: the prior of a `StartupModel`, or of a policy's
``coldStart.priorSeconds``. What happens before the process runs (a node, scheduling, the image) is not in it.

    bootstrap   imports, reading the model's configuration, worker processes           β           s, of the host
    weights     bytes of the weights over the bandwidth of the tier they lie in         W/BW
    model init  building the modules                                                    v·m
    transform   Dynamo traces the model, layer by layer                                 v·(t₀ + t₁·layers)
    compile     Inductor, or reading what it compiled at an earlier start               v·(c₀ + c₁·layers)
    profiling   one step with the largest batch, to size the KV cache                   v·(p₀ + p₁·W)
    capture     CUDA graphs                                                             g₀ + g₁·W
    tokenizer   parsing its file                                                        v·u·megabytes
    other       what the phases leave of the total                                      ο           s, of the host

v is how much slower the host's processor is than the reference, an EPYC 9354 (1): most of a start is one thread of
Python, and does not depend on the accelerator. W in 10⁹ bytes, BW in 10⁹ bytes/s. The phases follow one another in
vLLM, so the total is their sum.

Linear forms with constants fitted to 55 starts of vLLM 0.10 by Kabakibo et al., "Breaking the Ice" (MLSys 2026): 15
models of 0.5 to 32 billion parameters, hosts with H100 NVL, L40S and A100. The lines are those of median slope (Theil
and Sen), which models that are built unlike the others do not tilt. benchmarks/coldstart_accuracy.py leaves each model
out in turn, and fits the constants again; docs/accuracy.md has the errors. Newer engines start differently: the
bandwidth and the weights carry over, the constants are worth measuring.

>>> cached = engine_start(ModelFiles(weights_gb=16.1, layers=32, tokenizer_mb=9.1), bandwidth_gbps=0.55)
>>> round(cached.weights_s, 1), round(cached.total_s)
(29.3, 52)
"""

from dataclasses import dataclass, fields
from typing import NamedTuple


class Line(NamedTuple):
    """Seconds at nothing, and seconds for each unit more."""

    start_s: float
    slope_s: float

    def at(self, amount: float) -> float:
        """The value at an amount, at least 0."""
        return max(0.0, self.start_s + self.slope_s * amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What of a model decides on its start.

    Raises:
        ValueError: a size is negative, or the model has no layer.
    """

    weights_gb: float
    """10⁹ bytes: 2 a parameter in BF16, 1 in FP8. Of the parameters there are, not of those in the name: a "7B" has 6.7
    to 8.5 billion, and the phase takes exactly as long as its bytes."""
    layers: int
    tokenizer_mb: float = 5.0

    def __post_init__(self) -> None:
        if self.weights_gb < 0 or self.tokenizer_mb < 0 or self.layers < 1:
            raise ValueError(f"{self}: give sizes of 0 or more and at least one layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What of a host decides on a start."""

    bootstrap_s: float
    other_s: float
    slowness: float = 1.0
    """How many times as long as the reference it takes for the same work of one thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPhysics:
    """The constants of the reference host; seconds, by layer or by 10⁹ bytes."""

    model_init_s: float
    transform: Line
    compile_cached: Line
    compile_cold: Line
    profiling: Line
    profiling_cold: Line
    capture: Line
    tokenizer_s_per_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """Seconds of each phase, in the order in which they happen."""

    bootstrap_s: float
    weights_s: float
    model_init_s: float
    transform_s: float
    compile_s: float
    profiling_s: float
    capture_s: float
    tokenizer_s: float
    other_s: float

    @property
    def total_s(self) -> float:
        """Process start to Ready."""
        return sum(float(getattr(self, field.name)) for field in fields(self))

    @property
    def load_s(self) -> float:
        """Up to loaded weights: `load_s` of a `StartupModel`."""
        return self.bootstrap_s + self.weights_s

    @property
    def warmup_s(self) -> float:
        """From loaded weights to Ready: `warmup_s` of a `StartupModel`."""
        return self.total_s - self.load_s


REFERENCE_HOST = Host(bootstrap_s=8.4, other_s=1.06)
"""A server with an EPYC 9354 (2022)."""
SLOWER_HOST = Host(bootstrap_s=10.3, other_s=7.4, slowness=1.6)
"""An A100 server whose processor is not known."""
PHYSICS = StartPhysics(
    model_init_s=0.12,
    transform=Line(0.22, 0.161),
    compile_cached=Line(0.0, 0.140),
    compile_cold=Line(2.44, 0.494),
    profiling=Line(1.42, 0.0376),
    profiling_cold=Line(2.35, 0.141),
    capture=Line(0.85, 0.0271),
    tokenizer_s_per_mb=0.0394,
)


def engine_start(
    model: ModelFiles,
    *,
    bandwidth_gbps: float,
    compile_cached: bool = True,
    host: Host = REFERENCE_HOST,
    physics: StartPhysics = PHYSICS,
) -> EngineStart:
    """The phases of one start.

    Args:
        model: its sizes.
        bandwidth_gbps: at which weights are read, in 10⁹ bytes/s: about 0.5 from a network disk, 2 to 7 from a local
            NVMe, 8 from the page cache.
        compile_cached: whether an earlier start has left its compiled graphs where this one finds them.
        host: where it runs.
        physics: the constants.

    Raises:
        ValueError: the bandwidth is not above 0.
    """
    if bandwidth_gbps <= 0:
        raise ValueError(f"weights cannot be read at {bandwidth_gbps} GB/s; give a bandwidth above 0")
    compiling = physics.compile_cached if compile_cached else physics.compile_cold
    profiling = physics.profiling if compile_cached else physics.profiling_cold
    return EngineStart(
        bootstrap_s=host.bootstrap_s,
        weights_s=model.weights_gb / bandwidth_gbps,
        model_init_s=host.slowness * physics.model_init_s,
        transform_s=host.slowness * physics.transform.at(model.layers),
        compile_s=host.slowness * compiling.at(model.layers),
        profiling_s=host.slowness * profiling.at(model.weights_gb),
        capture_s=physics.capture.at(model.weights_gb),
        tokenizer_s=host.slowness * physics.tokenizer_s_per_mb * model.tokenizer_mb,
        other_s=host.other_s,
    )
