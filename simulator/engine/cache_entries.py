"""The evictable part of one replica's KV cache, compiled: a table of entries by key, and their order of eviction.

Unit. All amounts are blocks of the engine (16 tokens). An entry stands for the blocks of one prefix block of the
trace (32 of them where the trace cuts prompts into 512 tokens), or, without a key, for blocks whose content nobody will
ask for again: those of an answer, and the rest of a prompt behind its last full block.

As in vLLM, blocks that nobody uses keep their content and stand in one queue, first freed first taken, those without
a key among the others: an answer's blocks push older prefixes out. An entry with users stands in no queue. vLLM takes
block by block, here an entry loses its key with its first block: a hit is so up to one prefix block shorter.

Eviction is put off until somebody looks (`settle`): what would have been taken depends only on the blocks in use, which
grow between two looks, so the queue ends up as if each block had been taken when it was allocated. Everything that
frees blocks or asks for a prefix settles first.

Invariants (tested): blocks in use + blocks in the queue ≤ capacity once settled; users ≥ 0; an entry is in the queue if
and only if it has no users.
"""

from simulator.engine.des import compiled
from simulator.engine.records import CacheRecord

NONE = 0
"""No entry: rows are counted from 1, so that a cache of zeros is an empty one."""


@compiled
def bucket_of_key(c: CacheRecord, key: int) -> int:
    """The place of a key in the hash table, whose size is a power of two."""
    return key & (len(c.buckets) - 1)


@compiled
def find(c: CacheRecord, key: int) -> int:
    """The entry with that key, NONE if there is none."""
    index = c.buckets[bucket_of_key(c, key)]
    while index != NONE and c.entries[index].key != key:
        index = c.entries[index].chain
    return int(index)


@compiled
def new_entry(c: CacheRecord, key: int, blocks: int) -> int:
    """Make an entry without users that stands in no queue; key 0 for one that nobody will ask for."""
    index = int(c.state[0].spare)
    if index == NONE:
        c.state[0].rows += 1
        index = int(c.state[0].rows)
    else:
        c.state[0].spare = c.entries[index].newer
    entry = c.entries[index]
    entry.key = key
    entry.users = 0
    entry.blocks = blocks
    if key != 0:
        bucket = bucket_of_key(c, key)
        entry.chain = c.buckets[bucket]
        c.buckets[bucket] = index
    return index


@compiled
def forget_key(c: CacheRecord, index: int) -> None:
    """Let nobody find that entry any more."""
    bucket = bucket_of_key(c, c.entries[index].key)
    before = NONE
    at = int(c.buckets[bucket])
    while at != index:
        before = at
        at = int(c.entries[at].chain)
    if before == NONE:
        c.buckets[bucket] = c.entries[index].chain
    else:
        c.entries[before].chain = c.entries[index].chain
    c.entries[index].key = 0


@compiled
def enter_queue(c: CacheRecord, index: int) -> None:
    """Put an entry at the end of the queue: it is the last to be evicted."""
    entry, newest = c.entries[index], int(c.state[0].newest)
    entry.older = newest
    entry.newer = NONE
    if newest == NONE:
        c.state[0].oldest = index
    else:
        c.entries[newest].newer = index
    c.state[0].newest = index
    c.state[0].evictable_blocks += entry.blocks


@compiled
def leave_queue(c: CacheRecord, index: int) -> None:
    """Take an entry out of the queue."""
    entry = c.entries[index]
    older, newer = int(entry.older), int(entry.newer)
    if older == NONE:
        c.state[0].oldest = newer
    else:
        c.entries[older].newer = newer
    if newer == NONE:
        c.state[0].newest = older
    else:
        c.entries[newer].older = older
    c.state[0].evictable_blocks -= entry.blocks


@compiled
def settle(c: CacheRecord, used_blocks: int, capacity_blocks: int) -> None:
    """Evict, first freed first, until the blocks in use and those in the queue fit the capacity."""
    over = used_blocks + c.state[0].evictable_blocks - capacity_blocks
    while over > 0:
        index = int(c.state[0].oldest)
        entry = c.entries[index]
        if entry.key != 0:
            forget_key(c, index)
        if entry.blocks > over:
            entry.blocks -= over
            c.state[0].evictable_blocks -= over
            return
        over -= entry.blocks
        leave_queue(c, index)
        entry.newer = c.state[0].spare
        c.state[0].spare = index
