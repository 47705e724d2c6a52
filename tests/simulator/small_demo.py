"""A small demo for the tests: twenty minutes of steady traffic with one burst, run once and kept."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.policy import ScalingPolicy
from autoscaler.journal import Entry
from autoscaler.policyfile import parse
from autoscaler.pricelist import shipped_prices
from simulator.engine.records import Records
from simulator.engine.results import RequestTable
from simulator.experiments import demo
from simulator.experiments.demo import Setup, contenders
from simulator.run import run
from simulator.telemetry import EPOCH_AT
from simulator.traces import Trace
from simulator.world import SimulatedWorld

MINUTES = 20


def policy() -> ScalingPolicy:
    """Return the demo's policy for conversations."""
    text = resources.files("simulator").joinpath("data/demo-chat.yaml").read_text(encoding="utf-8")
    found = parse(text, "demo-chat.yaml")[0].policy
    assert found is not None
    return found


def bursty_trace(seed: int = 5) -> Trace:
    """Return twenty minutes: 2 requests a second, 8 a second between minutes 8 and 13."""
    rng = np.random.default_rng(seed)
    calm = rng.uniform(0, 60 * MINUTES, 2 * 60 * MINUTES)
    burst = rng.uniform(60 * 8, 60 * 13, 6 * 60 * 5)
    # Both ends are there, so that the span is the same for every seed.
    arrival_s = np.sort(np.concatenate([[0.0, 60.0 * MINUTES], calm, burst]))
    return Trace(
        name="bursty",
        arrival_s=arrival_s,
        prompt_tokens=rng.integers(200, 2000, arrival_s.size).astype(np.int32),
        output_tokens=rng.integers(50, 300, arrival_s.size).astype(np.int32),
    )


def small_setup(seed: int = 1) -> Setup:
    """Return the small demo's one model: about four replicas in the mean, cold starts of a minute."""
    return demo.setup(policy(), bursty_trace(), need_replicas=4.0, seed=seed, coldstart_s=60.0, prices=shipped_prices())


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run that came to its end: its journal, and what really happened, which no journal can know."""

    name: str
    entries: tuple[Entry, ...]
    requests: RequestTable
    history: Records
    starting: NDArray[np.float64]


@cache
def told(number: int) -> Told:
    """Return the run of ours (0), of the HPA on the queue (1) or on concurrency (2)."""
    setup = small_setup()
    contender = contenders(setup.policy.spec)[number]
    world = SimulatedWorld(setup.scenario)
    entries = tuple(entry for entry, _ in run(setup.scenario, contender, world))
    return Told(
        name=contender.name,
        entries=entries,
        requests=world.cluster.requests(),
        history=world.cluster.history(),
        starting=world.cluster.starting_intervals(),
    )


def second_of(at: float) -> float:
    """Return the simulation's second of an instant."""
    return at - EPOCH_AT


def write_csv(path: Path, trace: Trace) -> Path:
    """Write a trace in Azure's form."""
    start = np.datetime64("2023-11-16T18:15:46", "ns")
    stamps = start + (trace.arrival_s * 1e9).astype("timedelta64[ns]")
    rows = zip(stamps, trace.prompt_tokens, trace.output_tokens, strict=True)
    lines = [f"{str(stamp).replace('T', ' ')},{prompt},{output}" for stamp, prompt, output in rows]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n", encoding="utf-8")
    return path
