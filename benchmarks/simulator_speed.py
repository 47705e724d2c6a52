"""How fast the simulator is, and beside AISimulate: ``python -m benchmarks.simulator_speed``.

The trace is Azure's conversation hour of 2023 (19,366 requests), routed to the least outstanding replica, on one core;
compilation is not timed. Three things are measured in one run, each as the best of several, in processor time of this
process: what else the machine does does not count.

- the engine under a compiled trivial decider (as many replicas as keep a number of requests in flight on each, every
  15 s, with a cold start of 120 s): ``engine_rps``;
- the engine with 4 fixed replicas, and AISimulate with 4 replicas of the same GPU and model and the same limits of
  sequences and tokens, by its own clock, or by its process's processor time where that is less: ``aisimulate_rps``;
  ``ratio`` is engine_rps over it, ``ratio_fixed`` compares the two fixed fleets. AISimulate models more (prefix cache,
  operator tables), which the ratio does not show;
- the Python side of a tick, telemetry, Driver, decision and journal, in µs: of a fixed fleet (``tick_us``), and with
  our decision core (``tick_core_us``). The engine's time is taken off.

The last line is one JSON object with these keys, seed, versions and machine; a figure that could not be had is null.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from autoscaler.core.decide import decide, initial
from benchmarks import aisimulate
from benchmarks.machine import machine, versions
from benchmarks.simulator_scale import SPEC
from simulator import journalfile
from simulator.baselines import static
from simulator.compiled import exercise
from simulator.engine.des import compiled_owning
from simulator.engine.profiles import EngineProfile, load_profile
from simulator.engine.records import Pool
from simulator.engine.routing import LEAST_OUTSTANDING, advance, release_held
from simulator.engine.storage import engine_record, new_pool, place_replica, with_requests
from simulator.run import Contender, run
from simulator.startup.model import StartupModel
from simulator.telemetry import Scraping
from simulator.traces import Trace, load_trace
from simulator.world import Scenario

TRACE, SCALED, FIXED = "azure-conv-2023", "a100-80gb/llama-3.1-8b", "h100/llama-3.1-8b-fit"
SLOTS, FIXED_REPLICAS = 8, 4
TICK_S, COLD_START_S, IN_FLIGHT = 15.0, 120.0, 8.0


def loaded(trace: Trace, profile: EngineProfile, replicas: int) -> Pool:
    """Return a pool that knows a trace, with so many replicas; all take requests."""
    pool = with_requests(
        new_pool(profile, routing=LEAST_OUTSTANDING, seed=0),
        trace.arrival_s,
        trace.prompt_tokens,
        trace.output_tokens,
    )
    pool.gateway["slots"] = replicas
    for slot in range(replicas):
        place_replica(pool, slot, engine=engine_record(profile, stepwise=False), replica_id=slot, at_s=0.0)
    return pool


@compiled_owning
def scaled(pool: Pool, end_s: float, tick_s: float, coldstart_s: float, in_flight: float) -> int:
    """Advance tick by tick up to end_s; at each, ask for as many replicas as have in_flight requests each.

    All slots hold a replica from the beginning; one that is asked for takes requests a cold start later, one too many
    takes none from now on. Returns how often one was asked for.
    """
    slots = pool.gateway[0].slots
    ready_s = np.zeros(slots)
    orders, at_s = 0, 0.0
    while at_s < end_s:
        at_s += tick_s
        advance(pool, at_s)
        outstanding = pool.gateway[0].held
        for slot in range(slots):
            outstanding += pool.replicas[slot].outstanding
        wanted = min(slots, max(1, int(np.ceil(outstanding / in_flight))))
        for slot in range(slots):
            if slot >= wanted:
                pool.replicas[slot].routable = 0
                ready_s[slot] = np.inf
            elif ready_s[slot] == np.inf:
                ready_s[slot] = at_s + coldstart_s
                orders += 1
            elif ready_s[slot] <= at_s and pool.replicas[slot].routable == 0:
                pool.replicas[slot].routable = 1
                release_held(pool, at_s)
    return orders


def best_s(prepared: Callable[[], Callable[[], object]], times: int) -> float:
    """Return the least processor seconds of a run; what it needs is prepared before each and not timed."""
    taken = []
    for _ in range(times):
        ready = prepared()
        begun_s = time.process_time()
        ready()
        taken.append(time.process_time() - begun_s)
    return min(taken)


def engine_s(trace: Trace, times: int) -> tuple[float, float]:
    """Return the least seconds of the scaled fleet, and of the fixed one."""
    end_s = trace.span_s + COLD_START_S
    scaled(loaded(trace.slice(0.0, 60.0), load_profile(SCALED), SLOTS), 60.0, TICK_S, COLD_START_S, IN_FLIGHT)

    def elastic() -> Callable[[], object]:
        pool = loaded(trace, load_profile(SCALED), SLOTS)
        return lambda: scaled(pool, end_s, TICK_S, COLD_START_S, IN_FLIGHT)

    def fixed() -> Callable[[], object]:
        pool = loaded(trace, load_profile(FIXED), FIXED_REPLICAS)
        return lambda: advance(pool, end_s)

    return best_s(elastic, times), best_s(fixed, times)


def tick_us(trace: Trace, contender: Callable[[], Contender[Any, Any]], engine_only_s: float, times: int) -> float:
    """Return the microseconds of one tick of a run with its journal, without the engine's."""
    ticks: list[int] = []

    def prepared() -> Callable[[], object]:
        scenario = Scenario(
            name="speed",
            trace=trace,
            profile=load_profile(SCALED),
            startup=StartupModel.of_total(COLD_START_S),
            initial_replicas=6,
            seed=0,
            scraping=Scraping(scrape_s=TICK_S, lag_s=TICK_S),
        )
        return lambda: ticks.append(_journaled(scenario, contender()))

    return (best_s(prepared, times) - engine_only_s) / ticks[-1] * 1e6


