"""The decision: a base-stock rule with a lead time.

A replica ordered now serves one cold start from now, and demand is known only through metrics that are up to half a
minute old. So the core forecasts a *quantile* of the demand over the lead time, turns it into replicas through the
capacity model, orders up to that number at once counting everything already under way, and comes down slowly:

    want      what demand asks for one lead time from now                       (plan)
    want_down = max of want over the last hold, in sighted time
    up        if want > spec_replicas: target = want       absolute; replicas in flight count in full
    down      if want_down < spec_replicas, and no guard forbids it: target = want_down, in one step

Stuck starts are replaced by addition, never by deleting a pod: want + min(stuck, max(1, ⌊0.2·want⌋)) stands until
want_down replicas are ready with none healthy starting; then the target returns to want_down, and the owner of the
pods deletes those that are not ready first. It does not retry: when the replacements hang too, nothing more is
ordered, and the condition ``ReplacementsExhausted`` says so.

:func:`decide` is pure and total: no clock, no input or output, no randomness, no exception on any valid signals. It
always returns a decision, and holding is one with a named reason. ``Decision.numbers`` holds every input of the
formulas, so that a decision can be recomputed by hand.

Places kept for later issues: the trim of q (``plan.Memory.quantile``; section 9), learning of the coefficients
(``capacity.known``; 2.3), going to zero (``bounds.bounds``; 8).
"""

from dataclasses import replace

from autoscaler.core import coldstart, guard
from autoscaler.core.bounds import bounded, bounds
from autoscaler.core.decision import Condition, Decision, Why
from autoscaler.core.explanation import Judgement, conditions, decision
from autoscaler.core.guard import Situation, Verdict
from autoscaler.core.plan import Fleet, Memory, Plan, Seen, Times, plan, quantile, see
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals

__all__ = ["Memory", "decide", "initial"]

REPLACED_SHARE = 0.2
_BLIND = frozenset({Why.BLIND, Why.FAIL_SAFE})


def initial(spec: PolicySpec) -> Memory:
    """Return the memory of a policy that has never decided."""
    return Memory(quantile=quantile(spec), coldstart=coldstart.initial(spec))


def decide(spec: PolicySpec, memory: Memory, signals: Signals) -> tuple[Memory, Decision]:
    """Return the next memory and the decision for one target at the instant ``signals.at``.

    Never raises on signals that keep their contract; everything in them but ``at`` may be missing.
    """
    seen = see(spec, memory, signals)
    planned = plan(seen)
    after = seen.memory
    if planned is not None:
        wants = _remembered(after.wants, after.guard.sighted_s, planned.want, _longest_hold_s(seen.times))
        after = replace(after, wants=wants)
    judged = _judge(seen, planned, _want_down(after, seen.times.hold_s))
    after = replace(after, guard=guard.decided(after.guard, signals, judged.verdict))
    return after, decision(seen, planned, judged)


def _longest_hold_s(lead: Times) -> float:
    # The hold moves with the cold start: what it may still reach back to is kept.
    return max(lead.hold_s, guard.LONGEST_WAIT_S)


def _remembered(
    wants: tuple[tuple[float, int], ...], sighted_s: float, want: int, longest_s: float
) -> tuple[tuple[float, int], ...]:
    """Return the candidates for a sliding maximum: a newer want removes all older ones that are not above it."""
    kept = [(at_s, old) for at_s, old in wants if old > want and at_s >= sighted_s - longest_s]
    return (*kept, (sighted_s, want))


def _want_down(memory: Memory, hold_s: float) -> int | None:
    since_s = memory.guard.sighted_s - hold_s
    return max((want for at_s, want in memory.wants if at_s >= since_s), default=None)


