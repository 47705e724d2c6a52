"""Closed-loop clients on one simulated replica: each sends its next request when the last one is answered.

Load tests of inference servers work this way ("--max-concurrency"): all clients start at once, and no arrival times are
given, only how many are in flight. The driver is compiled and exact to the step: it advances the pool from one event
that can be seen (a finish) to the next, and the request that follows arrives at that instant plus the client's pause.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import Floats
from simulator.engine.des import compiled
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import Pool
from simulator.engine.routing import advance
from simulator.engine.storage import engine_record, new_pool, place_replica, with_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest:
    """A load test: `clients` in flight until `clients · rounds` requests of these lengths are answered.

    With `shortest` below 1 each length is drawn uniformly from [shortest·length, length], from a seed.
    """

    clients: int
    prompt_tokens: int
    output_tokens: int
    rounds: int = 10
    pause_s: float = 0.0
    shortest: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadTestResult:
    """What was sent, and TTFT and TPOT of it; (N,) each, in the order in which requests were sent."""

    arrival_s: Floats
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    ttft_s: Floats
    tpot_s: Floats


def run_load_test(profile: EngineProfile, test: LoadTest) -> LoadTestResult:
    """Run a load test on one replica that is ready and empty.

    Raises:
        ValueError: a single request does not fit into the replica's KV cache; the clients would wait for ever.
    """
    if test.prompt_tokens + test.output_tokens > profile.kv_tokens:
        raise ValueError(f"{profile.name}: the KV cache holds {profile.kv_tokens} tokens; give shorter requests")
    total = test.clients * test.rounds
    rng = np.random.default_rng(test.seed)
    prompts, outputs = (
        np.rint(length * rng.uniform(test.shortest, 1.0, total)).astype(np.int32)
        for length in (test.prompt_tokens, test.output_tokens)
    )
    pool = with_requests(new_pool(profile, routing=0, seed=test.seed), np.full(total, np.inf), prompts, outputs)
    # Nobody has sent anything yet, and the pool is one replica.
    pool.gateway["submitted"] = 0
    pool.gateway["slots"] = 1
    place_replica(pool, 0, engine=engine_record(profile, stepwise=False), replica_id=0, at_s=0.0)
    _drive(pool, test.clients, test.pause_s, total)
    rows = pool.requests
    decode_s = rows["last_token_s"] - rows["first_token_s"]
    return LoadTestResult(
        arrival_s=rows["arrival_s"].copy(),
        prompt_tokens=rows["prompt_tokens"].copy(),
        output_tokens=rows["output_tokens"].copy(),
        ttft_s=rows["first_token_s"] - rows["arrival_s"],
        tpot_s=decode_s / np.maximum(rows["output_tokens"] - 1, 1),
    )


@compiled
def _drive(pool: Pool, clients: int, pause_s: float, total: int) -> None:
    """Send `total` requests, `clients` at a time. Pauses are equal, so requests follow in the order of finishes."""
    replica, gateway = pool.replicas[0], pool.gateway[0]
    for request in range(clients):
        pool.requests[request].arrival_s = 0.0
        pool.requests[request].enqueued_s = 0.0
    gateway.submitted = clients
    answered, now_s = 0, 0.0
    advance(pool, now_s)
    while answered < total:
        now_s = replica.wake_s
        if gateway.next_arrival < gateway.submitted:
            now_s = min(now_s, pool.requests[gateway.next_arrival].arrival_s)
        advance(pool, now_s)
        while answered < replica.requests_finished:
            answered += 1
            if gateway.submitted < total:
                pool.requests[gateway.submitted].arrival_s = now_s + pause_s
                pool.requests[gateway.submitted].enqueued_s = now_s + pause_s
                gateway.submitted += 1
