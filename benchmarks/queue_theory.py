"""The engine as a plain queue, against theory: ``python -m benchmarks.queue_theory``.

The claim: where the engine is a queue that theory knows, it waits as theory says, within the confidence bounds of the
measurement; and its closed form is the same as step by step.

- M/D/1: one place, one step of constant length a request. Mean wait ρ·s/(2(1 − ρ)) (Pollaczek and Khinchine).
- M/M/c: c places and answers of geometric length in steps of 1 ms. Mean wait by Erlang's C formula. A request that
  finds a free place still waits for the end of the step in progress, which theory does not know: one step is allowed.
- Random loads on an engine with chunked prefill, few places and a small KV cache: every time of every request, once
  with runs of decode steps in closed form and once with every step taken alone.

Each mean is that of independent replications, its half-width the 95 % one of Student's t. The last line is one JSON
object: for each queue the measured mean, theory's, the half-width and whether it lies within; the largest difference of
the two engines in seconds; seed, versions and machine.
"""

import json
from dataclasses import dataclass
from math import factorial

import click
import numpy as np
from scipy import stats

from benchmarks.machine import machine, versions
from simulator.cluster import Cluster
from simulator.engine.profiles import EngineProfile
from simulator.startup.model import StartupModel
from simulator.traces import Trace

SERVICE_S = 0.1
STEP_S, MEAN_STEPS = 0.001, 500
STEP_DIFFERENCE_MOST_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue that theory knows: its places, its load per place, and whether services are constant."""

    name: str
    servers: int
    utilization: float
    constant: bool

    @property
    def service_s(self) -> float:
        """Mean time at a place."""
        return SERVICE_S if self.constant else STEP_S * MEAN_STEPS

    @property
    def rate_rps(self) -> float:
        """Arrivals."""
        return self.utilization * self.servers / self.service_s

    @property
    def wait_s(self) -> float:
        """The mean wait that theory gives."""
        if self.constant:
            return self.utilization * self.service_s / (2 * (1 - self.utilization))
        return (
            erlang_c(self.rate_rps * self.service_s, self.servers)
            * self.service_s
            / (self.servers * (1 - self.utilization))
        )


QUEUES = (
    *(Queue(name=f"M/D/1 at {rho}", servers=1, utilization=rho, constant=True) for rho in (0.3, 0.6, 0.8)),
    *(
        Queue(name=f"M/M/{servers} at {rho}", servers=servers, utilization=rho, constant=False)
        for servers, rho in ((1, 0.5), (2, 0.7), (4, 0.8), (8, 0.9))
    ),
)


def erlang_c(load: float, servers: int) -> float:
    """Return the probability to wait in M/M/c (Erlang 1917), for a load in erlangs below the number of servers."""
    tail = load**servers / factorial(servers) * servers / (servers - load)
    return tail / (sum(load**k / factorial(k) for k in range(servers)) + tail)


def profile(
    *,
    a_s: float,
    max_num_seqs: int,
    b_s: float = 0.0,
    c_s: float = 0.0,
    d_s: float = 0.0,
    kv_tokens: int = 10_000_000,
    max_num_batched_tokens: int = 2048,
) -> EngineProfile:
    """Return an engine of which only what matters here is not 0 or boundless."""
    return EngineProfile(
        name="queue",
        model="none",
        accelerator="none",
        accelerators_per_replica=1,
        a_s=a_s,
        b_s=b_s,
        c_s=c_s,
        d_s=d_s,
        max_num_seqs=max_num_seqs,
        kv_tokens=kv_tokens,
        max_num_batched_tokens=max_num_batched_tokens,
    )


def served(trace: Trace, engine: EngineProfile, *, stepwise: bool = False) -> Cluster:
    """Return one replica after it has served all of a trace."""
    startup = StartupModel.of_total(1.0)
    pool = Cluster(profile=engine, startup=startup, seed=0, trace=trace, initial_replicas=1, stepwise=stepwise)
    end_s = trace.span_s
    while (pool.requests().status < 4).any() or len(pool.requests()) < len(trace):
        end_s += 1000.0
        pool.advance(end_s)
    return pool


def waited_s(queue: Queue, size: int, seed: int) -> float:
    """Return the mean wait of one replication; the first tenth, in which the queue fills, is left out."""
    rng = np.random.default_rng(seed)
    steps = np.ones(size) if queue.constant else rng.geometric(1 / MEAN_STEPS, size)
    trace = Trace(
        name=queue.name,
        arrival_s=np.cumsum(rng.exponential(1 / queue.rate_rps, size)),
        prompt_tokens=np.ones(size, dtype=np.int32),
        output_tokens=steps.astype(np.int32),
    )
    step_s = SERVICE_S if queue.constant else STEP_S
    table = served(trace, profile(a_s=step_s, max_num_seqs=queue.servers)).requests()
    return float(table.ttft_s[size // 10 :].mean() - step_s)


def measured(queue: Queue, *, size: int, replications: int, seed: int) -> dict[str, object]:
    """Return the mean wait over the replications, its half-width, theory's, and whether that lies within."""
    waits = np.array([waited_s(queue, size, seed + number) for number in range(replications)])
    half_s = float(stats.t.ppf(0.975, replications - 1) * waits.std(ddof=1) / np.sqrt(replications))
    allowed_s = 0.0 if queue.constant else STEP_S
    mean_s = float(waits.mean())
    return {
        "measured_s": round(mean_s, 6),
        "theory_s": round(queue.wait_s, 6),
        "half_width_s": round(half_s, 6),
        "within": bool(queue.wait_s - half_s <= mean_s <= queue.wait_s + half_s + allowed_s),
    }


