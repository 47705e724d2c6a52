"""Checks for the vectors of Dynamo's planner."""

from collections.abc import Mapping

from autoscaler.core.signals import PodSample, Signals
from simulator.baselines.dynamo import DynamoMemory, DynamoSpec, Engine, Optimize, decide, easy_decision
from simulator.baselines.sight import Bounds
from tests.baselines.admission import Check, Vector
from tests.baselines.pools_seen import T0, replica

ENGINE = Engine(a_s=0.0115, b_s=70e-6, c_s=35e-6, d_s=80e-9, max_seqs=128, kv_tokens=16_384, chunk_tokens=2048)
EASY = DynamoSpec(ttft_s=0.5, itl_s=0.05, engine=ENGINE, bounds=Bounds(least=1, most=100), target=Optimize.THROUGHPUT)


def easy(vector: Vector) -> int:
    """Return the replicas that the easy mode asks for."""
    uses = [sum(tokens) / vector["capacity"] for tokens in vector["engines"]]
    return easy_decision(Optimize(vector["target"]), uses)


def holds(vector: Vector) -> bool:
    """Return whether full engines move nothing."""
    ready = tuple(replica(number) for number in range(vector["ready"]))
    samples = tuple(
        PodSample(pod=f"p{i}", at=T0, running=9.0, waiting=9.0, kv_ratio=1.1, kv_capacity_tokens=16_384.0)
        for i in range(vector["reports"])
    )
    signals = Signals(at=T0, spec_replicas=vector["asked"], replicas=ready, samples=samples)
    return not decide(EASY, DynamoMemory(), signals)[1].moves


CHECKS: Mapping[str, Check] = {"easy": easy, "holds": holds}
