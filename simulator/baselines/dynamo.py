"""A Dynamo-like planner: a throughput loop that sets a floor from the traffic, and a load loop that moves by one.

Upstream: ai-dynamo/dynamo, main of 2026, ``components/src/dynamo/planner/core/{throughput,load}_scaling.py`` and
``config``, mode ``agg`` (engines that prefill and decode). What is reproduced:

- Every 180 s: floor = ⌈requests a second/engine_rps⌉, engine_rps the most that an engine serves within both objectives
  at the traffic's mean lengths. With the load loop on it is a lower bound and sets nothing by itself.
- Every 5 s: one more, if *every* engine is expected to miss an objective for its next request; one fewer, if with one
  engine fewer the wait that the queue causes stayed below 0.8 of what the TTFT objective leaves, the ITL below 0.8 of
  its own, and the KV cache held it all. Both objectives have to agree to go down, either may go up.
- Nothing is decided while replicas start or an engine does not report: the floor waits as well.
- ``target`` throughput or latency: the thresholds of upstream's easy mode on the KV use, queued prompts included.

Where it differs, which is why it is called Dynamo-like:

- It reads Prometheus' metrics and no forward-pass events: a queue's prompt tokens are the waiting requests times the
  traffic's mean prompt, and engines look at queues of others only through those.
- The performance model is the step time of the simulated engine, known exactly; upstream learns a regression, from
  benchmarks before and from passes later, which bootstraps for a while and which cold starts can spoil.
- The next interval's traffic is taken to be the last one's (upstream's predictor ``constant``; its default is ARIMA).
- No prefill and decode pools, no GPU or power budget, no prefix hits, no correction by observed latencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import PodSample, ReplicaState, Signals
from simulator.baselines.sight import Bounds, reason, verdict


class Optimize(StrEnum):
    """What the load loop optimizes for: the objectives, or upstream's thresholds for throughput or for latency."""

    SLA = "sla"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


THRESHOLDS = {Optimize.THROUGHPUT: (1.0, 0.6), Optimize.LATENCY: (0.4, 0.1)}
"""KV use above which any engine asks for one more, and below which all of them give one up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What one replica can do: its step time τ = a + b·P + c·R + d·K, and its limits."""

    a_s: float
    b_s: float
    c_s: float
    d_s: float
    max_seqs: int
    kv_tokens: int
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoSpec:
    """The objectives in seconds, the engine, and the clockwork."""

    ttft_s: float
    itl_s: float
    engine: Engine
    bounds: Bounds
    target: Optimize = Optimize.SLA
    throughput_s: float = 180.0
    load_s: float = 5.0
    sensitivity: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One engine at one instant: prompt tokens that wait, sequences that run, and tokens in its KV cache."""

    queued_tokens: float
    running: float
    kv_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Counts since the throughput loop ran: requests, first tokens, prompt and output tokens."""

    arrived: float = 0.0
    begun: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoMemory:
    """Each pod's newest sample, the backlog then, traffic since the throughput loop, mean lengths, and the floor."""

    samples: tuple[PodSample, ...] = ()
    backlog: float | None = None
    traffic: Traffic = NO_TRAFFIC
    lengths: tuple[float, float] | None = None
    floor: int = 0
    since: float | None = None


def engine_rps(engine: Engine, *, ttft_s: float, itl_s: float, prompt: float, output: float) -> float:
    """Return the most requests a second that an engine serves within both objectives; 0 where it cannot at all."""
    kv_tokens = prompt + output / 2
    work_s = engine.b_s * prompt + (engine.c_s + engine.d_s * kv_tokens) * output
    # At a share ρ of its time in marginal work a step takes a/(1 − ρ), and a prompt its own time over (1 − ρ).
    within_itl = 1 - engine.a_s / itl_s
    within_ttft = 1 - (engine.a_s * ceil(prompt / engine.chunk_tokens) + engine.b_s * prompt) / ttft_s
    busiest = min(within_itl, within_ttft)
    if busiest <= 0:
        return 0.0
    # Of n sequences that run, output·τ seconds each, n/(output·τ) end in a second.
    most = min(engine.max_seqs, engine.kv_tokens / kv_tokens)
    slots = most * (1 - busiest) / (output * engine.a_s)
    return min(busiest / work_s, slots)


