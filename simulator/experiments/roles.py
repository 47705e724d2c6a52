"""Scenarios of several pools: one model in two roles, or models beside one another on the same nodes."""

from dataclasses import replace

from autoscaler.core import capacity
from autoscaler.core.policy import PolicySpec
from simulator.experiments.demo import first_replicas
from simulator.experiments.sweep import Case, scenario_of
from simulator.handover import KvTransfer
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.nodes.node import Content
from simulator.world import Scenario

LATENCY_S = 0.01
"""Of one transfer between two engines, beside its bytes: agreeing on it takes some messages between their hosts."""


def transfer_of(spec: PolicySpec, gigabytes_per_s: float) -> KvTransfer:
    """Return how the KV cache of a policy's model travels over a link; its bytes are 10⁹ a gigabyte."""
    return KvTransfer(latency_s=LATENCY_S, token_s=capacity.kv_bytes_per_token(spec) / (gigabytes_per_s * 1e9))


def role_scenarios(prefill: Case, decode: Case, seed: int) -> tuple[Scenario, Scenario]:
    """Return the scenarios of the two roles, on the same traffic; each begins with what its part of the work needs."""
    sends, receives = scenario_of(prefill, seed), scenario_of(decode, seed)
    least, most = prefill.policy.spec.replicas, decode.policy.spec.replicas
    # A prompt's part of the work is b for each of its tokens, an answer's all the rest.
    prompts = replace(sends.profile, c_s=0.0, d_s=0.0)
    answers = replace(receives.profile, b_s=0.0)
    return (
        replace(sends, initial_replicas=first_replicas(sends.trace, prompts, least.min, least.max)),
        # Cold starts follow from seed and replica: those of the two roles have nothing to do with one another.
        replace(receives, seed=seed + 1, initial_replicas=first_replicas(sends.trace, answers, most.min, most.max)),
    )


def beside_scenarios(cases: tuple[Case, ...], seed: int) -> tuple[Scenario, ...]:
    """Return the scenarios of models on the nodes of the first one's cluster; each has weights of its own."""
    first, *others = cases
    return (
        scenario_of(first, seed),
        *(
            replace(scenario_of(other, seed + number), cluster=_with_weights_of(other))
            for number, other in enumerate(others, start=1)
        ),
    )


def _with_weights_of(case: Case) -> ModelledCluster | None:
    """The cluster as another model finds it: the same nodes and image, and its own weights, as large as it is."""
    cluster, model = case.cluster, case.policy.spec.model
    if cluster is None or cluster.weights is None:
        return cluster
    billion = model.parameters_billion
    gigabytes = cluster.weights.gigabytes if billion is None else billion * model.bytes_per_parameter
    return replace(cluster, weights=Content(name=model.name, gigabytes=gigabytes))
