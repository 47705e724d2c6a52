"""Pools as a peer sees them, for stories: ready replicas with their load, loading ones, and what a gateway holds."""

from collections.abc import Sequence

from autoscaler.core.signals import PodSample, Replica, ReplicaState, Signals

T0 = 1_700_000_000.0


def replica(number: int, state: ReplicaState = ReplicaState.READY, started_at: float | None = T0) -> Replica:
    """Return a replica whose container runs, unless said otherwise."""
    return Replica(pod=f"p{number}", uid=str(number), state=state, ordered_at=T0, started_at=started_at)


def pool(
    at_s: float,
    running: Sequence[float] = (),
    *,
    waiting: Sequence[float] | None = None,
    kv: Sequence[float] | None = None,
    loading: int = 0,
    spec: int | None = None,
    held: float | None = None,
) -> Signals:
    """Return a pool ``at_s`` seconds after T0: one ready replica for each number of running requests."""
    size = len(running)
    waits = [0.0] * size if waiting is None else list(waiting)
    shares = [0.0] * size if kv is None else list(kv)
    samples = tuple(
        PodSample(pod=f"p{i}", at=T0 + at_s, running=running[i], waiting=waits[i], kv_ratio=shares[i])
        for i in range(size)
    )
    ready = tuple(replica(number) for number in range(size))
    others = tuple(replica(size + number, ReplicaState.STARTING) for number in range(loading))
    return Signals(
        at=T0 + at_s,
        spec_replicas=size + loading if spec is None else spec,
        replicas=ready + others,
        samples=samples,
        held_requests=held,
    )
