"""Engine presets: which PromQL gives which signal, per engine and version. Data, and the pure functions that read it.

Every query selects by metric name alone and groups by the labels of the policy's mapping (``$by`` below), so that one
query serves all policies of an engine; who owns which row is found in memory. Counters are read raw, without
``rate()``: the core takes differences between two samples of one pod over the time between them.

Versions differ in names. A reading that changed its name is an ``or`` chain, newest name first: ``or`` fills in only
the pods that the names before it do not have, so one query serves a rolling upgrade too, and no version number in a
policy can be wrong about it.

How the ranks of one pod are joined depends on what they mean. vLLM labels its data-parallel engines ``engine="0"``,
``"1"``, ...: each does its own work, so requests, tokens and capacities add up, while fill ratios and engine steps are
averaged: two engines that step side by side for a second made one second of steps. SGLang may export the same gauge
once per tensor-parallel rank, which is one fact told several times: ``max`` within a data-parallel rank, then as above.

Two choices that look odd and are not:

- First tokens are counted by the ``+Inf`` bucket, in the query that reads the buckets around the objective: two
  queries may straddle a scrape, and then more requests would be in time than there were.
- Where vLLM does not say which prompt tokens it computed, they are prefix-cache *queries* minus hits, and not
  ``prompt_tokens_total`` minus hits: a hit is counted when a request is scheduled and its prompt when it is done, so
  that difference falls at times, and a counter that falls reads as a restart.

Sources: recorded /metrics of vLLM 0.32.0 (tests/adapters/recorded), vllm/v1/metrics/loggers.py, SGLang's
metrics_collector.py, TGI's reference/metrics.md, tensorrt_llm/metrics/collector.py. Names that an engine dropped are
marked with the version that dropped them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from string import Template

from autoscaler.core.policy_parts import Metrics, Preset

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Signal(StrEnum):
    """What one query tells of every pod."""

    UP = "up"
    SAMPLE_TIME = "sample-time"
    RUNNING = "running"
    WAITING = "waiting"
    KV_RATIO = "kv-ratio"
    KV_CAPACITY = "kv-capacity"
    PROMPT_TOKENS = "prompt-tokens"
    GENERATION_TOKENS = "generation-tokens"
    FINISHED_REQUESTS = "finished-requests"
    STEPS = "steps"
    TTFT = "ttft"
    ITL_SUM = "itl-sum"
    ITL_COUNT = "itl-count"
    TPOT = "tpot"


class Shape(StrEnum):
    """How the rows of a query are read: a value, a histogram bucket each, or the labels of an info metric."""

    VALUE = "value"
    BUCKETS = "buckets"
    CACHE_INFO = "cache-info"


class LabelError(ValueError):
    """A label mapping that PromQL cannot carry; the message names the label and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels under which a Prometheus keeps model, namespace and pod.

    Label names are identifiers in PromQL and cannot be quoted there, so a name that is none is refused: it could
    otherwise close the parenthesis it stands in and continue the query.
    """

    model: str = "model_name"
    namespace: str = "namespace"
    pod: str = "pod"

    def __post_init__(self) -> None:
        for name in (self.model, self.namespace, self.pod):
            if _LABEL_NAME.fullmatch(name) is None:
                raise LabelError(
                    f"{json.dumps(name, ensure_ascii=False)} is no Prometheus label name; "
                    "spec.metrics takes names of letters, digits and underscores, e.g. model_name"
                )

    @classmethod
    def of(cls, metrics: Metrics) -> "Labels":
        """Return the mapping of a policy; raises LabelError where a name is none."""
        return cls(model=metrics.model_label, namespace=metrics.namespace_label, pod=metrics.pod_label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One query template.

    ``$by`` is the grouping, ``$pod_by`` the same without the model, ``$pod`` the pod's label, ``$edges`` the matcher
    of bucket edges, ``$copies`` the labels in which two scrapes of one instance differ.
    """

    promql: str
    shape: Shape = Shape.VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramEdges:
    """Upper bucket edges in seconds, ascending, without infinity; empty where the engine has no such histogram.

    ``itl_edges`` are those of the histogram that has one value per request, its mean time per output token, because
    that is what the objective speaks of; a histogram with one value per token is no substitute.
    """

    ttft_edges: tuple[float, ...] = ()
    itl_edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePreset:
    """What one engine exports."""

    readings: Mapping[Signal, Reading]
    edges: HistogramEdges = field(default_factory=HistogramEdges)


def _each(form: str, *metrics: str) -> str:
    """Return the ``or`` chain of one form over several metric names, the preferred first."""
    return " or ".join(form.replace("METRIC", metric) for metric in metrics)


def _value(form: str, *metrics: str) -> Reading:
    return Reading(promql=_each(form, *metrics))


def _buckets(form: str, *metrics: str) -> Reading:
    return Reading(promql=_each(form, *metrics), shape=Shape.BUCKETS)


