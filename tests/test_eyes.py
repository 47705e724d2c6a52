"""What the controller sees when it cannot see: a warning each, and never a zero."""

import asyncio
from typing import Any

from autoscaler.adapters.prometheus import Endpoint, Prometheus
from autoscaler.controller.eyes import PrometheusEyes
from autoscaler.core.policy import GROUP, KIND, VERSION, ScalingPolicy
from autoscaler.core.signals import Presence


def policy(**spec: Any) -> ScalingPolicy:
    """Return a policy."""
    least = {"targetRef": {"name": "chat"}, "model": {"name": "m"}, "accelerator": {"class": "L4"}}
    return ScalingPolicy.model_validate(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": "chat", "namespace": "p"},
            "spec": {**least, "replicas": {"max": 3}, **spec},
        }
    )


def with_pod_label(label: str) -> ScalingPolicy:
    """Return a policy with a pod label that its schema refuses: the queries have a guard of their own behind it."""
    valid = policy()
    metrics = valid.spec.metrics.model_copy(update={"pod_label": label})
    return valid.model_copy(update={"spec": valid.spec.model_copy(update={"metrics": metrics})})


def eyes() -> PrometheusEyes:
    """Return eyes on a Prometheus that is not there."""
    return PrometheusEyes(
        {"default": Prometheus(Endpoint(name="default", url="http://127.0.0.1:9"))}, allow_queries=False
    )


def test_a_prometheus_that_is_down_is_counted_and_told() -> None:
    """No answer means no samples and a warning, and the failed queries are counted."""
    looking = eyes()
    errors = asyncio.run(looking.refresh(100.0, [policy()]))
    sight = looking.pick(policy(), 100.0, ["chat-1"])
    assert errors["default"] > 0
    assert not [one for one in sight.samples if one.presence is Presence.PRESENT]
    assert 'Prometheus "default"' in sight.warnings[0]
    looking.close()


def test_a_name_that_the_administrator_did_not_give_is_told() -> None:
    """A policy cannot reach any Prometheus but those that have a name."""
    looking = eyes()
    assert asyncio.run(looking.refresh(100.0, [policy(prometheus="other")])) == {}
    assert "the administrator gave: default" in looking.pick(policy(prometheus="other"), 100.0, []).warnings[0]
    looking.close()


def test_a_label_that_promql_cannot_carry_blinds_its_own_policy_alone() -> None:
    """A mapping that is no label name is a warning, and no query is made of it."""
    looking = eyes()
    wrong = with_pod_label('pod) or vector(1e9) or ("')
    assert asyncio.run(looking.refresh(100.0, [wrong])) == {}
    assert "is no Prometheus label name" in looking.pick(wrong, 100.0, ["chat-1"]).warnings[0]
    looking.close()


def test_a_snapshot_of_another_instant_is_not_used() -> None:
    """What was seen in the last tick is not what is seen now."""
    looking = eyes()
    asyncio.run(looking.refresh(100.0, [policy()]))
    assert "was not asked in this tick" in looking.pick(policy(), 115.0, ["chat-1"]).warnings[0]
    looking.close()
