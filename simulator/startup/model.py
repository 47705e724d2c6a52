"""How long a replica takes from being ordered to Ready, by phase, drawn from a seed.

    ordered ─schedule─▶ scheduled ─pull─▶ started ─load─▶ loaded ─warm-up─▶ ready

The duration of a phase is median · exp(σ_phase·z_phase + σ_shared·z_shared): log-normal, with a part that all
phases of one replica share (a slow node is slow in everything). A share of replicas are stragglers: every
phase of theirs is longer by one factor drawn uniformly from a range. With σ_phase = 0 the total is exactly
log-normal around the sum of medians.

Replica i of a pool draws from its own stream, keyed by (seed, i): the third replica that anybody orders takes
the same time under every autoscaler, so comparisons differ by decisions and not by luck.
"""

from dataclasses import dataclass
from math import exp

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupTimes:
    """One replica's durations of the four phases, in seconds."""

    schedule_s: float
    pull_s: float
    load_s: float
    warmup_s: float
    failed_pulls_s: float = 0.0
    """What pulls take that fail before the one that succeeds; nothing where the node has the image."""
    failed_containers_s: float = 0.0
    """What other tries take that fail before there is a container, wherever the image is."""

    @property
    def total_s(self) -> float:
        """Ordered to Ready, where the image has to be pulled."""
        return self.schedule_s + self.until_pull_s(cached=False) + self.pull_s + self.load_s + self.warmup_s

    def until_pull_s(self, *, cached: bool) -> float:
        """Return what passes in failing tries before the pull, or where the image is ``cached``, the start, begins."""
        return self.failed_containers_s + (0.0 if cached else self.failed_pulls_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupModel:
    """Medians of the four phases and the spread around them.

    Raises:
        ValueError: a negative median or spread, or a share outside 0 … 1.
    """

    schedule_s: float
    pull_s: float
    load_s: float
    warmup_s: float
    phase_sigma: float = 0.0
    """Spread of ln(duration) that each phase has for itself."""
    shared_sigma: float = 0.30
    """Spread of ln(duration) that all phases of one replica have in common."""
    straggler_ratio: float = 0.03
    straggler_factors: tuple[float, float] = (2.0, 4.0)

    def __post_init__(self) -> None:
        medians = (self.schedule_s, self.pull_s, self.load_s, self.warmup_s)
        if min(medians) < 0 or min(self.phase_sigma, self.shared_sigma, *self.straggler_factors) < 0:
            raise ValueError("cold-start medians, spreads and factors must be 0 or more")
        if not 0 <= self.straggler_ratio <= 1:
            raise ValueError(f"straggler_ratio is {self.straggler_ratio}; give a share between 0 and 1")

    @classmethod
    def of_total(cls, median_s: float, *, sigma: float = 0.30, straggler_ratio: float = 0.03) -> "StartupModel":
        """A total, split as on a node with a cached image: 2 % schedule, 10 % pull, 48 % load, 40 % warm-up."""
        return cls(
            schedule_s=0.02 * median_s,
            pull_s=0.10 * median_s,
            load_s=0.48 * median_s,
            warmup_s=0.40 * median_s,
            shared_sigma=sigma,
            straggler_ratio=straggler_ratio,
        )

    @property
    def median_s(self) -> float:
        """The median of the total without stragglers (exact where phase_sigma is 0)."""
        return self.schedule_s + self.pull_s + self.load_s + self.warmup_s

    def draw(self, *, seed: int, replica_id: int) -> StartupTimes:
        """The durations of replica `replica_id`; the same for the same (seed, replica_id), always."""
        rng = np.random.Generator(np.random.PCG64([seed, replica_id]))
        shared = exp(self.shared_sigma * rng.standard_normal())
        own = np.exp(self.phase_sigma * rng.standard_normal(4))
        lucky = rng.random() >= self.straggler_ratio
        factor = 1.0 if lucky else float(rng.uniform(*self.straggler_factors))
        medians = (self.schedule_s, self.pull_s, self.load_s, self.warmup_s)
        schedule, pull, load, warmup = (float(m * o) * shared * factor for m, o in zip(medians, own, strict=True))
        return StartupTimes(schedule_s=schedule, pull_s=pull, load_s=load, warmup_s=warmup)
