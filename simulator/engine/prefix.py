"""The prefix cache of one replica, compiled: what a prompt finds, holds and leaves behind.

vLLM's automatic prefix caching: a full block of a prompt is known by a hash of its tokens and of all before it. A new
request takes the longest run of such blocks that the cache holds instead of computing them, at least its last token
apart; it holds them together with whoever else does, and they count as used, once. The blocks that it computes itself
are known from the step on that computes them. When it ends or is preempted they stay, for others and for itself, until
memory is needed (cache_entries.py).

A request of p prompt tokens, of which the trace names the first n prefix blocks of m engine blocks each, so has
min(n·m, ⌊p/16⌋) blocks that others may share; the last one named may be cut short by the prompt's end. It holds the
first `held` prefix blocks; all its other blocks are its own.

Not modelled: the blocks of an answer are found by nobody (traces do not name them), not even by the request itself
after a preemption; then it finds what is left of its prompt.

Here and in replica.py `c` is a `ReplicaCache`, or None where the trace names no blocks: numba compiles every function
once for each, and in the second what stands behind `if c is not None` does not exist.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.engine.cache_entries import NONE, enter_queue, find, leave_queue, new_entry, settle
from simulator.engine.des import compiled
from simulator.engine.records import (
    BLOCK_TOKENS,
    CacheRecord,
    PrefixCaches,
    ReplicaCache,
    ReplicaRecord,
    RequestRecords,
)


@compiled
def cache_of(caches: PrefixCaches | None, slot: int) -> ReplicaCache | None:
    """The cache of the replica in a slot; None where the trace names no blocks."""
    if caches is None:
        return None
    return ReplicaCache(
        caches.states[slot : slot + 1], caches.entries[slot], caches.buckets[slot], caches.prompts, caches.keys
    )


@compiled
def blocks_of_prefix(c: CacheRecord, requests: RequestRecords, request: int, count: int) -> int:
    """Engine blocks in the first `count` prefix blocks of a request."""
    return int(min(count * c.prompts[request].blocks_each, requests[request].prompt_tokens // BLOCK_TOKENS))


@compiled
def match(c: CacheRecord, r: ReplicaRecord, request: int, reserved: int) -> tuple[int, int]:
    """How many prefix blocks of a request the cache holds from the front, and the engine blocks nobody uses in them.

    `reserved` blocks are as good as taken, those of the sequences that decode: they come first in a step.
    """
    settle(c, r.kv_blocks + reserved, r.kv_capacity_blocks)
    prompt = c.prompts[request]
    count, unused = 0, 0
    while count < prompt.count:
        index = find(c, c.keys[prompt.begin + count])
        if index == NONE:
            break
        if c.entries[index].users == 0:
            unused += c.entries[index].blocks
        count += 1
    return count, unused


@compiled
def blocks_before_loss(c: CacheRecord, r: ReplicaRecord, request: int) -> int:
    """How many blocks can be taken before a waiting request loses cached blocks that nobody uses.

    They count against its admission: without them it asks for fewer blocks in its first step, and may be let in.
    """
    count, unused = match(c, r, request, 0)
    if unused == 0:
        return int(r.kv_capacity_blocks)
    blocks = r.kv_capacity_blocks - r.kv_blocks - c.state[0].evictable_blocks
    # The end of a prefix is evicted before its front.
    last = find(c, c.keys[c.prompts[request].begin + count - 1])
    index = int(c.state[0].oldest)
    while index != last:
        blocks += c.entries[index].blocks
        index = int(c.entries[index].newer)
    return int(blocks)


@compiled
def tokens_saved(c: CacheRecord, requests: RequestRecords, request: int, count: int) -> int:
    """Tokens that `count` cached prefix blocks save a request: whole engine blocks, its last token never among them."""
    known = requests[request].prompt_tokens + requests[request].generated
    blocks = min(blocks_of_prefix(c, requests, request, count), (known - 1) // BLOCK_TOKENS)
    return int(blocks * BLOCK_TOKENS)


@compiled
def hold_matched(c: CacheRecord, r: ReplicaRecord, requests: RequestRecords, request: int, count: int) -> None:
    """Let a request that is admitted hold the prefix blocks it found; the blocks in use include them already."""
    prompt = c.prompts[request]
    for i in range(count):
        index = find(c, c.keys[prompt.begin + i])
        if c.entries[index].users == 0:
            leave_queue(c, index)
        c.entries[index].users += 1
    prompt.held = count
    saved = tokens_saved(c, requests, request, count)
    r.kv_tokens += saved
    if prompt.saved < 0:
        prompt.saved = saved
        r.prefix_queries += requests[request].prompt_tokens
        r.prefix_hits += saved


@compiled
def share_computed(c: CacheRecord, r: ReplicaRecord, requests: RequestRecords, request: int, computed: int) -> None:
    """Make the prefix blocks known that a step completes, which ends with `computed` tokens of the request."""
    prompt = c.prompts[request]
    settle(c, r.kv_blocks, r.kv_capacity_blocks)
    while prompt.held < prompt.count:
        before = blocks_of_prefix(c, requests, request, prompt.held)
        blocks = blocks_of_prefix(c, requests, request, prompt.held + 1) - before
        if (before + blocks) * BLOCK_TOKENS > computed:
            return
        # Nobody can have made it known meanwhile: prompts are computed one after the other.
        index = new_entry(c, c.keys[prompt.begin + prompt.held], blocks)
        c.entries[index].users = 1
        prompt.held += 1


@compiled
def release(c: CacheRecord, r: ReplicaRecord, requests: RequestRecords, request: int, blocks: int) -> None:
    """Free a request's `blocks`, the last first, so that the front of a prompt is the last to be evicted."""
    settle(c, r.kv_blocks, r.kv_capacity_blocks)
    prompt = c.prompts[request]
    own = blocks - blocks_of_prefix(c, requests, request, prompt.held)
    if own > 0:
        r.kv_blocks -= own
        enter_queue(c, new_entry(c, 0, own))
    while prompt.held > 0:
        prompt.held -= 1
        index = find(c, c.keys[prompt.begin + prompt.held])
        entry = c.entries[index]
        entry.users -= 1
        if entry.users == 0:
            r.kv_blocks -= entry.blocks
            enter_queue(c, index)


@compiled
def free_blocks(r: ReplicaRecord, requests: RequestRecords, request: int, blocks: int, c: CacheRecord) -> None:
    """Free the blocks of a request that ends or is preempted."""
    if c is not None:
        release(c, r, requests, request, blocks)
    else:
        r.kv_blocks -= blocks


@compiled
def forget_held(caches: PrefixCaches | None, lost: NDArray[np.int64]) -> None:
    """Their replica is gone, and its cache with it: these requests hold nothing, and ask anew elsewhere."""
    if caches is not None:
        for request in lost:
            caches.prompts[request].held = 0
            caches.prompts[request].saved = -1
