"""The gateway of one pool, compiled: takes arrivals in order, picks a replica for each, holds them while there is none.

Policies: least outstanding (the fewest requests running or waiting; at a tie the replica that was routed to
longest ago), round robin, random from a seed, and prefix-aware.

Prefix-aware sends a request where most of its prompt is cached, if that is more than a threshold and the loads are not
too different; otherwise to the least outstanding. Rule and thresholds are those of SGLang's router (`cache_aware` of
its gateway SMG: lightseekorg/smg, docs/concepts/routing/cache-aware.md); its second choice there is the worker with the
smallest tree. It knows what each replica holds, as routers do whom engines tell of their blocks. Where the trace
names no blocks it is least outstanding.

Requests that arrive while no replica takes any are held first come, first served, and released when one gets ready. A
request that fits no replica's KV cache is refused at once, as a real engine refuses it.
"""

from typing import Final

import numpy as np

from simulator.engine.des import compiled, compiled_owning, unit_hash
from simulator.engine.paging import REQUEST_MASK, blocks_of
from simulator.engine.prefix import cache_of, forget_held, match, tokens_saved
from simulator.engine.records import Pool, PrefixCaches, RequestStatus
from simulator.engine.replica import advance_replica, enqueue, settle_run

LEAST_OUTSTANDING: Final = 0
ROUND_ROBIN: Final = 1
RANDOM: Final = 2
PREFIX_AWARE: Final = 3

CACHED_RATIO_LEAST: Final = 0.3
"""Share of a prompt that must be cached somewhere to decide where it goes (`--cache-threshold`)."""
IMBALANCE_LEAST, IMBALANCE_RATIO_LEAST = 64, 1.5
"""Loads are too different if the largest is beyond the smallest by more requests than the first and by more than the
second times as many (`--balance-abs-threshold`, `--balance-rel-threshold`)."""

HELD, REJECTED = int(RequestStatus.HELD), int(RequestStatus.REJECTED)


@compiled
def pick(pool: Pool, request: int, at_s: float) -> int:
    """The slot that a request goes to, -1 if none takes requests; brings every replica to at_s on the way."""
    gateway = pool.gateway[0]
    best, routable = -1, 0
    by_prefix = gateway.routing == PREFIX_AWARE
    by_load = by_prefix or gateway.routing == LEAST_OUTSTANDING
    for slot in range(gateway.slots):
        r = pool.replicas[slot]
        if r.wake_s <= at_s:
            advance_replica(r, pool.work[slot], pool.requests, at_s, cache_of(pool.caches, slot))
        if r.routable == 0:
            continue
        routable += 1
        if best < 0:
            best = slot
            continue
        b = pool.replicas[best]
        fewer = by_load and r.outstanding < b.outstanding
        level = not by_load or r.outstanding == b.outstanding
        if fewer or (level and r.last_routed < b.last_routed):
            best = slot
    if gateway.routing == RANDOM and routable > 1:
        best = nth_routable(pool, int(unit_hash(gateway.seed, gateway.routed) * routable))
    if by_prefix and routable > 1:
        best = where_cached(pool, pool.caches, request, best, at_s)
    return best


@compiled
def where_cached(pool: Pool, caches: PrefixCaches | None, request: int, least: int, at_s: float) -> int:
    """The slot that prefix-aware routing picks; `least` has the fewest outstanding, all are advanced to at_s."""
    if caches is None:
        return least
    best, most = least, int(CACHED_RATIO_LEAST * pool.requests[request].prompt_tokens)
    fewest = pool.replicas[least].outstanding
    largest = fewest
    for slot in range(pool.gateway[0].slots):
        r = pool.replicas[slot]
        if r.routable == 0:
            continue
        largest = max(largest, r.outstanding)
        saved = tokens_cached(pool, caches, request, slot, at_s)
        fewer = saved == most and best != least and r.outstanding < pool.replicas[best].outstanding
        if saved > most or fewer:
            best, most = slot, saved
    if largest - fewest > IMBALANCE_LEAST and largest > IMBALANCE_RATIO_LEAST * fewest:
        return least
    return best


