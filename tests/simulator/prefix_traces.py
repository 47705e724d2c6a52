"""Traces that name prefix blocks, for the tests of the simulator."""

from dataclasses import replace

import numpy as np

from simulator.traces import Trace
from tests.simulator.simulated_pools import random_trace

CONVERSATIONS = 6


def with_blocks(trace: Trace, ids: list[list[int]], block_tokens: int) -> Trace:
    """A trace whose prompts are cut into these blocks."""
    return replace(
        trace,
        block_offsets=np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64),
        block_ids=np.array([block for row in ids for block in row], dtype=np.int64),
        block_tokens=block_tokens,
    )


def conversations(seed: int, size: int, block_tokens: int, *, span_s: float = 30.0) -> Trace:
    """Random requests of a few conversations: each prompt follows its conversation's text up to a point, then its own.

    Lengths are often whole blocks, where the last token's block may be found in the cache.
    """
    trace = random_trace(seed, size, span_s=span_s)
    rng = np.random.default_rng(seed)
    whole = rng.random(size) < 0.3
    tokens = np.where(whole, np.maximum(trace.prompt_tokens // 16 * 16, 16), trace.prompt_tokens).astype(np.int32)
    ids = []
    for index, prompt in enumerate(tokens):
        count = -(-int(prompt) // block_tokens)
        shared = int(rng.integers(0, count + 1)) if rng.random() < 0.7 else count
        conversation = int(rng.integers(0, CONVERSATIONS))
        own = [10**6 + index * 10**4 + i for i in range(count - shared)]
        ids.append([conversation * 10**3 + i for i in range(shared)] + own)
    return with_blocks(replace(trace, prompt_tokens=tokens), ids, block_tokens)
