"""What a replica's next step computes of prompts, compiled: chunks within the budget, admission, cached prefixes.

After one token for every decoding sequence comes the prompt that is partly computed, then new requests from the head
of the queue, until the step's token budget, the sequences or the blocks are used up (replica.py has the theory). A new
request begins behind what the prefix cache holds of its prompt.
"""

from simulator.engine.des import compiled
from simulator.engine.paging import blocks_for_steps, blocks_of
from simulator.engine.prefix import blocks_of_prefix, hold_matched, match, share_computed, tokens_saved
from simulator.engine.records import BLOCK_TOKENS, CacheRecord, ReplicaRecord, RequestRecords, RequestStatus, WorkRecord

RUNNING = int(RequestStatus.RUNNING)


@compiled
def plan_chunk(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, index: int, revived: int) -> bool:
    """Give prompt `index` of the prefill list its chunk of this step and the blocks for it; False if none are free.

    `revived` blocks beside those of the chunk come into use: cached ones.
    """
    request, done = w.prefill_request[index], w.prefill_done[index]
    budget = r.chunk_tokens - r.decoding - r.step_prefill_tokens
    chunk = min(requests[request].prompt_tokens + requests[request].generated - done, budget)
    blocks = blocks_of(done + chunk) - blocks_of(done) + revived
    if blocks > r.kv_capacity_blocks - r.kv_blocks - blocks_for_steps(r, 1):
        return False
    r.kv_blocks += blocks
    r.step_prefill_tokens += chunk
    w.prefill_plan[index] = chunk
    return True


@compiled
def begin_behind_received(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, index: int) -> bool:
    """Plan the first chunk of a prompt behind what was received of its KV cache, which takes its blocks now."""
    received = requests[w.prefill_request[index]].received
    w.prefill_done[index] = received
    if not plan_chunk(r, w, requests, index, blocks_of(received)):
        return False
    r.kv_tokens += received
    return True


@compiled
def begin_prompt(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> bool:
    """Plan the first chunk of the request at the head of the queue, behind what the cache holds of it."""
    request, index = r.queue_head, r.prefilling
    w.prefill_request[index] = request
    if c is None:
        return begin_behind_received(r, w, requests, index)
    count, unused = match(c, r, request, blocks_for_steps(r, 1))
    saved = tokens_saved(c, requests, request, count)
    w.prefill_done[index] = saved
    # The last token is computed even if its block was found: that block is no new one.
    computed_again = blocks_of_prefix(c, requests, request, count) - saved // BLOCK_TOKENS
    if not plan_chunk(r, w, requests, index, unused - computed_again):
        return False
    hold_matched(c, r, requests, request, count)
    share_computed(c, r, requests, request, saved + w.prefill_plan[index])
    return True


@compiled
def go_on_with_prompt(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> bool:
    """Plan the next chunk of the prompt that is partly computed."""
    if not plan_chunk(r, w, requests, 0, 0):
        return False
    if c is not None:
        share_computed(c, r, requests, w.prefill_request[0], w.prefill_done[0] + w.prefill_plan[0])
    return True


@compiled
def admit(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Take requests from the head of the queue while budget, sequences and blocks last."""
    while r.waiting > 0 and r.decoding + r.prefilling < r.max_num_seqs:
        if r.async_scheduling and requests[r.queue_head].enqueued_s > r.seen_s:
            break
        if r.chunk_tokens - r.decoding - r.step_prefill_tokens <= 0:
            break
        request = r.queue_head
        if not begin_prompt(r, w, requests, c):
            break
        r.queue_head = requests[request].next
        r.waiting -= 1
        r.prefilling += 1
        requests[request].status = RUNNING


@compiled
def attention_of_step(r: ReplicaRecord, w: WorkRecord) -> float:
    """A = Σ((s + n)² − s²)/2 over the planned chunks."""
    total = 0.0
    for i in range(r.prefilling):
        done, chunk = float(w.prefill_done[i]), float(w.prefill_plan[i])
        total += chunk * (done + 0.5 * chunk)
    return total
