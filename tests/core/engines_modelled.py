"""A small model of engines, written for the tests of the core: a queue, slots, answers token by token, and counters.

It shares no code with the simulator. Requests may be given up by their clients, which no engine counts as finished; the
youngest may be put back into the queue; an engine may start again. What it counts is told as vLLM does: prompt tokens
and a first token when a request begins, a token each step, the end when it ends.
"""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from autoscaler.core.signals import PodSample, Replica, ReplicaState, Signals

TOKENS_PER_S = 25.0
KV_TOKENS = 400_000.0
COUNTERS = ("finished_requests", "prompt_tokens", "generation_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests that each pod gets: per second, tokens of a prompt and (mean) of an answer, share that is given up."""

    rate_rps: float
    prompt_tokens: float = 1000.0
    output_tokens: float = 200.0
    given_up: float = 0.0
    preempted_per_s: float = 0.0


@dataclass(slots=True)
class Engine:
    """One pod: what runs (tokens left, whether the client will give up, tokens in the cache), waits, and was counted.

    Its cache is full while it puts requests back.
    """

    pod: str
    born_at: float
    slots: int = 64
    running: list[tuple[float, bool, float]] = field(default_factory=list)
    queue: list[tuple[float, bool, bool]] = field(default_factory=list)
    counted: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    crowded: bool = False

    def restart(self) -> None:
        """Lose everything, as an engine that crashes does."""
        self.running, self.queue, self.counted = [], [], {}

    def second(self, traffic: Traffic, random: Random) -> None:
        """Let one second pass."""
        for _ in range(_poisson(traffic.rate_rps, random)):
            tokens = max(1.0, random.expovariate(1 / traffic.output_tokens))
            self.queue.append((tokens, random.random() < traffic.given_up, False))
        self.crowded = traffic.preempted_per_s > 0
        if self.running and random.random() < traffic.preempted_per_s:
            tokens, gives_up, _ = self.running.pop()
            self.queue.insert(0, (tokens, gives_up, True))
        while self.queue and len(self.running) < self.slots:
            tokens, gives_up, begun = self.queue.pop(0)
            self._count("prompt_tokens", traffic.prompt_tokens)
            if not begun:
                self._count("ttft_count", 1.0)
                self._count("generation_tokens", 1.0)
            self.running.append((tokens - 1.0, gives_up, traffic.prompt_tokens + 1.0))
        # A fuller batch steps more slowly.
        gap_s = (1 + len(self.running) / self.slots) / TOKENS_PER_S
        still = []
        for tokens, gives_up, held in self.running:
            self._count("generation_tokens", min(tokens, TOKENS_PER_S))
            self._count("itl_count", min(tokens, TOKENS_PER_S))
            self._count("itl_sum_s", min(tokens, TOKENS_PER_S) * gap_s)
            if tokens > TOKENS_PER_S:
                still.append((tokens - TOKENS_PER_S, gives_up, held + TOKENS_PER_S))
            elif not gives_up:
                self._count("finished_requests", 1.0)
        self.running = still

    def stop(self, counter: str) -> None:
        """Let a counter stand still from now on."""
        self.stopped[counter] = self.counted.get(counter, 0.0)

    def sample(self, at: float) -> PodSample:
        """Return what a scrape at an instant reads."""
        counters = (*COUNTERS, "ttft_count", "itl_sum_s", "itl_count")
        told: dict[str, Any] = {name: self.counted.get(name, 0.0) for name in counters}
        told |= {"running": float(len(self.running)), "waiting": float(len(self.queue))}
        held = sum(tokens for _, _, tokens in self.running)
        told["kv_ratio"] = 1.0 if self.crowded and self.running else min(1.0, held / KV_TOKENS)
        told["kv_capacity_tokens"] = KV_TOKENS
        return PodSample(pod=self.pod, at=at, **(told | self.stopped))

    def _count(self, name: str, gain: float) -> None:
        self.counted[name] = self.counted.get(name, 0.0) + gain


def _poisson(mean: float, random: Random) -> int:
    """Return a Poisson count, from the times between arrivals of one second."""
    count, passed_s = 0, random.expovariate(mean) if mean > 0 else 1.0
    while passed_s < 1.0:
        count, passed_s = count + 1, passed_s + random.expovariate(mean)
    return count


def lived(engines: list[Engine], traffic: Traffic, random: Random, seconds: int = 15) -> None:
    """Let all engines live for some seconds."""
    for _ in range(seconds):
        for engine in engines:
            engine.second(traffic, random)


def seen(engines: list[Engine], at: float, *, missed: tuple[str, ...] = (), **other: Any) -> Signals:
    """Return the signals of ready pods whose engines were scraped 5 s ago, without those of a missed scrape."""
    replicas = tuple(
        Replica(
            pod=one.pod, uid=one.pod, state=ReplicaState.READY, ordered_at=one.born_at - 100.0, ready_at=one.born_at
        )
        for one in engines
    )
    samples = tuple(one.sample(at - 5.0) for one in engines if one.pod not in missed)
    return Signals(at=at, spec_replicas=len(engines), replicas=replicas, samples=samples, **other)


def without(signals: Signals, counter: str) -> Signals:
    """Return the signals of engines that do not export a counter."""
    changed: dict[str, Any] = {counter: None}
    return replace(signals, samples=tuple(replace(sample, **changed) for sample in signals.samples))
