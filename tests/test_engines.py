"""The presets: right names, right edges, and queries that nothing a user writes can change."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.policy_parts import Metrics, Preset
from autoscaler.dcgm import DeviceKey, device_key
from autoscaler.engines import (
    LabelError,
    Labels,
    Signal,
    cache_tokens,
    edge_matcher,
    edges_around,
    histogram_edges,
    queries,
)

RECORDED = Path(__file__).parent / "adapters/recorded/vllm-0.32.0-saturated.prom"
NASTY = (
    'm"} or vector(1e9) or foo{a="b',
    "pod) (vector(1e9)) or sum by (pod",
    "back\\slash",
    "new\nline",
    "nul\x00",
    "emoji🙂",
    "`backtick`",
    "'single'",
    "a b",
    "1digit",
    "",
)


def recorded_edges(histogram: str) -> tuple[float, ...]:
    """Return the finite bucket edges of a histogram in the recorded body."""
    found = re.findall(rf'^{histogram}_bucket{{.*le="([^"]+)"', RECORDED.read_text(), re.MULTILINE)
    return tuple(float(edge) for edge in found if edge != "+Inf")


def test_vllms_edges_are_those_of_a_real_vllm() -> None:
    """The edges that are shipped as data are those that a real engine exports, to the last."""
    edges = histogram_edges(Preset.VLLM)
    assert edges.ttft_edges == recorded_edges("vllm:time_to_first_token_seconds")
    assert edges.itl_edges == recorded_edges("vllm:request_time_per_output_token_seconds")


def test_every_metric_that_vllms_preset_prefers_is_exported_by_a_real_vllm() -> None:
    """Of each reading at least one name stands in the recorded body, so no signal is empty by a slip of the pen."""
    body = RECORDED.read_text()
    for signal, promql in queries(Preset.VLLM, Labels()).items():
        if signal is not Signal.UP:
            assert any(f"\n{name}" in body for name in re.findall(r"vllm:\w+", promql)), signal


@pytest.mark.parametrize("preset", list(Preset))
def test_every_preset_tells_the_age_of_what_it_tells(preset: Preset) -> None:
    """No engine is read without the time of its samples, its running and waiting requests and its scrape's health."""
    assert {Signal.UP, Signal.SAMPLE_TIME, Signal.RUNNING, Signal.WAITING} <= set(queries(preset, Labels()))


@pytest.mark.parametrize("preset", list(Preset))
def test_no_placeholder_is_left_and_counters_are_raw(preset: Preset) -> None:
    """A query is complete, and no rate is taken: rates live on after their pod and blur restarts."""
    for promql in queries(preset, Labels(), ttft_edges=(1.0,), itl_edges=(0.05,)).values():
        assert "$" not in promql
        assert "METRIC" not in promql
        assert "rate(" not in promql


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("field", ["model_label", "namespace_label", "pod_label"])
def test_a_label_name_that_is_none_is_refused_and_named(field: str, name: str) -> None:
    """PromQL cannot quote label names, so one that is no identifier never reaches a query."""
    metrics = Metrics().model_copy(update={field: name})
    with pytest.raises(LabelError, match="no Prometheus label name"):
        Labels.of(metrics)


def test_a_label_of_the_mapping_is_not_dropped_as_a_copy() -> None:
    """Two scrapes of one instance differ in job, unless the user keeps the model's name there."""
    assert "max without (service," in queries(Preset.TGI, Labels(model="job"))[Signal.RUNNING]
    assert "max by (namespace, pod, job, instance" in queries(Preset.VLLM, Labels(model="job"))[Signal.RUNNING]


def test_an_objective_on_an_edge_needs_one_bucket_and_one_between_two_needs_both() -> None:
    """Worked example of vLLM's time to first token: 2.5 s is an edge, 2 s lies between 1 and 2.5."""
    edges = histogram_edges(Preset.VLLM).ttft_edges
    assert edges_around(2.5, edges) == (2.5,)
    assert edges_around(2.0, edges) == (1.0, 2.5)
    assert edges_around(9999.0, edges) == (2560.0,)
    assert edges_around(0.0001, edges) == (0.001,)
    assert edges_around(1.0, ()) == ()


@given(st.floats(0.0001, 1e4), st.lists(st.floats(0.0001, 1e4), unique=True))
def test_the_edges_around_an_objective_enclose_it_with_none_between(objective: float, edges: list[float]) -> None:
    """At most two edges, ascending, and no edge lies between either of them and the objective."""
    around = edges_around(objective, edges)
    assert len(around) <= 2
    assert list(around) == sorted(around)
    if edges:
        assert around
        nearest_below = max((edge for edge in edges if edge <= objective), default=-math.inf)
        nearest_above = min((edge for edge in edges if edge >= objective), default=math.inf)
        assert set(around) == {edge for edge in (nearest_below, nearest_above) if math.isfinite(edge)}


def test_an_edge_is_matched_however_the_client_spells_it() -> None:
    """One second is 1.0 in Python and 1 in Go; a dot matches a dot only."""
    matcher = re.compile(edge_matcher((1.0, 2.5))[1:-1].replace("\\\\", "\\"))
    assert all(matcher.fullmatch(edge) for edge in ("1", "1.0", "2.5", "+Inf"))
    assert not any(matcher.fullmatch(edge) for edge in ("10", "2x5", "0.1", "Inf"))


@pytest.mark.parametrize(
    ("labels", "tokens"),
    [
        ({"kv_cache_size_tokens": "262144", "num_gpu_blocks": "1", "block_size": "1"}, 262144.0),
        ({"num_gpu_blocks": "2048", "block_size": "128"}, 262144.0),
        ({"kv_cache_size_tokens": "None", "num_gpu_blocks": "2048", "block_size": "16"}, 32768.0),
        ({"num_gpu_blocks": "None", "block_size": "16"}, None),
        ({"num_gpu_blocks": "0", "block_size": "16"}, None),
        ({}, None),
    ],
)
def test_kv_capacity_is_read_from_labels_of_new_and_old_versions(labels: dict[str, str], tokens: float | None) -> None:
    """Newer versions say tokens, older blocks; a label that reads None is not a number."""
    assert cache_tokens(labels) == tokens


@pytest.mark.parametrize(
    "labels",
    [
        {"UUID": "GPU-1", "Hostname": "node-a", "pod": "chat-1", "namespace": "prod"},
        {"UUID": "GPU-1", "hostname": "node-a", "pod": "exporter", "exported_pod": "chat-1", "namespace": "monitoring",
         "exported_namespace": "prod"},
        {"UUID": "GPU-1", "Hostname": "node-a", "pod_name": "chat-1", "pod_namespace": "prod", "pod": "exporter"},
    ],
    ids=["honorLabels", "prefixed", "old exporter"],
)  # fmt: skip
def test_a_gpus_holder_is_found_under_every_spelling(labels: dict[str, str]) -> None:
    """The pod that holds a GPU is the workload and never the exporter's own pod."""
    assert device_key(labels) == DeviceKey(uuid="GPU-1", node="node-a", namespace="prod", pod="chat-1")


def test_a_device_row_without_uuid_is_nobodys() -> None:
    """A row that names no accelerator is left out rather than guessed."""
    assert device_key({"gpu": "0"}) is None
