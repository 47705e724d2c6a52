"""Starts of an engine by phase, from sizes."""

import pytest

from simulator.startup.model import StartupModel
from simulator.startup.physics import SLOWER_HOST, ModelFiles, engine_start

LLAMA_8B = ModelFiles(weights_gb=16.1, layers=32, tokenizer_mb=9.1)


def test_weights_take_their_bytes_over_the_bandwidth_and_nothing_else_depends_on_it() -> None:
    """A faster tier shortens one phase."""
    disk, cache = (engine_start(LLAMA_8B, bandwidth_gbps=bandwidth) for bandwidth in (0.5, 8.0))
    assert disk.weights_s == pytest.approx(32.2)
    assert disk.total_s - cache.total_s == pytest.approx(disk.weights_s - cache.weights_s)


def test_a_first_start_compiles_and_a_slower_host_takes_longer_for_all_but_the_weights() -> None:
    """What others measured: 11 to 22 s more without a compile cache; weights do not care for the processor."""
    cached = engine_start(LLAMA_8B, bandwidth_gbps=2.0)
    first = engine_start(LLAMA_8B, bandwidth_gbps=2.0, compile_cached=False)
    slow = engine_start(LLAMA_8B, bandwidth_gbps=2.0, host=SLOWER_HOST)
    assert 11 < first.total_s - cached.total_s < 22
    assert slow.weights_s == cached.weights_s
    assert slow.compile_s > cached.compile_s


def test_the_phases_are_a_prior_of_the_simulated_start_up() -> None:
    """Loading and warm-up together are the whole start of the engine; schedule and pull come from elsewhere."""
    start = engine_start(LLAMA_8B, bandwidth_gbps=0.5)
    model = StartupModel(schedule_s=1.0, pull_s=10.0, load_s=start.load_s, warmup_s=start.warmup_s)
    assert model.median_s == pytest.approx(11.0 + start.total_s)


def test_sizes_and_bandwidths_that_make_no_sense_are_refused() -> None:
    """The message says what to give."""
    with pytest.raises(ValueError, match="give a bandwidth above 0"):
        engine_start(LLAMA_8B, bandwidth_gbps=0.0)
    with pytest.raises(ValueError, match="at least one layer"):
        ModelFiles(weights_gb=1.0, layers=0)