def ttft_s(engine: Engine, load: Load, prompt: float) -> float:
    """Return the TTFT of the next request on an engine."""
    tokens = load.queued_tokens + prompt
    steps = max(1, ceil(tokens / engine.chunk_tokens))
    return engine.b_s * tokens + steps * itl_s(engine, load)


def itl_s(engine: Engine, load: Load) -> float:
    """Return the time of an engine's next decoding step."""
    return engine.a_s + engine.c_s * load.running + engine.d_s * load.kv_tokens


def load_decision(spec: DynamoSpec, loads: Sequence[Load], prompt: float) -> int:
    """Return the replicas that the load loop asks for; as many as there are loads stand."""
    number = len(loads)
    misses_ttft = all(ttft_s(spec.engine, load, prompt) > spec.ttft_s for load in loads)
    if misses_ttft or all(itl_s(spec.engine, load) > spec.itl_s for load in loads):
        return number + 1
    if number > 1 and all(_bears_more(spec, load, number / (number - 1), prompt) for load in loads):
        return number - 1
    return number


def _bears_more(spec: DynamoSpec, load: Load, more: float, prompt: float) -> bool:
    """Whether an engine with so much more load would keep the objectives with a margin."""
    engine = spec.engine
    after = Load(queued_tokens=load.queued_tokens * more, running=load.running * more, kv_tokens=load.kv_tokens * more)
    own_s = ttft_s(engine, replace(after, queued_tokens=0.0), prompt)
    waits_s = ttft_s(engine, after, prompt) - own_s
    all_kv = after.kv_tokens + after.queued_tokens
    fits = all_kv < engine.kv_tokens and itl_s(engine, replace(after, kv_tokens=all_kv)) < spec.itl_s * spec.sensitivity
    return fits and waits_s < (spec.ttft_s - own_s) * spec.sensitivity


def easy_decision(target: Optimize, uses: Sequence[float]) -> int:
    """Return the replicas that the easy mode asks for; ``uses`` are the engines' KV uses, queued prompts included."""
    up, down = THRESHOLDS[target]
    if any(use > up for use in uses):
        return len(uses) + 1
    return len(uses) - 1 if len(uses) > 1 and all(use < down for use in uses) else len(uses)


def decide(spec: DynamoSpec, memory: DynamoMemory, signals: Signals) -> tuple[DynamoMemory, Decision]:
    """Take a step of the load loop, and of the throughput loop if it is due."""
    at, current, next_at = signals.at, signals.spec_replicas, signals.at + spec.load_s
    if current is None:
        detail = "the deployment cannot be read"
        return memory, verdict(signals, target=None, why=Why.TARGET_UNKNOWN, detail=detail, next_at=next_at)
    memory = _counted(memory, signals)
    if memory.since is None or at - memory.since >= spec.throughput_s:
        memory = _throughput(spec, memory, at)
    ready, loads = signals.count(ReplicaState.READY), _loads(memory, signals)
    if ready != current or len(loads) != ready or not loads:
        why = Why.STARTING if ready < current else Why.PARTIAL
        detail = f"{ready} of {current} ready, {len(loads)} report: observing only"
        return memory, verdict(signals, target=current, why=why, detail=detail, next_at=next_at)
    wished = _load(spec, memory, loads)
    stable = max(wished, memory.floor)
    target = spec.bounds.within(stable)
    return memory, verdict(
        signals,
        target=target,
        why=reason(wished=stable, stable=stable, target=target, current=current, bounds=spec.bounds),
        detail=f"the load loop asks for {wished}, the throughput loop for at least {memory.floor}",
        next_at=next_at,
        wished=wished,
        stable=stable,
        numbers={"floor": float(memory.floor)},
    )


