"""What a peer's metrics source shows it of the pool, and the decision that it hands back.

Peers read three metrics that every engine exports: requests that wait, requests in flight (running and waiting), and
the share of the KV cache in use. Per pod as prometheus-adapter serves them, or added up as a PromQL ``sum`` does: then
a pod that drains still counts, and so do the requests that the gateway holds, because at zero replicas nothing else
tells of demand. One NaN makes a sum NaN, in Prometheus as here.

A peer's decision uses the vocabulary of ``Why``: ``concurrency`` where its own metric asked for the replicas,
``stabilization`` where a window, a delay or a rate of its own held them back.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import nan

from autoscaler.core.decision import Decision, Term, Why
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals

_TOLD = {Presence.PRESENT, Presence.STALE, Presence.INVALID}


class PodsMetric(StrEnum):
    """A metric that engines export per pod."""

    WAITING = "queue"
    CONCURRENCY = "concurrency"
    KV_USE = "kv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The fewest and the most replicas that a peer may set."""

    least: int
    most: int

    def within(self, replicas: int) -> int:
        """Return the replicas put within the bounds; the upper one is the stronger."""
        return min(max(replicas, self.least), self.most)


def value_of(metric: PodsMetric, sample: PodSample) -> float | None:
    """Return a pod's value of the metric, or None where the adapter would give none.

    Nobody but us asks how old a sample is: as long as Prometheus gives it, it is a value. Nor does anybody ask what
    else of a pod is NaN: of a sample that is not valid, the values that are none are missing, and the others are read.
    """
    if sample.presence not in _TOLD:
        return None
    if metric is PodsMetric.KV_USE:
        return sample.kv_ratio
    if metric is PodsMetric.WAITING or sample.waiting is None:
        return sample.waiting
    return None if sample.running is None else sample.running + sample.waiting


def alive(signals: Signals) -> tuple[Replica, ...]:
    """Return the replicas that a Deployment counts: neither failed nor terminating."""
    return tuple(r for r in signals.replicas if r.state in {ReplicaState.READY, ReplicaState.STARTING})


def values_of(metric: PodsMetric, signals: Signals) -> tuple[float, ...]:
    """Return the values of all pods that are ready and have one."""
    ready = {r.pod for r in signals.replicas if r.state is ReplicaState.READY}
    values = (value_of(metric, sample) for sample in signals.samples if sample.pod in ready)
    return tuple(value for value in values if value is not None)


def summed(metric: PodsMetric, signals: Signals) -> float | None:
    """Return the metric's sum over pods and gateway; None where there is no series at all, NaN with one invalid."""
    if any(sample.presence is Presence.INVALID and value_of(metric, sample) is None for sample in signals.samples):
        return nan
    values = [value for sample in signals.samples if (value := value_of(metric, sample)) is not None]
    if metric is not PodsMetric.KV_USE and signals.held_requests is not None:
        values.append(signals.held_requests)
    return sum(values) if values else None


def reason(*, wished: int, stable: int, target: int, current: int, bounds: Bounds) -> Why:
    """Return what bound a target, from what the metric wished, what windows left of it, and what is set in the end."""
    if target > stable:
        # A rate on the way down holds back as stabilization does; Why has no name of its own for it.
        return Why.MIN_REPLICAS if target == bounds.least else Why.STABILIZATION
    if target < stable and target == bounds.most:
        return Why.MAX_REPLICAS
    if stable != wished:
        return Why.STABILIZATION
    return Why.SETTLED if target == current else Why.CONCURRENCY


def verdict(
    signals: Signals,
    *,
    target: int | None,
    why: Why,
    detail: str,
    next_at: float,
    wished: int | None = None,
    stable: int | None = None,
    numbers: dict[str, float] | None = None,
) -> Decision:
    """Return a peer's decision: ``wished`` is what its metric asks for, ``stable`` what its windows leave of that."""
    return Decision(
        at=signals.at,
        target=target,
        spec_replicas=signals.spec_replicas,
        why=why,
        detail=detail,
        next_at=next_at,
        want=wished,
        want_down=stable,
        ready=signals.count(ReplicaState.READY),
        warming=signals.count(ReplicaState.STARTING),
        terms=() if wished is None else (Term(name=Why.CONCURRENCY, replicas=float(wished)),),
        numbers=numbers or {},
    )