def difference_s(seed: int) -> float:
    """Return the largest difference of any time of any request between the closed form and step by step."""
    rng = np.random.default_rng(seed)
    size = 400
    trace = Trace(
        name="random",
        arrival_s=np.sort(rng.uniform(0, rng.uniform(5, 60), size)),
        prompt_tokens=rng.integers(1, 900, size).astype(np.int32),
        output_tokens=rng.integers(1, 300, size).astype(np.int32),
    )
    engine = profile(
        a_s=0.01, b_s=7e-5, c_s=4e-5, d_s=8e-8, max_num_seqs=int(rng.integers(2, 64)),
        kv_tokens=int(rng.integers(2000, 40_000)), max_num_batched_tokens=int(rng.integers(64, 2048)),
    )  # fmt: skip
    one, two = (served(trace, engine, stepwise=stepwise).requests() for stepwise in (False, True))
    gaps = [np.nanmax(np.abs(getattr(one, name) - getattr(two, name))) for name in ("first_token_s", "finish_s")]
    return float(max(gaps))


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the first replication.")
@click.option("--size", default=100_000, show_default=True, type=click.IntRange(1000), help="Requests a replication.")
@click.option("--replications", default=10, show_default=True, type=click.IntRange(2))
@click.option(
    "--cases", default=50, show_default=True, type=click.IntRange(1), help="Random loads for the two engines."
)
def main(seed: int, size: int, replications: int, cases: int) -> None:
    """Hold the engine against queueing theory, and its closed form against step by step."""
    found: dict[str, object] = {}
    for queue in QUEUES:
        found[queue.name] = measured(queue, size=size, replications=replications, seed=seed)
        click.echo(f"{queue.name}: {found[queue.name]}", err=True)
    largest_s = max(difference_s(seed + number) for number in range(cases))
    click.echo(f"closed form against step by step, {cases} loads: at most {largest_s:.1e} s", err=True)
    figures = {
        "queues": found,
        "closed_form_difference_s": largest_s,
        "closed_form_equal": largest_s <= STEP_DIFFERENCE_MOST_S,
        "seed": seed,
        "replications": replications,
        "requests": size,
        "versions": versions("numba", "numpy", "scipy"),
        "machine": machine(),
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
