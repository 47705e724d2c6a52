"""Traffic made up from a few numbers: shape over day and week, ramps and jumps, bursts of a given dispersion.

The expected rate is a product: a mean rate, a cosine over the day, a factor for the weekend, ramps and jumps. On it lie
bursts. Time is cut into blocks of B seconds, and the rate of each is multiplied by its own draw of a Gamma distribution
with mean 1 and shape k = m / (D - 1), where m is the number of requests expected in the block. Given that, arrivals are
Poisson, so that the count N of a block is negative binomial (Greenwood and Yule, 1920) with

    E[N] = m,   Var[N] = m + m² / k = m · D:

the index of dispersion at B is D in every block, at night as at noon. In windows shorter than B it is
1 + (D - 1) · w / B, in longer ones D and what the shape adds. D = 1 is Poisson.

Lengths are log-normal, which is heavy-tailed, from their median and 99th percentile.
"""

from dataclasses import dataclass, fields
from functools import partial
from math import ceil, log, pi

import numpy as np
from numpy.typing import NDArray

from simulator.traces.pieces import drawn
from simulator.traces.trace import PIECE_REQUESTS, Trace, TraceError, Traffic

DAY_S = 86_400.0
_Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
_PIECE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A stretch of time, and how many times as high the rate is that it brings."""

    start_s: float
    end_s: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """Lengths in tokens, by median and 99th percentile, none above `longest`."""

    p50: float
    p99: float
    longest: int

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int32]:
        """Return lengths (size,), at least 1."""
        lengths = np.exp(log(self.p50) + log(self.p99 / self.p50) / _Z99 * rng.standard_normal(size))
        return np.clip(np.rint(lengths), 1, self.longest).astype(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to make.

    Raises:
        TraceError: a number that makes no sense; the message names it.
    """

    span_s: float
    rate_rps: float
    """Mean over a weekday without ramps and jumps."""
    daily_ratio: float = 1.0
    """The day's highest rate over its lowest."""
    peak_hour: float = 15.0
    weekend_ratio: float = 1.0
    """The rate on the sixth and seventh day over that of the others; the trace begins on a Monday at 0:00."""
    dispersion: float = 1.0
    burst_s: float = 60.0
    ramps: tuple[Change, ...] = ()
    """The rate grows evenly from once to `ratio` times what it would be, and stays there."""
    jumps: tuple[Change, ...] = ()
    """The rate is `ratio` times what it would be while the change lasts."""
    prompt: LogNormal
    output: LogNormal
    seed: int = 0

    def __post_init__(self) -> None:
        changes = (*self.ramps, *self.jumps)
        sides = (self.prompt, self.output)
        for holds, what in (
            (self.span_s > 0, "the length (--for) must be above 0"),
            (self.rate_rps > 0, "the rate (--rate) must be above 0"),
            (self.daily_ratio >= 1, "the day's highest rate over its lowest (--daily) must be 1 or more"),
            (self.weekend_ratio >= 0, "the weekend's ratio (--weekend) must be 0 or more"),
            (self.dispersion >= 1, "a --dispersion below 1 is smoother than chance; give 1 or more"),
            (1 <= self.burst_s <= _PIECE_S, "the length of bursts (--burst) must lie between 1 s and an hour"),
            (
                all(0 <= each.start_s < each.end_s for each in changes),
                "each --ramp and --jump must end after it begins",
            ),
            (all(each.ratio >= 0 for each in changes), "the ratio of a --ramp or --jump must be 0 or more"),
            (
                all(1 <= side.p50 <= side.p99 <= side.longest for side in sides),
                "lengths (--prompt, --answer) need 1 ≤ p50 ≤ p99 ≤ --longest",
            ),
        ):
            if not holds:
                raise TraceError(f"synthetic: {what}")

    def told(self) -> str:
        """Return what makes this recipe, in the words of its fields; those left at their defaults are not told."""
        known = {field.name: field.default for field in fields(self)}
        parts = [f"{name} {_plain(getattr(self, name))}" for name in known if getattr(self, name) != known[name]]
        return ", ".join(parts)

    def rate_at(self, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected rates at some instants, in requests per second, without bursts."""
        swing = (self.daily_ratio - 1) / (self.daily_ratio + 1)
        rate = self.rate_rps * (1 + swing * np.cos(2 * pi * (at_s - self.peak_hour * 3600) / DAY_S))
        rate = np.where(at_s // DAY_S % 7 >= 5, rate * self.weekend_ratio, rate)
        for ramp in self.ramps:
            rate = rate * np.interp(at_s, [ramp.start_s, ramp.end_s], [1.0, ramp.ratio])
        for jump in self.jumps:
            rate = np.where((at_s >= jump.start_s) & (at_s < jump.end_s), rate * jump.ratio, rate)
        return np.asarray(rate)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(map(_plain, value))
    if isinstance(value, Change):
        return f"× {value.ratio:g} from {value.start_s:g} to {value.end_s:g} s"
    if isinstance(value, LogNormal):
        return f"p50 {value.p50:g} p99 {value.p99:g}"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def synthetic_traffic(name: str, recipe: Recipe) -> Traffic:
    """Return traffic made by a recipe, drawn piece by piece from its seed.

    Raises:
        TraceError: it comes to no request.
    """
    # Pieces are whole numbers of blocks and of about the same number of requests, however high the rate.
    wanted_s = min(_PIECE_S, 2 * PIECE_REQUESTS / recipe.rate_rps)
    piece_s = recipe.burst_s * max(1, round(wanted_s / recipe.burst_s))
    return drawn(name, range(ceil(recipe.span_s / piece_s)), partial(_piece, name, recipe, piece_s))


def _piece(name: str, recipe: Recipe, piece_s: float, number: int) -> Trace:
    """Return one piece; each has its own stream of draws, so that none depends on those before it."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((recipe.seed, number))))
    blocks, steps = round(piece_s / recipe.burst_s), ceil(recipe.burst_s)
    step_s = recipe.burst_s / steps
    start_s = number * piece_s + np.arange(blocks * steps) * step_s
    expected = recipe.rate_at(np.asarray(start_s + step_s / 2, dtype=np.float64)) * step_s
    expected = np.where(start_s < recipe.span_s, expected, 0.0)
    counts = rng.poisson(expected * np.repeat(_bursts(rng, recipe, expected.reshape(blocks, steps).sum(axis=1)), steps))
    arrival_s = np.sort(np.repeat(start_s, counts) + step_s * rng.random(int(counts.sum())))
    arrival_s = arrival_s[arrival_s < recipe.span_s]
    return Trace(
        name=name,
        arrival_s=arrival_s,
        prompt_tokens=recipe.prompt.draw(rng, arrival_s.size),
        output_tokens=recipe.output.draw(rng, arrival_s.size),
    )


def _bursts(rng: np.random.Generator, recipe: Recipe, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what each block's rate is multiplied, from the requests expected in it."""
    if recipe.dispersion == 1:
        return np.ones(expected.size)
    shape = np.maximum(expected, 1e-9) / (recipe.dispersion - 1)
    return rng.standard_gamma(shape) / shape
