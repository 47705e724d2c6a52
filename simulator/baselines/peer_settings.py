"""Each peer's settings: as its project ships it, and as somebody would set it who knows both it and cold starts.

A knob, the peer's main target, is swept by whoever compares; everything else is set here. *Default* is what the project
does if nothing but the target is written. *Expert* changes what a cold start of minutes makes harmful:

- HPA, KEDA: up by two pods a minute instead of doubling every 15 s, which orders several times the need while the first
  replicas still load. KEDA also polls every 15 s. On the KV cache, the expert adds the queue as a second metric.
- KPA: a scale-down delay of five minutes, so that the halving of an idle window is not paid for by a cold start.
- AIBrix: the strategies as they were meant (see ``baselines.aibrix``; no upstream release).
- Ray Serve: up after 5 s instead of 30 s.
- Watermark: a narrower band, doubling allowed, and half of the forbidden windows.
- WVA: its HPA without tolerance, which lets it beyond ten replicas.
- Dynamo-like: the floor every minute instead of every three.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from autoscaler.core import decide as core
from autoscaler.core.policy import PolicySpec
from autoscaler.driver import Decider
from autoscaler.journal import digest, encode
from simulator.baselines import aibrix, dynamo, hpa, keda, kpa, oracle, ray_serve, static, watermark, wva
from simulator.baselines.hpa_metrics import Metric
from simulator.baselines.hpa_rules import DEFAULT_BEHAVIOR, Behavior, Kind, RatePolicy, ScalingRules
from simulator.baselines.sight import Bounds, PodsMetric
from simulator.run import Contender
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.world import Scenario

P = TypeVar("P")
M = TypeVar("M")


class Style(StrEnum):
    """How a peer is set: as shipped, or by somebody who knows it well."""

    DEFAULT = "default"
    EXPERT = "expert"


Make = Callable[[Scenario, PolicySpec, float, Style], Contender[Any, Any]]
"""Makes a contender from the scenario, our policy (its bounds and objectives), the knob and the style."""

TWO_A_MINUTE = ScalingRules(policies=(RatePolicy(kind=Kind.PODS, value=2, period_s=60.0),), stabilization_s=0.0)
PATIENT = replace(DEFAULT_BEHAVIOR, up=TWO_A_MINUTE)
QUEUE_BESIDE_KV = 5.0
ITL_S = 0.05
"""Dynamo's own default for the time per output token, where our policy has none."""


def _contender(
    name: str,
    knob: float,
    style: Style,
    *,
    decide: Decider[P, M],
    policy: P,
    memory: M,
    scraping: Scraping | None = None,
) -> Contender[P, M]:
    shown = f"{name} {knob:g}" if style is Style.DEFAULT else f"{name} {knob:g} {style}"
    named = hashlib.sha256(encode(policy)).hexdigest()[:16]
    return Contender(name=shown, decide=decide, policy=policy, memory=memory, digest=named, scraping=scraping)


def _bounds(spec: PolicySpec, *, zero: bool = True) -> Bounds:
    """Return the policy's bounds; a peer without a zero keeps one replica."""
    return Bounds(least=spec.replicas.min if zero else max(1, spec.replicas.min), most=spec.replicas.max)


def _behavior(style: Style) -> Behavior:
    return PATIENT if style is Style.EXPERT else DEFAULT_BEHAVIOR


