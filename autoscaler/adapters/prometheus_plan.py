"""What is asked of one Prometheus in a tick: a fixed set of queries, however many policies there are.

Policies that read the same engine under the same labels share one plan, so the number of queries depends on the
number of engines and label mappings in use and not on the number of policies. The edges of the latency histograms
are the union of what the policies' objectives need: one matcher, not one query for each objective.

Custom queries are the exception, since each is its own: they are asked once for each distinct text, and capped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from autoscaler.core.policy import ScalingPolicy
from autoscaler.core.policy_parts import CustomQuery, Preset
from autoscaler.engines import Labels, Signal, edges_around, histogram_edges, queries

# A label mapping of its own costs a plan, some fourteen queries; a cluster needs one or two.
MAX_PLANS = 16
MAX_CUSTOM_QUERIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySeries:
    """Which series are one policy's: where they are, under which names, and around which objectives.

    ``queries_refused`` is set where the policy has custom queries that the administrator does not allow.
    """

    namespace: str
    model: str
    preset: Preset = Preset.VLLM
    labels: Labels = field(default_factory=Labels)
    ttft_s: float = 2.5
    itl_s: float | None = None
    queries: tuple[CustomQuery, ...] = ()
    queries_refused: bool = False

    @classmethod
    def of(cls, policy: ScalingPolicy, *, allow_queries: bool = False) -> "PolicySeries":
        """Return what a policy reads. Raises LabelError where its label mapping names no Prometheus label."""
        spec = policy.spec
        return cls(
            namespace=policy.metadata.namespace,
            model=spec.model.name,
            preset=spec.engine.preset,
            labels=Labels.of(spec.metrics),
            ttft_s=spec.objectives.ttft_seconds,
            itl_s=spec.objectives.itl_seconds,
            queries=spec.metrics.queries if allow_queries else (),
            queries_refused=bool(spec.metrics.queries) and not allow_queries,
        )


PlanKey = tuple[Preset, Labels]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """The queries of one engine under one label mapping, and the custom queries of the policies that share it."""

    preset: Preset
    labels: Labels
    queries: tuple[tuple[Signal, str], ...]
    custom: tuple[str, ...] = ()

    @property
    def key(self) -> PlanKey:
        """What policies share this plan."""
        return (self.preset, self.labels)


def query_plans(wanted: Iterable[PolicySeries]) -> tuple[QueryPlan, ...]:
    """Return the plans that serve some policies of one Prometheus: at most MAX_PLANS, in the order they came.

    A policy whose mapping is beyond the limit gets no samples and a warning that says so.
    """
    groups: dict[PlanKey, list[PolicySeries]] = {}
    for series in wanted:
        groups.setdefault((series.preset, series.labels), []).append(series)
    plans: list[QueryPlan] = []
    left = MAX_CUSTOM_QUERIES
    for key in list(groups)[:MAX_PLANS]:
        plan = _plan(key, groups[key], left)
        left -= len(plan.custom)
        plans.append(plan)
    return tuple(plans)


def _plan(key: PlanKey, members: list[PolicySeries], custom_left: int) -> QueryPlan:
    preset, labels = key
    known = histogram_edges(preset)
    ttft = {edge for series in members for edge in edges_around(series.ttft_s, known.ttft_edges)}
    itl = {edge for series in members if series.itl_s for edge in edges_around(series.itl_s, known.itl_edges)}
    asked = queries(preset, labels, ttft_edges=ttft, itl_edges=itl)
    custom = dict.fromkeys(query.promql for series in members for query in series.queries)
    return QueryPlan(
        preset=preset,
        labels=labels,
        queries=tuple(asked.items()),
        custom=tuple(custom)[:custom_left],
    )
