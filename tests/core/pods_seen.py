"""Policies, pods and signals for the tests of the core, as short as a story needs them."""

from typing import Any

from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Replica, ReplicaState, Signals

A100: dict[str, Any] = {
    "fixedSeconds": 0.0115,
    "prefillTokenSeconds": 70e-6,
    "sequenceSeconds": 35e-6,
    "kvTokenSeconds": 80e-9,
    "source": "A100 8B",
}


def policy(**parts: Any) -> PolicySpec:
    """Return a policy for an 8B model on an A100; keyword arguments replace whole parts, named as users write them.

    Its mode is Recommend, as most tests do not carry the decisions out: in Enforce that would look like a contest.
    """
    whole: dict[str, Any] = {
        "targetRef": {"name": "llm"},
        "model": {"name": "llm"},
        "engine": {"maxSequences": 256, "kvTokens": 400_000, "stepTime": A100},
        "accelerator": {"class": "A100-80GB"},
        "objectives": {"ttftSeconds": 2},
        "replicas": {"min": 1, "max": 50},
        "coldStart": {"priorSeconds": 120},
    }
    return PolicySpec.model_validate(whole | parts)


def sample(pod: str, at: float, requests: float, **other: Any) -> PodSample:
    """Return a sample of a pod that has served so many requests of 1,000 prompt and 200 output tokens."""
    values: dict[str, Any] = {
        "running": 10.0,
        "waiting": 0.0,
        "kv_ratio": 0.03,
        "prompt_tokens": requests * 1000,
        "generation_tokens": requests * 200,
        "finished_requests": requests,
        "ttft_count": requests,
        "itl_sum_s": requests * 200 * 0.03,
        "itl_count": requests * 200,
    }
    return PodSample(pod=pod, at=at, **(values | other))


def replica(pod: str, *, ordered_at: float = -3600.0, ready_at: float | None = -3500.0, **other: Any) -> Replica:
    """Return a replica: ready unless ``ready_at`` is ``None``, then starting."""
    state = ReplicaState.STARTING if ready_at is None else ReplicaState.READY
    values: dict[str, Any] = {"uid": pod, "state": state, "ordered_at": ordered_at, "ready_at": ready_at}
    return Replica(pod=pod, **(values | other))


def steady(at: float, *, ready: int = 2, rate_rps: float = 8.0, stands: int | None = None, **other: Any) -> Signals:
    """Return what is seen at an instant of a target that has always served ``rate_rps`` requests/s, evenly."""
    names = [f"llm-{index}" for index in range(ready)]
    values: dict[str, Any] = {
        "spec_replicas": ready if stands is None else stands,
        "replicas": tuple(replica(name) for name in names),
        "samples": tuple(sample(name, at - 5, (at + 1000) * rate_rps / ready) for name in names),
    }
    return Signals(at=at, **(values | other))
