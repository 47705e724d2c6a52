"""Memory of reading a trace against its length: ``.venv/bin/python -m benchmarks.trace_memory``.

A synthetic trace of 1 and of 10 million requests is written in our own form and in Azure's, and each file is looked
through (`simulator trace info`) in a process of its own, whose peak resident memory and time are told. Target: ten
times the requests take at most 1.1 times the memory.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks.machine import machine, versions
from simulator.traces import open_trace
from simulator.traces.summary import summarise
from simulator.traces.synthetic import LogNormal, Recipe, synthetic_traffic
from simulator.traces.writing import write_traffic

RATE_RPS = 50.0
SEED = 1
GROWTH_MOST = 1.1
SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What looking through one file took."""

    suffix: str
    requests: int
    file_mb: float
    peak_rss_mb: float
    seconds: float


def recipe(requests: int) -> Recipe:
    """Return what makes about so many requests, with bursts."""
    lengths = LogNormal(p50=1000, p99=8000, longest=131_072)
    return Recipe(
        span_s=requests / RATE_RPS, rate_rps=RATE_RPS, dispersion=10.0, prompt=lengths, output=lengths, seed=SEED
    )


def measured(folder: Path, requests: int, suffix: str) -> Measured:
    """Write a trace and look through it in another process."""
    path = folder / f"{requests}{suffix}"
    write_traffic(path, synthetic_traffic("t", recipe(requests)), name=path.name)
    command = [sys.executable, "-m", "benchmarks.trace_memory", "--look-through", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Measured(suffix=suffix, file_mb=path.stat().st_size / 1e6, **told)


def look_through(path: Path) -> dict[str, float]:
    """Return requests, peak memory of this process in MB, and seconds."""
    began = time.perf_counter()
    requests = summarise(open_trace(path).traffic).requests
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"requests": requests, "peak_rss_mb": peak_kb / 1024, "seconds": time.perf_counter() - began}


def growth(few: Measured, many: Measured) -> float:
    """Return how many times the memory the longer trace takes."""
    return many.peak_rss_mb / few.peak_rss_mb


@click.command()
@click.option("--requests", default=1_000_000, show_default=True, help="Of the shorter trace; the other has ten times.")
@click.option("--look-through", "path", type=click.Path(path_type=Path), hidden=True)
def main(requests: int, path: Path | None) -> None:
    """Print a line for each form and length, and a JSON line."""
    if path is not None:
        click.echo(json.dumps(look_through(path)))
        return
    rows, grown = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            few, many = (measured(Path(folder), number, suffix) for number in (requests, 10 * requests))
            rows += [few, many]
            grown[suffix] = growth(few, many)
    for row in rows:
        click.echo(
            f"{row.suffix:9} {row.requests:>11,} requests  {row.file_mb:7.1f} MB file  {row.peak_rss_mb:6.1f} MB peak"
            f"  {row.seconds:6.1f} s"
        )
    for suffix, ratio in grown.items():
        click.echo(f"{suffix}: {ratio:.3f} times the memory (at most {GROWTH_MOST}: {ratio <= GROWTH_MOST})")
    facts = {"rows": [asdict(row) for row in rows], "growth": grown, "seed": SEED}
    click.echo(json.dumps({**facts, **machine(), "versions": versions("numpy", "pyarrow")}))


if __name__ == "__main__":
    main()
