"""Other models on the same nodes: replicas that come and go by a plan, and take room that the scaled model then lacks.

A neighbor has no traffic and no autoscaler, so simulating it costs next to nothing; what it takes and gives back, pulls
and caches is as of any other replica. Models with traffic of their own are run beside one another instead
(``experiments.trial.run_beside``).
"""

from dataclasses import dataclass
from math import inf

from simulator.nodes.events import Happening, What
from simulator.nodes.node import Needs
from simulator.nodes.nodepool import NodePool
from simulator.startup.model import StartupTimes
from simulator.startup.phases import PhasedStartup


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A model on the nodes: what a replica needs, and its plan: (second, replicas from then on), by time."""

    name: str
    needs: Needs
    plan: tuple[tuple[float, int], ...]


class NeighborPool:
    """A neighbor's replicas on the nodes of a run."""

    any_draining = False

    def __init__(self, neighbor: Neighbor, nodes: NodePool, startup: PhasedStartup | None, seed: int) -> None:
        # No policy's name has a colon.
        self.name = f"neighbor:{neighbor.name}"
        self._needs = neighbor.needs
        self._nodes = nodes
        self._startup = startup
        self._seed = seed
        self._plan = list(neighbor.plan)
        self._held: list[int] = []
        self._ordered = 0
        self._wanted = 0
        self._now_s = nodes.now_s
        if self._plan and self._plan[0][0] <= 0:
            self._wanted = self._plan.pop(0)[1]
            self._begin()

    @property
    def next_change_s(self) -> float:
        """When the plan says something else."""
        return self._plan[0][0] if self._plan else inf

    def run_to(self, until_s: float) -> None:
        """Nothing happens between two changes."""
        self._now_s = until_s

    def change_lives(self) -> None:
        """Follow the plan: order what is missing, let the youngest go that are too many."""
        while self.next_change_s <= self._now_s:
            self._wanted = self._plan.pop(0)[1]
        while len(self._held) > self._wanted:
            self._nodes.release((self.name, self._held.pop()), self._now_s)
        self._order_missing()

    def apply(self, happening: Happening) -> None:
        """Apply what the nodes tell of a replica."""
        number = happening.replica_id
        if happening.what is What.RESTORE:
            self._order_missing()
        elif happening.what in {What.LOST, What.DRAIN} and number in self._held:
            self._held.remove(number)
            if happening.what is What.DRAIN:
                self._nodes.release((self.name, number), happening.at_s)

    def _begin(self) -> None:
        """Those of the beginning run already, if there is room."""
        for number in range(self._wanted):
            if self._nodes.occupy((self.name, number), self._needs) < 0:
                break
            self._held.append(number)
            self._ordered += 1
        self._order_missing()

    def _order_missing(self) -> None:
        for _ in range(self._wanted - len(self._held)):
            number, self._ordered = self._ordered, self._ordered + 1
            self._held.append(number)
            self._nodes.order((self.name, number), self._needs, self._times(number), self._now_s)

    def _times(self, number: int) -> StartupTimes:
        if self._startup is None:
            return StartupTimes(schedule_s=0.0, pull_s=0.0, load_s=0.0, warmup_s=0.0)
        return self._startup.draw(seed=self._seed, replica_id=number)
