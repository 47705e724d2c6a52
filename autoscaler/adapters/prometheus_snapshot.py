"""One instant of one Prometheus, for all policies: tables of every pod's series, from which each picks its own.

A row belongs to (namespace, pod) and, within a pod, to a model. A policy reads the rows of the pods that it is told
are its target's own: two targets that serve a model of one name in one namespace never see each other's samples.
Series without the model's label belong to whatever the pod serves.

Presence is told per pod, in this order: no sample, and the scrape fails: target-down; no sample: absent; a sample
older than the limit: stale; a value that no count can have (NaN, an infinity, below zero): invalid; else present, and
then zero is a value. A query that failed leaves its own signal None in all pods and a warning in the policy's signals.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from autoscaler.adapters.prometheus_http import Answer
from autoscaler.adapters.prometheus_plan import PlanKey, PolicySeries, QueryPlan
from autoscaler.core.policy_parts import CustomSignal
from autoscaler.core.signals import PodSample, Presence
from autoscaler.engines import Labels, Shape, Signal, cache_tokens, edges_around, shape

T = TypeVar("T")
PodKey = tuple[str, str]
# Rows of one pod by model ("" where the series have no model label), each a value or cumulative counts by edge.
Values = dict[PodKey, dict[str, float]]
Buckets = dict[PodKey, dict[str, dict[float, float]]]

_FIELDS: Mapping[Signal, str] = {
    Signal.RUNNING: "running",
    Signal.WAITING: "waiting",
    Signal.KV_RATIO: "kv_ratio",
    Signal.KV_CAPACITY: "kv_capacity_tokens",
    Signal.PROMPT_TOKENS: "prompt_tokens",
    Signal.GENERATION_TOKENS: "generation_tokens",
    Signal.FINISHED_REQUESTS: "finished_requests",
    Signal.STEPS: "steps",
    Signal.ITL_SUM: "itl_sum_s",
    Signal.ITL_COUNT: "itl_count",
}
# Characters of a custom query that a warning shows: a condition's message has an end.
_QUERY_SHOWN = 120
_CUSTOM_FIELDS = {CustomSignal.RUNNING: "running", CustomSignal.WAITING: "waiting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRun:
    """How one query went: what for, how long, how many series, and the kind of its error if it failed."""

    signal: str
    seconds: float
    series: int = 0
    error_kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTables:
    """What came of one plan's queries; a signal whose query failed is in no table."""

    labels: Labels
    values: Mapping[Signal, Values] = field(default_factory=dict)
    buckets: Mapping[Signal, Buckets] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether it is unknown which pods have samples, and of when: then nothing else that came back is dated."""
        return Signal.SAMPLE_TIME not in self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that one Prometheus said at one instant ``at`` (unix seconds)."""

    endpoint: str
    at: float
    plans: Mapping[PlanKey, PlanTables] = field(default_factory=dict)
    custom: Mapping[str, Answer] = field(default_factory=dict)
    custom_errors: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[QueryRun, ...] = ()

    def samples(self, series: PolicySeries, pods: Sequence[str], stale_after_s: float) -> tuple[PodSample, ...]:
        """Return one sample for each pod, whatever its presence; none at all where nothing could be asked."""
        tables = self.plans.get((series.preset, series.labels))
        custom = {name: self._custom_by_pod(series, signal, pods) for signal, name in _CUSTOM_FIELDS.items()}
        if (tables is None or tables.blind) and not any(custom.values()):
            return ()
        tables = tables or PlanTables(labels=series.labels)
        return tuple(
            self._sample(tables, series, pod, stale_after_s, {k: v[pod] for k, v in custom.items() if pod in v})
            for pod in pods
        )

    def held_requests(self, series: PolicySeries) -> float | None:
        """Return the requests that a gateway holds, by the policy's own query; None where that gave nothing sound."""
        texts = [query.promql for query in series.queries if query.signal is CustomSignal.HELD_REQUESTS]
        held = [value for text in texts for _, value in self.custom[text].rows] if _all_in(texts, self.custom) else []
        return sum(held) if held and all(_is_count(value) for value in held) else None

    def warnings(self, series: PolicySeries, pods: Sequence[str]) -> tuple[str, ...]:
        """Return why the samples of a policy may be incomplete, in sentences; with any of them nothing goes down."""
        said: list[str] = []
        tables = self.plans.get((series.preset, series.labels))
        if tables is None:
            said.append(
                f'Prometheus "{self.endpoint}": too many different label mappings are in use, so this policy is not '
                "asked for; make spec.metrics of the policies agree"
            )
        else:
            said += tables.warnings
            said += self._misplaced(tables, series, pods)
        if series.queries_refused:
            said.append("spec.metrics.queries are not allowed by the administrator and are left out; remove them")
        said += self._custom_warnings(series, pods)
        return tuple(dict.fromkeys(said))

    def _sample(
        self, tables: PlanTables, series: PolicySeries, pod: str, stale_after_s: float, custom: Mapping[str, float]
    ) -> PodSample:
        key = (series.namespace, pod)
        read = {name: _of_model(tables.values.get(sig, {}), key, series.model) for sig, name in _FIELDS.items()}
        read |= custom
        at = _of_model(tables.values.get(Signal.SAMPLE_TIME, {}), key, series.model)
        if at is None and custom:
            # A custom query has no time of its own: it is as old as its evaluation.
            at = self.at
        if at is None:
            down = _of_model(tables.values.get(Signal.UP, {}), key, "") == 0.0
            return PodSample(pod=pod, at=self.at, presence=Presence.TARGET_DOWN if down else Presence.ABSENT)
        ttft = _around(_of_model(tables.buckets.get(Signal.TTFT, {}), key, series.model), series.ttft_s)
        tpot = _around(_of_model(tables.buckets.get(Signal.TPOT, {}), key, series.model), series.itl_s)
        sound = {name: value if value is not None and _is_count(value) else None for name, value in read.items()}
        invalid = sound != read or not ttft.sound or not tpot.sound
        presence = Presence.INVALID if invalid else Presence.PRESENT
        return PodSample(
            pod=pod,
            at=at,
            presence=Presence.STALE if self.at - at > stale_after_s else presence,
            ttft_count=ttft.count,
            ttft_within=ttft.within,
            tpot_count=tpot.count,
            tpot_within=tpot.within,
            **sound,
        )

    def _custom_by_pod(self, series: PolicySeries, signal: CustomSignal, pods: Sequence[str]) -> dict[str, float]:
        """Return a custom query's value for each pod: its own, or an equal share of a single sample."""
        values: dict[str, float] = {}
        for text in (query.promql for query in series.queries if query.signal is signal):
            rows = self.custom[text].rows if text in self.custom else ()
            if len(rows) == 1 and series.labels.pod not in rows[0][0]:
                return {pod: rows[0][1] / len(pods) for pod in pods}
            for labels, value in rows:
                pod = labels.get(series.labels.pod, "")
                if pod in pods and labels.get(series.labels.namespace, series.namespace) == series.namespace:
                    values[pod] = values.get(pod, 0.0) + value
        return values

    def _custom_warnings(self, series: PolicySeries, pods: Sequence[str]) -> list[str]:
        """Say of each custom query, by its text, what keeps it from being read; the preset's signals live on."""
        said = []
        for query in series.queries:
            place = f"spec.metrics.queries: the query for {query.signal.value}, {_shortened(query.promql)},"
            answer = self.custom.get(query.promql)
            if answer is None:
                limit = "more custom queries than a tick has room for"
                said.append(f"{place} was not answered: {self.custom_errors.get(query.promql, limit)}")
                continue
            said += [f'Prometheus "{self.endpoint}" on {place[:-1]}: {text}' for text in answer.warnings]
            if not answer.rows:
                said.append(f"{place} gives no sample; no sample is not zero: let it give 0 where there is nothing")
            elif not all(_is_count(value) for _, value in answer.rows):
                said.append(f"{place} gives a value that is no count (NaN, infinite or negative); change it")
            elif query.signal in _CUSTOM_FIELDS and pods and not self._custom_by_pod(series, query.signal, pods):
                said.append(
                    f"{place} gives samples ({len(answer.rows)}), and in none of them is the label {series.labels.pod} "
                    f"a pod of the target in {series.namespace}; let it give one sample, or one for each pod under that"
                    " label"
                )
        return said

    def _misplaced(self, tables: PlanTables, series: PolicySeries, pods: Sequence[str]) -> list[str]:
        """Say where the series are, if this policy finds none under the names that it gives."""
        times = tables.values.get(Signal.SAMPLE_TIME, {})
        keys = [(series.namespace, pod) for pod in pods]
        if not pods or any(_of_model(times, key, series.model) is not None for key in keys):
            return []
        models = sorted({model for key in keys for model in times.get(key, {})})
        if models:
            return [
                f"the pods serve {', '.join(models)} and not {series.model}; set spec.model.name to what they serve"
            ]
        if any(not pod for _, pod in times):
            remedy = "set spec.metrics.podLabel, or relabel them when they are scraped"
            return [f"there are series without the label {series.labels.pod}; {remedy}"]
        elsewhere = sorted({namespace or "none" for namespace, pod in times if pod in pods} - {series.namespace})
        if elsewhere:
            found = f"carry {', '.join(elsewhere)} in the label {series.labels.namespace}, not {series.namespace}"
            return [f"the pods' series {found}; set spec.metrics.namespaceLabel"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Histogram:
    """What was read of one histogram around one objective."""

    count: float | None = None
    within: tuple[tuple[float, float], ...] = ()
    sound: bool = True


def _around(buckets: Mapping[float, float] | None, objective: float | None) -> _Histogram:
    """Return the count of all observations and of those within the edges next to the objective."""
    if not buckets:
        return _Histogram()
    if not all(_is_count(count) for count in buckets.values()):
        return _Histogram(sound=False)
    finite = [edge for edge in buckets if math.isfinite(edge)]
    edges = () if objective is None else edges_around(objective, finite)
    return _Histogram(count=buckets.get(math.inf), within=tuple((edge, buckets[edge]) for edge in edges))


def _shortened(promql: str) -> str:
    text = " ".join(promql.split())
    return text if len(text) <= _QUERY_SHOWN else f"{text[:_QUERY_SHOWN]}…"


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0


def _all_in(texts: Iterable[str], answers: Mapping[str, Answer]) -> bool:
    return all(text in answers for text in texts)


def _of_model(table: Mapping[PodKey, Mapping[str, T]], key: PodKey, model: str) -> T | None:
    """Return a pod's row of a model, or its row without a model."""
    models = table.get(key, {})
    return models.get(model, models.get(""))


def tables_of(plan: QueryPlan, answers: Mapping[Signal, Answer], warnings: tuple[str, ...]) -> PlanTables:
    """Sort the rows of one plan's answers by pod and model."""
    values: dict[Signal, Values] = {}
    buckets: dict[Signal, Buckets] = {}
    for signal, answer in answers.items():
        match shape(plan.preset, signal):
            case Shape.VALUE:
                values[signal] = _values(answer, plan.labels)
            case Shape.CACHE_INFO:
                values[signal] = _capacities(answer, plan.labels)
            case Shape.BUCKETS:
                buckets[signal] = _bucket_counts(answer, plan.labels)
    return PlanTables(labels=plan.labels, values=values, buckets=buckets, warnings=warnings)


def _place(row: Mapping[str, str], labels: Labels) -> tuple[PodKey, str]:
    return (row.get(labels.namespace, ""), row.get(labels.pod, "")), row.get(labels.model, "")


def _values(answer: Answer, labels: Labels) -> Values:
    table: Values = {}
    for row, value in answer.rows:
        key, model = _place(row, labels)
        table.setdefault(key, {})[model] = value
    return table


def _capacities(answer: Answer, labels: Labels) -> Values:
    """Return the KV capacity of each pod: the sum over its engines, the least where one engine tells two."""
    engines: dict[PodKey, dict[str, float]] = {}
    for row, _ in answer.rows:
        key, _ = _place(row, labels)
        tokens = cache_tokens(row)
        if tokens is not None:
            told = engines.setdefault(key, {})
            engine = row.get("engine", "")
            told[engine] = min(tokens, told.get(engine, tokens))
    return {key: {"": sum(told.values())} for key, told in engines.items()}


def _bucket_counts(answer: Answer, labels: Labels) -> Buckets:
    table: Buckets = {}
    for row, value in answer.rows:
        key, model = _place(row, labels)
        try:
            edge = float(row.get("le", ""))
        except ValueError:
            continue
        table.setdefault(key, {}).setdefault(model, {})[edge] = value
    return table
