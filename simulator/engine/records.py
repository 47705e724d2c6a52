"""The memory layout that the compiled engine and Python share: one record per replica, per request, per gateway.

Units: seconds and tokens. Counters only grow, as those of a real vLLM process; a new replica starts at zero.
Histogram counts are per bucket, *not* cumulative; the last one is the +Inf bucket. `cumulative` turns them
into what /metrics shows.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 16
"""Tokens in one block of the paged KV cache (vLLM's default on GPUs)."""

MAX_SEQS = 2048
"""Most sequences that one replica may run (an engine's max_num_seqs)."""

TTFT_EDGES_S: tuple[float, ...] = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
"""Edges of `vllm:time_to_first_token_seconds` in vLLM 0.32."""

TPOT_EDGES_S: tuple[float, ...] = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""Edges of `vllm:inter_token_latency_seconds` and `vllm:request_time_per_output_token_seconds` in vLLM 0.32."""


class RequestStatus(IntEnum):
    """Where a request is."""

    FUTURE = 0
    """Known, not yet arrived."""
    HELD = 1
    """At the gateway: no replica takes requests."""
    WAITING = 2
    """In a replica's queue (also after a preemption)."""
    RUNNING = 3
    FINISHED = 4
    REJECTED = 5
    """Longer than the KV cache of one replica: refused, as a real engine does."""
    LOST = 6
    """In an engine that crashed: its connection broke, and nobody tries again."""
    HANDED_ON = 7
    """Its prompt is computed, and another pool goes on with it (handover.py)."""


class ReplicaState(IntEnum):
    """The life of a replica; `Phase` tells how far a starting one has come."""

    STARTING = 1
    READY = 2
    DRAINING = 3
    """Takes no new requests, finishes those it has, up to its grace period."""
    GONE = 4


class StepKind(IntEnum):
    """What a replica is doing."""

    IDLE = 0
    MIXED = 1
    """One step that also computes prompt tokens."""
    DECODE_RUN = 2
    """Several steps of decoding only, advanced in closed form."""


REPLICA = np.dtype(
    [
        # The first cache line holds all that routing reads.
        ("wake_s", "f8"),  # nothing a router could see happens before this time; inf when idle
        ("outstanding", "i8"),  # running + waiting
        ("last_routed", "i8"),  # serial number of the last request routed here; breaks ties
        ("routable", "i8"),  # 1 while the replica takes new requests
        ("id", "i8"),  # replica id, unique over the run; -1 for an unused slot
        ("clock_s", "f8"),  # start of the step that is being computed
        # The engine: the coefficients and limits of an EngineProfile.
        ("a_s", "f8"),
        ("b_s", "f8"),
        ("c_s", "f8"),
        ("d_s", "f8"),
        ("attention_s", "f8"),
        ("slowdown", "f8"),  # 1.0; a slow replica takes this many times as long for every step
        ("max_num_seqs", "i8"),
        ("chunk_tokens", "i8"),
        ("kv_capacity_blocks", "i8"),
        ("stepwise", "i8"),
        ("async_scheduling", "i8"),  # 1: each step is decided while the one before it computes
        # What it is doing.
        ("step_kind", "i8"),
        ("step_end_s", "f8"),
        ("seen_s", "f8"),  # with async_scheduling: requests that came later are not in the next step
        ("step_prefill_tokens", "i8"),
        ("run_steps", "i8"),
        ("decoding", "i8"),  # gauge: sequences that decode
        ("prefilling", "i8"),  # gauge: sequences admitted whose prompt is not finished
        ("waiting", "i8"),  # gauge: vllm:num_requests_waiting
        ("queue_head", "i8"),
        ("queue_tail", "i8"),
        ("kv_tokens", "i8"),  # gauge: context tokens in the KV cache
        ("kv_blocks", "i8"),  # gauge: blocks in use
        ("block_phase", "i8", (BLOCK_TOKENS,)),
        ("busy_since_s", "f8"),
        ("idle_since_s", "f8"),
        # Counters.
        ("busy_s", "f8"),  # seconds with running + waiting > 0
        ("steps", "i8"),  # vllm:iteration_tokens_total_count
        ("prompt_tokens", "i8"),  # vllm:prompt_tokens_total: whole prompts, at their first token
        ("prefill_tokens", "i8"),  # prompt tokens really computed, recomputation included
        ("generation_tokens", "i8"),  # vllm:generation_tokens_total
        ("requests_finished", "i8"),  # vllm:request_success_total
        ("preemptions", "i8"),  # vllm:num_preemptions_total
        ("ttft_count", "i8"),  # from arrival at this engine, as vLLM measures it
        ("ttft_sum_s", "f8"),
        ("ttft_buckets", "i8", (len(TTFT_EDGES_S) + 1,)),
        ("itl_count", "i8"),
        ("itl_sum_s", "f8"),
        ("itl_buckets", "i8", (len(TPOT_EDGES_S) + 1,)),
        ("tpot_count", "i8"),  # one value per finished request; 0 for a single-token answer, as vLLM has it
        ("tpot_sum_s", "f8"),
        ("tpot_buckets", "i8", (len(TPOT_EDGES_S) + 1,)),
        ("e2e_count", "i8"),
        ("e2e_sum_s", "f8"),
        ("came_sum_s", "f8"),  # Σ enqueued_s of those running or waiting: with e2e_sum_s, the integral of their number
        ("prefix_queries", "i8"),  # vllm:prefix_cache_queries_total: prompt tokens of requests at their admission
        ("prefix_hits", "i8"),  # vllm:prefix_cache_hits_total: those of them found in the cache
        ("cached_prompt_tokens", "i8"),  # the same, counted with prompt_tokens: at the first token
    ],
    align=True,
)

REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),  # at the first gateway that its sender knows
        ("enqueued_s", "f8"),  # arrival at this pool's gateway, then at the replica
        ("first_token_s", "f8"),
        ("last_token_s", "f8"),  # kept up at preemptions and at the end: the finish time once FINISHED
        ("prompt_tokens", "i4"),
        ("output_tokens", "i4"),
        ("generated", "i4"),
        ("received", "i4"),  # prompt tokens whose KV cache another pool computed and sent; 0 once that is lost
        ("elsewhere", "i4"),  # output tokens that another pool will yield, once this one has computed the prompt
        ("replica", "i4"),  # id of the replica that has or had it, -1 before
        ("next", "i4"),
        ("preemptions", "i2"),
        ("status", "i1"),
        ("retries", "i1"),
    ],
    align=True,
)

