"""The comparison: every peer's main knob swept on the same traffic, and what each wanted attainment costs it.

Nobody is shown at his worst: a peer is swept in its default and in its expert setting, its grid goes on beyond an end
as long as the best point lies there (``frontier``), and all meet the same requests, cluster and cold starts in the same
seeds. A point is the mean over the seeds. The trials are independent and run on as many cores as there are; their
results are put in order before anything is made of them, so the number of cores changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from autoscaler.core.policy import ScalingPolicy
from simulator.baselines.peers import PEERS, Knob, Style
from simulator.cluster import Routing
from simulator.experiments.cores import on_cores
from simulator.experiments.demo import first_replicas, profile_of
from simulator.experiments.frontier import Cost, Point, closer, cost, wider
from simulator.experiments.outcomes import Promise
from simulator.experiments.trial import Result, run_trial
from simulator.faults.plan import FaultPlan
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.startup.model import StartupModel
from simulator.telemetry import Scraping
from simulator.traces import Trace, Traffic
from simulator.traces.scaling import copied
from simulator.world import Scenario

WANTED = (0.98, 0.99, 0.995)
WIDENINGS_MOST = 12
CLOSER_MOST = 16
"""Rounds of looking closer at a knob of whole numbers: enough to halve any gap down to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is compared on: a policy, its traffic (``copies`` of it laid over one another), cold starts, the promise.

    ``faults`` are what goes wrong, for everybody the same.
    ``cluster`` are the nodes that replicas run on; where it says what a start takes, ``coldstart_s`` is what it usually
    comes to.
    ``routing`` is how the gateway picks a replica for a request.
    """

    policy: ScalingPolicy
    trace: Trace | Traffic
    copies: int
    coldstart_s: float
    promise: Promise
    price_usd_per_hour: float | None
    faults: FaultPlan | None = None
    cluster: ModelledCluster | None = None
    routing: Routing = "least_outstanding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A peer in one style: every setting that was tried with its results by seed, and what was read off them."""

    peer: str
    style: Style
    results: Mapping[float, tuple[Result, ...]]

    @property
    def points(self) -> tuple[Point, ...]:
        """The settings in order, each in the mean over its seeds."""
        return tuple(point_of(knob, self.results[knob]) for knob in sorted(self.results))

    def cost(self, wanted: float) -> Cost:
        """Return what an attainment costs this peer."""
        return cost(self.points, wanted, whole=PEERS[self.peer].knob.whole)


Evaluate = Callable[[Sequence[float]], Mapping[float, tuple[Result, ...]]]


def point_of(knob: float, results: Sequence[Result]) -> Point:
    """Return the mean over the seeds of one setting."""
    hours = fmean(result.accelerator_hours for result in results)
    return Point(knob=knob, hours=hours, attainment=fmean(result.outcomes.attainment for result in results))


def scenario_of(case: Case, seed: int) -> Scenario:
    """Return the scenario of one seed: the same for every peer."""
    spec, profile = case.policy.spec, profile_of(case.policy)
    trace = copied(case.trace, case.copies, seed)
    return Scenario(
        name=case.policy.metadata.name,
        trace=trace,
        profile=profile,
        startup=(case.cluster and case.cluster.startup) or StartupModel.of_total(case.coldstart_s),
        initial_replicas=first_replicas(trace, profile, spec.replicas.min, spec.replicas.max),
        seed=seed,
        scraping=Scraping(
            scrape_s=spec.timing.scrape_seconds,
            lag_s=spec.timing.scrape_seconds,
            stale_after_s=spec.timing.stale_after_seconds,
        ),
        grace_s=spec.scale_down.drain_grace_seconds,
        faults=case.faults,
        cluster=case.cluster,
        routing=case.routing,
    )


def evaluator(case: Case, peer: str, style: Style, seeds: Sequence[int], *, jobs: int | None) -> Evaluate:
    """Return what runs settings of a peer in every seed, on ``jobs`` cores (None: on all)."""

    def evaluate(knobs: Sequence[float]) -> Mapping[float, tuple[Result, ...]]:
        settings = [(knob, seed) for knob in knobs for seed in seeds]
        ran = on_cores(trial, ((case, peer, style, *setting) for setting in settings), jobs=jobs)
        results = dict(zip(settings, ran, strict=True))
        return {knob: tuple(results[knob, seed] for seed in seeds) for knob in knobs}

    return evaluate


def trial(case: Case, peer: str, style: Style, knob: float, seed: int) -> Result:
    """Run one setting of one peer in one seed."""
    scenario = scenario_of(case, seed)
    contender = PEERS[peer].contender(scenario, case.policy.spec, knob, style)
    return run_trial(scenario, contender, case.promise, price_usd_per_hour=case.price_usd_per_hour)


def swept(
    knob: Knob, evaluate: Evaluate, wanted: Sequence[float] = WANTED
) -> Iterator[Mapping[float, tuple[Result, ...]]]:
    """Yield all results so far after each round: the grid, beyond its ends while the best lies there, then closer."""
    results = dict(evaluate(knob.grid))
    yield results
    for _ in range(WIDENINGS_MOST):
        more = wider(_points(results), knob, wanted)
        if not more:
            break
        results |= evaluate(more)
        yield results
    for _ in range(CLOSER_MOST if knob.whole else 1):
        more = closer(_points(results), knob, wanted)
        if not more:
            break
        results |= evaluate(more)
        yield results


def carried(row: Row, wanted: float) -> float:
    """Return the setting to carry over to other traffic: the cheapest that reached it, else that of the highest."""
    found = row.cost(wanted)
    if found.knob is not None:
        return found.knob
    return max(row.points, key=lambda point: (point.attainment, -point.hours)).knob


def _points(results: Mapping[float, tuple[Result, ...]]) -> list[Point]:
    return [point_of(knob, results[knob]) for knob in sorted(results)]
