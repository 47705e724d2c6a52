"""The explanation: every figure of a decision by name, the conditions, and one sentence for a person.

``Decision.numbers`` must suffice to recompute the decision by hand with the formulas of ``plan``, ``capacity`` and
``forecast``, and its reason with the tables of ``guard``; what was not known is absent from it, never 0.
"""

from dataclasses import dataclass

from autoscaler.core import capacity, guard, prewarm, starts
from autoscaler.core.decision import Condition, Decision, Term, Why
from autoscaler.core.guard import Verdict
from autoscaler.core.plan import Plan, Seen, limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What guards and plan came to: the verdict, the bounds, ``extra`` replicas for stuck starts, the hold's most."""

    verdict: Verdict
    conditions: tuple[Condition, ...]
    least: int
    most: int
    extra: int
    want_down: int | None


def conditions(seen: Seen) -> tuple[Condition, ...]:
    """Return what a person should know beside the count."""
    found: list[Condition] = []
    if seen.spec.exports_tokens:
        found += capacity.objectives(seen.coefficients, seen.observed.mix, limits(seen))
        if seen.coefficients.guessed:
            found.append(Condition(name="CapacityGuessed", message=f"step time is a {seen.coefficients.source}"))
    if seen.fleet.stuck > 0:
        message = f"{seen.fleet.stuck} starts failed or take longer than {seen.estimate.stuck_after_s:.0f} s"
        found.append(Condition(name="StuckColdStart", message=message))
    if seen.fleet.lapsed > 0:
        message = f"{seen.fleet.lapsed} replicas were ready and are not any more: look at their readiness probes"
        found.append(Condition(name="ReadinessLapsed", message=message))
    if starts.failing(seen.memory.guard.starts):
        message = "most starts of late hang, and none came since: a backlog orders nothing meanwhile"
        found.append(Condition(name="StartsFailing", message=message))
    if seen.estimate.p50_s > guard.LONGEST_WAIT_S or seen.estimate.p75_s > guard.LONGEST_WAIT_S:
        message = f"a cold start of {seen.estimate.p75_s:.0f} s is beyond 20 minutes; the horizon is clamped there"
        found.append(Condition(name="ColdStartTooLong", message=message))
    if seen.observed.hung:
        message = f"{guard.named(seen.observed.hung)}: requests are there and none of them moves; restart the engine"
        found.append(Condition(name="HungEngine", message=message))
    if seen.observed.frozen:
        message = (
            f"requests went through that these counters did not count: {guard.named(seen.observed.frozen)}; they are "
            "taken as missing, and nothing is scaled down on them: look at the engine's /metrics, or at the rule"
        )
        found.append(Condition(name="FrozenCounters", message=message))
    if seen.observed.unseen:
        message = (
            f"requests end in {guard.named(seen.observed.unseen)}, and the gauge of those that run reads 0: what runs "
            "there is computed from how long requests ran before, and nothing is scaled down on it"
        )
        found.append(Condition(name="ContradictoryMetrics", message=message))
    if seen.observed.untold is not None:
        message = f"{seen.observed.untold}; the last mean stands in, and nothing is scaled down on it"
        found.append(Condition(name="TokensUntold", message=message))
    if seen.observed.contradiction is not None:
        found.append(Condition(name="ContradictoryMetrics", message=seen.observed.contradiction))
    return tuple(found)


def _numbers(seen: Seen, plan: Plan | None, judged: Judgement) -> dict[str, float]:
    """Return every input of the formulas by name; what was not known is absent."""
    timing, prewarm_bounds = seen.spec.timing, seen.spec.prewarm
    observed, memory = seen.observed, seen.memory
    # While blind the newest sample ever seen tells for how long.
    newest_at = memory.demand.newest_at if observed.newest_at is None else observed.newest_at
    known: dict[str, float | None] = {
        "level": memory.forecast.level,
        "base": memory.forecast.base,
        "scale": memory.forecast.scale,
        "demand": observed.demand,
        "arrival_rps": observed.arrival_rps,
        "running": observed.running,
        "waiting": observed.waiting,
        "held": observed.held,
        "itl_s": observed.itl_s,
        "kv_capacity_tokens": observed.kv_capacity_tokens,
        "sample_age_s": None if newest_at is None else seen.signals.at - newest_at,
        "coldstart_p50_s": seen.estimate.p50_s,
        "coldstart_p75_s": seen.estimate.p75_s,
        "coldstart_samples": float(seen.estimate.samples),
        "horizon_s": seen.times.horizon_s,
        "lag_s": seen.times.lag_s,
        "hold_s": seen.times.hold_s,
        "guard_s": seen.times.guard_s,
        "scrape_s": timing.scrape_seconds,
        "tick_s": timing.tick_seconds,
        "level_span_s": timing.level_seconds,
        "peak_span_s": timing.peak_hold_seconds,
        "backlog_clear_s": timing.backlog_clear_seconds,
        "stale_after_s": guard.stale_after_s(seen.spec),
        "fail_safe_after_s": seen.spec.fail_safe.after_seconds,
        "blind_s": guard.blind_s(memory.guard, seen.signals.at),
        "sighted_s": memory.guard.sighted_s,
        "quantile": memory.quantile,
        "reporting": float(observed.reporting),
        "expected": float(observed.expected),
        "stuck": float(seen.fleet.stuck),
        "healthy": float(seen.fleet.healthy),
        "loading": float(seen.fleet.loading),
        "lapsed": float(seen.fleet.lapsed),
        "surge": float(seen.signals.surge_replicas),
        "replacements": float(judged.extra),
        "starts_fail": float(starts.failing(memory.guard.starts)),
        "prewarm_min": prewarm_bounds.min,
        "prewarm_max": prewarm_bounds.max,
        "min_replicas": judged.least,
        "max_replicas": judged.most,
    }
    known |= _guard_numbers(seen)
    known |= _model_numbers(seen) if seen.spec.exports_tokens else _concurrency_numbers(seen)
    numbers = {name: float(value) for name, value in known.items() if value is not None}
    return numbers if plan is None else numbers | plan.numbers


