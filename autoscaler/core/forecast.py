"""The forecast: a quantile of demand one lead time from now, with errors learnt at exactly that distance.

A replica ordered now serves the demand of one cold start from now, so what matters is not where demand stands but how
much more it may become by then. There is no trend in it (bursts have no momentum) and no model of errors by distance:
what the peak of the last minutes missed by, one horizon later, is measured, scaled, and kept as a histogram. This is
split-conformal prediction with a scale (Papadopoulos 2008; Gibbs & Candès 2021 for the adaptive form).

    lev   += (1 - exp(-dt/60 s)) * (y - lev)              starts at the first y, never at 0
    base   = max(lev over the last 300 s)                 the peak hold; sighted time only
    scale  = sqrt(max(base, 0.05))                        errors grow with the root of the level
    r      = (mean y - base then)/scale then              one horizon later; mean y over the last 29 s
    weight = min(5, max(mean y, base then/2)/slow mean)   the objective counts requests, not seconds
    D_q    = max(0, base + Q(q) * scale)                  Q(q): quantile of the weighted residuals

=============  ==============================================================================  ======================
y, ``demand``  work arriving, from the capacity model                                          replicas
lev, base      ``level``, ``base``                                                             replicas
scale          unit of the residuals                                                           sqrt(replicas)
H, lag         ``horizon_s``, ``lag_s``: a residual falls due H - lag after its sample         s
slow mean      EWMA (0.002) of mean y at the instants where residuals fall due                 replicas
histogram      weight of residuals in 180 bins from -3 to 6; half of it forgotten per 480      weight units
=============  ==============================================================================  ======================

Every time comes from the policy's ``timing``, so that compressed time compresses all of it: 60 s is ``levelSeconds``,
300 s ``peakHoldSeconds``, and 29 s is 29/15 of ``scrapeSeconds``, a shade under two scrapes, so that the mean is always
over the two newest samples and never over three. The half-life counts residuals (480 of them at weight 1, two hours
at one every 15 s), not seconds.

Before any error was seen, 20 pseudo-observations from N(0, 0.35^2) stand in. They are added whenever the histogram is
read and never decay, so a handful of odd residuals cannot rule alone.

Blindness. When two samples are further apart than max(stale, 3 scrapes), nothing was seen between them. That time does
not pass for the peak hold, and residuals that fell due in it are dropped, because what came then was not seen.

The histogram is stored sparsely and *undecayed*: instead of shrinking all bins at every residual, newer weights are
written larger, in units of ``growth``, and the whole is rescaled now and then. So a residual touches one bin.

Invariants:

- A sample that is not newer than the last one, or not finite, or negative, changes nothing.
- D_q is None before the first sample and at least 0 after it; it never falls when q rises.
- From the same memory more demand never gives a smaller D_q, provided that no residual falls due at that sample. Where
  one does, its weight depends on the demand too, and a heavier but still small error may pull the quantile down.
- The same memory and samples give the same result, and so does a memory that went through JSON.

Worked example: demand 4 for a minute, nothing learnt yet. Then base = 4, scale = 2, Q(0.9) = 1.28 * 0.35 = 0.45 and
D_q = 4 + 0.45 * 2 = 4.9 replicas.

>>> memory = ForecastMemory()
>>> for i in range(5):
...     memory = update(Timing(), memory, at=1000.0 + 15 * i, dt_s=15.0, demand=4.0, horizon_s=330.0, lag_s=22.5)
>>> round(memory.base, 3), round(residual_quantile(memory, 0.9), 2), round(demand_quantile(memory, 0.9), 1)
(4.0, 0.45, 4.9)
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from autoscaler.core.policy_parts import Timing

SCALE_FLOOR = 0.05
BINS, LOWEST, BIN_WIDTH = 180, -3.0, 0.05
HALF_LIFE = 480.0
HEAVIEST = 5.0
SLOW_WEIGHT = 0.002
PRIOR_COUNT, PRIOR_SD = 20.0, 0.35
WINDOW_SCRAPES = 29.0 / 15.0
# A mean this small is no traffic; without the floor the first request of the day would divide by zero.
SLOW_FLOOR = 1e-6
# At a scrape of 15 s the longest horizon of 20 min has 80 open residuals; faster scrapes are thinned to this many.
PENDING_AT_MOST = 256
GROWTH_AT_MOST = 1024.0
# More replicas than there are accelerators on Earth: a broken metric, treated like one that is not finite.
DEMAND_AT_MOST = 1e9


def _prior_mass() -> tuple[float, ...]:
    """Return the pseudo-observations in each bin; what lies beyond the ends, 1e-16, is left out."""
    edges = (LOWEST + BIN_WIDTH * i for i in range(BINS + 1))
    below = [0.5 * math.erfc(-edge / (PRIOR_SD * math.sqrt(2.0))) for edge in edges]
    return tuple(PRIOR_COUNT * (upper - lower) for lower, upper in pairwise(below))


PRIOR_MASS = _prior_mass()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastMemory:
    """What the forecast keeps between samples: plain values only. ``ForecastMemory()`` is the empty memory.

    ``level`` (replicas) is None until the first sample, whose instant is ``seen_at`` (unix s). ``sighted_s`` is a
    clock that stands still while blind. ``peaks`` are (sighted_s, level), falling: the candidates for the maximum.
    ``recent`` are (at, y) of the last 29 s; ``pending`` are (due, base) of residuals to come. ``histogram`` holds
    (bin, weight * growth), ascending; ``slow_mean`` (replicas) is None until the first residual fell due.
    """

    level: float | None = None
    seen_at: float | None = None
    sighted_s: float = 0.0
    peaks: tuple[tuple[float, float], ...] = ()
    recent: tuple[tuple[float, float], ...] = ()
    pending: tuple[tuple[float, float], ...] = ()
    histogram: tuple[tuple[int, float], ...] = ()
    growth: float = 1.0
    slow_mean: float | None = None

    @property
    def base(self) -> float | None:
        """The largest level of the last sighted ``peakHoldSeconds``, in replicas; None before the first sample."""
        return self.peaks[0][1] if self.peaks else None

    @property
    def scale(self) -> float | None:
        """The unit of forecast errors, sqrt(max(base, 0.05)); None before the first sample."""
        return None if self.base is None else _scale(self.base)


def update(
    timing: Timing, memory: ForecastMemory, *, at: float, dt_s: float, demand: float, horizon_s: float, lag_s: float
) -> ForecastMemory:
    """Return the memory after one new sample.

    ``at`` is the sample's own time, ``dt_s`` the interval that it covers, ``demand`` its y in replicas, ``horizon_s``
    H and ``lag_s`` the constant delay of the metrics in it. A sample that is not newer than the last, or whose numbers
    are not finite, or whose demand is negative or absurd or interval not positive, changes nothing.
    """
    if not (
        math.isfinite(at) and 0 <= demand <= DEMAND_AT_MOST and 0 < dt_s < math.inf and math.isfinite(horizon_s - lag_s)
    ):
        return memory
    if memory.seen_at is not None and at <= memory.seen_at:
        return memory
    seen = _sight(timing, memory, at)
    recent = (*((t, y) for t, y in seen.recent if at - t <= WINDOW_SCRAPES * timing.scrape_seconds), (at, demand))
    level = demand
    if seen.level is not None:
        level = seen.level - math.expm1(-dt_s / timing.level_seconds) * (demand - seen.level)
    peaks = _push(seen.peaks, seen.sighted_s, level, timing.peak_hold_seconds)
    learnt = _learn(seen, at, sum(y for _, y in recent) / len(recent))
    pending = learnt.pending
    ahead_s = max(0.0, horizon_s - lag_s)
    # Spaced evenly, else a burst of residuals from one minute would stand for the whole horizon.
    if not pending or at + ahead_s - pending[-1][0] >= ahead_s / PENDING_AT_MOST:
        pending = (*pending, (at + ahead_s, peaks[0][1]))[-PENDING_AT_MOST:]
    return replace(learnt, level=level, seen_at=at, peaks=peaks, recent=recent, pending=pending)


def put_right(memory: ForecastMemory) -> ForecastMemory:
    """Return the memory after a clock ahead was put right: the levels stay, what is timed by it goes."""
    return replace(memory, seen_at=None, recent=(), pending=())


def residual_quantile(memory: ForecastMemory, q: float) -> float:
    """Return Q(q) of the scaled forecast errors, 0 < q < 1, by linear interpolation inside its bin."""
    mass = list(PRIOR_MASS)
    for index, weight in memory.histogram:
        mass[index] += weight / memory.growth
    cumulated = list(accumulate(mass))
    wanted = q * cumulated[-1]
    index = min(bisect_left(cumulated, wanted), BINS - 1)
    below = cumulated[index] - mass[index]
    inside = min(1.0, max(0.0, (wanted - below) / mass[index])) if mass[index] > 0 else 0.0
    return LOWEST + BIN_WIDTH * (index + inside)


def demand_quantile(memory: ForecastMemory, q: float) -> float | None:
    """Return D_q = max(0, base + Q(q)*scale) in replicas; None before the first sample."""
    if memory.base is None:
        return None
    return max(0.0, memory.base + residual_quantile(memory, q) * _scale(memory.base))


def _scale(base: float) -> float:
    return math.sqrt(max(base, SCALE_FLOOR))


def _sight(timing: Timing, memory: ForecastMemory, at: float) -> ForecastMemory:
    """Return the memory with its sighted clock advanced to a new sample, and without what fell due while blind.

    After a gap only the new sample's own scrape interval counts as sighted, and only what falls due in it is judged.
    """
    if memory.seen_at is None:
        return memory
    gap_s = at - memory.seen_at
    if gap_s <= max(timing.stale_after_seconds, 3 * timing.scrape_seconds):
        return replace(memory, sighted_s=memory.sighted_s + gap_s)
    sighted_s = min(gap_s, timing.scrape_seconds)
    pending = tuple((due, base) for due, base in memory.pending if due > at - sighted_s)
    return replace(memory, sighted_s=memory.sighted_s + sighted_s, pending=pending)


def _push(
    peaks: tuple[tuple[float, float], ...], now_s: float, level: float, hold_s: float
) -> tuple[tuple[float, float], ...]:
    """Return the falling candidates for the maximum of the last ``hold_s`` with a new level among them.

    A level that is not above the newest can never be the maximum again, so it is dropped; the first is the maximum.
    """
    return (*((t, peak) for t, peak in peaks if now_s - t <= hold_s and peak > level), (now_s, level))


def _learn(memory: ForecastMemory, at: float, mean: float) -> ForecastMemory:
    """Return the memory after the residuals that are due at this sample were put into the histogram."""
    due = [base for when, base in memory.pending if when <= at]
    if not due:
        return memory
    histogram, growth, slow = dict(memory.histogram), memory.growth, memory.slow_mean
    for base in due:
        slow = mean if slow is None else slow + SLOW_WEIGHT * (mean - slow)
        weight = min(HEAVIEST, max(mean, base / 2) / max(slow, SLOW_FLOOR))
        growth *= 2.0 ** (weight / HALF_LIFE)
        residual = (mean - base) / _scale(base)
        index = min(BINS - 1, max(0, math.floor((residual - LOWEST) / BIN_WIDTH)))
        histogram[index] = round(histogram.get(index, 0.0) + weight * growth, 6)
    if growth > GROWTH_AT_MOST:
        histogram = {index: round(weight / growth, 6) for index, weight in histogram.items()}
        growth = 1.0
    kept = tuple((index, weight) for index, weight in sorted(histogram.items()) if weight > 0)
    pending = tuple((when, base) for when, base in memory.pending if when > at)
    return replace(memory, pending=pending, histogram=kept, growth=growth, slow_mean=slow)
