"""A run: one trace, one pool, one decider, driven by the same ``Driver`` as in production.

A run yields its journal entries one by one, so that a caller can show them live, keep them, or both. Everything that is
ever said of a run is computed from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

from autoscaler.driver import Decider, Driver
from autoscaler.journal import Entry
from simulator.faults.controller import ControllerFaults
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.world import Scenario, SimulatedWorld

P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender(Generic[P, M]):
    """A decider with its policy, its first memory, and the name under which it is shown.

    ``scraping`` is how it sees the pool if it reads metrics of its own; None where it reads the scenario's Prometheus.
    """

    name: str
    decide: Decider[P, M]
    policy: P
    memory: M
    digest: str
    scraping: Scraping | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of several pools that are run together: what it happens in, who scales it, and its world, fresh."""

    scenario: Scenario
    contender: Contender[Any, Any]
    world: SimulatedWorld


def run(
    scenario: Scenario, contender: Contender[P, M], world: SimulatedWorld | None = None
) -> Iterator[tuple[Entry, M]]:
    """Yield every entry with the memory after it, from the first tick to the first one after the trace's end.

    A fresh ``world`` of this scenario may be handed in by who wants to ask it afterwards what no journal can know.
    """
    member = Member(scenario=scenario, contender=contender, world=world or SimulatedWorld(scenario))
    for _, entry, memory in run_together([member]):
        yield entry, memory


def run_together(members: Sequence[Member]) -> Iterator[tuple[int, Entry, Any]]:
    """Yield every entry of every member, with its number and the memory after it, until the longest trace has ended.

    Pools that share nodes, or of which one feeds another, must not run ahead of one another. So all of them go from
    each instant at which one is scraped, befallen or looked at to the next, in their order.
    """
    end_at = EPOCH_AT + max(member.scenario.trace.span_s for member in members)
    turns = [_Turns(member, end_at) for member in members]
    while waiting := [turn for turn in turns if turn.next_at is not None]:
        at = min(turn.next_at or inf for turn in waiting)
        if len(members) > 1:
            _live([member.world for member in members], at - EPOCH_AT)
        for number, turn in enumerate(turns):
            if turn.next_at == at:
                yield from ((number, entry, memory) for entry, memory in turn.take())


def _live(worlds: Sequence[SimulatedWorld], until_s: float) -> None:
    """Let several worlds live until a second, side by side."""
    at_s = -inf
    while at_s < until_s:
        at_s = min(until_s, *(world.next_event_s for world in worlds))
        for world in worlds:
            world.live(at_s)


class _Turns:
    """The turns of one member: its driver, and when it is asked next; never again at ``next_at`` None."""

    def __init__(self, member: Member, end_at: float) -> None:
        first_at = EPOCH_AT + member.scenario.first_tick_s
        self._end_at = end_at
        self._world = member.world
        self._seen: list[tuple[Entry, Any]] = []
        contender = member.contender
        if contender.scraping is not None:
            member.world.see_through(contender.scraping)
        self._driver = Driver(
            name=f"{member.scenario.name}/{contender.name}",
            digest=contender.digest,
            policy=contender.policy,
            memory=contender.memory,
            decide=contender.decide,
            world=member.world,
            record=lambda entry, memory: self._seen.append((entry, memory)),
        )
        self._controller = ControllerFaults(
            member.scenario.occurrences(), member.world.victims, first=contender.memory, epoch_at=EPOCH_AT
        )
        self.next_at: float | None = self._controller.begins_at(first_at)

    def take(self) -> list[tuple[Entry, Any]]:
        """Take the turn that is due, and return what it recorded."""
        at = self.next_at
        if at is None:
            return []
        next_at = self._driver.step(at)
        seen, self._seen = self._seen, []
        restart = self._controller.restart(at, next_at, self._driver.memory)
        if at >= self._end_at:
            self.next_at = None
        elif restart is None:
            self.next_at = next_at
        else:
            self._world.restarted()
            self.next_at, self._driver.memory = restart.at, restart.memory
        return seen
