"""Lengths of requests from their quantiles, as ServeGen's tables tell them for each client and six hours.

A length is drawn by inverting the distribution that the quantiles p10, p50, p90 and p99 leave: between two of them the
logarithm of the length is linear in the probability. Below p10 the line of the neighbouring piece goes on, down to one
token. Above p99 it goes up to a longest length L, which is chosen so that the mean is the table's: for a log-linear
piece from a to L the mean is (L - a) / ln(L / a). Where even L = p99 leaves the mean too high, few lengths lie between
p90 and p99: the line is bent there at 0.975 until the mean fits.

Prompt and output are drawn independently, because the tables do not say how they hang together. Requests of a client
that the table does not have (of the published ones these are the busiest) are as long as those of the others at that
time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.traces.csvlines import csv_lines, fields_of
from simulator.traces.lines import TOLD
from simulator.traces.trace import TraceError

SIDES = ("input", "output")
LENGTH_COLUMNS = (
    "client_id",
    "window_start_s",
    *(f"{side}_{what}" for side in SIDES for what in ("mean", "p10", "p50", "p90", "p99")),
)
_KNOTS = np.array([0.0, 0.1, 0.5, 0.9, 0.975, 0.99, 1.0])
Column = NDArray[np.float64]
_LONGEST_RATIO = 8.0
"""The longest length over p99 at most: no model reads on for ever, so some means are not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthTable:
    """R rows by client and start, each with the logarithms of the lengths at seven probabilities, for two sides."""

    client: NDArray[np.int64]
    start_s: NDArray[np.int64]
    log_lengths: NDArray[np.float64]
    """(2, R, 7)"""

    def draw(
        self, rng: np.random.Generator, client: NDArray[np.int64], at_s: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return prompt and output lengths (N,) of requests of these clients (N,) at one instant."""
        row = self.rows_at(client, at_s)
        known, unknown = row[row >= 0], np.flatnonzero(row < 0)
        if unknown.size:
            row[unknown] = rng.choice(known if known.size else np.arange(self.client.size), unknown.size)
        prompt, output = (_inverted(logs, row, rng.random(client.size)) for logs in self.log_lengths)
        return prompt, output

    def rows_at(self, client: NDArray[np.int64], at_s: int) -> NDArray[np.int64]:
        """Return the row (N,) that holds for each client: the last that began, or its first; -1 without any."""
        late = 1 << 40
        keys = self.client * late + self.start_s
        row = np.clip(np.searchsorted(keys, client * late + at_s, side="right") - 1, 0, None)
        following = np.minimum(row + 1, keys.size - 1)
        row = np.where(self.client[row] == client, row, following)
        return np.where(self.client[row] == client, row, -1)


def read_lengths(path: Path) -> LengthTable:
    """Read a table of lengths.

    Raises:
        TraceError: no such file, a column is not there, a value that cannot be, or no row.
    """
    place, rows = str(path), []
    for line, row in csv_lines(place, path, LENGTH_COLUMNS):
        try:
            values = [float(text) for text in fields_of(row)]
        except ValueError as error:
            reason = str(error)[:TOLD]
            raise TraceError(f"{place}, line {line}: no row of a table of lengths ({reason}); mend the line") from None
        if not all(0 <= value < np.inf for value in values):
            raise TraceError(f"{place}, line {line}: a negative or endless number; mend the line")
        rows.append(values)
    if not rows:
        raise TraceError(f"{place}: no row after the header; give one line per client and window")
    table = np.array(sorted(rows))
    return LengthTable(
        client=table[:, 0].astype(np.int64),
        start_s=table[:, 1].astype(np.int64),
        log_lengths=np.stack([_log_lengths(table[:, 2:7]), _log_lengths(table[:, 7:12])]),
    )


def _log_lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (R, 7) logarithms from (R, 5) mean and quantiles."""
    mean = rows[:, 0]
    quantiles = np.maximum.accumulate(np.maximum(rows[:, 1:], 1.0), axis=1)
    p10, p50 = quantiles[:, 0], quantiles[:, 1]
    least = np.maximum(1.0, p10 * (p10 / p50) ** (0.1 / 0.4))
    known = np.column_stack([least, p10, p50, quantiles[:, 2]])
    p90, p99 = quantiles[:, 2], quantiles[:, 3]
    above_mean = mean - (_log_mean(known[:, :-1], known[:, 1:]) * np.diff(_KNOTS)[:3]).sum(axis=1)
    bend = _between(p90, p90 * (p99 / p90) ** (0.075 / 0.09), lambda bend: _above(p90, bend, p99, p99), above_mean)
    longest = _between(p99, p99 * _LONGEST_RATIO, lambda longest: _above(p90, bend, p99, longest), above_mean)
    return np.asarray(np.log(np.column_stack([known, bend, p99, longest])))


def _above(p90: Column, bend: Column, p99: Column, longest: Column) -> Column:
    """Return what the lengths above p90 contribute to the mean."""
    pieces = np.column_stack([p90, bend, p99]), np.column_stack([bend, p99, longest])
    return np.asarray((_log_mean(*pieces) * np.diff(_KNOTS)[3:]).sum(axis=1))


def _log_mean(low: Column, high: Column) -> Column:
    """Return the mean of a piece in which the logarithm grows evenly from low to high: (b - a) / ln(b / a)."""
    ratio = high / low
    return np.asarray(np.where(ratio > 1 + 1e-9, low * (ratio - 1) / np.log(np.maximum(ratio, 1 + 1e-9)), low))


def _between(low: Column, high: Column, mean_of: Callable[[Column], Column], mean: Column) -> Column:
    """Return what gives the mean, or the bound that comes nearest to it, by halving intervals."""
    for _ in range(60):
        middle = (low + high) / 2
        is_low = mean_of(middle) < mean
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return np.asarray(high)


def _inverted(
    log_lengths: NDArray[np.float64], row: NDArray[np.int64], probability: NDArray[np.float64]
) -> NDArray[np.int32]:
    piece = np.searchsorted(_KNOTS, probability, side="right") - 1
    share = (probability - _KNOTS[piece]) / np.diff(_KNOTS)[piece]
    low, high = log_lengths[row, piece], log_lengths[row, piece + 1]
    return np.asarray(np.maximum(1, np.rint(np.exp(low + share * (high - low)))), dtype=np.int32)
