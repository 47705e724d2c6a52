"""The plan: what demand asks for, before any guard.

One tick's signals are folded into every part of the core (:func:`see`): the cold-start model, the measurement of
demand, the forecast, the guards' clock. What comes out is turned into a number of replicas (:func:`plan`):

    H    = Lq + lag + tick/2, at most 20 min            Lq: 0.75 quantile of the next cold start, lag = 1.5 scrapes
    D_q  = base + Q(q)·scale                            forecast of the work arriving H from now, in replicas
    n    = need(D_q), within the pre-warm bounds
    B'   = waiting·w + (level − 0.95·(ready + healthy/2))·L50           backlog when an order placed now arrives
    n    = max(n, min(need(level) + B'/60, 2·n + 2))    if waiting > 0 and B' > 0, and starts do not fail
    want = ceil(n − 0.05)

Words: ``ready`` replicas serve; ``warming`` = max(0, spec_replicas − ready) are asked for and do not, pods that do
not exist yet included and a rollout's surge excluded; of these ``stuck`` ones are starting for longer than the
cold-start model's A99, have failed, or are in a crash loop, until they are ready; the rest is ``healthy``. ``loading``
are all pods that start and are not stuck, a rollout's surge included: it serves soon in another's place, so it is no
capacity, but it may not be deleted either.
``hold`` = 2·L50 or the policy's own window.

Invariants: pure; with the same memory and mix a larger demand never gives a smaller want.
"""

from dataclasses import dataclass, field, replace

from autoscaler.core import capacity, coldstart, demand, forecast, guard, prewarm, starts
from autoscaler.core.capacity import Coefficients, Limits, Need
from autoscaler.core.coldstart import ColdStartMemory, Estimate
from autoscaler.core.decision import Term, Why
from autoscaler.core.demand import DemandMemory, Observed
from autoscaler.core.forecast import ForecastMemory
from autoscaler.core.guard import GuardMemory
from autoscaler.core.intervals import CLOCK_SLACK_S
from autoscaler.core.policy import PolicySpec
from autoscaler.core.policy_parts import Timing
from autoscaler.core.signals import Replica, ReplicaState, Signals

START_QUANTILE = 0.9
LAG_SCRAPES = 1.5  # The usual delay of the metrics plus half a scrape: a constant, not the age at the tick.
HOLD_COLD_STARTS = 2.0  # 1 + η: one for the break-even of a restart, one for the harm it does.
SERVED_SHARE = 0.95  # Of its capacity, what a replica works off of a backlog.
STARTING_SHARE = 0.5  # Of the next cold start, what a starting replica will serve.
BACKLOG_CAP = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All that the core keeps from tick to tick; plain values, which serialise to JSON.

    ``wants`` are (sighted second, want), oldest first and falling: the candidates for the maximum over the hold.
    ``quantile`` is the q in force; it starts at the policy's and is where a trim will act. ``crashing`` are the uids of
    replicas in a crash loop, until they are ready.
    """

    quantile: float
    coldstart: ColdStartMemory
    demand: DemandMemory = field(default_factory=DemandMemory)
    forecast: ForecastMemory = field(default_factory=ForecastMemory)
    guard: GuardMemory = field(default_factory=GuardMemory)
    wants: tuple[tuple[float, int], ...] = ()
    crashing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The replicas of one instant: ready, asked for and not ready, of these the stuck and the healthy ones; loading.

    ``lapsed`` are those that were ready and are not any more.
    """

    ready: int
    warming: int
    stuck: int
    healthy: int
    loading: int
    lapsed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The lead time and what follows from it, in seconds."""

    horizon_s: float
    lag_s: float
    hold_s: float

    @property
    def guard_s(self) -> float:
        """For how long a memory must have seen before anything is taken away."""
        return max(self.horizon_s, self.hold_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What demand asks for, before any guard: the order, the need now, and the candidates."""

    want: int
    why: Why
    present: Need
    terms: tuple[Term, ...]
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tick's signals, folded into what the parts of the core make of them."""

    spec: PolicySpec
    signals: Signals
    memory: Memory
    coefficients: Coefficients
    observed: Observed
    estimate: Estimate
    times: Times
    fleet: Fleet


def quantile(spec: PolicySpec) -> float:
    """Return the q that a policy starts with."""
    return START_QUANTILE if spec.prewarm.quantile is None else spec.prewarm.quantile


def times(spec: PolicySpec, estimate: Estimate) -> Times:
    """Return horizon, lag and hold for an estimate of the next cold start."""
    timing = spec.timing
    lag_s = LAG_SCRAPES * timing.scrape_seconds
    horizon_s = min(estimate.p75_s + lag_s + timing.tick_seconds / 2, guard.LONGEST_WAIT_S)
    explicit_s = spec.scale_down.stabilization_seconds
    hold_s = min(HOLD_COLD_STARTS * estimate.p50_s, guard.LONGEST_WAIT_S) if explicit_s is None else explicit_s
    return Times(horizon_s=horizon_s, lag_s=lag_s, hold_s=hold_s)


