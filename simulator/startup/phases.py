"""Start-up by phase, each phase with a distribution of its own.

Phases that come from a recording (``recordings``) are drawn from one and the same start of it: what was slow together
stays slow together. All others are drawn each for itself.
"""

from dataclasses import dataclass
from typing import TypeAlias

from simulator.startup.distributions import NOTHING, Distribution, Empirical, uniforms
from simulator.startup.model import StartupModel, StartupTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedStartup:
    """The distribution of each phase. Where replicas are placed on nodes, transfers come on top (``nodepool``)."""

    schedule: Distribution = NOTHING
    pull: Distribution = NOTHING
    load: Distribution = NOTHING
    warmup: Distribution = NOTHING

    def draw(self, *, seed: int, replica_id: int) -> StartupTimes:
        """Return the durations of replica ``replica_id``; the same for the same (seed, replica_id), always."""
        *own, recorded = uniforms(seed, replica_id, count=5)
        phases = (self.schedule, self.pull, self.load, self.warmup)
        schedule, pull, load, warmup = (
            phase.at(recorded if isinstance(phase, Empirical) else u) for phase, u in zip(phases, own, strict=True)
        )
        return StartupTimes(schedule_s=schedule, pull_s=pull, load_s=load, warmup_s=warmup)


Startup: TypeAlias = StartupModel | PhasedStartup
"""Whatever the durations of a replica's phases are drawn from."""
