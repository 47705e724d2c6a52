"""Dispersion: how bursty arrivals are, against a Poisson stream of the same rate.

The index of dispersion of counts in bins of 15 s, A_t, from successive differences, which a slow trend does not
inflate (section 2.4 of the decision core):

    m = ½(A_t + A_{t−1}),  v = ½(A_t − A_{t−1})²,  IDC = max(1, v̄/m̄)

both means with weight max(0.01, 1/(pairs + 5)); the first pair gives m̄ = m, v̄ = 2m. Pairs of two empty bins say
nothing and are skipped.

Invariants: pure; IDC ≥ 1.
"""

from dataclasses import dataclass, replace

LEAST_DISPERSION_WEIGHT = 0.01
LEAST_ARRIVALS = 1e-6  # Requests are whole: what is less is the rounding of a sum of rates, and its bin is empty.


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispersion:
    """State of the index of dispersion: the open bin (arrivals, seconds), the last one, and the means of pairs."""

    open_arrivals: float = 0.0
    open_s: float = 0.0
    last_arrivals: float | None = None
    pairs: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def index(self) -> float:
        """IDC, at least 1."""
        return max(1.0, self.variance / self.mean) if self.mean > 0 else 1.0


def binned(state: Dispersion, arrivals: float, dt_s: float, bin_s: float) -> Dispersion:
    """Put an interval's arrivals into bins; a full bin makes a pair with the one before."""
    arrivals, span_s = state.open_arrivals + arrivals, state.open_s + dt_s
    if span_s > 2 * bin_s + dt_s / 2 or dt_s > 2 * bin_s:
        # A long gap is smooth by averaging, not by nature.
        return replace(state, open_arrivals=0.0, open_s=0.0, last_arrivals=None)
    if span_s + dt_s / 2 < bin_s:
        return replace(state, open_arrivals=arrivals, open_s=span_s)
    count = arrivals * bin_s / span_s
    closed = replace(state, open_arrivals=0.0, open_s=0.0, last_arrivals=count)
    if state.last_arrivals is None or max(count, state.last_arrivals) < LEAST_ARRIVALS:
        return closed
    mean, variance = (count + state.last_arrivals) / 2, (count - state.last_arrivals) ** 2 / 2
    pairs = state.pairs + 1
    if pairs == 1:
        return replace(closed, pairs=1, mean=mean, variance=2 * mean)
    weight = max(LEAST_DISPERSION_WEIGHT, 1 / (pairs + 5))
    return replace(
        closed,
        pairs=pairs,
        mean=state.mean + weight * (mean - state.mean),
        variance=state.variance + weight * (variance - state.variance),
    )