def _journaled(scenario: Scenario, contender: Contender[Any, Any]) -> int:
    with tempfile.TemporaryDirectory() as folder, journalfile.writer(Path(folder) / "journal.jsonl.gz") as write:
        ticks = 0
        for entry, _ in run(scenario, contender):
            write(entry)
            ticks += 1
    return ticks


def ours() -> Contender[Any, Any]:
    """Return our decision core."""
    return Contender(name="ours", decide=decide, policy=SPEC, memory=initial(SPEC), digest="benchmark")


def fixed_fleet() -> Contender[Any, Any]:
    """Return a decider that does nothing: what remains is the tick itself."""
    spec = static.StaticSpec(replicas=6)
    return Contender(name="static", decide=static.decide, policy=spec, memory=None, digest="benchmark")


def _aisimulate(trace: Trace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            replay = aisimulate.replayed(trace, replicas=FIXED_REPLICAS, folder=Path(folder))
        except aisimulate.AbsentError as error:
            click.echo(f"AISimulate is left out: {error}", err=True)
            return {"aisimulate_rps": None, "aisimulate_replay": None}
    return {"aisimulate_rps": len(trace) / replay.seconds, "aisimulate_replay": asdict(replay)}


@click.command(help=__doc__)
@click.option("--times", default=15, show_default=True, type=click.IntRange(1), help="Runs of which the best counts.")
def main(times: int) -> None:
    """Measure and print the figures."""
    exercise()
    trace = load_trace(TRACE)
    elastic_s, fixed_s = engine_s(trace, times)
    click.echo(f"engine, {len(trace):,} requests: scaled {elastic_s * 1e3:.2f} ms, fixed {fixed_s * 1e3:.2f} ms")
    plain_us = tick_us(trace, fixed_fleet, elastic_s, times)
    core_us = tick_us(trace, ours, elastic_s, times)
    click.echo(f"a tick in Python: {plain_us:.0f} µs, with our decision core {core_us:.0f} µs")
    other = _aisimulate(trace)
    rps, fixed_rps, peer_rps = len(trace) / elastic_s, len(trace) / fixed_s, other["aisimulate_rps"]
    figures = {
        "engine_rps": rps,
        "engine_fixed_rps": fixed_rps,
        **other,
        "ratio": None if peer_rps is None else rps / peer_rps,
        "ratio_fixed": None if peer_rps is None else fixed_rps / peer_rps,
        "tick_us": plain_us,
        "tick_core_us": core_us,
        "seed": 0,
        **machine(),
        "versions": versions("numpy", "numba"),
        "aisimulate": aisimulate.LOCK.read_text(encoding="utf-8").partition("aisimulate==")[2].split()[0],
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
