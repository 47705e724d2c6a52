"""The arrays behind a pool's prefix caches: made, and made larger, as replicas and requests come."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.des import compiled
from simulator.engine.records import BLOCK_TOKENS, CACHE, ENTRY, PROMPT, PrefixCaches
from simulator.traces import Trace, TraceError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def new_caches(slots: int, requests: int, kv_blocks: int) -> PrefixCaches:
    """Empty caches for that many slots of kv_blocks each, and requests of which no prefix block is known."""
    # An entry holds a block at least, and rows are counted from 1.
    places = 1 << max(4, (kv_blocks - 1).bit_length())
    return PrefixCaches(
        states=np.zeros(slots, dtype=CACHE),
        entries=np.zeros((slots, kv_blocks + 2), dtype=ENTRY),
        buckets=np.zeros((slots, places), dtype=np.int32),
        prompts=_new_prompts(requests),
        keys=np.zeros(0, dtype=np.int64),
    )


def with_more_caches(caches: PrefixCaches, slots: int) -> PrefixCaches:
    """The same caches, with that many more empty ones."""
    more = new_caches(slots, 0, caches.entries.shape[1] - 2)
    return caches._replace(
        states=np.concatenate([caches.states, more.states]),
        entries=np.concatenate([caches.entries, more.entries]),
        buckets=np.concatenate([caches.buckets, more.buckets]),
    )


def with_more_prompts(caches: PrefixCaches, requests: int) -> PrefixCaches:
    """The same caches, with room for that many requests in all."""
    more = _new_prompts(requests - len(caches.prompts))
    return caches._replace(prompts=np.concatenate([caches.prompts, more]))


def with_blocks_of(caches: PrefixCaches, first: int, trace: Trace) -> PrefixCaches:
    """The same caches, with the prefix blocks of a trace's requests, which are those from `first` on.

    Raises:
        TraceError: the trace's prefix blocks are not made of whole blocks of the engine.
    """
    if trace.block_offsets is None or trace.block_ids is None:
        return caches
    refuse_odd_blocks(trace)
    prompts = caches.prompts[first : first + len(trace)]
    tokens = np.maximum(trace.prompt_tokens.astype(np.int64), 1)
    full = -(-(tokens // BLOCK_TOKENS * BLOCK_TOKENS) // trace.block_tokens)
    begin, named = trace.block_offsets[:-1], np.diff(trace.block_offsets)
    prompts["begin"] = len(caches.keys) + begin
    prompts["count"] = np.minimum(named, full)
    prompts["blocks_each"] = trace.block_tokens // BLOCK_TOKENS
    keys = np.zeros(len(trace.block_ids), dtype=np.int64)
    chain_keys(keys, trace.block_ids, trace.block_offsets, tokens, trace.block_tokens)
    return caches._replace(keys=np.concatenate([caches.keys, keys]))


def refuse_odd_blocks(trace: Trace) -> None:
    """Refuse prefix blocks that cut a block of the engine in two.

    Raises:
        TraceError: they are not made of whole blocks of the engine.
    """
    if trace.block_tokens % BLOCK_TOKENS:
        raise TraceError(
            f"{trace.name}: prefix blocks of {trace.block_tokens} tokens; the engine's blocks hold {BLOCK_TOKENS}:"
            f" give a multiple of that"
        )


@compiled
def chain_keys(
    keys: NDArray[np.int64],
    ids: NDArray[np.int64],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int64],
    block_tokens: int,
) -> None:
    """Fill in a key for each prefix block, of its id, its length and the key before it, as vLLM hashes blocks.

    The mixing is splitmix64's (Steele et al. 2014). No key is 0: that stands for blocks without one.
    """
    for request in range(len(offsets) - 1):
        before = np.uint64(block_tokens)
        for i in range(offsets[request], offsets[request + 1]):
            length = min(block_tokens, tokens[request] - (i - offsets[request]) * block_tokens)
            z = (before ^ np.uint64(ids[i])) * _GOLDEN + np.uint64(length)
            z = (z ^ (z >> np.uint64(30))) * _FIRST
            z = (z ^ (z >> np.uint64(27))) * _SECOND
            before = z ^ (z >> np.uint64(31))
            keys[i] = np.int64(before) if before != np.uint64(0) else np.int64(1)


def without_prompts(caches: PrefixCaches, ends: NDArray[np.bool_]) -> PrefixCaches:
    """The same caches without the first requests for which `ends` is true; the others move to the front."""
    prompts = caches.prompts[: len(ends)][~ends]
    counts = prompts["count"].astype(np.int64)
    new_begin = np.cumsum(counts) - counts
    places = np.repeat(prompts["begin"] - new_begin, counts) + np.arange(counts.sum())
    prompts["begin"] = new_begin
    return caches._replace(prompts=prompts, keys=caches.keys[places])


def _new_prompts(requests: int) -> NDArray[Any]:
    prompts = np.zeros(requests, dtype=PROMPT)
    prompts["saved"] = -1
    return prompts


def clear_cache(caches: PrefixCaches, slot: int) -> None:
    """Empty the cache of a slot."""
    caches.states[slot : slot + 1] = np.zeros(1, dtype=CACHE)
    caches.buckets[slot] = 0
