"""Stories of the Dynamo-like planner: a floor from the traffic, steps of one from the load."""

from dataclasses import replace

import pytest

from autoscaler.core.decision import Why
from autoscaler.core.signals import PodSample, Signals
from simulator.baselines.dynamo import (
    DynamoMemory,
    DynamoSpec,
    Engine,
    Load,
    Optimize,
    decide,
    engine_rps,
    load_decision,
)
from simulator.baselines.sight import Bounds
from tests.baselines.pools_seen import T0, pool, replica

ENGINE = Engine(a_s=0.0115, b_s=70e-6, c_s=35e-6, d_s=80e-9, max_seqs=256, kv_tokens=400_000, chunk_tokens=2048)
SPEC = DynamoSpec(ttft_s=2.5, itl_s=0.05, engine=ENGINE, bounds=Bounds(least=1, most=50))
CALM = Load(queued_tokens=0.0, running=5.0, kv_tokens=5_000.0)
FULL = Load(queued_tokens=60_000.0, running=250.0, kv_tokens=300_000.0)


def counted(at_s: float, *, requests: float, pods: int = 2, running: float = 20.0) -> Signals:
    """Return a pool whose pods have answered so many requests each, of 1000 prompt and 200 output tokens."""
    samples = tuple(
        PodSample(
            pod=f"p{i}",
            at=T0 + at_s,
            running=running,
            waiting=0.0,
            kv_ratio=0.05,
            kv_capacity_tokens=400_000.0,
            ttft_count=requests,
            prompt_tokens=1000 * requests,
            generation_tokens=200 * requests,
        )
        for i in range(pods)
    )
    return Signals(at=T0 + at_s, spec_replicas=pods, replicas=tuple(map(replica, range(pods))), samples=samples)


def test_an_engine_serves_what_both_objectives_leave_of_its_time() -> None:
    """By hand: ρ = min(1 − a/itl, 1 − (a + b·p)/ttft), over the marginal work of a request."""
    work_s = 70e-6 * 1000 + (35e-6 + 80e-9 * 1100) * 200
    found = engine_rps(ENGINE, ttft_s=2.5, itl_s=0.05, prompt=1000, output=200)
    assert found == pytest.approx((1 - 0.0115 / 0.05) / work_s)
    assert engine_rps(ENGINE, ttft_s=2.5, itl_s=0.01, prompt=1000, output=200) == 0.0


def test_one_more_needs_all_engines_to_miss_and_one_fewer_all_to_bear_it() -> None:
    """A single calm engine stops a scale-up, a single full one a scale-down."""
    assert load_decision(SPEC, [FULL, FULL], 1000.0) == 3
    assert load_decision(SPEC, [FULL, CALM], 1000.0) == 2
    assert load_decision(SPEC, [CALM, CALM], 1000.0) == 1
    assert load_decision(SPEC, [CALM], 1000.0) == 1


def test_the_throughput_loop_sets_a_floor_that_the_load_loop_cannot_go_below() -> None:
    """Ninety requests a second over three minutes need more than two engines, though these look calm."""
    memory, first = decide(SPEC, DynamoMemory(), counted(0, requests=0.0))
    assert not first.moves
    for step in range(1, 37):
        memory, decision = decide(SPEC, memory, counted(5.0 * step, requests=45.0 * 5 * step))
    expected = -(-90.0 // engine_rps(ENGINE, ttft_s=2.5, itl_s=0.05, prompt=1000, output=200))
    assert memory.floor == expected
    assert (decision.target, decision.why) == (expected, Why.CONCURRENCY)


def test_nothing_is_decided_while_a_replica_starts() -> None:
    """The cold-start guard: two full engines and one that loads."""
    _, decision = decide(replace(SPEC, target=Optimize.THROUGHPUT), DynamoMemory(), pool(0, [9.0] * 2, loading=1))
    assert (decision.target, decision.why) == (3, Why.STARTING)


def test_a_counter_that_fell_began_anew() -> None:
    """A pod that restarted shows what it counted since: nothing negative is added."""
    memory, _ = decide(SPEC, DynamoMemory(), counted(0, requests=500.0))
    memory, _ = decide(SPEC, memory, counted(5, requests=10.0))
    assert memory.traffic.begun == 20.0
