"""The arrays behind a pool: made, and made larger as replicas and requests come."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.cache_storage import clear_cache, new_caches, with_blocks_of, with_more_caches, with_more_prompts
from simulator.engine.profiles import EngineProfile
from simulator.engine.records import (
    GATEWAY,
    REPLICA,
    REQUEST,
    WORK,
    Pool,
)
from simulator.traces import Trace

SLOTS_AT_FIRST = 16


def new_pool(profile: EngineProfile, *, routing: int, seed: int) -> Pool:
    """A pool without replicas and requests."""
    gateway = np.zeros(1, dtype=GATEWAY)
    gateway["routing"], gateway["seed"], gateway["kv_capacity_blocks"] = routing, seed, profile.kv_blocks
    return Pool(
        replicas=_unused_replicas(SLOTS_AT_FIRST),
        work=np.zeros(SLOTS_AT_FIRST, dtype=WORK),
        requests=np.zeros(0, dtype=REQUEST),
        gateway=gateway,
    )


def with_more_slots(pool: Pool) -> Pool:
    """The same pool with twice the room for replicas."""
    size = len(pool.replicas)
    return pool._replace(
        replicas=np.concatenate([pool.replicas, _unused_replicas(size)]),
        work=np.concatenate([pool.work, np.zeros(size, dtype=WORK)]),
        caches=None if pool.caches is None else with_more_caches(pool.caches, size),
    )


def with_requests(
    pool: Pool, arrival_s: NDArray[Any], prompt_tokens: NDArray[Any], output_tokens: NDArray[Any]
) -> Pool:
    """The same pool with these requests appended; room grows by doubling, so appending one by one stays cheap."""
    used = int(pool.gateway["submitted"][0])
    needed = used + len(arrival_s)
    if needed > len(pool.requests):
        larger = np.zeros(needed if used == 0 else max(needed, 2 * used), dtype=REQUEST)
        larger[:used] = pool.requests[:used]
        pool = pool._replace(requests=larger)
    if pool.caches is not None and len(pool.caches.prompts) < len(pool.requests):
        pool = pool._replace(caches=with_more_prompts(pool.caches, len(pool.requests)))
    new = pool.requests[used:needed]
    new["arrival_s"] = arrival_s
    # An engine computes at least one token of a prompt and yields at least one.
    new["prompt_tokens"] = np.maximum(prompt_tokens, 1)
    new["output_tokens"] = np.maximum(output_tokens, 1)
    new["enqueued_s"] = arrival_s
    new["first_token_s"] = new["last_token_s"] = np.nan
    new["replica"] = new["next"] = -1
    pool.gateway["submitted"] = needed
    return pool


def with_trace(pool: Pool, trace: Trace, *, at_s: float = 0.0) -> Pool:
    """The same pool with a trace's requests appended, at_s later than the trace has them; with their prefix blocks.

    A pool has prefix caches from the first trace on that names prefix blocks.

    Raises:
        TraceError: the trace's prefix blocks are not made of whole blocks of the engine.
    """
    first = int(pool.gateway["submitted"][0])
    pool = with_requests(pool, trace.arrival_s + at_s, trace.prompt_tokens, trace.output_tokens)
    if trace.block_ids is None:
        return pool
    kv_blocks = int(pool.gateway["kv_capacity_blocks"][0])
    caches = pool.caches or new_caches(len(pool.replicas), len(pool.requests), kv_blocks)
    return pool._replace(caches=with_blocks_of(caches, first, trace))


def with_received(pool: Pool, sent: NDArray[Any]) -> Pool:
    """The same pool with requests of another one appended, by the time at which they reach the gateway (REQUEST)."""
    first = int(pool.gateway["submitted"][0])
    pool = with_requests(pool, sent["arrival_s"], sent["prompt_tokens"], sent["output_tokens"])
    new = pool.requests[first : first + len(sent)]
    for field in ("enqueued_s", "received", "preemptions", "retries"):
        new[field] = sent[field]
    return pool


def engine_record(profile: EngineProfile, *, stepwise: bool) -> NDArray[Any]:
    """The (1,) REPLICA record of a new, empty replica with that engine; stepwise turns closed-form decoding off."""
    record = _unused_replicas(1)
    for field in ("a_s", "b_s", "c_s", "d_s", "attention_s", "max_num_seqs", "async_scheduling"):
        record[field] = getattr(profile, field)
    record["chunk_tokens"] = profile.max_num_batched_tokens
    record["kv_capacity_blocks"] = profile.kv_blocks
    record["stepwise"] = stepwise
    return record


def place_replica(pool: Pool, slot: int, *, engine: NDArray[Any], replica_id: int, at_s: float) -> None:
    """Put a new replica, that takes requests from at_s on, into a slot."""
    record = pool.replicas[slot : slot + 1]
    record[:] = engine
    record["id"] = replica_id
    record["clock_s"] = record["idle_since_s"] = record["busy_since_s"] = at_s
    record["routable"] = 1


def clear_slot(pool: Pool, slot: int) -> None:
    """Take the replica of a slot away."""
    pool.replicas[slot : slot + 1] = _unused_replicas(1)
    if pool.caches is not None:
        clear_cache(pool.caches, slot)


def _unused_replicas(size: int) -> NDArray[Any]:
    replicas = np.zeros(size, dtype=REPLICA)
    replicas["id"], replicas["wake_s"], replicas["slowdown"] = -1, np.inf, 1.0
    return replicas
