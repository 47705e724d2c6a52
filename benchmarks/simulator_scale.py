"""What two weeks of traffic cost to simulate: ``python -m benchmarks.simulator_scale``.

The claim: ten million requests over 14 days, on up to 64 replicas, with our decision core at every tick of 15 s, take
less than 90 s and 1 GB, and cost grows in proportion to the length of the trace. Traffic has a daily and a weekly wave,
a day of double traffic and bursts (a gamma variate for every ten seconds); it is made piece by piece, never as a
whole. Every part runs in a process of its own, so that its peak memory is its own: the whole first, then a half, a
quarter and an eighth of the days at the same rate.

The last line is one JSON object: ``seconds`` and ``cpu_seconds`` of the whole run without compilation, ``peak_rss_mb``,
what came of it, ``parts`` with the same for each length, ``us_per_request`` by part and the largest of them over the
smallest (1 is linear), seed, versions and machine.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decide import decide, initial
from autoscaler.core.policy import PolicySpec
from benchmarks.machine import machine, versions
from simulator.compiled import exercise
from simulator.engine.profiles import load_profile
from simulator.experiments.trial import Result, promise_of, run_trial
from simulator.run import Contender
from simulator.startup.model import StartupModel
from simulator.telemetry import Scraping
from simulator.traces import Trace, Traffic
from simulator.world import Scenario

DAY_S, HOUR_S, BIN_S, TICK_S = 86_400, 3600, 10, 15.0
PROFILE = "l4/llama-3.1-8b"
COLD_START_S = 120.0

SPEC = PolicySpec.model_validate(
    {
        "targetRef": {"name": "llm"},
        "model": {"name": "llm", "parametersBillion": 8},
        "engine": {
            "maxSequences": 64,
            "kvTokens": 30_000,
            "stepTime": {
                "fixedSeconds": 0.07,
                "prefillTokenSeconds": 265e-6,
                "sequenceSeconds": 60e-6,
                "kvTokenSeconds": 546e-9,
                "source": "l4/llama-3.1-8b of simulator/data/profiles.yaml",
            },
        },
        "accelerator": {"class": "L4"},
        "objectives": {"ttftSeconds": 2.5},
        "replicas": {"min": 1, "max": 64},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One length of the trace, and what it cost."""

    requests: int
    days: float
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    ticks: int
    attainment: float
    accelerator_hours: float
    coldstarts: int
    peak_replicas: int

    @property
    def us_per_request(self) -> float:
        """Processor time of a request, its share of the ticks included."""
        return self.cpu_seconds / self.requests * 1e6


def traffic(requests: int, days: float, seed: int) -> Traffic:
    """Return so many requests over so many days, in pieces of an hour. The same seed gives the same requests."""
    counts = _counts(requests, days, seed)

    def pieces() -> Iterator[Trace]:
        for hour, begin in enumerate(range(0, len(counts), HOUR_S // BIN_S)):
            yield _piece(counts[begin : begin + HOUR_S // BIN_S], begin * BIN_S, np.random.default_rng((seed, hour)))

    return Traffic(name=f"{days:g} days", span_s=days * DAY_S, pieces=pieces)


def _counts(requests: int, days: float, seed: int) -> NDArray[np.int64]:
    """Requests in each bin: a daily wave, calm weekends, twice as many on one day in ten, and bursts."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(0, days * DAY_S, BIN_S, dtype=np.float64)
    wave = 1.0 + 0.6 * np.sin(2 * np.pi * at_s / DAY_S)
    day = (at_s // DAY_S).astype(np.int64)
    week = np.where(day % 7 < 5, 1.0, 0.6) * np.where(day % 10 == 9, 2.0, 1.0)
    weights = wave * week * rng.gamma(4.0, 0.25, at_s.size)
    return rng.multinomial(requests, weights / weights.sum())


def _piece(counts: NDArray[np.int64], begin_s: float, rng: np.random.Generator) -> Trace:
    size = int(counts.sum())
    bins_s = begin_s + BIN_S * np.repeat(np.arange(counts.size), counts)
    return Trace(
        name="two weeks",
        arrival_s=np.sort(bins_s + rng.uniform(0.0, BIN_S, size)),
        # Means and medians of the Azure conversation trace: 1,155 and 1,020, 211 and 129 tokens.
        prompt_tokens=np.clip(rng.lognormal(np.log(1020), 0.5, size), 1, 8000).astype(np.int32),
        output_tokens=np.clip(rng.lognormal(np.log(129), 1.0, size), 1, 2000).astype(np.int32),
    )


def simulated(requests: int, days: float, seed: int) -> Part:
    """Run our decision core through that much traffic, in this process."""
    scenario = Scenario(
        name="scale",
        trace=traffic(requests, days, seed),
        profile=load_profile(PROFILE),
        startup=StartupModel.of_total(COLD_START_S),
        initial_replicas=12,
        seed=seed,
        scraping=Scraping(scrape_s=TICK_S, lag_s=TICK_S),
    )
    ours = Contender(name="ours", decide=decide, policy=SPEC, memory=initial(SPEC), digest="benchmark")
    exercise()
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    ticks: list[float] = []
    result: Result = run_trial(
        scenario, ours, promise_of(SPEC, joint=False), on_entry=lambda entry: ticks.append(entry.at)
    )
    return Part(
        requests=requests,
        days=days,
        seconds=time.perf_counter() - begun_s,
        cpu_seconds=time.process_time() - begun_cpu_s,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        ticks=len(ticks),
        attainment=result.outcomes.attainment,
        accelerator_hours=result.accelerator_hours,
        coldstarts=result.coldstarts,
        peak_replicas=result.peak_replicas,
    )


def figures(parts: list[Part], seed: int) -> dict[str, Any]:
    """Return what the benchmark claims, from its parts, the whole first."""
    whole, each = parts[0], [part.us_per_request for part in parts]
    return {
        "seconds": whole.seconds,
        "cpu_seconds": whole.cpu_seconds,
        "peak_rss_mb": whole.peak_rss_mb,
        "us_per_request": each,
        "largest_over_smallest": max(each) / min(each),
        "parts": [asdict(part) for part in parts],
        "seed": seed,
        **machine(),
        "versions": versions("numpy", "numba"),
    }


@click.command(help=__doc__)
@click.option("--requests", default=10_000_000, show_default=True, type=click.IntRange(10_000))
@click.option("--days", default=14.0, show_default=True, type=click.FloatRange(1.0))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def main(requests: int, days: float, seed: int) -> None:
    """Run all parts one after the other and print the figures."""
    parts = []
    for divisor in (1, 2, 4, 8):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            part = pool.apply(simulated, (requests // divisor, days / divisor, seed))
        click.echo(
            f"{part.requests:>10,} requests, {part.days:5.2f} days: {part.seconds:6.1f} s ({part.cpu_seconds:.1f} s of"
            f" processor), {part.peak_rss_mb:.0f} MB, at most {part.peak_replicas} replicas,"
            f" {part.attainment:.2%} in time"
        )
        parts.append(part)
    click.echo(json.dumps(figures(parts, seed)))


if __name__ == "__main__":
    main()
