"""Small engines, traces and pools for the tests of the simulator."""

import numpy as np
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import PoolSnapshot, RequestStatus
from simulator.startup.model import StartupModel
from simulator.traces import Trace

FIXED_120_S = StartupModel.of_total(120.0, sigma=0.0, straggler_ratio=0.0)


def engine(**changes: float) -> EngineProfile:
    """An A100-like engine, with changes."""
    numbers: dict[str, float] = {
        "a_s": 0.0115,
        "b_s": 70e-6,
        "c_s": 35e-6,
        "d_s": 80e-9,
        "max_num_seqs": 256,
        "kv_tokens": 400_000,
        "max_num_batched_tokens": 2048,
    }
    numbers |= changes
    return EngineProfile(
        name="test",
        model="m",
        accelerator="g",
        accelerators_per_replica=1,
        a_s=numbers["a_s"],
        b_s=numbers["b_s"],
        c_s=numbers["c_s"],
        d_s=numbers["d_s"],
        attention_s=numbers.get("attention_s", 0.0),
        max_num_seqs=int(numbers["max_num_seqs"]),
        kv_tokens=int(numbers["kv_tokens"]),
        max_num_batched_tokens=int(numbers["max_num_batched_tokens"]),
        async_scheduling=bool(numbers.get("async_scheduling", False)),
    )


def requests(*rows: tuple[float, int, int]) -> Trace:
    """A trace from rows of (arrival_s, prompt_tokens, output_tokens)."""
    return Trace(
        name="rows",
        arrival_s=np.array([row[0] for row in rows], dtype=np.float64),
        prompt_tokens=np.array([row[1] for row in rows], dtype=np.int32),
        output_tokens=np.array([row[2] for row in rows], dtype=np.int32),
    )


def random_trace(
    seed: int, size: int, *, span_s: float = 30.0, longest_prompt: int = 2000, longest_output: int = 200
) -> Trace:
    """Requests at random times with random lengths."""
    rng = np.random.default_rng(seed)
    return Trace(
        name=f"random-{seed}",
        arrival_s=np.sort(rng.uniform(0, span_s, size)),
        prompt_tokens=rng.integers(1, longest_prompt, size).astype(np.int32),
        output_tokens=rng.integers(1, longest_output, size).astype(np.int32),
    )


def pool(
    trace: Trace | None = None,
    *,
    profile: EngineProfile | None = None,
    replicas: int = 1,
    seed: int = 0,
    **changes: float,
) -> Cluster:
    """A pool of such engines, ready at 0, with a cold start of exactly 120 s."""
    profile = profile or engine(**changes)
    return Cluster(profile=profile, startup=FIXED_120_S, seed=seed, trace=trace, initial_replicas=replicas)


def drain_all(cluster: Cluster, *, tick_s: float = 15.0, limit_s: float = 1e6) -> Cluster:
    """Advance tick by tick until every request that was handed in is finished or rejected."""
    while cluster.now_s < limit_s:
        cluster.advance(cluster.now_s + tick_s)
        snapshot, table = cluster.snapshot(), cluster.requests()
        assert_nothing_lost(cluster, snapshot)
        done = np.isin(table.status, (RequestStatus.FINISHED, RequestStatus.REJECTED))
        if len(table) == cluster.submitted_total and done.all():
            return cluster
    raise AssertionError(f"requests are still unfinished at {limit_s} s")


def assert_nothing_lost(cluster: Cluster, snapshot: PoolSnapshot) -> None:
    """Conservation, and the bounds of every replica, at one instant."""
    status = np.bincount(cluster.requests().status, minlength=6)
    assert int(status[RequestStatus.HELD]) == snapshot.held
    assert int(status[RequestStatus.WAITING]) == int(snapshot.waiting.sum())
    assert int(status[RequestStatus.RUNNING]) == int(snapshot.running.sum())
    assert int(status.sum()) == snapshot.arrived_total
    assert np.array_equal(snapshot.engine["outstanding"], snapshot.running + snapshot.waiting)
    assert np.all(snapshot.engine["kv_blocks"] <= cluster.profile.kv_blocks)
    assert np.all(snapshot.running <= cluster.profile.max_num_seqs)


EngineNumbers = dict[str, float]

engines = st.fixed_dictionaries(
    {
        "a_s": st.floats(0.004, 0.05),
        "b_s": st.floats(1e-5, 2e-4),
        "c_s": st.floats(0, 1e-4),
        "d_s": st.one_of(st.just(0.0), st.floats(1e-9, 5e-7)),
        "attention_s": st.one_of(st.just(0.0), st.floats(1e-10, 1e-8)),
        "max_num_seqs": st.integers(1, 64),
        "kv_tokens": st.integers(2300, 12_000),
        "max_num_batched_tokens": st.integers(64, 4096),
        "async_scheduling": st.booleans(),
    }
)
"""Engines with little KV memory, so that preemption and full batches are common."""
