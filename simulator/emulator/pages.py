"""One emulated replica's ``/metrics``, in the names, labels and bucket edges of vLLM 0.32.

Only what the engine model knows is shown. Two histograms of vLLM's (tokens a step, end-to-end latency) are known by
count and sum alone, so they have the ``+Inf`` bucket and no other; nothing that reads them reads their buckets.
Its prefix cache counts a request once, when it is admitted: where requests name no prefix blocks, nothing is asked for.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from simulator.engine.records import BLOCK_TOKENS, TPOT_EDGES_S, TTFT_EDGES_S

FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")
PROMPT_SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
_LABELS = ("model_name", "engine")
_ENGINE = "0"


class EnginePage(Collector):
    """The metrics of one replica at one instant.

    Args:
        engine: its record (dtype REPLICA).
        model: value of the label ``model_name``.
        kv_tokens: KV capacity of the replica in tokens.
    """

    def __init__(self, engine: np.void, *, model: str, kv_tokens: int) -> None:
        self._engine = engine
        self._model = model
        self._kv_tokens = kv_tokens

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families, as a registry asks for them."""
        yield from self._gauges()
        yield from self._counters()
        yield from self._histograms()

    def _gauges(self) -> Iterator[Metric]:
        engine = self._engine
        yield self._gauge(
            "vllm:num_requests_running", "Requests in batches.", engine["decoding"] + engine["prefilling"]
        )
        yield self._gauge("vllm:num_requests_waiting", "Requests waiting to be processed.", engine["waiting"])
        yield self._gauge(
            "vllm:kv_cache_usage_perc",
            "KV-cache usage; 1 means full.",
            engine["kv_blocks"] * BLOCK_TOKENS / self._kv_tokens,
        )
        config = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig",
            labels=("engine", "block_size", "num_gpu_blocks", "kv_cache_size_tokens"),
        )
        blocks = self._kv_tokens // BLOCK_TOKENS
        config.add_metric((_ENGINE, str(BLOCK_TOKENS), str(blocks), str(blocks * BLOCK_TOKENS)), 1.0)
        yield config

    def _counters(self) -> Iterator[Metric]:
        engine = self._engine
        yield self._counter("vllm:prompt_tokens", "Prefill tokens processed.", engine["prompt_tokens"])
        yield self._counter("vllm:generation_tokens", "Generation tokens processed.", engine["generation_tokens"])
        yield self._counter("vllm:prefix_cache_queries", "Tokens asked of the cache.", engine["prefix_queries"])
        yield self._counter("vllm:prefix_cache_hits", "Tokens found in the cache.", engine["prefix_hits"])
        yield self._counter("vllm:num_preemptions", "Preemptions.", engine["preemptions"])
        sources = CounterMetricFamily("vllm:prompt_tokens_by_source", "Prompt tokens.", labels=(*_LABELS, "source"))
        cached = engine["cached_prompt_tokens"]
        tokens = {"local_compute": engine["prompt_tokens"] - cached, "local_cache_hit": cached}
        for source in PROMPT_SOURCES:
            sources.add_metric((self._model, _ENGINE, source), float(tokens.get(source, 0)))
        yield sources
        finished = CounterMetricFamily("vllm:request_success", "Finished.", labels=(*_LABELS, "finished_reason"))
        for reason in FINISHED_REASONS:
            # A replayed request ends where the recorded one ended.
            requests = float(engine["requests_finished"]) if reason == "stop" else 0.0
            finished.add_metric((self._model, _ENGINE, reason), requests)
        yield finished

    def _histograms(self) -> Iterator[Metric]:
        engine = self._engine
        for name, field, edges in (
            ("vllm:time_to_first_token_seconds", "ttft", TTFT_EDGES_S),
            ("vllm:inter_token_latency_seconds", "itl", TPOT_EDGES_S),
            ("vllm:request_time_per_output_token_seconds", "tpot", TPOT_EDGES_S),
        ):
            yield self._histogram(name, edges, engine[f"{field}_buckets"], float(engine[f"{field}_sum_s"]))
        step_tokens = float(engine["prefill_tokens"] + engine["generation_tokens"])
        yield self._histogram("vllm:iteration_tokens_total", (), engine["steps"].reshape(1), step_tokens)
        e2e = engine["e2e_count"].reshape(1)
        yield self._histogram("vllm:e2e_request_latency_seconds", (), e2e, float(engine["e2e_sum_s"]))

    def _gauge(self, name: str, said: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, said, labels=_LABELS)
        family.add_metric((self._model, _ENGINE), float(value))
        return family

    def _counter(self, name: str, said: str, value: float) -> Metric:
        family = CounterMetricFamily(name, said, labels=_LABELS)
        family.add_metric((self._model, _ENGINE), float(value))
        return family

    def _histogram(self, name: str, edges: Sequence[float], counts: NDArray[np.int64], total: float) -> Metric:
        """Return a histogram; ``counts`` are per bucket, the last one beyond all ``edges``."""
        family = HistogramMetricFamily(name, f"Histogram of {name}.", labels=_LABELS)
        uppers = [*(repr(edge) for edge in edges), "+Inf"]
        buckets = list(zip(uppers, map(float, np.cumsum(counts)), strict=True))
        family.add_metric((self._model, _ENGINE), buckets, total)
        return family
