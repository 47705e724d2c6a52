"""What the times of a file are cut to, recognised and not assumed.

The quantum is the greatest common divisor of the distances between times, each to 10 ms (Mooncake's 3 s are at times
2.998 s). One time that is no whole quantum makes that divisor less, or nothing; so the largest of some usual quanta
counts, if it is larger, on whose grid 19 of 20 times lie. Continuous times lie there by chance: on a grid of q, seen to
± t, the share 2t/q of them, which is 2 to 3 % with t = min(10 ms, q/100). So nineteen of twenty are far beyond chance,
if they lie apart: n times at different places of a grid are on it by chance with a probability of about 0.03ⁿ⁻¹, while
all requests of one burst are on every grid. And some requests must share a time, as continuous ones never do: a source
that sends once a second has a period and no quantum.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

SECOND_NS = 10**9
TOLERANCE_NS = 10**7
LEAST_NS = 10**8
"""Nothing below 0.1 s is spread: what is served does not feel it."""
_ENOUGH_REQUESTS, _ENOUGH_PLACES = 20, 8
"""Fewer requests, or fewer places of the grid that have any, may be whole quanta by chance."""
_ON_GRID_LEAST = 0.95
_USUAL_NS = tuple(
    round(seconds * SECOND_NS)
    for seconds in (0.1, 0.2, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 30, 60, 300, 900, 3600)
)  # fmt: skip


class Quanta:
    """Times looked through once, in pieces and in order, for what they are cut to."""

    def __init__(self) -> None:
        self._requests = 0
        self._times = 0
        self._distances = 0
        """Those between times that are apart by more than the tolerance."""
        self._last_ns: int | None = None
        self._divisor = 0
        """In units of the tolerance."""
        self._grids = [_Grid(quantum_ns) for quantum_ns in _USUAL_NS]

    def add(self, at_ns: NDArray[np.int64]) -> None:
        """Take in the next times, one or more, none before the last."""
        before = int(at_ns[0]) - 1 if self._last_ns is None else self._last_ns
        steps = np.diff(at_ns, prepend=before)
        is_new = steps > 0
        self._requests += at_ns.size
        self._times += int(np.count_nonzero(is_new))
        if self._last_ns is None:
            steps = steps[1:]
        rounded = (steps[steps > 0] + TOLERANCE_NS // 2) // TOLERANCE_NS
        self._distances += int(np.count_nonzero(rounded))
        self._divisor = gcd(self._divisor, int(np.gcd.reduce(rounded)) if rounded.size else 0)
        self._last_ns = int(at_ns[-1])
        for grid in self._grids:
            grid.add(at_ns, is_new)

    def found(self, least_ns: int) -> tuple[int, int]:
        """Return what the times are cut to, 0 for nothing, and how many of them are not.

        ``least_ns`` is what times of the file's form are cut to; a file of which most are whole numbers of it is cut to
        it however few they are.
        """
        # With as many times as requests nobody shares one.
        judged = self._requests >= _ENOUGH_REQUESTS and self._times < self._requests
        divisor_ns = self._divisor * TOLERANCE_NS
        divides = judged and divisor_ns >= LEAST_NS and self._distances >= _ENOUGH_PLACES - 1
        whole = [grid for grid in self._grids if grid.holds(self._requests, self._times)]
        apart = [grid for grid in whole if grid.places >= _ENOUGH_PLACES]
        # One time that happens to lie on a finer grid makes the divisor finer than what the others are cut to.
        if divides and not (apart and apart[-1].quantum_ns > divisor_ns):
            return max(divisor_ns, least_ns), 0
        if judged and apart:
            return max(apart[-1].quantum_ns, least_ns), self._requests - apart[-1].on
        of_its_form = next((grid for grid in whole if grid.quantum_ns == least_ns), None)
        return (0, 0) if of_its_form is None else (least_ns, self._requests - of_its_form.on)


class _Grid:
    """How many times are whole numbers of a quantum, counted from where most of the first ones are."""

    def __init__(self, quantum_ns: int) -> None:
        self.quantum_ns = quantum_ns
        self.on = 0
        """Requests on the grid."""
        self.places = 0
        """Its different places that have any."""
        self._last_place = -1
        self._times_on = 0
        self._tolerance_ns = min(TOLERANCE_NS, quantum_ns // 100)
        self._from_ns: int | None = None
        self._is_out = False

    def add(self, at_ns: NDArray[np.int64], is_new: NDArray[np.bool_]) -> None:
        """Count times; once most of a piece are off the grid, it is not looked at any more."""
        if self._is_out:
            return
        unit_ns = self._tolerance_ns
        phases = (at_ns + unit_ns // 2) // unit_ns * unit_ns % self.quantum_ns
        if self._from_ns is None:
            values, counts = np.unique(phases, return_counts=True)
            self._from_ns = int(values[np.argmax(counts)])
        off_ns = (phases - self._from_ns) % self.quantum_ns
        on = (off_ns <= unit_ns) | (off_ns >= self.quantum_ns - unit_ns)
        count = int(np.count_nonzero(on))
        self.on += count
        self._times_on += int(np.count_nonzero(on & is_new))
        places = (at_ns[on] - self._from_ns + unit_ns) // self.quantum_ns
        if places.size:
            self.places += int(np.count_nonzero(np.diff(places, prepend=self._last_place)))
            self._last_place = int(places[-1])
        self._is_out = 2 * count < at_ns.size

    def holds(self, requests: int, times: int) -> bool:
        """Return whether nearly all requests are on the grid, and most of their different times.

        A burst at one instant is on every grid: of its requests that says much, and of times nothing.
        """
        return not self._is_out and self.on >= _ON_GRID_LEAST * requests and 2 * self._times_on > times