# A pod behind two Services is scraped twice, and a pair of Prometheus servers tells everything twice: copies of one
# instance's series are made one before anything is added up. Two ports of one pod stay two.
_COPIES = ("job", "service", "endpoint", "prometheus", "prometheus_replica")
_ONCE = "max without ($copies) (METRIC)"
_SUM = f"sum by ($by) ({_ONCE})"
# vLLM's own labels are known, so here two scrapes are one whatever else differs in them (a job that copies pod labels).
_OWN = "sum by ($by) (max by ($by, instance, engine, finished_reason, source) (METRIC))"
_OWN_BUCKETS = "sum by ($by, le) (max by ($by, instance, engine, le) (METRIC_bucket{le=~$edges}))"
_AVG = "avg by ($by) (METRIC)"
_TIME = "max by ($by) (timestamp(METRIC))"
_BUCKET_SUM = "sum by ($by, le) (" + _ONCE.replace("METRIC", "METRIC_bucket{le=~$edges}") + ")"
# One fact told by each tensor-parallel rank: the largest within a data-parallel rank, then over these.
_RANKED_SUM = "sum by ($by) (max by ($by, dp_rank) (METRIC))"
_RANKED_AVG = "avg by ($by) (max by ($by, dp_rank) (METRIC))"
_UP = Reading(promql='min by ($pod_by) (up{$pod!=""})')

