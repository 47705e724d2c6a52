"""A trial: one contender in one scenario, and what it came to, without keeping a journal.

Requests are counted as their senders see them (``outcomes``), accelerator time as the ledger counts it: from the
instant a device is assigned to a replica to the instant it is given back, whatever it does in between, sleep included.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autoscaler.core.policy import PolicySpec
from autoscaler.journal import Entry, OutcomeStatus
from simulator.engine.records import Records
from simulator.experiments.outcomes import Outcomes, Promise, RequestTally
from simulator.nodes.costs import PaidNodes
from simulator.nodes.nodepool import NodePool
from simulator.nodes.placedstarts import PlacedStart, ways
from simulator.run import Contender, Scenario, SimulatedWorld, run
from simulator.telemetry import EPOCH_AT

OPENING_S = 300.0
"""The opening, in which every contender meets the traffic for the first time, is served and not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a trial came to. ``moves`` are writes of another target; ``coldstarts`` came to their first Ready.

    Requests that arrived in the first ``opening_s`` seconds are served and not scored; accelerator time is the whole.
    """

    contender: str
    seed: int
    outcomes: Outcomes
    accelerator_hours: float
    cost_usd: float | None
    coldstarts: int
    moves: int
    peak_replicas: int
    opening_s: float
    paid: PaidNodes | None = None
    """What the nodes came to, what they hold empty included; None where there are no nodes."""
    starts: tuple[PlacedStart, ...] = ()
    """The starts on nodes that came to Ready, in that order."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, starts by the way that they went; without nodes nothing is said of them."""
        told = asdict(replace(self, starts=()))
        del told["starts"]
        if self.paid is None:
            del told["paid"]
            return told
        return told | {"starts": [asdict(way) for way in ways(self.starts)]}


def promise_of(spec: PolicySpec, *, joint: bool) -> Promise:
    """Return what a policy promises: its TTFT objective, and if ``joint`` also the one per output token."""
    return Promise(ttft_s=spec.objectives.ttft_seconds, tpot_s=spec.objectives.itl_seconds if joint else None)


def run_trial(
    scenario: Scenario,
    contender: Contender[Any, Any],
    promise: Promise,
    *,
    price_usd_per_hour: float | None = None,
    opening_s: float = OPENING_S,
    on_entry: Callable[[Entry], object] = lambda _: None,
    on_share: Callable[[float], object] = lambda _: None,
) -> Result:
    """Run a contender through a scenario; ``on_entry`` gets each tick, ``on_share`` the share of time that is done."""
    span_s = scenario.trace.span_s
    opening_s = min(opening_s, span_s / 2)
    tally = RequestTally(promise, since_s=opening_s)
    world = SimulatedWorld(scenario, on_ended=tally.add)
    moves, peak = 0, 0
    for entry, _ in run(scenario, contender, world):
        moves += entry.outcome.status is OutcomeStatus.SCALED
        peak = max(peak, len(entry.signals.replicas))
        on_entry(entry)
        on_share(min(1.0, (entry.at - EPOCH_AT) / span_s))
    tally.add(world.cluster.requests())
    history = world.cluster.history()
    paid = None if world.nodes is None else world.nodes.nodes.paid()
    hours = held_s(history, world.cluster.now_s) * scenario.profile.accelerators_per_replica / 3600
    hours += 0.0 if paid is None else paid.asleep_accelerator_hours
    return Result(
        contender=contender.name,
        seed=scenario.seed,
        outcomes=tally.outcomes(),
        accelerator_hours=hours,
        cost_usd=None if price_usd_per_hour is None else hours * price_usd_per_hour,
        coldstarts=int(np.count_nonzero(history["ready_s"] > 0)),
        moves=moves,
        peak_replicas=peak,
        opening_s=opening_s,
        paid=paid,
        starts=() if world.nodes is None else _starts_of(world.nodes.nodes, scenario.name),
    )


def _starts_of(nodes: NodePool, pool: str) -> tuple[PlacedStart, ...]:
    return tuple(start for start in nodes.starts if start.pool == pool)


def held_s(lives: Records, until_s: float) -> float:
    """Return the seconds for which replicas held a device: from scheduling (or order) to the end, or to ``until_s``."""
    # One that was there from the beginning has no phases: it held its device since it was ordered.
    begun_s = np.where(
        np.isnan(lives["scheduled_s"]) & ~np.isnan(lives["ready_s"]), lives["ordered_s"], lives["scheduled_s"]
    )
    end_s = np.fmin(lives["deleted_s"], until_s)
    return float(np.nansum(np.maximum(end_s - begun_s, 0.0)))
