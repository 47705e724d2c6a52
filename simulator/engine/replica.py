"""One replica: continuous batching at the level of requests, compiled.

Theory. An engine such as vLLM works in steps. Before each step its scheduler picks, in this order: one token
for every decoding sequence; the rest of a prompt that is partly computed; new requests from the head of a
first-come-first-served queue. It stops at the token budget of a step (chunked prefill), at max_num_seqs, or
when the paged KV cache has no free block. The step takes τ = a + b·P + c·R + d·K + e·A seconds (profiles.py).
A prompt whose last token was computed yields its first output token at the end of that step; every later step
yields one more. A request of p prompt and o output tokens so ends with p + o − 1 tokens in the cache (the
last one is never computed).

Closed form. Between arrivals and finishes the batch of a decode-only engine is constant, so k steps take k·f
+ g·k(k − 1)/2 with f = a + c·B + d·K, g = d·B (des.py). Three structures make a run of steps cost O(log B)
instead of O(k·B):
  * a heap of finish steps: every step advances every decoding sequence by one token, so the step of a
  request's last token is known
    when its decoding starts. A key is finish step << 32 | request.
  * counts of sequences by phase: a sequence with n computed tokens at step s needs a new block in the steps
  where n + i ≡ 0
    (mod 16), hence block_phase[(n − s) mod 16]; the blocks that k steps need follow from those 16 counts.
  * `wake_s`, the end of the run: nothing that a router could see (a finish) happens before.
With `stepwise` every run is cut to one step: the same code without the closed form (a test compares the two).

Scheduling ahead. With `async_scheduling` (vLLM's default since 0.14) the engine decides on a step while the one
before it computes, so that the accelerator never waits. What came during a step was not known when the next
one was decided, and waits for the one after it: `seen_s` is the start of the step just ended, and a request
that came later is not admitted yet. An engine with nothing to run takes all at once. Not modelled: what a
finish frees, a sequence and blocks, also comes one step later.

State between calls. A step is never split: `advance_replica` commits steps that end at or before the time
given; the one in progress keeps the batch it was started with, and an arrival waits for its end. `run_steps`
may be committed in part by `settle_run`.

Invariants: kv_blocks ≤ capacity; running ≤ max_num_seqs; outstanding = running + waiting; kv_tokens = Σ
computed tokens.
"""

import numpy as np

from simulator.engine.batching import admit, attention_of_step, go_on_with_prompt
from simulator.engine.des import bucket_of, compiled, heap_pop, heap_push, observe_run, run_s, steps_within
from simulator.engine.paging import (
    PHASE_MASK,
    REQUEST_MASK,
    blocks_for_steps,
    blocks_of,
    make_room,
    preempt_partial_prefill,
    push_waiting,
    steps_until_full,
)
from simulator.engine.prefix import blocks_before_loss, free_blocks
from simulator.engine.records import (
    TPOT_EDGES_S,
    TTFT_EDGES_S,
    CacheRecord,
    ReplicaRecord,
    RequestRecords,
    RequestStatus,
    StepKind,
    WorkRecord,
)

# numba freezes module constants into the code; enums of Python are slow to compile, so their values are spelled out.
IDLE, MIXED, DECODE_RUN = int(StepKind.IDLE), int(StepKind.MIXED), int(StepKind.DECODE_RUN)
FINISHED = int(RequestStatus.FINISHED)
TTFT_EDGES, TPOT_EDGES = np.array(TTFT_EDGES_S), np.array(TPOT_EDGES_S)


@compiled
def decode_step(r: ReplicaRecord) -> tuple[float, float]:
    """First step time f and growth g of a decode run of the present batch, in seconds."""
    first_s = r.a_s + r.c_s * r.decoding + r.d_s * r.kv_tokens
    return r.slowdown * first_s, r.slowdown * r.d_s * r.decoding


@compiled
def start_mixed(r: ReplicaRecord, w: WorkRecord) -> None:
    """Start one step that computes the planned chunks and one token of every decoding sequence."""
    step_s = r.a_s + r.c_s * r.decoding + r.d_s * r.kv_tokens
    step_s += r.b_s * r.step_prefill_tokens + r.attention_s * attention_of_step(r, w)
    r.kv_blocks += blocks_for_steps(r, 1)
    r.step_kind = MIXED
    r.step_end_s = r.clock_s + r.slowdown * step_s
    r.wake_s = r.step_end_s


