"""The paged KV cache of one replica, compiled: blocks, how long they last, and preemption when they do not.

Blocks of 16 tokens. A sequence with n computed tokens at step s needs a new block in the steps s + i where n
+ i ≡ 0 (mod 16). So the number of decoding sequences by phase (n − s) mod 16 (`block_phase`, which no step
changes) says how many blocks any run of steps allocates, without looking at a single sequence.

Preemption. If the decoding sequences need more blocks than are free, the request that came last is preempted
by recomputation: its blocks are freed, it returns to the head of the queue, and later computes p + (tokens
generated so far) as a prompt. Since the queue is first come, first served and preempted requests return to
its head, those running are always those that came first, so "came last" needs no bookkeeping.

Arguments, here and in replica.py: `r` a REPLICA record, `w` its WORK record, `requests` the (N,) REQUEST
array, `c` the replica's prefix cache or None (prefix.py). They are passed apart because compiled code hands a
bundle of arrays over word by word at every call, which costs more than the calls do.
"""

from simulator.engine.des import compiled, heap_remove
from simulator.engine.prefix import free_blocks
from simulator.engine.records import BLOCK_TOKENS, CacheRecord, ReplicaRecord, RequestRecords, RequestStatus, WorkRecord

WAITING = int(RequestStatus.WAITING)
PHASE_MASK = BLOCK_TOKENS - 1
REQUEST_MASK = (1 << 32) - 1


@compiled
def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + PHASE_MASK) // BLOCK_TOKENS


@compiled
def blocks_for_steps(r: ReplicaRecord, steps: int) -> int:
    """Blocks that the next `steps` decode steps allocate."""
    blocks: int = (steps // BLOCK_TOKENS) * r.decoding
    for i in range(steps % BLOCK_TOKENS):
        blocks += r.block_phase[-(r.steps + i) & PHASE_MASK]
    return blocks


@compiled
def steps_until_full(r: ReplicaRecord, limit: int, free: int) -> int:
    """How many decode steps, at most `limit`, so many free blocks allow. Needs decoding > 0."""
    if free >= (limit // BLOCK_TOKENS + 1) * r.decoding:
        return limit
    cycles = free // r.decoding
    steps: int = cycles * BLOCK_TOKENS
    free -= cycles * r.decoding
    while steps < limit:
        free -= r.block_phase[-(r.steps + steps) & PHASE_MASK]
        if free < 0:
            break
        steps += 1
    return steps


@compiled
def push_waiting(r: ReplicaRecord, requests: RequestRecords, request: int, at_head: bool) -> None:
    """Put a request at the tail (an arrival) or the head (a preempted one) of a replica's queue."""
    q = requests[request]
    q.status = WAITING
    q.next = -1
    if r.waiting == 0:
        r.queue_head = request
        r.queue_tail = request
    elif at_head:
        q.next = r.queue_head
        r.queue_head = request
    else:
        requests[r.queue_tail].next = request
        r.queue_tail = request
    r.waiting += 1


@compiled
def preempt(r: ReplicaRecord, requests: RequestRecords, request: int, computed: int, c: CacheRecord) -> None:
    """Free the blocks of a running request with `computed` tokens and return it to the head of the queue."""
    q = requests[request]
    free_blocks(r, requests, request, blocks_of(computed), c)
    r.kv_tokens -= computed
    r.preemptions += 1
    q.preemptions += 1
    q.received = 0
    push_waiting(r, requests, request, True)


@compiled
def preempt_partial_prefill(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Preempt the request whose prompt is partly computed: it is always the one that came last."""
    r.prefilling = 0
    preempt(r, requests, w.prefill_request[0], w.prefill_done[0], c)


@compiled
def preempt_last_decoding(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Preempt the decoding request that came last to this replica."""
    heap = w.decoding
    victim = 0
    for i in range(1, r.decoding):
        mine, best = heap[i] & REQUEST_MASK, heap[victim] & REQUEST_MASK
        mine_s, best_s = requests[mine].enqueued_s, requests[best].enqueued_s
        if mine_s > best_s or (mine_s == best_s and mine > best):
            victim = i
    request = heap[victim] & REQUEST_MASK
    q = requests[request]
    q.generated = requests[request].output_tokens - ((heap[victim] >> 32) - r.steps)
    # Its latest token came with the last step; one preempted while it is computed again keeps the time of its own.
    q.last_token_s = r.clock_s
    computed = requests[request].prompt_tokens + q.generated - 1
    heap_remove(heap, r.decoding, victim)
    r.decoding -= 1
    r.block_phase[(computed - r.steps) & PHASE_MASK] -= 1
    preempt(r, requests, request, computed, c)


@compiled
def make_room(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> bool:
    """Preempt until the free blocks hold one more step of those that decode; True if anything was preempted."""
    any_preempted = False
    while blocks_for_steps(r, 1) > r.kv_capacity_blocks - r.kv_blocks:
        any_preempted = True
        if r.prefilling > 0:
            preempt_partial_prefill(r, w, requests, c)
        else:
            preempt_last_decoding(r, w, requests, c)
    return any_preempted
