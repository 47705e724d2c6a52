"""How long one decision takes, over a day of ticks: ``python -m benchmarks.decide_latency``.

The claim: ``decide`` stays under one millisecond at the 99th percentile with 8 to 60 replicas, the ticks in which a
new cold start arrives included. It is called as the controller calls it, on one policy with measured coefficients,
with signals from a fluid pool: arrivals are Poisson around a daily wave with bursts, counters are shared out over the
ready pods, replicas ordered become ready after a log-normal cold start, and now and then a node is lost, so that a
start ends in more than a tenth of all ticks. Only ``decide`` is timed; garbage collection is left on, as in life.

The last line is one JSON object: ``p50_us``, ``p99_us`` and the largest in wall time, the same for ticks with a new
cold start, the thread's own CPU time (which other jobs on the machine disturb less), how many replicas there were,
seed, versions and machine.
"""

import json
import math
import random
import time
from dataclasses import dataclass, field

import click
import numpy

from autoscaler.core.decide import decide, initial
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Replica, ReplicaState, Signals
from benchmarks.machine import machine, versions

TICK_S = 15.0
DAY_TICKS = 5760
PROMPT_TOKENS, OUTPUT_TOKENS = 1150, 210
LOST_NODE = 0.06

SPEC = PolicySpec.model_validate(
    {
        "targetRef": {"name": "llm"},
        "model": {"name": "llm", "parametersBillion": 8},
        "engine": {
            "maxSequences": 256,
            "kvTokens": 400_000,
            "stepTime": {
                "fixedSeconds": 0.0115,
                "prefillTokenSeconds": 70e-6,
                "sequenceSeconds": 35e-6,
                "kvTokenSeconds": 80e-9,
                "source": "decision core, section 13, A100 8B",
            },
        },
        "accelerator": {"class": "A100-80GB"},
        "objectives": {"ttftSeconds": 2, "itlSeconds": 0.05},
        "replicas": {"min": 8, "max": 60},
    }
)


@dataclass(slots=True)
class Pod:
    """One pod of the fluid pool; counters since its start."""

    name: str
    ordered_at: float
    due_at: float
    finished: float = 0.0


@dataclass(slots=True)
class Pool:
    """A pool of replicas without an engine: it shares arrivals out and counts them."""

    rng: random.Random
    pods: list[Pod] = field(default_factory=list)
    made: int = 0

    def order(self, at: float, replicas: int) -> None:
        """Make or delete pods to reach a count; those that are not ready go first, as a ReplicaSet does it."""
        while len(self.pods) < replicas:
            self.made += 1
            start_s = self.rng.lognormvariate(math.log(120), 0.3)
            self.pods.append(Pod(name=f"llm-{self.made}", ordered_at=at, due_at=at + start_s))
        if len(self.pods) > replicas:
            self.pods.sort(key=lambda pod: pod.due_at)
            del self.pods[replicas:]

    def observe(self, at: float, arrivals: int) -> tuple[Signals, bool]:
        """Share a tick's arrivals out, and return what is seen and whether a start has ended since the last tick."""
        ready = [pod for pod in self.pods if pod.due_at <= at]
        for pod in ready:
            pod.finished += arrivals / len(ready)
        samples = [self._sample(pod, at - 2.0, arrivals / len(ready)) for pod in ready]
        replicas = [self._replica(pod, at) for pod in self.pods]
        came = any(at - TICK_S < pod.due_at <= at for pod in ready)
        signals = Signals(
            at=at, spec_replicas=len(self.pods), replicas=tuple(replicas), samples=tuple(samples), held_requests=0.0
        )
        return signals, came

    def _sample(self, pod: Pod, at: float, share: float) -> PodSample:
        running = float(round(share / TICK_S * OUTPUT_TOKENS * 0.03))
        return PodSample(
            pod=pod.name,
            at=at,
            running=running,
            waiting=float(self.rng.random() < 0.02),
            kv_ratio=min(0.95, running * 1300 / 400_000),
            kv_capacity_tokens=400_000.0,
            prompt_tokens=pod.finished * PROMPT_TOKENS,
            generation_tokens=pod.finished * OUTPUT_TOKENS,
            finished_requests=pod.finished,
            steps=pod.finished * 50,
            ttft_count=pod.finished,
            ttft_within=((1.0, pod.finished * 0.97), (2.5, pod.finished * 0.99)),
            itl_sum_s=pod.finished * OUTPUT_TOKENS * 0.03,
            itl_count=pod.finished * OUTPUT_TOKENS,
            tpot_count=pod.finished,
            tpot_within=((0.05, pod.finished * 0.98),),
        )

    def _replica(self, pod: Pod, at: float) -> Replica:
        ready = pod.due_at <= at
        return Replica(
            pod=pod.name,
            uid=pod.name,
            state=ReplicaState.READY if ready else ReplicaState.STARTING,
            ordered_at=pod.ordered_at,
            scheduled_at=pod.ordered_at + 1,
            started_at=pod.ordered_at + 5,
            ready_at=pod.due_at if ready else None,
            node="node-1",
        )