_VLLM = EnginePreset(
    readings={
        Signal.UP: _UP,
        Signal.SAMPLE_TIME: _value(_TIME, "vllm:num_requests_running"),
        Signal.RUNNING: _value(_OWN, "vllm:num_requests_running"),
        Signal.WAITING: _value(_OWN, "vllm:num_requests_waiting"),
        # The second name went in 0.12.
        Signal.KV_RATIO: _value(_AVG, "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        # An info metric without a model: it is joined by pod.
        Signal.KV_CAPACITY: Reading(
            promql="max by ($pod_by, engine, kv_cache_size_tokens, num_gpu_blocks, block_size) "
            "(vllm:cache_config_info)",
            shape=Shape.CACHE_INFO,
        ),
        Signal.PROMPT_TOKENS: Reading(
            promql=_each(_OWN, 'vllm:prompt_tokens_by_source_total{source="local_compute"}')
            + f" or (({_each(_OWN, 'vllm:prefix_cache_queries_total')} > 0)"
            + f" - {_each(_OWN, 'vllm:prefix_cache_hits_total')}) or "
            + _each(_OWN, "vllm:prompt_tokens_total")
        ),
        Signal.GENERATION_TOKENS: _value(_OWN, "vllm:generation_tokens_total"),
        Signal.FINISHED_REQUESTS: _value(_OWN, "vllm:request_success_total"),
        Signal.STEPS: _value(_AVG, "vllm:iteration_tokens_total_count"),
        Signal.TTFT: _buckets(_OWN_BUCKETS, "vllm:time_to_first_token_seconds"),
        # The second name went in 0.13.
        Signal.ITL_SUM: _value(_OWN, "vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
        Signal.ITL_COUNT: _value(
            _OWN, "vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count"
        ),
        Signal.TPOT: _buckets(_OWN_BUCKETS, "vllm:request_time_per_output_token_seconds"),
    },
    edges=HistogramEdges(
        ttft_edges=(
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
            1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
        ),
        itl_edges=(
            0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
            1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
        ),
    ),
)  # fmt: skip

_SGLANG = EnginePreset(
    readings={
        Signal.UP: _UP,
        Signal.SAMPLE_TIME: _value(_TIME, "sglang:num_running_reqs"),
        Signal.RUNNING: _value(_RANKED_SUM, "sglang:num_running_reqs"),
        Signal.WAITING: _value(_RANKED_SUM, "sglang:num_queue_reqs"),
        Signal.KV_RATIO: _value(_RANKED_AVG, "sglang:token_usage"),
        Signal.KV_CAPACITY: _value(_RANKED_SUM, "sglang:max_total_num_tokens"),
        # SGLang counts a request's tokens when it is done, cached ones in the same instant, so this difference never
        # falls; the series of cached tokens is born with the first hit.
        Signal.PROMPT_TOKENS: Reading(
            promql=f"({_each(_SUM, 'sglang:prompt_tokens_total')} - {_each(_SUM, 'sglang:cached_tokens_total')}) or "
            + _each(_SUM, "sglang:prompt_tokens_total")
        ),
        Signal.GENERATION_TOKENS: _value(_SUM, "sglang:generation_tokens_total"),
        Signal.FINISHED_REQUESTS: _value(_SUM, "sglang:num_requests_total"),
        Signal.TTFT: _buckets(_BUCKET_SUM, "sglang:time_to_first_token_seconds"),
        # Older builds have the second name.
        Signal.ITL_SUM: _value(
            _SUM, "sglang:inter_token_latency_seconds_sum", "sglang:time_per_output_token_seconds_sum"
        ),
        Signal.ITL_COUNT: _value(
            _SUM, "sglang:inter_token_latency_seconds_count", "sglang:time_per_output_token_seconds_count"
        ),
    },
    edges=HistogramEdges(
        ttft_edges=(
            0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
        )
    ),
)  # fmt: skip

# TGI exports neither tokens as counters nor a time to first token nor KV use, and no model label: joined by pod.
_TGI = EnginePreset(
    readings={
        Signal.UP: _UP,
        Signal.SAMPLE_TIME: _value(_TIME, "tgi_batch_current_size", "tgi_queue_size"),
        Signal.RUNNING: _value(_SUM, "tgi_batch_current_size"),
        Signal.WAITING: _value(_SUM, "tgi_queue_size"),
        Signal.FINISHED_REQUESTS: _value(_SUM, "tgi_request_success", "tgi_request_success_total"),
    }
)

# Whatever can be counted as requests in flight: vLLM and SGLang serving embeddings, TensorRT-LLM, llama.cpp, TGI.
# Anything else comes by custom queries.
_RUNNING_NAMES = (
    "vllm:num_requests_running",
    "trtllm_num_requests_running",
    "llamacpp:requests_processing",
    "tgi_batch_current_size",
)
_WAITING_NAMES = (
    "vllm:num_requests_waiting",
    "trtllm_num_requests_waiting",
    "llamacpp:requests_deferred",
    "tgi_queue_size",
)
_CONCURRENCY = EnginePreset(
    readings={
        Signal.UP: _UP,
        Signal.SAMPLE_TIME: _value(_TIME, *_RUNNING_NAMES, "sglang:num_running_reqs"),
        Signal.RUNNING: Reading(
            promql=_each(_SUM, *_RUNNING_NAMES) + " or " + _each(_RANKED_SUM, "sglang:num_running_reqs")
        ),
        Signal.WAITING: Reading(
            promql=_each(_SUM, *_WAITING_NAMES) + " or " + _each(_RANKED_SUM, "sglang:num_queue_reqs")
        ),
        Signal.FINISHED_REQUESTS: _value(
            _SUM, "vllm:request_success_total", "sglang:num_requests_total", "tgi_request_success"
        ),
    }
)

PRESETS: Mapping[Preset, EnginePreset] = {
    Preset.VLLM: _VLLM,
    Preset.SGLANG: _SGLANG,
    Preset.TGI: _TGI,
    Preset.CONCURRENCY: _CONCURRENCY,
}


def histogram_edges(preset: Preset) -> HistogramEdges:
    """Return the bucket edges of an engine's latency histograms, in seconds."""
    return PRESETS[preset].edges


def edges_around(objective: float, edges: Iterable[float]) -> tuple[float, ...]:
    """Return the edges from which an objective's share is read: itself if it is one, else its neighbours.

    Ascending; one edge where the objective is one or lies beyond the last or before the first, none without edges.
    """
    known = sorted(edges)
    if objective in known:
        return (objective,)
    below = [edge for edge in known if edge < objective]
    above = [edge for edge in known if edge > objective]
    return tuple(below[-1:] + above[:1])


def quote(text: str) -> str:
    """Return a PromQL string literal: JSON's escapes are PromQL's, but surrogate pairs are not, so none are made."""
    return json.dumps(text, ensure_ascii=False)


def edge_matcher(edges: Iterable[float]) -> str:
    """Return the quoted regular expression for ``le=~`` over some edges and infinity.

    An edge of one second is written ``1.0`` by Python clients and by Prometheus 3, and ``1`` by others.
    """
    spelled = {spelling for edge in edges for spelling in (repr(float(edge)), f"{edge:g}")}
    return quote("|".join([r"\+Inf", *(re.escape(spelling) for spelling in sorted(spelled))]))


def queries(
    preset: Preset, labels: Labels, *, ttft_edges: Iterable[float] = (), itl_edges: Iterable[float] = ()
) -> dict[Signal, str]:
    """Return the PromQL of every signal that an engine exports, for one label mapping and the edges asked for."""
    pod_by = f"{labels.namespace}, {labels.pod}"
    by = f"{pod_by}, {labels.model}"
    copies = ", ".join(label for label in _COPIES if label not in (labels.model, labels.namespace, labels.pod))
    edges = {Signal.TTFT: edge_matcher(ttft_edges), Signal.TPOT: edge_matcher(itl_edges)}
    return {
        signal: Template(reading.promql).substitute(
            by=by, pod_by=pod_by, pod=labels.pod, copies=copies, edges=edges.get(signal, "")
        )
        for signal, reading in PRESETS[preset].readings.items()
    }


def shape(preset: Preset, signal: Signal) -> Shape:
    """Return how the rows of a signal's query are read."""
    return PRESETS[preset].readings[signal].shape


def cache_tokens(labels: Mapping[str, str]) -> float | None:
    """Return the KV capacity in tokens that the labels of ``vllm:cache_config_info`` tell, or None.

    Newer versions say it outright; older ones by blocks and the block's size. Labels may read ``None``.
    """
    told = _positive(labels.get("kv_cache_size_tokens"))
    if told is not None:
        return told
    blocks, size = _positive(labels.get("num_gpu_blocks")), _positive(labels.get("block_size"))
    return None if blocks is None or size is None else blocks * size


def _positive(text: str | None) -> float | None:
    """Return a positive whole number written in a label, or None."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and int(text) > 0 else None