def _guard_numbers(seen: Seen) -> dict[str, float | None]:
    """Return what the guards looked at, and the bounds did not tell yet: 1 is yes, 0 is no, else counts and seconds."""
    observed, remembered, at = seen.observed, seen.memory.guard, seen.signals.at
    measured_at = remembered.began_at if observed.measured_at is None else observed.measured_at
    foreign_at = remembered.foreign_at
    return {
        "paused": float(seen.spec.paused),
        "policy_min_replicas": float(seen.spec.replicas.min),
        "left_replicas": remembered.expected,
        "own_zero": float(remembered.zero_is_ours),
        "foreign_changes": float(len(foreign_at)),
        "foreign_span_s": foreign_at[-1] - foreign_at[0] if foreign_at else None,
        "foreign_ago_s": at - foreign_at[-1] if foreign_at else None,
        "measured_age_s": None if measured_at is None else at - measured_at,
        "contradictory": float(observed.contradiction is not None),
        "frozen_counters": float(len(observed.frozen)),
        "unseen": float(len(observed.unseen)),
        "warnings": float(len(seen.signals.warnings)),
        "hung": float(len(observed.hung)),
        "untold": float(observed.untold is not None),
        "guess": float(observed.guess is not None),
        "idle": float(observed.idle),
    }


def _model_numbers(seen: Seen) -> dict[str, float | None]:
    mix, coefficients = seen.observed.mix, seen.coefficients
    return {
        "work_s": mix.work_s(coefficients),
        "prompt_tokens": mix.prompt_tokens,
        "output_tokens": mix.output_tokens,
        "kv_tokens_per_request": mix.kv_tokens,
        "dispersion": mix.dispersion,
        "a_s": coefficients.a_s,
        "b_s": coefficients.b_s,
        "c_s": coefficients.c_s,
        "d_s": coefficients.d_s,
        "ttft_s": seen.spec.objectives.ttft_seconds,
        "tpot_s": seen.spec.objectives.itl_seconds,
        "max_sequences": seen.spec.engine.max_sequences,
    }


def _concurrency_numbers(seen: Seen) -> dict[str, float | None]:
    return {"target_concurrency": capacity.target_concurrency(seen.spec)}


def _terms(seen: Seen, plan: Plan | None, judged: Judgement) -> tuple[Term, ...]:
    """Return all candidates for the count: what demand asks for, what holds or replaces it, what a person ordered."""
    terms = () if plan is None else plan.terms
    pin, floor = seen.spec.pin, seen.spec.fail_safe.replicas
    held: list[tuple[Why, float | None]] = [
        (Why.STABILIZATION, judged.want_down),
        (Why.REPLACE_STUCK, plan.want + judged.extra if plan is not None and judged.extra > 0 else None),
        (Why.PIN, None if pin is None or pin.until.timestamp() <= seen.signals.at else pin.replicas),
        (Why.FAIL_SAFE, floor),
        (Why.MIN_REPLICAS, judged.least),
        (Why.MAX_REPLICAS, judged.most),
    ]
    return terms + tuple(Term(name=why.value, replicas=float(count)) for why, count in held if count is not None)


def decision(seen: Seen, plan: Plan | None, judged: Judgement) -> Decision:
    """Return the decision with its figures."""
    verdict, numbers = judged.verdict, _numbers(seen, plan, judged)
    held = 0 if plan is None or verdict.target is None else prewarm.held(verdict.target, plan.present)
    return Decision(
        at=seen.signals.at,
        target=verdict.target,
        spec_replicas=seen.signals.spec_replicas,
        why=verdict.why,
        detail=_sentence(seen, plan, verdict, numbers),
        next_at=seen.signals.at + seen.spec.timing.tick_seconds,
        want=None if plan is None else plan.want,
        want_down=judged.want_down,
        ready=seen.fleet.ready,
        warming=seen.fleet.warming,
        prewarm=held,
        terms=_terms(seen, plan, judged),
        numbers=numbers,
        conditions=judged.conditions,
        held_by=verdict.held_by,
        wanted_by=None if plan is None else plan.why,
        capacity=capacity.mode(seen.spec, seen.coefficients),
    )


def _sentence(seen: Seen, plan: Plan | None, verdict: Verdict, numbers: dict[str, float]) -> str:
    """Return one plain sentence with the figures."""
    fleet = f"{seen.fleet.ready} ready, {seen.fleet.warming} warming"
    if plan is None:
        return f"{verdict.detail}; {fleet}."
    unit = "replicas of work" if seen.spec.exports_tokens else "replicas of requests in flight"
    forecast_words = (
        f"demand is {numbers['level']:.2f} {unit}, at most {numbers['demand_quantile']:.2f} in "
        f"{seen.times.horizon_s:.0f} s with probability {seen.memory.quantile:g}, which asks for {plan.want} "
        f"({plan.why.value})"
    )
    return f"{verdict.detail}; {fleet}; {forecast_words}."
