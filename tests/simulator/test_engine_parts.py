"""The parts below the engine: closed-form runs, heap, histogram runs, cold-start draws, profiles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine.des import heap_pop, heap_push, heap_remove, observe_run, run_s, steps_within, unit_hash
from simulator.engine.profiles import ProfileError, load_profile, profile_names
from simulator.engine.records import TPOT_EDGES_S
from simulator.startup.model import StartupModel
from tests.simulator.simulated_pools import engine


@settings(deadline=None)
@given(first_s=st.floats(1e-4, 1.0), growth_s=st.floats(0, 1e-2), steps=st.integers(0, 5000))
def test_a_run_is_the_sum_of_its_steps(first_s: float, growth_s: float, steps: int) -> None:
    """k·f + g·k(k − 1)/2 is what k steps take, one by one."""
    assert run_s(first_s, growth_s, steps) == pytest.approx(sum(first_s + growth_s * i for i in range(steps)), abs=1e-9)


@settings(deadline=None)
@given(first_s=st.floats(1e-4, 1.0), growth_s=st.floats(0, 1e-2), span_s=st.floats(0, 300))
def test_steps_within_a_span_fit_and_one_more_does_not(first_s: float, growth_s: float, span_s: float) -> None:
    """The root of the quadratic is exact, whatever rounding does to it."""
    steps = steps_within(first_s, growth_s, span_s)
    assert run_s(first_s, growth_s, steps) <= span_s < run_s(first_s, growth_s, steps + 1)


@settings(deadline=None)
@given(first_s=st.floats(1e-3, 0.2), growth_s=st.floats(0, 1e-3), steps=st.integers(1, 400), weight=st.integers(1, 256))
def test_a_run_is_counted_as_its_steps_would_be(first_s: float, growth_s: float, steps: int, weight: int) -> None:
    """The histogram of a run in closed form is that of its steps; a value on an edge may round to either side."""
    edges = np.array(TPOT_EDGES_S)
    counts = np.zeros(edges.size + 1, dtype=np.int64)
    observe_run(counts, edges, (first_s, growth_s, steps), weight)
    values = first_s + growth_s * np.arange(steps)
    expected = np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1) * weight
    on_an_edge = int(np.isclose(values[:, None], edges, rtol=1e-9).sum())
    assert counts.sum() == steps * weight
    assert np.abs(counts - expected).sum() <= 2 * weight * on_an_edge


@settings(deadline=None)
@given(keys=st.lists(st.integers(0, 2**40), min_size=1, max_size=60), removals=st.lists(st.integers(0, 59)))
def test_the_heap_gives_keys_in_order(keys: list[int], removals: list[int]) -> None:
    """After any pushes and removals, popping yields what is left, smallest first."""
    heap = np.zeros(64, dtype=np.int64)
    for size, key in enumerate(keys):
        heap_push(heap, size, key)
    left, size = sorted(keys), len(keys)
    for index in removals:
        if index < size:
            left.remove(int(heap[index]))
            heap_remove(heap, size, index)
            size -= 1
    popped = []
    while size:
        popped.append(int(heap[0]))
        heap_pop(heap, size)
        size -= 1
    assert popped == left


def test_the_hash_is_uniform_and_depends_on_both_numbers() -> None:
    """Mean 1/2, variance 1/12, no repetition between seeds."""
    values = np.array([unit_hash(5, i) for i in range(20_000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.var() == pytest.approx(1 / 12, abs=0.002)
    assert unit_hash(5, 1) != unit_hash(6, 1)


def test_cold_starts_are_log_normal_around_the_median() -> None:
    """Half are shorter than the median, ln T spreads by sigma; the phases keep their shares."""
    model = StartupModel.of_total(120.0, sigma=0.3, straggler_ratio=0.0)
    draws = [model.draw(seed=1, replica_id=i) for i in range(4000)]
    totals = np.array([draw.total_s for draw in draws])
    assert np.median(totals) == pytest.approx(120.0, rel=0.02)
    assert np.log(totals).std() == pytest.approx(0.3, rel=0.05)
    assert draws[0].load_s / draws[0].total_s == pytest.approx(0.48)


def test_stragglers_are_rare_and_two_to_four_times_slower() -> None:
    """The same draw with stragglers differs in 3 % of replicas, by a factor in the range."""
    without = StartupModel.of_total(120.0, straggler_ratio=0.0)
    model = StartupModel.of_total(120.0)
    ratio = np.array(
        [model.draw(seed=2, replica_id=i).total_s / without.draw(seed=2, replica_id=i).total_s for i in range(4000)]
    )
    slow = ratio[ratio > 1.001]
    assert len(slow) / len(ratio) == pytest.approx(0.03, abs=0.01)
    assert slow.min() >= 2.0
    assert slow.max() <= 4.0


def test_a_replica_draws_for_itself() -> None:
    """The draw depends on seed and id alone, so every autoscaler meets the same cold starts."""
    model = StartupModel.of_total(120.0)
    assert model.draw(seed=1, replica_id=3) == model.draw(seed=1, replica_id=3)
    assert model.draw(seed=1, replica_id=3) != model.draw(seed=1, replica_id=4)
    assert model.draw(seed=2, replica_id=3) != model.draw(seed=1, replica_id=3)


@pytest.mark.parametrize("changes", [{"load_s": -1.0}, {"straggler_ratio": 2.0}, {"shared_sigma": -0.1}])
def test_a_cold_start_model_refuses_impossible_numbers(changes: dict[str, float]) -> None:
    """Negative medians and shares above one are errors."""
    with pytest.raises(ValueError, match=r"must be 0 or more|between 0 and 1"):
        replace(StartupModel.of_total(120.0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_loads_and_names_its_source(name: str) -> None:
    """Each is valid and says where its numbers come from."""
    profile = load_profile(name)
    assert profile.source
    assert profile.evidence in ("MEASURED", "DERIVED", "PRIOR")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"a_s": -1.0}, "a_s is -1.0"),
        ({"b_s": float("nan")}, "b_s is nan"),
        ({"a_s": 0.0, "c_s": 0.0}, "a step would take no time"),
        ({"max_num_seqs": 0}, "cannot hold one request"),
        ({"max_num_seqs": 4096, "max_num_batched_tokens": 8192}, "the simulator holds 2048"),
        ({"max_num_batched_tokens": 100}, "below max_num_seqs"),
    ],
)
def test_a_profile_that_cannot_serve_is_refused(changes: dict[str, float], words: str) -> None:
    """The sentence names the profile and the number."""
    with pytest.raises(ProfileError, match=words):
        engine(**changes)


def test_an_unknown_profile_is_answered_with_those_that_exist() -> None:
    """A typing error costs one look."""
    with pytest.raises(ProfileError, match=r"shipped are: .*4xh100/llama-3\.1-70b, "):
        load_profile("tpu/gpt-2")