def ours(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return our core with another quantile of demand."""
    del scenario, style
    spec = spec.model_copy(update={"prewarm": spec.prewarm.model_copy(update={"quantile": knob})})
    name = f"ours {knob:g}"
    return Contender(name=name, decide=core.decide, policy=spec, memory=core.initial(spec), digest=digest(spec))


def hpa_on(name: str, metric: PodsMetric) -> Make:
    """Return what makes an HPA on a Pods metric."""

    def make(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
        del scenario
        metrics: tuple[Metric, ...] = (Metric(metric=metric, target=knob),)
        if style is Style.EXPERT and metric is PodsMetric.KV_USE:
            metrics = (*metrics, Metric(metric=PodsMetric.WAITING, target=QUEUE_BESIDE_KV))
        bounds = _bounds(spec, zero=False)
        policy = hpa.HpaSpec(
            metrics=metrics, min_replicas=bounds.least, max_replicas=bounds.most, behavior=_behavior(style)
        )
        return _contender(name, knob, style, decide=hpa.decide, policy=policy, memory=hpa.HpaMemory())

    return make


def keda_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return KEDA on requests in flight."""
    del scenario
    policy = keda.KedaSpec(
        metric=PodsMetric.CONCURRENCY,
        threshold=knob,
        min_replicas=spec.replicas.min,
        max_replicas=spec.replicas.max,
        polling_s=15.0 if style is Style.EXPERT else 30.0,
        behavior=_behavior(style),
    )
    return _contender("KEDA", knob, style, decide=keda.decide, policy=policy, memory=keda.KedaMemory())


def kpa_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return Knative's KPA."""
    del scenario
    delay_s = 300.0 if style is Style.EXPERT else 0.0
    policy = kpa.KpaSpec(target=knob, bounds=_bounds(spec), scale_down_delay_s=delay_s)
    # queue-proxy and activator report the mean concurrency of each second (AverageConcurrentRequests of a Stat).
    scraping = Scraping(scrape_s=policy.tick_s, lag_s=0.0, mean_in_flight=True)
    return _contender("KPA", knob, style, decide=kpa.decide, policy=policy, memory=kpa.KpaMemory(), scraping=scraping)


def aibrix_with(name: str, strategy: aibrix.Strategy) -> Make:
    """Return what makes AIBrix' autoscaler with a strategy; the expert's is the intended one, and says so."""

    def make(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
        del scenario
        intended = style is Style.EXPERT
        policy = aibrix.AibrixSpec(
            strategy=strategy,
            metric=PodsMetric.CONCURRENCY,
            target=knob,
            bounds=_bounds(spec, zero=False),
            intended=intended,
        )
        scraping = Scraping(scrape_s=policy.resync_s, lag_s=0.0)
        made = _contender(
            name,
            knob,
            Style.DEFAULT,
            decide=aibrix.decide,
            policy=policy,
            memory=aibrix.AibrixMemory(),
            scraping=scraping,
        )
        return replace(made, name=f"{made.name} as {'meant' if intended else 'it is'}")

    return make


def ray_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return Ray Serve."""
    del scenario
    delay_s = 5.0 if style is Style.EXPERT else 30.0
    policy = ray_serve.RaySpec(target_ongoing=knob, bounds=_bounds(spec), upscale_delay_s=delay_s)
    # Handles sample what they have in flight every half second and report the means of that.
    scraping = Scraping(scrape_s=policy.loop_s, lag_s=0.0, mean_in_flight=True)
    return _contender(
        "Ray Serve",
        knob,
        style,
        decide=ray_serve.decide,
        policy=policy,
        memory=ray_serve.RayMemory(),
        scraping=scraping,
    )


def watermark_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return Datadog's WatermarkPodAutoscaler; the low watermark is half of the high one, the expert's 70 % of it."""
    del scenario
    policy = watermark.WatermarkSpec(
        metric=PodsMetric.CONCURRENCY, high=knob, low=0.5 * knob, bounds=_bounds(spec, zero=False)
    )
    if style is Style.EXPERT:
        policy = replace(policy, low=0.7 * knob, up_limit_percent=100.0, up_forbidden_s=30.0, down_forbidden_s=150.0)
    return _contender(
        "Watermark", knob, style, decide=watermark.decide, policy=policy, memory=watermark.WatermarkMemory()
    )


def wva_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return llm-d's WVA; the spare KV that it keeps is an eighth of the threshold, as 0.10 is of 0.80."""
    del scenario
    policy = wva.WvaSpec(bounds=_bounds(spec, zero=False), kv_threshold=knob, kv_spare=knob / 8)
    if style is Style.EXPERT:
        up, down = policy.behavior.up, policy.behavior.down
        exact = Behavior(up=replace(up, tolerance=0.0), down=replace(down, tolerance=0.0))
        policy = replace(policy, behavior=exact)
    return _contender("WVA", knob, style, decide=wva.decide, policy=policy, memory=wva.WvaMemory())


def dynamo_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return the Dynamo-like planner, planning for a share of the objectives."""
    profile = scenario.profile
    engine = dynamo.Engine(
        a_s=profile.a_s,
        b_s=profile.b_s,
        c_s=profile.c_s,
        d_s=profile.d_s,
        max_seqs=profile.max_num_seqs,
        kv_tokens=profile.kv_tokens,
        chunk_tokens=profile.max_num_batched_tokens,
    )
    policy = dynamo.DynamoSpec(
        ttft_s=knob * spec.objectives.ttft_seconds,
        itl_s=knob * (spec.objectives.itl_seconds or ITL_S),
        engine=engine,
        bounds=_bounds(spec, zero=False),
        throughput_s=60.0 if style is Style.EXPERT else 180.0,
    )
    scraping = Scraping(scrape_s=policy.load_s, lag_s=0.0)
    return _contender(
        "Dynamo-like", knob, style, decide=dynamo.decide, policy=policy, memory=dynamo.DynamoMemory(), scraping=scraping
    )


def static_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return a fixed fleet, within the policy's bounds."""
    del scenario
    policy = static.StaticSpec(replicas=_bounds(spec).within(round(knob)))
    return _contender("static", knob, style, decide=static.decide, policy=policy, memory=None)


def oracle_peer(scenario: Scenario, spec: PolicySpec, knob: float, style: Style) -> Contender[Any, Any]:
    """Return the oracle: it is told the scenario's trace, engine and cold starts (on nodes with room)."""
    transfers_s = 0.0 if scenario.cluster is None else scenario.cluster.transfers_s(scenario.profile)
    policy = oracle.foreseen(
        scenario.trace,
        scenario.profile,
        start_s=oracle.mean_start_s(scenario.startup, scenario.seed) + transfers_s,
        utilization=knob,
        bounds=_bounds(spec),
        begin_at=EPOCH_AT,
    )
    return _contender("oracle", knob, style, decide=oracle.decide, policy=policy, memory=None)