def run(seed: int, ticks: int) -> dict[str, object]:
    """Run a day and return its figures; times in microseconds."""
    rng = random.Random(seed)
    draw = numpy.random.default_rng(seed)
    pool = Pool(rng=rng)
    pool.order(0.0, 20)
    memory = initial(SPEC)
    spent_us, cpu_us, came_us, fleet = [], [], [], []
    burst = 1.0
    for tick in range(ticks):
        at = tick * TICK_S
        burst = rng.uniform(1.3, 2.2) if rng.random() < 0.005 else 1 + (burst - 1) * 0.9
        wave = 1 - 0.85 * math.cos(2 * math.pi * tick / DAY_TICKS)
        signals, came = pool.observe(at, int(draw.poisson(TICK_S * 105 * wave * burst)))
        begin, cpu_begin = time.perf_counter_ns(), time.thread_time_ns()
        memory, decision = decide(SPEC, memory, signals)
        took_us = (time.perf_counter_ns() - begin) / 1000
        cpu_us.append((time.thread_time_ns() - cpu_begin) / 1000)
        spent_us.append(took_us)
        fleet.append(len(pool.pods))
        if came:
            came_us.append(took_us)
        pool.order(at, decision.target if decision.target is not None else len(pool.pods))
        if rng.random() < LOST_NODE:
            pool.pods.pop(rng.randrange(len(pool.pods)))
            pool.order(at, len(pool.pods) + 1)
        if tick % 960 == 959:
            click.echo(f"{(tick + 1) * TICK_S / 3600:5.1f} h, {len(pool.pods)} replicas, {took_us:.0f} µs", err=True)
    return _figures(spent_us, cpu_us, came_us, fleet) | {"seed": seed, "ticks": ticks}


def _figures(spent_us: list[float], cpu_us: list[float], came_us: list[float], fleet: list[int]) -> dict[str, object]:
    def at(values: list[float], share: float) -> float:
        return round(float(numpy.quantile(values, share)), 1) if values else 0.0

    return {
        "p50_us": at(spent_us, 0.5),
        "p99_us": at(spent_us, 0.99),
        "max_us": at(spent_us, 1.0),
        "cpu_p50_us": at(cpu_us, 0.5),
        "cpu_p99_us": at(cpu_us, 0.99),
        "coldstart_ticks": len(came_us),
        "coldstart_p50_us": at(came_us, 0.5),
        "coldstart_p99_us": at(came_us, 0.99),
        "replicas_min": min(fleet),
        "replicas_max": max(fleet),
    }


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of arrivals, cold starts and lost nodes.")
@click.option("--ticks", default=DAY_TICKS, show_default=True, type=click.IntRange(min=1), help="Ticks of 15 s.")
def main(seed: int, ticks: int) -> None:
    """Time the decision over a day of ticks."""
    click.echo(json.dumps(run(seed, ticks) | {"versions": versions("numpy", "pydantic"), "machine": machine()}))


if __name__ == "__main__":
    main()
