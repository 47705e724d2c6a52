"""The stage's traffic: conversations as a steady ground, and two bursts of the code trace with a quiet time between.

Real requests in their real order and spacing, laid together: one copy of the conversation trace, and two slices of the
code trace, several copies of each. The quiet lasts as long as it is asked for: it is one piece, repeated.
"""

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from simulator.traces import Trace, load_trace, superpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """A slice of the code trace, so many copies of it, laid over conversations at ``at_s``; uncompressed seconds."""

    at_s: float
    start_s: float
    end_s: float
    copies: int

    @property
    def ends_s(self) -> float:
        """When the burst is over."""
        return self.at_s + self.end_s - self.start_s


FIRST = Burst(at_s=150.0, start_s=180.0, end_s=340.0, copies=2)
SECOND = Burst(at_s=10.0, start_s=560.0, end_s=680.0, copies=3)
# Seconds of the conversation trace below each act: up to the first burst and after it, the quiet, the second burst.
OPENING, QUIET, CLOSING = (0.0, 450.0), (600.0, 700.0), (700.0, 2200.0)


def conversations(span: tuple[float, float]) -> Trace:
    """Return a stretch of the conversation trace."""
    return load_trace("azure-conv-2023").slice(*span)


def with_burst(ground: Trace, burst: Burst, seed: int = 1) -> Trace:
    """Lay a burst over a trace."""
    code = load_trace("azure-code-2023").slice(burst.start_s, burst.end_s)
    laid = superpose(code, copies=burst.copies, jitter_s=5.0, seed=seed)
    arrival_s = np.concatenate([ground.arrival_s, laid.arrival_s + burst.at_s])
    order = np.argsort(arrival_s, kind="stable")
    return Trace(
        name="burst",
        arrival_s=arrival_s[order],
        prompt_tokens=np.concatenate([ground.prompt_tokens, laid.prompt_tokens])[order],
        output_tokens=np.concatenate([ground.output_tokens, laid.output_tokens])[order],
    )


def acts(folder: Path) -> tuple[Path, Path, Path]:
    """Write the three acts into a folder: opening with the first burst, a piece of quiet, closing with the second."""
    traces = {
        "opening": with_burst(conversations(OPENING), FIRST),
        "quiet": conversations(QUIET),
        "closing": with_burst(conversations(CLOSING), SECOND),
    }
    for name, trace in traces.items():
        write(folder / f"{name}.csv", trace)
    return folder / "opening.csv", folder / "quiet.csv", folder / "closing.csv"


def write(path: Path, trace: Trace) -> None:
    """Write a trace in the form of Azure's CSV."""
    zero = datetime(2023, 11, 16)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for arrival_s, prompt, output in zip(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True):
            rows.writerow([(zero + timedelta(seconds=float(arrival_s))).isoformat(sep=" "), prompt, output])
