"""The prefix benchmark measures what it says: the ideal is what one replica with endless memory reaches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.prefix_cache import ideal_hit_ratio, served, without_blocks
from tests.simulator.prefix_traces import conversations, with_blocks
from tests.simulator.simulated_pools import engine, requests


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), block_tokens=st.sampled_from((16, 48, 512)))
def test_one_replica_that_forgets_nothing_reaches_the_ideal(seed: int, block_tokens: int) -> None:
    """Two ways to the same number: a set of all that was ever sent, and the engine with room for all of it."""
    trace = conversations(seed, 100, block_tokens)
    run = served(trace, engine(), replicas=1, routing="least_outstanding", memory=4.0)
    assert run.hit_ratio == pytest.approx(ideal_hit_ratio(trace), abs=1e-12)


def test_the_ideal_of_a_trace_by_hand() -> None:
    """Of 160 + 160 + 160 tokens the second finds all but its last block, the third its first three blocks."""
    rows = requests((0.0, 160, 1), (1.0, 160, 1), (2.0, 160, 1))
    first, other = list(range(10)), [0, 1, 2, *range(100, 107)]
    assert ideal_hit_ratio(with_blocks(rows, [first, first, other], 16)) == pytest.approx((144 + 48) / 480)


def test_without_names_nothing_is_found() -> None:
    """The row without a cache is the same requests."""
    trace = conversations(1, 50, 48)
    plain = without_blocks(trace)
    assert np.array_equal(plain.prompt_tokens, trace.prompt_tokens)
    assert served(plain, engine(), replicas=2, routing="prefix_aware", memory=1.0).hit_ratio == 0
    assert served(trace, engine(), replicas=2, routing="prefix_aware", memory=1.0).hit_ratio > 0