@compiled
def tokens_cached(pool: Pool, caches: PrefixCaches, request: int, slot: int, at_s: float) -> int:
    """Tokens that a replica's cache would save a request at at_s."""
    r, c = pool.replicas[slot], cache_of(caches, slot)
    # The blocks that a decode run takes evict others: what is seen must not depend on how steps are taken together.
    settle_run(r, pool.work[slot], pool.requests, at_s, c)
    count, _ = match(c, r, request, 0)
    return tokens_saved(c, pool.requests, request, count)


@compiled
def nth_routable(pool: Pool, n: int) -> int:
    """The slot of the n-th (from 0) replica that takes requests."""
    for slot in range(pool.gateway[0].slots):
        if pool.replicas[slot].routable:
            if n == 0:
                return slot
            n -= 1
    return -1


@compiled
def hold(pool: Pool, request: int) -> None:
    """Put a request at the tail of those held at the gateway."""
    gateway, q = pool.gateway[0], pool.requests[request]
    q.status = HELD
    q.next = -1
    if gateway.held == 0:
        gateway.held_head = request
    else:
        pool.requests[gateway.held_tail].next = request
    gateway.held_tail = request
    gateway.held += 1


@compiled
def dispatch(pool: Pool, request: int, at_s: float) -> bool:
    """Route a request at at_s; False if no replica takes requests."""
    slot = pick(pool, request, at_s)
    if slot < 0:
        return False
    gateway = pool.gateway[0]
    gateway.routed += 1
    pool.replicas[slot].last_routed = gateway.routed
    pool.requests[request].enqueued_s = at_s
    enqueue(pool.replicas[slot], pool.work[slot], pool.requests, request, cache_of(pool.caches, slot))
    return True


@compiled
def arrive(pool: Pool, until_s: float) -> None:
    """Route the arrivals up to and including until_s, in order; replicas come only as far as routing has to look."""
    gateway = pool.gateway[0]
    while gateway.next_arrival < gateway.submitted and pool.requests[gateway.next_arrival].enqueued_s <= until_s:
        request = gateway.next_arrival
        q = pool.requests[request]
        gateway.next_arrival += 1
        if blocks_of(q.prompt_tokens + q.output_tokens) > gateway.kv_capacity_blocks:
            q.status = REJECTED
            gateway.rejected += 1
        elif not dispatch(pool, request, q.enqueued_s):
            hold(pool, request)


@compiled
def advance(pool: Pool, until_s: float) -> None:
    """Everything up to and including until_s: arrivals in order, and every engine step that has ended."""
    arrive(pool, until_s)
    for slot in range(pool.gateway[0].slots):
        r, w, c = pool.replicas[slot], pool.work[slot], cache_of(pool.caches, slot)
        advance_replica(r, w, pool.requests, until_s, c)
        settle_run(r, w, pool.requests, until_s, c)


@compiled
def release_held(pool: Pool, at_s: float) -> None:
    """A replica has got ready at at_s: send on what the gateway holds, in order."""
    gateway = pool.gateway[0]
    while gateway.held > 0:
        request = gateway.held_head
        following = pool.requests[request].next
        if not dispatch(pool, request, at_s):
            return
        gateway.held -= 1
        gateway.held_head = following


@compiled_owning
def evict(pool: Pool, slot: int) -> None:
    """The replica is taken away: its requests start anew from the gateway, in the order of their ids."""
    r, w = pool.replicas[slot], pool.work[slot]
    lost = np.empty(r.outstanding, dtype=np.int64)
    for i in range(r.decoding):
        lost[i] = w.decoding[i] & REQUEST_MASK
    for i in range(r.prefilling):
        lost[r.decoding + i] = w.prefill_request[i]
    request = r.queue_head
    for i in range(r.waiting):
        lost[r.decoding + r.prefilling + i] = request
        request = pool.requests[request].next
    lost.sort()
    for request in lost:
        q = pool.requests[request]
        q.generated = 0
        q.first_token_s = np.nan
        q.last_token_s = np.nan
        q.replica = -1
        q.received = 0
        q.retries += 1
        hold(pool, request)
    forget_held(pool.caches, lost)