def see(spec: PolicySpec, memory: Memory, signals: Signals) -> Seen:
    """Fold one tick's signals into every part of the memory."""
    memory = _put_right(memory, signals.at)
    signals = replace(signals, replicas=starts.unrecovered(signals.replicas, memory.crashing))
    coefficients = capacity.known(spec)
    cold = coldstart.update(memory.coldstart, signals.replicas, signals.at)
    lead = times(spec, cold.estimate)
    measured, observed = demand.update(spec, coefficients, memory.demand, signals)
    ahead = _forecast(spec.timing, memory.forecast, observed, lead)
    late = coldstart.stuck(cold, signals.replicas, signals.at)
    guarded = guard.update(spec, memory.guard, signals, observed, late)
    after = Memory(
        quantile=quantile(spec),
        coldstart=cold,
        demand=measured,
        forecast=ahead,
        guard=guarded,
        wants=memory.wants,
        crashing=starts.crashing(signals.replicas),
    )
    return Seen(
        spec=spec,
        signals=signals,
        memory=after,
        coefficients=coefficients,
        observed=observed,
        estimate=cold.estimate,
        times=lead,
        fleet=_fleet(signals, late),
    )


def _put_right(memory: Memory, at: float) -> Memory:
    """Return the memory without instants that a clock told which ran ahead: they would hide all that comes as old."""
    told = (memory.demand.newest_at, memory.forecast.seen_at, memory.guard.sighted_at, memory.guard.began_at)
    if all(one is None or one <= at + CLOCK_SLACK_S for one in told):
        return memory
    return replace(
        memory,
        demand=demand.put_right(memory.demand),
        forecast=forecast.put_right(memory.forecast),
        guard=guard.put_right(memory.guard, at),
    )


def _forecast(timing: Timing, memory: ForecastMemory, observed: Observed, lead: Times) -> ForecastMemory:
    if not observed.fresh or observed.demand is None or observed.newest_at is None:
        return memory
    return forecast.update(
        timing,
        memory,
        at=observed.newest_at,
        dt_s=observed.dt_s,
        demand=observed.demand,
        horizon_s=lead.horizon_s,
        lag_s=lead.lag_s,
    )


def _fleet(signals: Signals, late: tuple[Replica, ...]) -> Fleet:
    ready = signals.count(ReplicaState.READY)
    warming = max(0, (signals.spec_replicas or 0) - ready)
    stuck = min(len(late), warming)
    hung = {replica.uid for replica in late}
    under_way = [r for r in signals.replicas if r.state is ReplicaState.STARTING and r.uid not in hung]
    loading = sum(1 for replica in under_way if replica.ready_at is None)
    # One that was ready and is not any more does not load: to take it away first is right.
    lapsed = min(len(under_way) - loading, warming - stuck)
    healthy = warming - stuck - lapsed
    return Fleet(ready=ready, warming=warming, stuck=stuck, healthy=healthy, loading=loading, lapsed=lapsed)


def _need(seen: Seen, load: float) -> Need:
    if not seen.spec.exports_tokens:
        return capacity.need_concurrency(load)
    return capacity.need(load, seen.memory.quantile, seen.coefficients, seen.observed.mix, limits(seen))


def limits(seen: Seen) -> Limits:
    """Return what bounds one replica, and the objectives."""
    return Limits(
        ttft_s=seen.spec.objectives.ttft_seconds,
        tpot_s=seen.spec.objectives.itl_seconds,
        max_sequences=seen.spec.engine.max_sequences,
        kv_capacity_tokens=seen.observed.kv_capacity_tokens,
    )


def plan(seen: Seen) -> Plan | None:
    """Return what demand asks for, or ``None`` if no demand was ever measured."""
    level, base, scale = seen.memory.forecast.level, seen.memory.forecast.base, seen.memory.forecast.scale
    if level is None or base is None or scale is None:
        return None
    residual = forecast.residual_quantile(seen.memory.forecast, seen.memory.quantile)
    # Written out, and not asked of the forecast, because the residual quantile is one of the numbers to be told.
    quantile_of_demand = max(0.0, base + residual * scale)
    ahead, present = _need(seen, quantile_of_demand), _need(seen, level)
    pool = prewarm.size(seen.spec.prewarm, present, ahead)
    backlog, numbers = _backlog(seen, level, present, pool.order)
    order = pool.order if backlog is None else max(pool.order, backlog)
    why = Why.BACKLOG if backlog is not None and backlog > pool.order else pool.why
    terms = ahead.terms + pool.terms
    if backlog is not None:
        terms += (Term(name=Why.BACKLOG.value, replicas=backlog),)
    numbers |= {
        "demand_quantile": quantile_of_demand,
        "residual_quantile": residual,
        "need_present": present.replicas,
        "pool": pool.pool,
    }
    return Plan(want=prewarm.whole(order), why=why, present=present, terms=terms, numbers=numbers)


def _backlog(seen: Seen, level: float, present: Need, order: float) -> tuple[float | None, dict[str, float]]:
    """Return the replicas that clear what will still be waiting when an order placed now arrives, and the figures."""
    waiting = seen.observed.waiting
    # In concurrency mode what waits is part of the demand already.
    if waiting is None or not seen.spec.exports_tokens:
        return None, {}
    # Of replicas that the cluster calls ready and that all give no sample, nothing says that they serve.
    ready = seen.fleet.ready if seen.observed.reporting > 0 or seen.observed.expected == 0 else 0
    serving = SERVED_SHARE * (ready + STARTING_SHARE * seen.fleet.healthy)
    backlog_s = waiting * seen.observed.mix.work_s(seen.coefficients)
    left_s = backlog_s + (level - serving) * seen.estimate.p50_s
    numbers = {"backlog_s": backlog_s, "backlog_left_s": left_s}
    if waiting <= 0 or left_s <= 0 or starts.failing(seen.memory.guard.starts):
        return None, numbers
    cleared = present.replicas + left_s / seen.spec.timing.backlog_clear_seconds
    return min(cleared, BACKLOG_CAP * order + 2), numbers
