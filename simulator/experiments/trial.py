"""A trial: one contender in one scenario, and what it came to, without keeping a journal.

Requests are counted as their senders see them (``outcomes``), accelerator time as the ledger counts it: from the
instant a device is assigned to a replica to the instant it is given back, whatever it does in between, sleep included.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autoscaler.core.policy import PolicySpec
from autoscaler.journal import Entry, OutcomeStatus
from simulator.engine.records import Records
from simulator.experiments.outcomes import Outcomes, Promise, RequestTally
from simulator.faults.victims import Befallen
from simulator.handover import Handover, KvTransfer
from simulator.nodes.costs import PaidNodes
from simulator.nodes.nodepool import NodePool
from simulator.nodes.placedstarts import PlacedStart, ways
from simulator.run import Contender, Member, run_together
from simulator.telemetry import EPOCH_AT
from simulator.world import Scenario, SimulatedWorld

OPENING_S = 300.0
"""The opening, in which every contender meets the traffic for the first time, is served and not scored."""


def opening_of(spans_s: Sequence[float], opening_s: float = OPENING_S) -> float:
    """Return the seconds that are not scored of traces as long as these: no more than half of the shortest."""
    return min(opening_s, min(spans_s) / 2)


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
    befallen: tuple[Befallen, ...] = ()
    """Each fault with those whom it befell, by its beginning; of shared nodes, in the result of the first pool."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, starts by the way that they went; without nodes nothing is said of them.

        Whom faults befell is not part of it.
        """
        told = asdict(replace(self, starts=(), befallen=()))
        del told["starts"], told["befallen"]
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
    part = Part(
        scenario=scenario, contender=contender, promise=promise, price_usd_per_hour=price_usd_per_hour,
        on_entry=on_entry,
    )  # fmt: skip
    return run_beside([part], opening_s=opening_s, on_share=on_share)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One pool of a trial: its scenario, who scales it, what its senders were promised; ``on_entry`` gets each tick."""

    scenario: Scenario
    contender: Contender[Any, Any]
    promise: Promise
    price_usd_per_hour: float | None
    on_entry: Callable[[Entry], object]


def run_beside(
    parts: Sequence[Part], *, opening_s: float = OPENING_S, on_share: Callable[[float], object] = lambda _: None
) -> list[Result]:
    """Run several models beside one another, each with traffic of its own, on the nodes of the first's cluster."""
    opening_s = opening_of([part.scenario.trace.span_s for part in parts], opening_s)
    tallies = [RequestTally(part.promise, since_s=opening_s) for part in parts]
    worlds: list[SimulatedWorld] = []
    for part, tally in zip(parts, tallies, strict=True):
        shared = worlds[0].nodes if worlds else None
        worlds.append(SimulatedWorld(part.scenario, on_ended=tally.add, nodes=shared))
    counts = _ticks(parts, worlds, on_share)
    for tally, world in zip(tallies, worlds, strict=True):
        tally.add(world.cluster.requests())
    return _results(parts, worlds, [tally.outcomes() for tally in tallies], counts, opening_s)


def run_roles(
    prefill: Part,
    decode: Part,
    transfer: KvTransfer,
    *,
    opening_s: float = OPENING_S,
    on_share: Callable[[float], object] = lambda _: None,
) -> list[Result]:
    """Run one model in two roles; both results tell the same outcomes, which are those that its senders see.

    They are held against the promise of ``prefill``, from the arrival at its gateway on.
    """
    opening_s = opening_of([prefill.scenario.trace.span_s], opening_s)
    tally = RequestTally(prefill.promise, since_s=opening_s)
    handover = Handover(transfer, tally.add)
    sender = SimulatedWorld(prefill.scenario, sends=handover)
    receiver = SimulatedWorld(decode.scenario, nodes=sender.nodes, receives=handover)
    worlds, parts = [sender, receiver], [prefill, decode]
    counts = _ticks(parts, worlds, on_share)
    tally.add(receiver.cluster.requests())
    tally.add(handover.on_the_way(receiver.cluster.now_s))
    return _results(parts, worlds, [tally.outcomes()] * 2, counts, opening_s)


@dataclass(slots=True)
class _Counts:
    """What is counted over the ticks of one pool."""

    moves: int = 0
    peak: int = 0


def _ticks(
    parts: Sequence[Part], worlds: Sequence[SimulatedWorld], on_share: Callable[[float], object]
) -> list[_Counts]:
    """Run all pools to the end of the longest trace."""
    span_s = max(part.scenario.trace.span_s for part in parts)
    counts = [_Counts() for _ in parts]
    members = [
        Member(scenario=part.scenario, contender=part.contender, world=world)
        for part, world in zip(parts, worlds, strict=True)
    ]
    for number, entry, _ in run_together(members):
        counts[number].moves += entry.outcome.status is OutcomeStatus.SCALED
        counts[number].peak = max(counts[number].peak, len(entry.signals.replicas))
        parts[number].on_entry(entry)
        on_share(min(1.0, (entry.at - EPOCH_AT) / span_s))
    return counts


def _results(
    parts: Sequence[Part],
    worlds: Sequence[SimulatedWorld],
    outcomes: Sequence[Outcomes],
    counts: Sequence[_Counts],
    opening_s: float,
) -> list[Result]:
    pools = zip(parts, worlds, outcomes, counts, strict=True)
    return [_result(part, world, outcome, count, opening_s) for part, world, outcome, count in pools]


def _result(part: Part, world: SimulatedWorld, outcomes: Outcomes, counts: _Counts, opening_s: float) -> Result:
    scenario, price = part.scenario, part.price_usd_per_hour
    history = world.cluster.history()
    paid = None if world.nodes is None else world.nodes.nodes.paid(scenario.name)
    hours = held_s(history, world.cluster.now_s) * scenario.profile.accelerators_per_replica / 3600
    hours += 0.0 if paid is None else paid.asleep_accelerator_hours
    return Result(
        contender=part.contender.name,
        seed=scenario.seed,
        outcomes=outcomes,
        accelerator_hours=hours,
        cost_usd=None if price is None else hours * price,
        coldstarts=int(np.count_nonzero(history["ready_s"] > 0)),
        moves=counts.moves,
        peak_replicas=counts.peak,
        opening_s=opening_s,
        paid=paid,
        starts=() if world.nodes is None else _starts_of(world.nodes.nodes, scenario.name),
        befallen=world.befallen(),
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
