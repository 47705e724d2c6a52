"""Gauges: what is in the engines at one instant, summed over the pods that tell it, with how many those are.

A sum says nothing without its pods: with three of four pods telling, the fourth is estimated by who asks, not here.

Invariants: pure; a gauge that is no measurement (NaN, infinite, negative, a KV use that is no ratio, or one of nothing
while requests run, as of a series that an engine has renamed) is not told.
"""

from dataclasses import dataclass

from autoscaler.core.signals import PodSample

FULLEST = 1.5  # A KV use beyond this is no ratio.
MOST = 1e12  # A count beyond this is no measurement; keeps every later product finite.


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Sums of the gauges of one instant over the pods that tell them, and how many did.

    ``kv_tokens`` are held by the ``kv_running`` sequences of those pods whose KV use and capacity are known.
    """

    running: float = 0.0
    running_pods: int = 0
    waiting: float = 0.0
    waiting_pods: int = 0
    kv_tokens: float = 0.0
    kv_running: float = 0.0
    kv_capacity: float = 0.0
    kv_pods: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One instant's samples in sums; ``kv_capacity_tokens`` is the policy's, for pods that do not tell theirs."""

    newest_at: float | None
    reporting: int
    expected: int
    gauges: Gauges
    held: float | None
    kv_capacity_tokens: float | None

    @property
    def running(self) -> float | None:
        """Requests running, scaled to all expected pods; ``None`` if no pod told."""
        return self.scaled(self.gauges.running, self.gauges.running_pods)

    @property
    def waiting(self) -> float | None:
        """Requests waiting, scaled to all expected pods, and those held; ``None`` if nobody told."""
        queued = self.scaled(self.gauges.waiting, self.gauges.waiting_pods)
        return queued if self.held is None else (queued or 0.0) + self.held

    @property
    def kv_capacity(self) -> float | None:
        """Mean KV capacity of a replica in tokens; ``None`` if it is not known."""
        pods = self.gauges.kv_pods
        return self.gauges.kv_capacity / pods if pods else self.kv_capacity_tokens

    def scaled(self, total: float, pods: int) -> float | None:
        """Return a sum over so many pods, scaled to all expected ones; ``None`` over none."""
        return total * max(self.expected, pods) / pods if pods else None


def finite(value: float | None) -> float | None:
    """Return a count that can be one, else ``None``: NaN, infinities and negative counts are missing."""
    return value if value is not None and 0 <= value <= MOST else None


def gauges(samples: list[PodSample], kv_capacity_tokens: float | None) -> Gauges:
    """Return the sums of the gauges; ``kv_capacity_tokens`` stands in where a pod does not tell its KV capacity."""
    running = waiting = kv_tokens = kv_running = kv_capacity = 0.0
    running_pods = waiting_pods = kv_pods = 0
    for sample in samples:
        now, queued = finite(sample.running), finite(sample.waiting)
        if queued is not None:
            waiting, waiting_pods = waiting + queued, waiting_pods + 1
        capacity = finite(sample.kv_capacity_tokens) or kv_capacity_tokens
        if capacity is not None:
            kv_capacity, kv_pods = kv_capacity + capacity, kv_pods + 1
        if now is None:
            continue
        running, running_pods = running + now, running_pods + 1
        ratio = sample.kv_ratio
        if capacity is not None and now > 0 and ratio is not None and 0 < ratio <= FULLEST:
            kv_tokens, kv_running = kv_tokens + ratio * capacity, kv_running + now
    return Gauges(
        running=running,
        running_pods=running_pods,
        waiting=waiting,
        waiting_pods=waiting_pods,
        kv_tokens=kv_tokens,
        kv_running=kv_running,
        kv_capacity=kv_capacity,
        kv_pods=kv_pods,
    )
