"""The world of a run: what it happens in, and a pool on simulated time that can be observed and scaled.

``SimulatedWorld`` is to the driver what the controller's world is in production: it shows signals and takes decisions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from autoscaler.core.decision import Decision
from autoscaler.core.signals import Signals
from autoscaler.journal import Outcome, OutcomeStatus
from simulator.cluster import Cluster, Routing
from simulator.engine.profiles import EngineProfile
from simulator.engine.results import RequestTable
from simulator.faults.blows import Blows
from simulator.faults.nodes import befall_nodes
from simulator.faults.plan import FaultPlan, Occurrence
from simulator.faults.replicas import ReplicaFaults
from simulator.faults.scale import ScaleFaults
from simulator.faults.victims import Befallen, Victims
from simulator.handover import Handover
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.nodes.shared_nodes import SharedNodes
from simulator.startup.phases import Startup
from simulator.telemetry import EPOCH_AT, Scraping, Telemetry
from simulator.traces import Trace, Traffic, traffic_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a run happens in: the same for every decider that is compared.

    ``grace_s`` is the drain's. ``first_tick_s`` is the second at which the decider starts, onto a fleet that runs: a
    decider that is switched on together with the traffic would take the filling of empty engines for a trend.
    ``faults`` are what goes wrong; None: nothing.
    ``cluster`` are the nodes on which replicas run; None: there is always room.
    ``routing`` is how the gateway picks a replica for a request.
    """

    name: str
    trace: Trace | Traffic
    profile: EngineProfile
    startup: Startup
    initial_replicas: int
    seed: int
    scraping: Scraping
    grace_s: float = 60.0
    first_tick_s: float = 60.0
    cluster: ModelledCluster | None = None
    faults: FaultPlan | None = None
    routing: Routing = "least_outstanding"

    def occurrences(self) -> tuple[Occurrence, ...]:
        """Return what goes wrong, by its beginning: it follows from the seed and from nothing that a decider does."""
        return () if self.faults is None else self.faults.occurrences(seed=self.seed, span_s=self.trace.span_s)


class SimulatedWorld:
    """A pool on simulated time, seen through its telemetry: the simulator's ``World``.

    With ``on_ended`` a request is forgotten once that was told what became of it, and memory is flat in the length of
    the trace; without, the pool can be asked for all of a trace's requests in the end.
    """

    def __init__(
        self,
        scenario: Scenario,
        on_ended: Callable[[RequestTable], object] | None = None,
        nodes: SharedNodes | None = None,
        sends: Handover | None = None,
        receives: Handover | None = None,
    ) -> None:
        """Make the pool: on these ``nodes``, which other worlds may share, or on its own of the scenario's cluster.

        A world that ``sends`` computes prompts alone, one that ``receives`` decodes what comes from there; the
        handover, not ``on_ended``, then tells what became of requests.
        """
        trace, cluster = scenario.trace, scenario.cluster
        whole = trace if isinstance(trace, Trace) and on_ended is None and sends is None else None
        comes = whole is None and receives is None
        self.nodes = cluster.nodes(scenario.seed) if nodes is None and cluster is not None else nodes
        self._has_own_nodes = nodes is None
        self._faults = scenario.occurrences()
        self.victims = Victims(nodes=self.nodes is not None)
        if nodes is None and self.nodes is not None:
            befall_nodes(self.nodes.nodes, self._faults, self.victims)
        on_nodes = self.nodes is not None
        replica_faults = ReplicaFaults(self._faults, self.victims, nodes=on_nodes) if self._faults else None
        self.cluster = Cluster(
            profile=scenario.profile,
            startup=scenario.startup,
            seed=scenario.seed,
            trace=whole if receives is None else None,
            traffic=traffic_of(trace) if comes else None,
            on_ended=on_ended or (lambda _: None),
            initial_replicas=scenario.initial_replicas,
            routing=scenario.routing,
            grace_s=scenario.grace_s,
            nodes=self.nodes,
            needs=None if cluster is None else replace(cluster.needs(scenario.profile), owner=scenario.name),
            name=scenario.name,
            faults=replica_faults,
            sends=sends,
            receives=receives,
        )
        self._kv_tokens = scenario.profile.kv_tokens
        self._scale_faults = ScaleFaults(self._faults, self.victims)
        self._blows = Blows(
            self.cluster, replica_faults, self.victims, startup=scenario.startup, seed=scenario.seed
        )  # fmt: skip
        self._replica_faults = replica_faults
        self.see_through(scenario.scraping)

    def see_through(self, scraping: Scraping) -> None:
        """Let the pool be seen through another scraping from now on, as a peer does that reads its own metrics."""
        self._telemetry = Telemetry(
            self.cluster, kv_tokens=self._kv_tokens, scraping=scraping, faults=self._faults,
            replica_faults=self._replica_faults, victims=self.victims,
        )  # fmt: skip

    @property
    def next_event_s(self) -> float:
        """The second at which the pool is scraped, or something befalls it, next."""
        return min(self._telemetry.next_scrape_s, self._blows.next_s)

    def live(self, until_s: float) -> None:
        """Let the pool live until a second of the simulation."""
        for due_s, befall in self._blows.due(until_s):
            self._telemetry.advance(due_s)
            befall()
        self._telemetry.advance(until_s)

    def observe(self, at: float) -> Signals:
        """Let the pool live until an instant and return what is seen then."""
        at_s = at - EPOCH_AT
        self.live(at_s)
        return self._scale_faults.told(self._telemetry.signals(), at_s)

    def scale(self, decision: Decision) -> Outcome:
        """Set the replicas, as a write to /scale does."""
        before, at_s = decision.spec_replicas, self.cluster.now_s
        failure = self._scale_faults.failure(decision, at_s)
        if failure is not None:
            return failure
        if not decision.moves or decision.target is None:
            return Outcome(status=OutcomeStatus.UNCHANGED, replicas_before=before, replicas_after=before)
        counts_at_s = self._scale_faults.counts_at_s(at_s)
        if counts_at_s > at_s:
            # It is waited for, so that it counts before the next look.
            self._blows.enter(counts_at_s, partial(self.cluster.set_replicas, decision.target))
        else:
            self.cluster.set_replicas(decision.target)
        return Outcome(status=OutcomeStatus.SCALED, replicas_before=before, replicas_after=decision.target)

    def befallen(self) -> tuple[Befallen, ...]:
        """Return whom each fault befell by now; nodes that it shares are told of by the world that made them."""
        told = self.victims.told(self._faults)
        return told if self._has_own_nodes else tuple(one for one in told if not one.befalls_nodes)

    def restarted(self) -> None:
        """Go on with a new process as the one that looks and writes."""
        self._scale_faults.restarted()
