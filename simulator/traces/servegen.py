"""ServeGen's tables of clients: arrivals that are drawn for each client and window, never from a Poisson process.

Two tables describe what was measured of one model's clients over days. The table of rates has a row for each client and
window of ten minutes: the mean rate, and the Gamma or Weibull distribution that fits the distances between arrivals
best. The table of lengths has mean and quantiles of prompt and output lengths for each client and six hours.

As in ServeGen's own generator (Xiang et al., arXiv 2505.09999), the shape of a client's distances is that of the named
distribution, and their scale is set so that the window has as many requests as its rate says: with n requests, n + 1
distances are drawn and divided by their sum, so that counts are exact. A client whose distances have a coefficient of
variation of 13 therefore comes in bursts, and the bursts of many clients add up.

Windows without any client are gaps in the collection, not traffic; they stay empty, and are counted.
"""

from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.traces.csvlines import csv_lines, fields_of
from simulator.traces.lines import TOLD
from simulator.traces.pieces import drawn
from simulator.traces.servegen_lengths import LengthTable, read_lengths
from simulator.traces.source import Input, Reading, Source
from simulator.traces.trace import Trace, TraceError, Traffic

SERVEGEN_COLUMNS = ("client_id", "window_start_s", "rate_rps", "iat_dist", "dist_p1")
DISTRIBUTIONS = ("Gamma", "Weibull")
_LEAST_SHAPE = 1e-3
_WINDOW_S = 600
"""The width of a window where the table has one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientWindows:
    """K rows of a table of rates, by window and then by client. Arrays are (K,)."""

    client: NDArray[np.int64]
    start_s: NDArray[np.int64]
    rate_rps: NDArray[np.float64]
    is_weibull: NDArray[np.bool_]
    shape: NDArray[np.float64]
    width_s: int
    """Of every window."""

    def requests(self, seed: int) -> NDArray[np.int64]:
        """(K,) how many requests each client sends in each window; where that is no whole number, by chance."""
        wanted = self.rate_rps * self.width_s
        whole = np.rint(wanted)
        chance = np.random.Generator(np.random.PCG64(seed)).random(wanted.size)
        return np.where(np.abs(wanted - whole) < 1e-6, whole, np.floor(wanted + chance)).astype(np.int64)

    @property
    def gaps(self) -> int:
        """Windows between the first and the last in which there is no client."""
        starts = np.unique(self.start_s)
        return int((starts[-1] - starts[0]) // self.width_s + 1 - starts.size)

    def scaled(self, ratio: float) -> "ClientWindows":
        """The same clients, each so many times as busy, its distances of the same shape."""
        return replace(self, rate_rps=self.rate_rps * ratio)


def read_rates(place: str, path: Path) -> ClientWindows:
    """Read a table of rates.

    Raises:
        TraceError: no such file, a column is not there, or a value that cannot be.
    """
    rows: dict[tuple[int, int], tuple[float, bool, float]] = {}
    for line, row in csv_lines(place, path, SERVEGEN_COLUMNS):
        try:
            client, start, rate, distribution, shape = fields_of(row)
            key, values = (int(start), int(client)), (float(rate), distribution == "Weibull", float(shape))
        except ValueError as error:
            reason = str(error)[:TOLD]
            raise TraceError(f"{place}, line {line}: no row of a table of rates ({reason}); mend the line") from None
        if distribution not in DISTRIBUTIONS:
            raise TraceError(
                f'{place}, line {line}: iat_dist "{distribution[:TOLD]}" is not known; give Gamma or Weibull'
            )
        if not (key[0] >= 0 and 0 <= values[0] < np.inf and _LEAST_SHAPE <= values[2] < np.inf):
            raise TraceError(
                f"{place}, line {line}: a negative time or rate, or a shape below {_LEAST_SHAPE:g}; mend the line"
            )
        if key in rows:
            raise TraceError(f"{place}, line {line}: client {client} is there twice in one window; remove the line")
        rows[key] = values
    if not any(rate > 0 for rate, _, _ in rows.values()):
        raise TraceError(f"{place}: no window with a request; give one line per client and window")
    keys = sorted(rows)
    starts = np.array([start for start, _ in keys], dtype=np.int64)
    return ClientWindows(
        client=np.array([client for _, client in keys], dtype=np.int64),
        start_s=starts,
        rate_rps=np.array([rows[key][0] for key in keys]),
        is_weibull=np.array([rows[key][1] for key in keys]),
        shape=np.array([rows[key][2] for key in keys]),
        width_s=gcd(*map(int, np.diff(np.unique(starts)))) or _WINDOW_S,
    )


def lengths_beside(place: str, path: Path, lengths: Path | None) -> Path:
    """Return the table of lengths that belongs to a table of rates: the one named, or the one beside it.

    Raises:
        TraceError: there is none.
    """
    beside = path.with_name(path.name.replace("_rates", "_lengths"))
    found = beside if lengths is None else lengths
    if found == path or not found.is_file():
        raise TraceError(
            f"{place}: no table of lengths at {found}; put it there, or name it by simulator trace convert --lengths"
        )
    return found


def client_traffic(name: str, windows: ClientWindows, lengths: LengthTable, *, seed: int) -> Traffic:
    """Return the requests of all clients, drawn window by window from a seed; times count from the first window.

    Raises:
        TraceError: no window has a request.
    """
    counts = windows.requests(seed)
    starts = [int(start) for start in np.unique(windows.start_s[counts > 0])]
    return drawn(name, starts, lambda start_s: _window(name, windows, counts, lengths, seed=seed, start_s=start_s))


def _window(
    name: str, windows: ClientWindows, all_counts: NDArray[np.int64], lengths: LengthTable, *, seed: int, start_s: int
) -> Trace:
    """Return the requests of one window, whichever windows were drawn before it."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, start_s))))
    low, high = np.searchsorted(windows.start_s, [start_s, start_s + 1])
    counts = all_counts[low:high]
    times = [
        _arrivals(rng, int(count), windows.is_weibull[row], windows.shape[row], windows.width_s)
        for row, count in enumerate(counts, start=int(low))
    ]
    client = np.repeat(windows.client[low:high], counts)
    since_s = np.concatenate(times)
    prompt_tokens, output_tokens = lengths.draw(rng, client, start_s)
    order = np.argsort(since_s, kind="stable")
    return Trace(
        name=name,
        arrival_s=since_s[order] + float(start_s - windows.start_s[0]),
        prompt_tokens=prompt_tokens[order],
        output_tokens=output_tokens[order],
    )