GATEWAY = np.dtype(
    [
        ("next_arrival", "i8"),
        ("submitted", "i8"),
        ("held", "i8"),
        ("held_head", "i8"),
        ("held_tail", "i8"),
        ("routed", "i8"),
        ("rejected", "i8"),
        ("ended", "i8"),  # requests that ended and whose records were handed out
        ("slots", "i8"),  # slots ever used: the scan stops there
        ("routing", "i8"),
        ("seed", "i8"),
        ("kv_capacity_blocks", "i8"),
    ],
    align=True,
)

WORK = np.dtype(
    [
        ("decoding", "i8", (MAX_SEQS,)),  # heap of finish step << 32 | request
        ("prefill_request", "i4", (MAX_SEQS,)),
        ("prefill_done", "i4", (MAX_SEQS,)),  # tokens computed before this step
        ("prefill_plan", "i4", (MAX_SEQS,)),  # tokens that this step computes
    ],
    align=True,
)
"""What a replica computes, apart from REPLICA so that a snapshot need not copy it."""

CACHE = np.dtype(
    [
        ("oldest", "i8"),  # the queue's ends, rows of ENTRY from 1; 0 for none
        ("newest", "i8"),
        ("spare", "i8"),  # first of the rows that are free again, chained by `newer`
        ("rows", "i8"),  # rows ever used
        ("evictable_blocks", "i8"),  # in the queue
    ],
    align=True,
)
"""The prefix cache of one replica (cache_entries.py)."""

ENTRY = np.dtype(
    [
        ("key", "i8"),  # 0 for blocks that nobody will ask for
        ("chain", "i4"),  # next entry in the same place of the hash table
        ("older", "i4"),
        ("newer", "i4"),
        ("users", "i4"),  # requests that hold it
        ("blocks", "i4"),  # engine blocks
    ],
    align=True,
)