def _load(spec: DynamoSpec, memory: DynamoMemory, loads: Sequence[Load]) -> int:
    if spec.target is not Optimize.SLA:
        uses = [(load.kv_tokens + load.queued_tokens) / spec.engine.kv_tokens for load in loads]
        return easy_decision(spec.target, uses)
    return len(loads) if memory.lengths is None else load_decision(spec, loads, memory.lengths[0])


def _throughput(spec: DynamoSpec, memory: DynamoMemory, at: float) -> DynamoMemory:
    """Set the floor from the traffic since the last time; the first time only the clock is set."""
    begun = replace(memory, traffic=NO_TRAFFIC, since=at)
    if memory.since is None or memory.lengths is None:
        return begun
    prompt, output = memory.lengths
    rps = engine_rps(spec.engine, ttft_s=spec.ttft_s, itl_s=spec.itl_s, prompt=prompt, output=output)
    demand_rps = memory.traffic.arrived / (at - memory.since)
    return replace(begun, floor=ceil(demand_rps / rps) if rps > 0 else 0)


def _counted(memory: DynamoMemory, signals: Signals) -> DynamoMemory:
    """Add what pods counted since they were last seen, and what the queues grew by."""
    before = {sample.pod: sample for sample in memory.samples}
    backlog = (signals.held_requests or 0.0) + sum(sample.waiting or 0.0 for sample in signals.samples)
    grown = _grown(before, signals.samples)
    waited = 0.0 if memory.backlog is None else backlog - memory.backlog
    traffic = Traffic(
        arrived=memory.traffic.arrived + max(0.0, grown.begun + waited),
        begun=memory.traffic.begun + grown.begun,
        prompt_tokens=memory.traffic.prompt_tokens + grown.prompt_tokens,
        output_tokens=memory.traffic.output_tokens + grown.output_tokens,
    )
    lengths = memory.lengths
    if traffic.begun > 0 and traffic.output_tokens > 0:
        lengths = (max(1.0, traffic.prompt_tokens / traffic.begun), max(1.0, traffic.output_tokens / traffic.begun))
    return replace(memory, samples=signals.samples, backlog=backlog, traffic=traffic, lengths=lengths)


def _grown(before: dict[str, PodSample], samples: Sequence[PodSample]) -> Traffic:
    """Return how far the pods' counters grew. A pod that was not seen before counts from the next time on."""
    begun, prompt, output = 0.0, 0.0, 0.0
    for sample in samples:
        earlier = before.get(sample.pod)
        if earlier is None:
            continue
        # A counter that fell began anew: what it shows is what grew.
        begun += _growth(earlier.ttft_count, sample.ttft_count)
        prompt += _growth(earlier.prompt_tokens, sample.prompt_tokens)
        output += _growth(earlier.generation_tokens, sample.generation_tokens)
    return Traffic(begun=begun, prompt_tokens=prompt, output_tokens=output)


def _growth(earlier: float | None, now: float | None) -> float:
    if earlier is None or now is None:
        return 0.0
    return now - earlier if now >= earlier else now


def _loads(memory: DynamoMemory, signals: Signals) -> list[Load]:
    """Return the load of each ready engine that reports all of it."""
    ready = {replica.pod for replica in signals.replicas if replica.state is ReplicaState.READY}
    prompt = 0.0 if memory.lengths is None else memory.lengths[0]
    return [
        Load(
            queued_tokens=sample.waiting * prompt,
            running=sample.running,
            kv_tokens=sample.kv_ratio * sample.kv_capacity_tokens,
        )
        for sample in signals.samples
        if sample.pod in ready
        and sample.waiting is not None
        and sample.running is not None
        and sample.kv_ratio is not None
        and sample.kv_capacity_tokens is not None
    ]
