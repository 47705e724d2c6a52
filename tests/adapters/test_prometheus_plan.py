"""The plan of a tick: what policies ask for, shared where they ask for the same."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.adapters.prometheus import PolicySeries, Snapshot, query_plans
from autoscaler.adapters.prometheus_plan import MAX_CUSTOM_QUERIES, MAX_PLANS
from autoscaler.core.policy import GROUP, KIND, VERSION, ScalingPolicy
from autoscaler.core.policy_parts import CustomQuery, CustomSignal, Preset
from autoscaler.engines import LabelError, Labels, Signal

SERIES = PolicySeries(namespace="prod", model="tiny")


def policy(**spec: Any) -> ScalingPolicy:
    """Return a policy with some fields of its spec set."""
    return ScalingPolicy.model_validate(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": "chat", "namespace": "prod"},
            "spec": {
                "targetRef": {"name": "chat"},
                "model": {"name": "tiny"},
                "accelerator": {"class": "H100-80GB"},
                "replicas": {"max": 4},
                **spec,
            },
        }
    )


def with_pod_label(label: str) -> ScalingPolicy:
    """Return a policy with a pod label that its schema refuses: the queries have a guard of their own behind it."""
    valid = policy()
    metrics = valid.spec.metrics.model_copy(update={"pod_label": label})
    return valid.model_copy(update={"spec": valid.spec.model_copy(update={"metrics": metrics})})


def test_a_policy_says_what_it_reads() -> None:
    """Namespace, model, engine, labels and objectives of a policy are those of its series."""
    found = PolicySeries.of(
        policy(
            engine={"preset": "sglang"},
            objectives={"ttftSeconds": 4, "itlSeconds": 0.1},
            metrics={"podLabel": "exported_pod"},
        )
    )
    assert found == PolicySeries(
        namespace="prod",
        model="tiny",
        preset=Preset.SGLANG,
        labels=Labels(pod="exported_pod"),
        ttft_s=4.0,
        itl_s=0.1,
    )


def test_custom_queries_need_the_administrators_leave() -> None:
    """Without it a policy's queries are not asked, and the policy is told so."""
    asks = policy(metrics={"queries": [{"signal": "heldRequests", "promql": "sum(held)"}]})
    refused = PolicySeries.of(asks)
    assert refused.queries == ()
    (plan,) = query_plans([refused])
    assert plan.custom == ()
    assert any("not allowed" in warning for warning in Snapshot(endpoint="main", at=0.0).warnings(refused, []))
    (plan,) = query_plans([PolicySeries.of(asks, allow_queries=True)])
    assert plan.custom == ("sum(held)",)


def test_a_label_that_is_none_is_refused_before_any_query() -> None:
    """A policy cannot write PromQL by way of a label's name."""
    with pytest.raises(LabelError):
        PolicySeries.of(with_pod_label("pod) (vector(1e9)"))


def test_policies_that_read_alike_share_one_plan_with_the_edges_of_all() -> None:
    """Different models, namespaces and objectives make one plan; its buckets are the union of what they need."""
    (plan,) = query_plans([SERIES, replace(SERIES, model="big", namespace="test", ttft_s=2.0, itl_s=0.05)])
    asked = dict(plan.queries)
    assert r'le=~"\\+Inf|1|1\\.0|2\\.5"' in asked[Signal.TTFT]
    assert r'le=~"\\+Inf|0\\.05"' in asked[Signal.TPOT]


def test_the_number_of_plans_and_of_custom_queries_is_bounded() -> None:
    """However odd the policies, a tick stays bounded; who is beyond the bound is told."""
    many = [replace(SERIES, labels=Labels(pod=f"pod_{number}")) for number in range(MAX_PLANS + 5)]
    assert len(query_plans(many)) == MAX_PLANS
    assert "too many different label mappings" in Snapshot(endpoint="main", at=0.0).warnings(many[-1], [])[0]
    asks = [
        replace(SERIES, queries=(CustomQuery(signal=CustomSignal.WAITING, promql=f"vector({number})"),))
        for number in range(MAX_CUSTOM_QUERIES + 5)
    ]
    (plan,) = query_plans(asks)
    assert len(plan.custom) == MAX_CUSTOM_QUERIES
    warnings = Snapshot(endpoint="main", at=0.0).warnings(asks[-1], [])
    assert any(
        asks[-1].queries[0].promql in one and "more custom queries than a tick has room" in one for one in warnings
    )


def test_a_custom_query_that_two_policies_share_is_asked_once() -> None:
    """The same text is the same query."""
    query = CustomQuery(signal=CustomSignal.HELD_REQUESTS, promql="sum(held)")
    plans = query_plans([replace(SERIES, queries=(query,)), replace(SERIES, model="big", queries=(query,))])
    assert [plan.custom for plan in plans] == [("sum(held)",)]
