"""The cold start: how long the next one takes, learnt from the few that were seen.

A cold start runs from the instant a replica is ordered to its first Ready. Its time T varies by a factor of two on
good days and of ten when an image is pulled, and there are few samples. So T gets a parametric model with heavy tails,
and a posterior over its two parameters, which is *wide* while little is known:

    (ln T - mu)/sigma ~ Student-t with 4 degrees of freedom
    prior   mu ~ N(ln prior median, 0.9^2),  ln sigma ~ N(ln 0.35, 0.5^2)
    ln weight(mu, sigma) = ln prior + sum over ended starts   of 0.98^(rank, newest 0) * ln f(T)
                                    + sum over starts under way, older than the median of ended ones, of ln SF(age)

``f`` is the density of ln T and ``SF`` the probability to last longer. The second sum is the **right-censoring** term:
without it a hanging image pull makes the model *more* optimistic, since only the fast starts finish. The discount
forgets: about the newest 50 starts count. Reported are quantiles of the predictive distribution, the t averaged over
the posterior. With four degrees of freedom everything is elementary; with s = t/sqrt(4 + t^2), from -1 to 1:

    CDF(t) = 1/2 + (3s - s^3)/4        SF(t) = (1 - s)^2 * (2 + s)/4        pdf(t) = 12/(4 + t^2)^(5/2)

L50, Lq (``p50_s``, ``p75_s``, in s) are quantiles of the next cold start. A99 (``stuck_after_s``, in s) is
min(Q(0.99) of the posterior of *ended* starts only, 1200 s): with the starts under way in it, the threshold would run
ahead of the very pod that it should catch. mu and sigma, in ln s, are 61 x 17 cells of a grid.

What is a sample:

- One per pod uid: ordered to first Ready. Readiness that flaps later leaves ``ready_at`` alone, so it is none.
- A pod that was ready at the first update of a fresh memory is none: it may have been ordered by anyone, anyhow.
- A stuck start (older than A99, or failed) is, *while* it is stuck, neither a sample nor a censored one. If it comes
  after all, its full time is a sample: left out for good, the model would never learn that starts became slower.
- A pod that goes before it was ready is forgotten.

A pod whose first Ready lies below a floor, 900 s back, has been counted or never will be; only uids above it are kept.

Invariants:

- ``p50_s <= p75_s <= p90_s``, all positive and finite, whatever the replicas are.
- With a start under way among the terms, ``p75_s`` and ``p90_s`` are never smaller than without it.
- The estimate is a function of the prior, the remembered observations and the ages under way. What is cached below
  are memoised pure functions; a fresh process computes the same numbers, once more slowly.

The range of mu follows the data: a fixed one around a prior of 150 s stops at 10 s when starts take 6 s, and is coarse
where starts hardly vary. Ages under way are looked at anew after 30 s or a fifth of the median, whichever is less.

Worked example:

>>> from autoscaler.core.signals import Replica, ReplicaState
>>> prior = ColdStartMemory(prior_s=150.0, estimate=predict(150.0, (), ()))
>>> round(prior.estimate.p50_s), round(prior.estimate.p75_s), prior.estimate.source
(150, 300, 'prior')
>>> pods = [Replica(pod=f"p{i}", uid=f"u{i}", state=ReplicaState.READY, ordered_at=100.0, ready_at=160.0 + i)
...         for i in range(3)]
>>> seen = update(update(prior, [], 100.0), pods, 165.0)
>>> round(seen.estimate.p50_s), round(seen.estimate.p90_s), seen.estimate.samples, seen.estimate.source
(62, 97, 3, 'measured')
>>> late = [Replica(pod="p3", uid="u3", state=ReplicaState.STARTING, ordered_at=165.0)]
>>> update(seen, pods + late, 275.0).estimate.p50_s > seen.estimate.p50_s
True

Sources: Gelman et al., Bayesian Data Analysis (posterior on a grid, robust t model); Kaplan & Meier 1958 (censoring).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Replica, ReplicaState

Array = npt.NDArray[np.float64]

DEFAULT_PRIOR_S, ENGINE_START_S = 150.0, 22.0
STUCK_AT_MOST_S = 1200.0
REFRESH_S = 30.0
COUNTED_FOR_S = 900.0
SHORTEST_S = 0.1
AHEAD_S = 60.0  # By so much the clocks of a cluster may differ.

FORGETTING = 0.98
# 0.98^200 is 0.018: all that is older weighs less than one fresh observation.
BLOCK = 40
REMEMBERED = 6 * BLOCK

PRIOR_MU_SD, PRIOR_SIGMA, PRIOR_SIGMA_SD = 0.9, 0.35, 0.5
MU_CELLS, SIGMA_CELLS = 61, 17
# The hull moves in steps of this many ln s, so that a new observation rarely asks for a new grid.
HULL_STEP = 0.5
HULL_AT_MOST = math.log(7200.0)
NEGLIGIBLE = math.log(1e-7)
AGE_BIN = 0.1

PROBABILITIES = np.array((0.5, 0.75, 0.9, 0.99, 0.5))
# Quantiles of the t with 4 degrees of freedom at these probabilities.
T_QUANTILES = np.array((0.0, 0.7406971, 1.5332063, 3.7469474, 0.0))[:, None]
# Row 0 of the weights has the starts under way in it, row 1 (for A99 and the age from which a start counts) has not.
WEIGHT_ROW = np.array((0, 0, 0, 1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is believed of the next cold start, in seconds from order to first Ready.

    ``p50_s`` drives hold times, backlog and economics, ``p75_s`` the horizon. ``telling_after_s`` is the age from which
    a start under way says something: the median of the posterior of ended starts. Were it ``p50_s``, a start that is
    counted would raise the median above its own age, and the estimate would flip at every tick. ``stuck_after_s`` is
    the age at which a start counts as stuck (A99, at most 1200 s). ``samples`` counts the starts that ended and are
    remembered, ``censored`` those under way that are old enough to say something.
    """

    p50_s: float
    p75_s: float
    p90_s: float
    telling_after_s: float
    stuck_after_s: float
    samples: int
    censored: int
    source: Literal["prior", "measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStartMemory:
    """What the model keeps between ticks: plain values only, a few kilobytes as JSON.

    ``observations`` are the newest cold starts in seconds, oldest first. ``counted`` are the uids of pods that became
    ready after ``floor_at`` and were counted or are to be ignored. ``oldest_s`` is the age of the oldest start under
    way at the time of the estimate.
    """

    prior_s: float
    estimate: Estimate
    observations: tuple[float, ...] = ()
    counted: tuple[str, ...] = ()
    floor_at: float | None = None
    oldest_s: float = 0.0


def initial(spec: PolicySpec) -> ColdStartMemory:
    """Return the memory before anything was seen: the prior and its quantiles.

    The prior median is the policy's ``priorSeconds``; else the physics of it, engine start plus weights over their
    bandwidth; else 150 s.
    """
    stated = spec.cold_start
    prior_s = DEFAULT_PRIOR_S
    if stated.prior_seconds is not None:
        prior_s = stated.prior_seconds
    elif stated.weights_gib is not None and stated.load_gib_per_second is not None:
        prior_s = ENGINE_START_S + stated.weights_gib / stated.load_gib_per_second
    return ColdStartMemory(prior_s=prior_s, estimate=predict(prior_s, (), ()))


def update(memory: ColdStartMemory, replicas: Sequence[Replica], at: float) -> ColdStartMemory:
    """Return the memory after the replicas were seen at the instant ``at``; safe to call at every tick.

    The posterior is computed anew only when a start ended, when the number of starts under way that count changed, or
    when the oldest of them has aged 30 s (a fifth of the median where that is less).
    """
    ended = () if memory.floor_at is None else _ended_s(memory, min(memory.floor_at, at), replicas, at)
    ages_s = _ages_s(memory.estimate, replicas, at)
    # A floor ahead of now was set by a clock that was put right since; left there, nothing would be learnt for as long.
    floor_at = at - COUNTED_FOR_S if memory.floor_at is None else max(at - COUNTED_FOR_S, min(memory.floor_at, at))
    counted = tuple(r.uid for r in replicas if r.ready_at is not None and r.ready_at > floor_at)
    if not ended and not _aged(memory, ages_s):
        return replace(memory, counted=counted, floor_at=floor_at)
    observations = memory.observations + ended
    while len(observations) > REMEMBERED:
        # A whole block goes at a time, so that the blocks that stay keep their memoised sums.
        observations = observations[BLOCK:]
    return ColdStartMemory(
        prior_s=memory.prior_s,
        estimate=predict(memory.prior_s, observations, ages_s),
        observations=observations,
        counted=counted,
        floor_at=floor_at,
        oldest_s=max(ages_s, default=0.0),
    )


def stuck(memory: ColdStartMemory, replicas: Sequence[Replica], at: float) -> tuple[Replica, ...]:
    """Return the replicas that will not come by themselves: failed ones, and starts older than A99.

    A replica that fails after it had been ready is among them, since it does not serve either.
    """
    limit_s = memory.estimate.stuck_after_s
    return tuple(
        replica
        for replica in replicas
        if replica.state is ReplicaState.FAILED
        or (replica.state is ReplicaState.STARTING and replica.ready_at is None and at - replica.ordered_at > limit_s)
    )


def predict(prior_s: float, observations: tuple[float, ...], ages_s: tuple[float, ...]) -> Estimate:
    """Return the estimate from a prior median, ended starts (oldest first) and ages under way, all in seconds."""
    grid = _grid(prior_s, observations, max(ages_s, default=0.0))
    cells = _cells(grid)
    censored = ended = cells.log_prior + _ended(observations, grid)
    for log_age, count in _binned(ages_s):
        censored = censored + count * _log_survival(log_age, cells)
    p50, p75, p90, p99, telling = _quantiles(cells, np.stack((censored, ended)))
    return Estimate(
        p50_s=p50,
        p75_s=p75,
        p90_s=p90,
        telling_after_s=telling,
        stuck_after_s=min(p99, STUCK_AT_MOST_S),
        samples=len(observations),
        censored=len(ages_s),
        source="measured" if observations else "prior",
    )


def _ended_s(memory: ColdStartMemory, floor_at: float, replicas: Sequence[Replica], at: float) -> tuple[float, ...]:
    """Return the durations of the starts that ended since the last update, in the order in which they did."""
    counted = frozenset(memory.counted)
    ended = [
        (replica.ready_at, replica.ready_at - replica.ordered_at)
        for replica in replicas
        if replica.ready_at is not None and floor_at < replica.ready_at <= at + AHEAD_S and replica.uid not in counted
    ]
    # A pod that is ready before it was ordered, or only tomorrow, has two clocks in it and says nothing.
    return tuple(max(SHORTEST_S, round(took_s, 3)) for _, took_s in sorted(ended) if 0 <= took_s < math.inf)


def _ages_s(estimate: Estimate, replicas: Sequence[Replica], at: float) -> tuple[float, ...]:
    """Return the ages of the starts under way that say something and are not stuck."""
    ages = [at - r.ordered_at for r in replicas if r.ready_at is None and r.state is ReplicaState.STARTING]
    return tuple(age for age in ages if estimate.telling_after_s < age <= estimate.stuck_after_s)


def _aged(memory: ColdStartMemory, ages_s: tuple[float, ...]) -> bool:
    estimate = memory.estimate
    if len(ages_s) != estimate.censored:
        return True
    return abs(max(ages_s, default=0.0) - memory.oldest_s) >= min(REFRESH_S, estimate.p50_s / 5)


def _binned(ages_s: tuple[float, ...]) -> list[tuple[float, int]]:
    """Return (mean ln age, count) of the ages in bins of 10 %: pods ordered together share one term of the sum."""
    bins: dict[int, list[float]] = {}
    for age in ages_s:
        log_age = math.log(age)
        bins.setdefault(int(log_age // AGE_BIN), []).append(log_age)
    return [(sum(logs) / len(logs), len(logs)) for logs in bins.values()]


class _Grid(NamedTuple):
    """The range of mu in ln s, and the logarithm of the prior median: all that determines the cells."""

    log_prior_s: float
    low: float
    high: float


class _Cells(NamedTuple):
    """Cells (mu, sigma) as flat arrays of one shape, with the logarithm of their prior up to a constant."""

    mu: Array
    sigma: Array
    log_sigma: Array
    log_prior: Array


def _grid(prior_s: float, observations: tuple[float, ...], oldest_s: float) -> _Grid:
    """Return the grid that covers the posterior: the hull of the data, of the prior while they are few, and a margin.

    The margin is about five standard deviations of mu, which shrink with the root of the number of observations.
    Without observations it is the prior's own range of three standard deviations.
    """
    log_prior_s, log_oldest = math.log(prior_s), math.log(max(oldest_s, SHORTEST_S))
    count, margin = len(observations), 3 * PRIOR_MU_SD
    if not count:
        return _Grid(log_prior_s, log_prior_s - margin, max(log_prior_s + margin, log_oldest + 1.5))
    margin = max(0.75, margin / math.sqrt(1 + count))
    # One pod that waited a day for a node must not make the cells coarse for all others.
    points = [min(math.log(took_s), HULL_AT_MOST) for took_s in (min(observations), max(observations))]
    if count < 10:
        points.append(log_prior_s)
    low, high = min(points) - margin, max(*(point + margin for point in points), log_oldest + 0.75 * margin)
    return _Grid(log_prior_s, math.floor(low / HULL_STEP) * HULL_STEP, math.ceil(high / HULL_STEP) * HULL_STEP)


@lru_cache(maxsize=64)
def _cells(grid: _Grid) -> _Cells:
    """Return the cells of a grid."""
    mu = np.linspace(grid.low, grid.high, MU_CELLS)
    offset = np.linspace(-2.2, 2.2, SIGMA_CELLS)
    log_prior = -0.5 * ((mu - grid.log_prior_s) / PRIOR_MU_SD)[:, None] ** 2 - 0.5 * offset[None, :] ** 2
    log_sigma = np.tile(math.log(PRIOR_SIGMA) + PRIOR_SIGMA_SD * offset, MU_CELLS)
    return _Cells(np.repeat(mu, SIGMA_CELLS), np.exp(log_sigma), log_sigma, log_prior.ravel())


@lru_cache(maxsize=1024)
def _block(observations: tuple[float, ...], grid: _Grid) -> Array:
    """Return the discounted log likelihood of one to BLOCK observations, each of them memoised on the way."""
    cells = _cells(grid)
    z = (math.log(observations[-1]) - cells.mu) / cells.sigma
    newest: Array = -2.5 * np.log1p(0.25 * z * z) - cells.log_sigma
    return newest if len(observations) == 1 else FORGETTING * _block(observations[:-1], grid) + newest


@lru_cache(maxsize=256)
def _ended(observations: tuple[float, ...], grid: _Grid) -> Array:
    """Return the discounted log likelihood of ended starts: all blocks but the newest, memoised, and the newest."""
    if not observations:
        return np.zeros(MU_CELLS * SIGMA_CELLS)
    newest = (len(observations) - 1) % BLOCK + 1
    return FORGETTING**newest * _ended(observations[:-newest], grid) + _block(observations[-newest:], grid)


def _log_survival(log_time: float, cells: _Cells) -> Array:
    """Return ln SF(time) in each cell."""
    t = (log_time - cells.mu) / cells.sigma
    # t stays below some hundreds, where 1 - s has lost four digits of sixteen.
    one_minus_s = 1.0 - t / np.sqrt(4.0 + t * t)
    result: Array = np.log(one_minus_s * one_minus_s * (0.75 - 0.25 * one_minus_s))
    return result


def _quantiles(cells: _Cells, log_weights: Array) -> list[float]:
    """Return the PROBABILITIES' quantiles in seconds, each under its WEIGHT_ROW: Newton's method inside a bracket.

    A quantile of a mixture lies between the smallest and the largest quantile of its parts, which is the bracket.
    Cells that weigh next to nothing in every row are left out.
    """
    log_weights = log_weights - log_weights.max(axis=1, keepdims=True)
    kept = np.flatnonzero(log_weights.max(axis=0) > NEGLIGIBLE)
    weights = np.exp(log_weights[:, kept])
    weights = (weights / weights.sum(axis=1, keepdims=True))[WEIGHT_ROW]
    mu, sigma = cells.mu[kept], cells.sigma[kept]
    parts = mu + T_QUANTILES * sigma
    low, high, x = parts.min(axis=1), parts.max(axis=1), (parts * weights).sum(axis=1)
    inverse_sigma = 1.0 / sigma
    density_weights = 12.0 * inverse_sigma * weights
    for _ in range(60):
        t = (x[:, None] - mu) * inverse_sigma
        r = 1.0 / np.sqrt(4.0 + t * t)
        s, square = t * r, r * r
        excess = 0.5 + (s * (0.75 - 0.25 * s * s) * weights).sum(axis=1) - PROBABILITIES
        above = excess > 0
        high, low = np.where(above, x, high), np.where(above, low, x)
        newton = x - excess / (square * square * r * density_weights).sum(axis=1)
        x, before = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high)), x
        # Newton's error after a step d is about 5*d^2: two steps give five digits.
        if abs(x - before).max() < 1e-3:
            break
    return [math.exp(value) for value in x.tolist()]