@compiled
def steps_of_run(r: ReplicaRecord, limit: int, c: CacheRecord) -> int:
    """How many decode steps, at most `limit`, neither fill the cache nor change what the queue's head waits for."""
    free = r.kv_capacity_blocks - r.kv_blocks
    if c is not None and r.waiting > 0 and r.decoding < r.max_num_seqs:
        free = min(free, blocks_before_loss(c, r, r.queue_head))
    return steps_until_full(r, limit, free)


@compiled
def start_run(r: ReplicaRecord, w: WorkRecord, only_one: bool, c: CacheRecord) -> None:
    """Start a run of decode steps up to the next finish, or as far as the blocks go."""
    steps = (w.decoding[0] >> 32) - r.steps
    # One that was not known when this step was decided is asked for again after it.
    unseen = r.async_scheduling and r.waiting > 0 and r.decoding < r.max_num_seqs
    r.run_steps = 1 if only_one or unseen or r.stepwise else steps_of_run(r, steps, c)
    first_s, growth_s = decode_step(r)
    r.step_kind = DECODE_RUN
    r.wake_s = r.clock_s + run_s(first_s, growth_s, r.run_steps)


@compiled
def schedule(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Decide at clock_s what this replica does next, as the engine's scheduler would."""
    if r.outstanding == 0:
        r.step_kind = IDLE
        r.wake_s = np.inf
        r.busy_s += r.clock_s - r.busy_since_s
        r.idle_since_s = r.clock_s
        return
    if r.decoding + r.prefilling == 0:
        r.seen_s = r.clock_s
    preempted = make_room(r, w, requests, c)
    r.step_prefill_tokens = 0
    if r.prefilling > 0 and not go_on_with_prompt(r, w, requests, c):
        preempt_partial_prefill(r, w, requests, c)
        preempted = True
    # As in vLLM, a step that had to preempt admits nobody.
    if not preempted:
        admit(r, w, requests, c)
    if r.prefilling > 0:
        start_mixed(r, w)
    else:
        start_run(r, w, preempted, c)


@compiled
def finish(r: ReplicaRecord, requests: RequestRecords, request: int, c: CacheRecord) -> None:
    """Record the end of a request at clock_s and free its blocks."""
    q = requests[request]
    output = requests[request].output_tokens
    computed = requests[request].prompt_tokens + output - 1
    free_blocks(r, requests, request, blocks_of(computed), c)
    r.kv_tokens -= computed
    r.outstanding -= 1
    r.requests_finished += 1
    q.status = FINISHED
    q.generated = output
    q.last_token_s = r.clock_s
    tpot_s = (r.clock_s - q.first_token_s) / (output - 1) if output > 1 else 0.0
    r.tpot_count += 1
    r.tpot_sum_s += tpot_s
    r.tpot_buckets[bucket_of(TPOT_EDGES, tpot_s)] += 1
    r.e2e_count += 1
    r.e2e_sum_s += r.clock_s - q.enqueued_s
    r.came_sum_s -= q.enqueued_s


@compiled
def finish_decoding(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Finish those whose last token came with the step just committed."""
    heap = w.decoding
    while r.decoding > 0 and heap[0] >> 32 == r.steps:
        request = heap[0] & REQUEST_MASK
        heap_pop(heap, r.decoding)
        r.decoding -= 1
        computed = requests[request].prompt_tokens + requests[request].output_tokens - 1
        r.block_phase[(computed - r.steps) & PHASE_MASK] -= 1
        finish(r, requests, request, c)


@compiled
def commit_run(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, steps: int, c: CacheRecord) -> None:
    """Let the first `steps` steps of the present decode run have happened."""
    first_s, growth_s = decode_step(r)
    span_s = run_s(first_s, growth_s, steps)
    r.kv_blocks += blocks_for_steps(r, steps)
    tokens = r.decoding * steps
    r.kv_tokens += tokens
    r.generation_tokens += tokens
    r.itl_count += tokens
    r.itl_sum_s += r.decoding * span_s
    observe_run(r.itl_buckets, TPOT_EDGES, (first_s, growth_s, steps), r.decoding)
    r.seen_s = r.clock_s + run_s(first_s, growth_s, steps - 1)
    r.clock_s += span_s
    r.steps += steps
    r.run_steps -= steps
    if r.run_steps == 0:
        finish_decoding(r, w, requests, c)


@compiled
def emit_after_prefill(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, request: int, c: CacheRecord) -> None:
    """The step computed the last prompt token of a request: it yields a token and decodes from now on."""
    q = requests[request]
    if q.generated == 0:
        q.first_token_s = r.clock_s
        ttft_s = r.clock_s - q.enqueued_s
        r.prompt_tokens += requests[request].prompt_tokens
        if c is not None:
            r.cached_prompt_tokens += c.prompts[request].saved
        r.ttft_count += 1
        r.ttft_sum_s += ttft_s
        r.ttft_buckets[bucket_of(TTFT_EDGES, ttft_s)] += 1
    else:
        gap_s = r.clock_s - q.last_token_s
        r.itl_count += 1
        r.itl_sum_s += gap_s
        r.itl_buckets[bucket_of(TPOT_EDGES, gap_s)] += 1
    q.generated += 1
    r.generation_tokens += 1
    left = requests[request].output_tokens - q.generated
    if left == 0:
        finish(r, requests, request, c)
        return
    computed = requests[request].prompt_tokens + q.generated - 1
    heap_push(w.decoding, r.decoding, ((r.steps + left) << 32) | request)
    r.decoding += 1
    r.block_phase[(computed - r.steps) & PHASE_MASK] += 1


@compiled
def commit_mixed(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, c: CacheRecord) -> None:
    """Let the mixed step in progress have happened."""
    step_s = r.step_end_s - r.clock_s
    r.seen_s = r.clock_s
    r.clock_s = r.step_end_s
    r.steps += 1
    r.kv_tokens += r.decoding + r.step_prefill_tokens
    r.prefill_tokens += r.step_prefill_tokens
    if r.decoding > 0:
        r.generation_tokens += r.decoding
        r.itl_count += r.decoding
        r.itl_sum_s += r.decoding * step_s
        r.itl_buckets[bucket_of(TPOT_EDGES, step_s)] += r.decoding
        finish_decoding(r, w, requests, c)
    prompts = r.prefilling
    r.prefilling = 0
    for i in range(prompts):
        request = w.prefill_request[i]
        done = w.prefill_done[i] + w.prefill_plan[i]
        if done == requests[request].prompt_tokens + requests[request].generated:
            emit_after_prefill(r, w, requests, request, c)
        else:
            # The budget ran out in this prompt, so it is the only unfinished one.
            w.prefill_request[0] = request
            w.prefill_done[0] = done
            r.prefilling = 1


@compiled
def advance_replica(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, until_s: float, c: CacheRecord) -> None:
    """Commit everything that a router could see up to until_s."""
    while r.wake_s <= until_s:
        if r.step_kind == MIXED:
            commit_mixed(r, w, requests, c)
        else:
            commit_run(r, w, requests, r.run_steps, c)
        schedule(r, w, requests, c)


@compiled
def settle_run(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, until_s: float, c: CacheRecord) -> None:
    """Commit the steps of a decode run that end at or before until_s, so that counters are those of until_s."""
    if r.step_kind != DECODE_RUN or r.run_steps <= 1:
        return
    first_s, growth_s = decode_step(r)
    steps = min(steps_within(first_s, growth_s, until_s - r.clock_s), r.run_steps - 1)
    if steps > 0:
        commit_run(r, w, requests, steps, c)


@compiled
def enqueue(r: ReplicaRecord, w: WorkRecord, requests: RequestRecords, request: int, c: CacheRecord) -> None:
    """A request reaches the replica at its `enqueued_s`; the replica must have been advanced to that time."""
    q = requests[request]
    at_s = q.enqueued_s
    q.replica = r.id
    push_waiting(r, requests, request, False)
    r.outstanding += 1
    r.came_sum_s += at_s
    if r.step_kind == IDLE:
        r.clock_s = at_s
        r.busy_since_s = at_s
        schedule(r, w, requests, c)
    elif r.step_kind == DECODE_RUN and r.waiting == 1 and r.decoding < r.max_num_seqs:
        # It may be admitted after the step in progress: cut the run there and ask the scheduler.
        settle_run(r, w, requests, at_s, c)
        first_s, _ = decode_step(r)
        r.run_steps = 1
        r.wake_s = r.clock_s + first_s