def _judge(seen: Seen, planned: Plan | None, want_down: int | None) -> Judgement:
    """Return what the guards and the plan come to, bounds included, with what it was made of."""
    least, most = bounds(seen.spec, seen.signals)
    situation = Situation(
        spec=seen.spec,
        signals=seen.signals,
        memory=seen.memory.guard,
        observed=seen.observed,
        spec_replicas=seen.signals.spec_replicas or 0,
        ready=seen.fleet.ready,
        healthy=seen.fleet.healthy,
        loading=seen.fleet.loading,
        guard_s=seen.times.guard_s,
        level_known=planned is not None,
    )
    found, extra = conditions(seen), 0
    if planned is not None and want_down is not None:
        extra = _replacements(seen.fleet, planned.want, want_down)
    verdict = guard.first(guard.STOPS, situation)
    if verdict is None:
        # The last stop has spoken where no demand is known.
        assert planned is not None
        assert want_down is not None
        verdict = _move(situation, planned, want_down, extra, (least, most))
        found += _exhausted(situation, seen.fleet, planned, verdict)
    elif planned is not None:
        verdict = _raised(situation, planned, verdict)
    return Judgement(
        verdict=bounded(verdict, least, most),
        conditions=found,
        least=least,
        most=most,
        extra=extra,
        want_down=want_down,
    )


def _raised(situation: Situation, planned: Plan, verdict: Verdict) -> Verdict:
    """Return what stands while nobody tells demand, raised to what clears a gateway's queue.

    What a gateway holds while no engine gives a sample is evidence that more is needed, on the means that were learnt;
    that it holds nothing is no evidence that less is.
    """
    observed = situation.observed
    if verdict.why not in _BLIND or planned.why is not Why.BACKLOG or observed.reporting > 0 or not observed.held:
        return verdict
    if planned.want <= (verdict.target or 0):
        return verdict
    detail = f"no engine gives a sample and a gateway holds {observed.held:.0f} requests: {planned.want} wanted"
    return Verdict(target=planned.want, why=Why.BACKLOG, detail=detail)


def _replacements(fleet: Fleet, want: int, want_down: int) -> int:
    """Return how many replicas stand in for stuck starts: the additive form of section 5.

    While a healthy replica starts beside enough ready ones the guards keep the count, whatever is returned here.
    """
    if fleet.stuck == 0 or fleet.ready >= want_down:
        return 0
    return min(fleet.stuck, max(1, int(REPLACED_SHARE * want)))


def _move(situation: Situation, planned: Plan, want_down: int, extra: int, limits: tuple[int, int]) -> Verdict:
    """Return up at once, or down by section 6, or the reason to stay. The counts are compared within the bounds."""
    least, most = limits
    stands = situation.spec_replicas
    order = planned.want + extra
    why = Why.REPLACE_STUCK if extra > 0 and planned.want <= stands < order else planned.why
    within = min(max(order, least), most)
    if within > stands:
        asked = f"{extra} more than {planned.want} for stuck starts" if why is Why.REPLACE_STUCK else f"{order} wanted"
        return Verdict(target=order, why=why, detail=asked)
    floor = want_down + extra
    if min(max(floor, least), most) >= stands:
        if within == stands:
            # Not clamped here: the caller names the bound where that is what keeps the count.
            return Verdict(target=order, why=Why.SETTLED, detail=f"{order} wanted")
        detail = f"{order} wanted now, {floor} within the hold"
        return Verdict(target=stands, why=Why.STABILIZATION, detail=detail)
    blocked = guard.first(guard.BLOCKS, situation)
    if blocked is not None:
        return blocked
    why = planned.why if floor == order else Why.STABILIZATION
    return Verdict(target=floor, why=why, detail=f"{floor} is the most wanted within the hold")


def _exhausted(situation: Situation, fleet: Fleet, planned: Plan, verdict: Verdict) -> tuple[Condition, ...]:
    if fleet.stuck == 0 or fleet.healthy > 0 or fleet.ready >= planned.want:
        return ()
    if verdict.target is None or verdict.target > situation.spec_replicas:
        return ()
    message = (
        f"{fleet.stuck} starts hang, their replacements too, and {fleet.ready} of {planned.want} wanted replicas "
        "serve: nothing more is ordered until the hung pods are removed by hand"
    )
    return (Condition(name="ReplacementsExhausted", message=message),)