def _arrivals(
    rng: np.random.Generator, count: int, is_weibull: bool, shape: float, width_s: int
) -> NDArray[np.float64]:
    distances = rng.weibull(shape, count + 1) if is_weibull else rng.standard_gamma(shape, count + 1)
    ends = np.cumsum(distances)
    # So small a shape that all distances underflow is one burst, somewhere.
    return ends[:-1] / ends[-1] * width_s if 0 < ends[-1] < np.inf else np.full(count, rng.uniform(0, width_s))


def open_servegen(form: str, given: Input, reading: Reading) -> Source:
    """Open a table of rates and the table of lengths that belongs to it.

    Raises:
        TraceError: one of them is missing or wrong.
    """
    path = given.local()
    windows = read_rates(given.place, path)
    lengths = read_lengths(lengths_beside(given.place, path, reading.lengths))
    drawn = f"arrivals are drawn for each client and {windows.width_s} s from its Gamma or Weibull distribution"
    notes = [f"{drawn}, lengths from its quantiles, prompt and output independently (seed {reading.seed})"]
    if windows.gaps:
        notes.append(f"{windows.gaps} windows without any client are gaps in the collection, and left empty")

    def at_ratio(ratio: float) -> Source:
        scaled = windows.scaled(ratio)
        return Source(
            traffic=client_traffic(given.name, scaled, lengths, seed=reading.seed),
            form=form,
            requests=int(scaled.requests(reading.seed).sum()),
            notes=(*notes, f"each client sends {ratio:g} times as often, its distances of the same shape"),
            at_ratio=lambda more: at_ratio(ratio * more),
        )

    return replace(at_ratio(1.0), notes=tuple(notes), at_ratio=at_ratio)
