"""Durations that vary: fixed, log-normal, or as they were recorded; drawn by inverting the distribution function.

A draw is a function of one number u in [0, 1), so whoever keeps u and changes the distribution compares the same luck:
a replica that was slow stays slow. The u come from streams that are keyed by what is drawn for (``uniforms``), never
from one stream that all share, where one draw more would change all that follow.

>>> LogNormal(median_s=60.0, sigma=0.3).at(0.5)
60.0
>>> [Empirical(samples_s=(8.0, 9.0, 30.0)).at(u) for u in (0.0, 0.5, 0.99)]
[8.0, 9.0, 30.0]
"""

from dataclasses import dataclass
from math import exp, isfinite
from statistics import NormalDist
from typing import TypeAlias
from zlib import crc32

import numpy as np

_STANDARD = NormalDist()
# The inverse normal has no value at 0 and 1; a draw of exactly 0 comes once in 2^53.
_LEAST = 2.0**-53


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same.

    Raises:
        ValueError: it is negative or not finite.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not (isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"a duration of {self.seconds} s; give 0 or more")

    def at(self, u: float) -> float:  # noqa: ARG002 - it does not vary
        """Return the duration in seconds."""
        return self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """median · exp(σ·z): σ is the standard deviation of ln(duration).

    Raises:
        ValueError: the median or σ is negative or not finite.
    """

    median_s: float
    sigma: float

    def __post_init__(self) -> None:
        if not (isfinite(self.median_s) and self.median_s >= 0 and isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"a median of {self.median_s} s and a sigma of {self.sigma}; give 0 or more for both")

    def at(self, u: float) -> float:
        """Return the u-quantile in seconds."""
        return self.median_s * exp(self.sigma * _STANDARD.inv_cdf(max(u, _LEAST)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Empirical:
    """One of the durations that were recorded, each as likely as the other. They stay in the order of the recording.

    Raises:
        ValueError: there is none, or one is negative or not finite.
    """

    samples_s: tuple[float, ...]

    def __post_init__(self) -> None:
        wrong = [sample for sample in self.samples_s if not (isfinite(sample) and sample >= 0)]
        if wrong or not self.samples_s:
            raise ValueError(
                f"a recorded duration of {wrong[0]} s; give 0 or more" if wrong else "nothing was recorded"
            )

    def at(self, u: float) -> float:
        """Return the sample at the share u of the recording, in seconds."""
        return self.samples_s[int(u * len(self.samples_s))]


Distribution: TypeAlias = Fixed | LogNormal | Empirical

NOTHING = Fixed(seconds=0.0)


def uniforms(*key: int | str, count: int = 1) -> list[float]:
    """Return numbers in [0, 1) from the stream of this key: the same in every process. Integers are 0 or more."""
    words = [part if isinstance(part, int) else crc32(part.encode()) for part in key]
    drawn: list[float] = np.random.Generator(np.random.PCG64(words)).random(count).tolist()
    return drawn
