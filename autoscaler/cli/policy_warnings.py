"""What is valid in a policy and still not as its author may think: one warning each, with the place and the remedy."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from autoscaler.core import capacity, coldstart
from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.core.policy_parts import CustomSignal
from autoscaler.engines import HistogramEdges, edges_around, histogram_edges
from autoscaler.footprint.prices import PriceList
from autoscaler.policyfile import PolicyDocument, Problem
from autoscaler.promql import doubts_of

SLOWEST_TICK_S = 60.0

_Found = Iterator[tuple[str, str]]


def warnings_of(document: PolicyDocument, prices: PriceList) -> tuple[Problem, ...]:
    """Return the warnings of a valid policy in the order of its lines; none for one that is not valid."""
    if document.policy is None:
        return ()
    spec = document.policy.spec
    told = [*(one for rule in _RULES for one in rule(spec)), *_price(spec, prices), *_queries(document.policy)]
    found = [document.problem_at(path, text) for path, text in told]
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))


def _ttft_edge(spec: PolicySpec) -> _Found:
    edges = histogram_edges(spec.engine.preset)
    if not edges.ttft_edges:
        if spec.exports_tokens:
            return
        text = f"{spec.engine.preset} has no histogram of time to first token that is read; attainment is unknown"
        yield "spec.objectives.ttftSeconds", text
        return
    yield from _off_edge("spec.objectives.ttftSeconds", spec.objectives.ttft_seconds, edges.ttft_edges, spec)


def _itl_edge(spec: PolicySpec) -> _Found:
    wanted = spec.objectives.itl_seconds
    if wanted is None:
        return
    edges: HistogramEdges = histogram_edges(spec.engine.preset)
    if not edges.itl_edges:
        text = f"{spec.engine.preset} counts no time per token by request; replicas are sized for it, attainment is not"
        yield "spec.objectives.itlSeconds", text
        return
    yield from _off_edge("spec.objectives.itlSeconds", wanted, edges.itl_edges, spec)


def _off_edge(path: str, wanted_s: float, edges: tuple[float, ...], spec: PolicySpec) -> _Found:
    if wanted_s in edges:
        return
    near = edges_around(wanted_s, edges)
    choice = " or ".join(f"{edge:g}" for edge in near)
    text = (
        f"{wanted_s:g} s is not a bucket edge of {spec.engine.preset}'s histogram, so attainment would be guessed "
        f"between edges; write {choice}"
    )
    yield path, text


def _reachable(spec: PolicySpec) -> _Found:
    promises = (
        ("ttftSeconds", spec.objectives.ttft_seconds, "a first token within {:g} s"),
        ("itlSeconds", spec.objectives.itl_seconds, "{:g} s per token"),
    )
    step_s = capacity.known(spec).a_s
    for field, wanted_s, words in promises:
        if spec.exports_tokens and wanted_s is not None and wanted_s <= step_s:
            text = (
                f"no number of replicas gives {words.format(wanted_s)}: one step alone takes {step_s:.3g} s; write more"
            )
            yield f"spec.objectives.{field}", text


def _hold(spec: PolicySpec) -> _Found:
    hold_s, start_s = spec.scale_down.stabilization_seconds, coldstart.initial(spec).estimate.p50_s
    if hold_s is not None and hold_s < start_s:
        text = (
            f"{hold_s:g} s is shorter than a cold start (about {start_s:.0f} s until one is measured), so replicas may "
            "be removed and started in turns; leave it out, or write more"
        )
        yield "spec.scaleDown.stabilizationSeconds", text


def _slow_ticks(spec: PolicySpec) -> _Found:
    tick_s = spec.timing.tick_seconds
    if tick_s > SLOWEST_TICK_S:
        text = f"a decision every {tick_s:g} s sees a burst when it is over; write {SLOWEST_TICK_S:g} or less"
        yield "spec.timing.tickSeconds", text


def _guessed(spec: PolicySpec) -> _Found:
    coefficients = capacity.known(spec)
    if spec.exports_tokens and coefficients.guessed:
        text = (
            f"no measured step time, so a {coefficients.source} sizes the replicas (off by a third at times); "
            "measure it, or look at the recommendations before Enforce"
        )
        yield "spec.engine.stepTime", text
        if spec.model.parameters_billion is None:
            yield "spec.model.parametersBillion", "the physics prior needs it, and it is missing; add it"


def _concurrency(spec: PolicySpec) -> _Found:
    if not spec.exports_tokens and spec.engine.target_concurrency is None:
        text = (
            f"{spec.engine.preset} is scaled by requests in flight, and none are stated; "
            f"{capacity.target_concurrency(spec):g} per replica is assumed"
        )
        yield "spec.engine.targetConcurrency", text


def _batch_slots(spec: PolicySpec) -> _Found:
    if spec.exports_tokens and spec.engine.max_sequences is None:
        text = "engines do not export max_num_seqs, so full batches are not foreseen; write the engine's value"
        yield "spec.engine.maxSequences", text


def _price(spec: PolicySpec, prices: PriceList) -> _Found:
    stated = spec.accelerator.price
    if stated is None:
        text = "no price, so costs are reported as unknown; write usdPerHour or a reference such as aws/h100"
        yield "spec.accelerator.price", text
        return
    if stated.reference is None:
        return
    path = "spec.accelerator.price.reference"
    row = prices.find(stated.reference)
    if row is None:
        near = prices.nearest(stated.reference)
        hint = f"did you mean {near}?" if near else "write usdPerHour instead"
        yield path, f"{stated.reference} is not in the price list, so costs are reported as unknown; {hint}"
        return
    ours, theirs = (capacity.accelerator_class(name) for name in (spec.accelerator.class_, row.class_))
    if ours is not None and theirs is not None and ours != theirs:
        yield path, f"{row.reference} is the price of {row.class_}, and the class is {spec.accelerator.class_}"


def _queries(policy: ScalingPolicy) -> _Found:
    metrics = policy.spec.metrics
    for i, query in enumerate(metrics.queries):
        for text in doubts_of(
            query.promql,
            pod_label=metrics.pod_label,
            namespace_label=metrics.namespace_label,
            namespace=policy.metadata.namespace,
            by_pod=query.signal is not CustomSignal.HELD_REQUESTS,
        ):
            yield f"spec.metrics.queries[{i}].promql", text


def _later(spec: PolicySpec) -> _Found:
    """Name what is accepted and not acted on yet: silence would read as a promise."""
    if spec.schedules:
        yield "spec.schedules", "accepted, but not acted on in this version"
    if spec.budget.accelerator_hours_per_day is not None:
        yield "spec.budget", "accepted, but not acted on in this version"
    if spec.priority != 0:
        yield "spec.priority", "accepted, but not acted on in this version"
    if spec.scale_to_zero.enabled:
        yield "spec.scaleToZero", "accepted, but in this version the last replica stays"


def _pin(spec: PolicySpec) -> _Found:
    pin, bounds = spec.pin, spec.replicas
    if pin is None:
        return
    if pin.until <= datetime.now(UTC):
        yield "spec.pin.until", "this time has passed, so the pin does nothing; remove it, or write a later time"
    if not bounds.min <= pin.replicas <= bounds.max:
        text = f"the bounds hold over a pin: {pin.replicas} lies outside {bounds.min} to {bounds.max}; widen them"
        yield "spec.pin.replicas", text


def shared_targets(documents: Sequence[PolicyDocument]) -> dict[int, tuple[Problem, ...]]:
    """Return, by position, what is said of a policy whose name or target an earlier one of these has already."""
    names: dict[str, PolicyDocument] = {}
    targets: dict[tuple[str, ...], PolicyDocument] = {}
    found: dict[int, tuple[Problem, ...]] = {}
    for i, document in enumerate(documents):
        if document.policy is None:
            continue
        reference, namespace = document.policy.spec.target_ref, document.policy.metadata.namespace
        target = (namespace, reference.api_version.rpartition("/")[0], reference.kind, reference.name)
        same, other = names.setdefault(document.policy.key, document), targets.setdefault(target, document)
        if same is not document:
            text = f"{document.policy.key} stands at {_place(same)} already, and the later one replaces it; rename one"
            found[i] = (document.problem_at("metadata.name", text),)
        elif other is not document:
            text = f"the policy at {_place(other)} has the same target, and Enforce refuses both; keep one"
            found[i] = (document.problem_at("spec.targetRef", text),)
    return found


def _place(document: PolicyDocument) -> str:
    return f"{document.source}:{document.line}"


_RULES: tuple[Callable[[PolicySpec], _Found], ...] = (
    _ttft_edge,
    _itl_edge,
    _reachable,
    _hold,
    _slow_ticks,
    _guessed,
    _concurrency,
    _batch_slots,
    _pin,
    _later,
)
