"""Traffic from a Prometheus: an export of range queries as JSON, or a live server.

What is needed are the raw counters of requests, prompt tokens and output tokens, with their labels, best all of them in
one range query that selects by a regular expression on the metrics' name; docs/traces.md has one to copy.

A file may hold one such answer, a list of them, or one after the other. The two gauges are welcome and not necessary.
A `rate()` has lost what is needed: resets, and its own name.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.adapters.prometheus import Endpoint, PrometheusClient, PrometheusError
from simulator.traces.flows import Counted, Samples
from simulator.traces.lines import opened_text
from simulator.traces.trace import TraceError

FINISHED = ("vllm:request_success_total", "sglang:num_requests_total")
PROMPTS = ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total")
OUTPUTS = ("vllm:generation_tokens_total", "sglang:generation_tokens_total")
IN_FLIGHT = (
    *("vllm:num_requests_running", "vllm:num_requests_waiting"),
    *("sglang:num_running_reqs", "sglang:num_queue_reqs"),
)
_WANTED = (*FINISHED, *PROMPTS, *OUTPUTS, *IN_FLIGHT)
_REMEDY = f"export the raw counters {', '.join((FINISHED[0], PROMPTS[0], OUTPUTS[0]))}, see docs/traces.md"
_SCRAPER_LABELS = ("job", "service", "endpoint", "prometheus", "prometheus_replica")
"""A pod behind two Services, or two Prometheus servers, tell the same thing twice; these labels differ then."""
_MOST_STEPS = 10_000
"""Prometheus answers 11,000 points of a series at most."""
MAX_RANGE_BYTES = 64 * 1024 * 1024  # Six hours of all pods in one answer, read one after the other.
_CHUNK_S = 6 * 3600.0

Row = tuple[Mapping[str, str], Samples]


def exported_rows(place: str, path: Path | Traversable) -> Iterator[Row]:
    """Yield the series of an export.

    Raises:
        TraceError: no such file, no JSON, an answer that is an error, or no range query's.
    """
    with opened_text(place, path) as file:
        text = file.read().strip()
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            raise TraceError(f"{place}, line {line}: no JSON; give the answer of a range query as it came") from None
        while at < len(text) and text[at].isspace():
            at += 1
        for one in document if isinstance(document, list) else [document]:
            yield from _rows_of(place, one)


def _rows_of(place: str, document: Any) -> Iterator[Row]:  # noqa: ANN401 - JSON
    try:
        if document.get("status") == "error":
            raise TraceError(f"{place}: Prometheus answered an error ({document.get('error')}); {_REMEDY}")
        data = document.get("data", document)
        if data["resultType"] != "matrix":
            raise TraceError(f"{place}: the answer is a {data['resultType']}, no range query's; {_REMEDY}")
        for row in data["result"]:
            labels, values = row["metric"], row["values"]
            yield labels, _samples((float(at), float(value)) for at, value in values)
    except TraceError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TraceError(f"{place}: not the answer of a range query; {_REMEDY}") from None


def _samples(points: Iterator[tuple[float, float]]) -> Samples:
    """Return times and values; NaN marks a series that ended, which is no value."""
    finite = [point for point in points if math.isfinite(point[1])]
    table = np.array(sorted(dict(finite).items()), dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def asked_rows(
    url: str, *, since_s: float, step_s: float, model: str | None, token_file: Path | None = None
) -> Iterator[Row]:
    """Yield the series that a Prometheus has of the last `since_s` seconds, in parts of six hours.

    Raises:
        TraceError: it cannot be asked, or does not answer.
    """
    names = "|".join(_WANTED)
    chosen = "" if model is None else f", model_name={json.dumps(model, ensure_ascii=False)}"
    query = f'{{__name__=~"{names}"{chosen}}}'
    end_at = math.floor(time.time())
    part_s = min(_CHUNK_S, _MOST_STEPS * step_s)
    try:
        endpoint = Endpoint(
            name=url, url=url, bearer_token_file=token_file, timeout_s=60.0, max_body_bytes=MAX_RANGE_BYTES
        )
        with closing(PrometheusClient(endpoint)) as client:
            start_at = end_at - since_s
            while start_at < end_at:
                until = min(end_at, start_at + part_s)
                for labels, points in client.query_range(query, start_at=start_at, end_at=until, step_s=step_s):
                    yield labels, _samples(iter(points))
                start_at = until + step_s
    except PrometheusError as error:
        raise TraceError(str(error)) from None


def counted_rows(place: str, rows: Iterator[Row], model: str | None) -> Counted:
    """Return what was counted of one model; parts of one series are put together.

    Raises:
        TraceError: counters are missing, fewer than two samples, or there are several models and none is named.
    """
    series: dict[str, dict[tuple[tuple[str, str], ...], list[Samples]]] = defaultdict(lambda: defaultdict(list))
    models = set()
    for labels, samples in rows:
        name = labels.get("__name__", "")
        if name in _WANTED and model in {None, labels.get("model_name")} and samples[0].size:
            models.add(labels.get("model_name", ""))
            series[name][_key(labels)].append(samples)
    if len(models) > 1:
        names = ", ".join(sorted(models))
        raise TraceError(
            f"{place}: series of {len(models)} models ({names}); choose one by simulator trace convert --model"
        )
    missing = [names[0] for names in (FINISHED, PROMPTS, OUTPUTS) if not any(name in series for name in names)]
    if missing:
        of_model = "" if model is None else f" of model {model}"
        raise TraceError(f"{place}: no series {' and '.join(missing)}{of_model}; {_REMEDY}")
    found = {
        names: tuple(_joined(parts) for name in names for parts in series.get(name, {}).values())
        for names in (FINISHED, PROMPTS, OUTPUTS, IN_FLIGHT)
    }
    distances = np.diff(np.unique(np.concatenate([times for times, _ in found[FINISHED]])))
    if not distances.size:
        raise TraceError(f"{place}: fewer than two samples; export a longer time")
    return Counted(
        finished=found[FINISHED],
        prompt_tokens=found[PROMPTS],
        output_tokens=found[OUTPUTS],
        in_flight=found[IN_FLIGHT],
        step_s=float(np.median(distances)),
        longest_s=float(distances.max()),
    )


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name not in _SCRAPER_LABELS))


def _joined(parts: list[Samples]) -> Samples:
    """Return one series of its parts; of two samples at one instant, the higher: two servers may be a scrape apart."""
    if len(parts) == 1:
        return parts[0]
    times, values = (np.concatenate([part[number] for part in parts]) for number in (0, 1))
    order = np.lexsort((values, times))
    times, values = times[order], values[order]
    last = np.append(np.diff(times) > 0, True)
    return times[last], values[last]