PROMPT = np.dtype(
    [
        ("begin", "i8"),  # of the request's keys
        ("count", "i4"),  # its prefix blocks that hold a full engine block
        ("held", "i4"),  # how many of them, from the front, it holds now
        ("blocks_each", "i4"),  # engine blocks in one prefix block
        ("saved", "i4"),  # tokens found when it was first admitted; -1 before
    ],
    align=True,
)
"""What the prefix cache knows of a request."""

LIFE = np.dtype(
    [
        ("id", "i8"),
        ("slot", "i8"),
        ("state", "i8"),
        ("ordered_s", "f8"),
        ("scheduled_s", "f8"),
        ("started_s", "f8"),  # container started: scheduled, image there
        ("loaded_s", "f8"),  # weights loaded
        ("ready_s", "f8"),
        ("draining_s", "f8"),
        ("deadline_s", "f8"),  # end of the grace period
        ("deleted_s", "f8"),
        ("busy_s", "f8"),  # filled in at the end of life
        ("requests_finished", "i8"),
        ("node", "i8"),  # number of the node it is or was on; -1 where there are no nodes, or none had room yet
        ("unschedulable", "i8"),  # 1 while it is known that no node has room for it
    ]
)

Records = NDArray[np.void]

# Inside compiled code a record is a reference with the fields above as attributes, which mypy cannot know.
ReplicaRecord: TypeAlias = Any
WorkRecord: TypeAlias = Any
RequestRecords: TypeAlias = Any
CacheRecord: TypeAlias = Any


class PrefixCaches(NamedTuple):
    """The prefix caches of a pool. R slots, N requests, E entries and B places of the hash table for each replica."""

    states: NDArray[Any]  # CACHE, (R,)
    entries: NDArray[Any]  # ENTRY, (R, E)
    buckets: NDArray[Any]  # i4, (R, B)
    prompts: NDArray[Any]  # PROMPT, (N,)
    keys: NDArray[Any]  # i8: the prefix blocks of all requests, each known together with all before it


class ReplicaCache(NamedTuple):
    """The prefix cache of one replica, as the compiled code takes it."""

    state: NDArray[Any]  # CACHE, (1,)
    entries: NDArray[Any]  # ENTRY, (E,)
    buckets: NDArray[Any]  # i4, (B,)
    prompts: NDArray[Any]
    keys: NDArray[Any]


class Pool(NamedTuple):
    """All arrays of one model's pool, as the compiled code takes them. R slots, N requests."""

    replicas: NDArray[Any]  # REPLICA, (R,)
    work: NDArray[Any]  # WORK, (R,)
    requests: NDArray[Any]  # REQUEST, (N,)
    gateway: NDArray[Any]  # GATEWAY, (1,)
    caches: PrefixCaches | None = None  # where the trace names prefix blocks


def cumulative(buckets: NDArray[Any]) -> NDArray[Any]:
    """Bucket counts as Prometheus shows them, along the last axis: each includes all smaller ones."""
    return np.cumsum(buckets, axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """One pool at one instant: what a scrape of every replica, the API server and the gateway would see.

    `life` and `engine` are aligned row by row and hold every replica that exists (starting, ready, draining),
    ordered by id. Field names are those of LIFE and REPLICA. Times that lie in the future are NaN in `life`.
    Rows of replicas that are still starting hold zeros in `engine`: they serve no /metrics.
    """

    at_s: float
    life: Records
    engine: Records
    held: int
    """Requests waiting at the gateway because no replica takes requests."""
    arrived_total: int
    """Requests that reached the gateway: its own counter, rejected ones included."""
    rejected_total: int
    desired: int
    """Replicas last asked for by set_replicas."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Replica ids, (n,)."""
        return np.asarray(self.life["id"], dtype=np.int64)

    @property
    def states(self) -> NDArray[np.int64]:
        """`ReplicaState` values, (n,)."""
        return np.asarray(self.life["state"], dtype=np.int64)

    @property
    def running(self) -> NDArray[np.int64]:
        """vllm:num_requests_running, (n,)."""
        return np.asarray(self.engine["decoding"] + self.engine["prefilling"], dtype=np.int64)

    @property
    def waiting(self) -> NDArray[np.int64]:
        """vllm:num_requests_waiting, (n,)."""
        return np.asarray(self.engine["waiting"], dtype=np.int64)

    def count(self, state: ReplicaState) -> int:
        """How many replicas are in that state."""
        return int(np.count_nonzero(self.life["state"] == state))
