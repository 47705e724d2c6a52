"""Every decision can be recomputed by hand from what it tells, and by nothing else: no policy, no memory, no signals.

``lines``, ``order``, ``target`` and ``reason`` are written from sections 2.4, 3, 5, 6 and 10 of the decision core's
description and from the words of docs/reasons.md, and share no code with the product.
"""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals
from tests.core.pods_seen import policy, replica, sample
from tests.core.test_decide_laws import SPECS, anything, told
from tests.scenarios.scenario_language import decisions_of

DEMAND = ("utilization", "burst", "batch-slots", "kv-memory", "decode-speed", "concurrency")
MOST = 1e9


def lines(x: dict[str, float], demand: float) -> dict[str, float]:
    """Return the lines of need() for a demand, from the numbers of a decision."""
    if "target_concurrency" in x:
        return {"concurrency": min(demand, MOST)}
    demand = min(demand, MOST)
    rate_rps = demand / x["work_s"]
    in_flight = rate_rps * x["output_tokens"] * x["a_s"]
    found = {"utilization": demand / 0.97}
    alone_s = x["b_s"] * x["prompt_tokens"] + x["a_s"]
    if x["ttft_s"] > alone_s:
        wait_s = max(x["ttft_s"] - alone_s, x["ttft_s"] / 4)
        variance = 2 * rate_rps * x["work_s"] ** 2 * x["dispersion"]
        found["burst"] = demand / 2 + math.sqrt(demand**2 / 4 + variance * math.log(10) / (2 * wait_s))
    if "max_sequences" in x:
        found["batch-slots"] = demand + in_flight / (0.9 * x["max_sequences"])
    if "kv_capacity_tokens" in x:
        found["kv-memory"] = demand + in_flight * x["kv_tokens_per_request"] / (0.9 * x["kv_capacity_tokens"])
    if "tpot_s" in x and x["tpot_s"] > x["a_s"]:
        span_s = x["tpot_s"] * max(x["output_tokens"] / 2, 2)
        blend = 1 + (x["dispersion"] - 1) * min(1.0, span_s / 15)
        noise = math.sqrt(2 * demand * x["work_s"] * blend / span_s)
        found["decode-speed"] = (demand + NormalDist().inv_cdf(x["quantile"]) * noise) / (1 - x["a_s"] / x["tpot_s"])
    return {name: min(count, MOST) for name, count in found.items()}


def order(x: dict[str, float], ready: int) -> tuple[dict[str, float], float]:
    """Return the lines of demand and the unrounded order, with pre-warm bounds and backlog."""
    demand = max(0.0, x["base"] + x["residual_quantile"] * x["scale"])
    ahead, present = lines(x, demand), max(lines(x, x["level"]).values())
    wanted = max(ahead.values())
    if x["prewarm_min"] > 0 and wanted < present + x["prewarm_min"]:
        wanted = present + x["prewarm_min"]
    elif "prewarm_max" in x and wanted > present + x["prewarm_max"]:
        wanted = present + x["prewarm_max"]
    if "waiting" in x and "work_s" in x:
        # Of replicas of which none gives a sample nobody knows that they serve.
        serving = 0.95 * ((0 if unheard(x) else ready) + 0.5 * x["healthy"])
        left_s = x["waiting"] * x["work_s"] + (x["level"] - serving) * x["coldstart_p50_s"]
        if x["waiting"] > 0 and left_s > 0 and not x["starts_fail"]:
            wanted = max(wanted, min(present + left_s / x["backlog_clear_s"], 2 * wanted + 2))
    return ahead, wanted


def target(decision: Decision) -> int | None:
    """Return the count that the decision must come to, from its reason, its candidates and its numbers."""
    x, stands = decision.numbers, decision.spec_replicas
    candidates = {term.name: term.replicas for term in decision.terms}
    why = decision.held_by or decision.why
    if why in {Why.PAUSED, Why.TARGET_UNKNOWN}:
        return None
    if why in {Why.CONTESTED, Why.ZEROED_BY_OWNER}:
        return stands
    assert stands is not None
    if why is Why.PIN:
        count = candidates["pin"]
    elif why is Why.FAIL_SAFE:
        count = max(stands, candidates["fail-safe"])
    elif why in {Why.BLIND, Why.CONTRADICTORY, Why.NO_DEMAND_YET, Why.PARTIAL, Why.STARTING, Why.START_GUARD}:
        count = stands
    elif unheard(x):
        assert decision.want is not None
        count = decision.want
    else:
        count = moved(decision, stands)
    return int(min(max(count, x["min_replicas"]), x["max_replicas"]))


def moved(decision: Decision, stands: int) -> float:
    """Return where demand and the hold lead, where no guard stands in the way."""
    x = decision.numbers
    assert decision.want is not None
    assert decision.want_down is not None
    up, down = decision.want + x["replacements"], decision.want_down + x["replacements"]

    def within(count: float) -> float:
        return min(max(count, x["min_replicas"]), x["max_replicas"])

    if within(up) >= stands:
        return up
    return stands if within(down) >= stands else down


def stopped(decision: Decision) -> Why | None:
    """Return the reason that ends a decision before demand is looked at: the first of the guards' first table."""
    x, stands, candidates = decision.numbers, decision.spec_replicas, {term.name for term in decision.terms}
    contested = x["foreign_changes"] >= 3 and x["foreign_span_s"] <= 600 and x["foreign_ago_s"] < 600
    wakes = x["policy_min_replicas"] == 0 and (x.get("held", 0.0) > 0 or "left_replicas" not in x)
    dark_too_long = "fail-safe" in candidates and x["blind_s"] >= x["fail_safe_after_s"]
    table = [
        (Why.PAUSED, x["paused"]),
        (Why.TARGET_UNKNOWN, stands is None),
        (Why.CONTESTED, contested),
        (Why.ZEROED_BY_OWNER, stands == 0 and not x["own_zero"] and not wakes),
        (Why.PIN, "pin" in candidates),
        (Why.FAIL_SAFE, not sighted(x) and dark_too_long),
        (Why.BLIND, not sighted(x)),
        (Why.CONTRADICTORY, x["contradictory"]),
        (Why.NO_DEMAND_YET, decision.want is None),
    ]
    return next((why for why, speaks in table if speaks), None)


def unheard(x: dict[str, float]) -> bool:
    """Return whether there are replicas to give a sample, and not one of them does."""
    return x["reporting"] == 0 and x["expected"] > 0


def sighted(x: dict[str, float]) -> bool:
    """Return whether demand was told lately enough, or nobody is there to tell it."""
    if x["reporting"] == 0:
        return x["expected"] == 0
    return max(x["sample_age_s"], x["measured_age_s"]) <= x["stale_after_s"]


def blocked(x: dict[str, float]) -> Why | None:
    """Return the reason that forbids the way down: the first of the second table of the guards."""
    if (x["frozen_counters"] or x["unseen"]) and not x["idle"]:
        return Why.CONTRADICTORY
    if x["warnings"] or x["reporting"] == 0 or x["reporting"] / x["expected"] < 0.8 or x["hung"]:
        return Why.PARTIAL
    if x["untold"] or x["guess"]:
        return Why.PARTIAL
    if x["healthy"] or x["loading"]:
        return Why.STARTING
    return Why.START_GUARD if x["sighted_s"] < x["guard_s"] else None


def reason(decision: Decision) -> tuple[Why | None, Why | None]:
    """Return the reason that must have bound the decision, and the one that a bound took its place from."""
    x, stands = decision.numbers, decision.spec_replicas
    why = stopped(decision)
    if why in {Why.PAUSED, Why.TARGET_UNKNOWN, Why.CONTESTED, Why.ZEROED_BY_OWNER}:
        return why, None
    assert stands is not None
    candidates = {term.name: term.replicas for term in decision.terms}
    count = {Why.PIN: candidates.get("pin"), Why.FAIL_SAFE: max(stands, candidates.get("fail-safe", 0))}
    asked = float(stands) if why is None else count.get(why) or stands
    if why is None:
        why, asked = walked(decision, stands)
    elif why in {Why.BLIND, Why.FAIL_SAFE} and raised(decision, asked):
        why, asked = Why.BACKLOG, float(decision.want or 0)
    if asked > x["max_replicas"]:
        return Why.MAX_REPLICAS, why
    return (Why.MIN_REPLICAS, why) if asked < x["min_replicas"] else (why, None)


def raised(decision: Decision, asked: float) -> bool:
    """Return whether what a gateway holds, while no engine gives a sample, asks for more than what would stand."""
    x = decision.numbers
    held = x["reporting"] == 0 and x.get("held", 0.0) > 0
    return held and decision.wanted_by is Why.BACKLOG and (decision.want or 0) > asked


def walked(decision: Decision, stands: int) -> tuple[Why | None, float]:
    """Return the reason of a decision that no guard ended, and the count before the bounds."""
    x = decision.numbers
    assert decision.want is not None
    assert decision.want_down is not None
    up, down = decision.want + x["replacements"], decision.want_down + x["replacements"]
    low, high = x["min_replicas"], x["max_replicas"]
    if sorted((low, up, high))[1] > stands:
        return (Why.REPLACE_STUCK if decision.want <= stands < up else decision.wanted_by), up
    if sorted((low, up, high))[1] == stands:
        return Why.SETTLED, up
    if sorted((low, down, high))[1] >= stands:
        return Why.STABILIZATION, stands
    held = blocked(x)
    if held is not None:
        return held, stands
    return (Why.STABILIZATION if down > up else decision.wanted_by), down


def check(decision: Decision) -> None:
    """Recompute one decision."""
    x = decision.numbers
    assert x["horizon_s"] == pytest.approx(min(x["coldstart_p75_s"] + 1.5 * x["scrape_s"] + x["tick_s"] / 2, 1200))
    assert x["guard_s"] == max(x["horizon_s"], x["hold_s"])
    assert decision.target == target(decision)
    assert (decision.why, decision.held_by) == reason(decision)
    if decision.want is None:
        return
    assert x["scale"] == pytest.approx(math.sqrt(max(x["base"], 0.05)))
    expected, wanted = order(x, decision.ready)
    assert {t.name: t.replicas for t in decision.terms if t.name in DEMAND} == pytest.approx(expected, rel=1e-9)
    # Where rounding itself decides, the last bit may differ.
    assert decision.want in {max(0, math.ceil(wanted - 0.05 + slack)) for slack in (-1e-9 * wanted, 1e-9 * wanted)}
    assert decision.wanted_by is not None
    asked = {t.name: t.replicas for t in decision.terms}
    assert asked[decision.wanted_by.value] == pytest.approx(wanted)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPECS), st.lists(anything, min_size=1, max_size=6))
def test_any_decision_can_be_recomputed_from_what_it_tells(spec: PolicySpec, story: list[Signals]) -> None:
    """Also those made of broken metrics."""
    for _, _, decision in told(spec, story):
        check(decision)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"objectives": {"ttftSeconds": 2, "itlSeconds": 0.05}},
        {"prewarm": {"min": 2, "max": 3}},
        {"pin": {"replicas": 7, "until": "1970-01-01T00:10:00Z"}, "failSafe": {"replicas": 9, "afterSeconds": 100}},
        {"engine": {"preset": "tgi", "targetConcurrency": 5}},
        {"scaleDown": {"stabilizationSeconds": 90}, "mode": "Enforce", "replicas": {"min": 2, "max": 8}},
    ],
)
@settings(max_examples=4, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_day_in_a_life_can_be_recomputed(parts: dict[str, Any], random: Any) -> None:
    """Bursts, queues, starts that come and starts that hang, outages: each decision of 90 ticks, and many reasons."""
    spec, reasons = policy(**parts), set()
    memory, served, stands, ready = initial(spec), 1000.0, 4, 4
    for tick in range(90):
        at, rate_rps = 15.0 * tick, random.choice([2.0, 10.0, 60.0]) if tick % 20 == 0 else 10.0
        served += rate_rps * 15 / max(ready, 1)
        waiting = random.choice([0.0, 0.0, 300.0])
        ready = min(stands, ready + random.choice([0, 0, 0, 1]))
        names = [f"llm-{index}" for index in range(ready)]
        dark = 30 <= tick < 42
        starting = tuple(replica(f"new-{i}", ordered_at=at - 60 * i, ready_at=None) for i in range(stands - ready))
        seen = Signals(
            at=at,
            spec_replicas=stands,
            replicas=(*(replica(name) for name in names), *starting),
            samples=() if dark else tuple(sample(name, at - 5, served, waiting=waiting) for name in names),
        )
        memory, decision = decide(spec, memory, seen)
        check(decision)
        reasons.add(decision.why)
        if spec.mode.value == "Enforce" or random.random() < 0.5:
            stands = decision.target if decision.target is not None else stands
            ready = min(ready, stands)
    assert len(reasons) >= 2


SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*.txt"))


def test_every_reason_that_the_golden_stories_tell_can_be_recomputed() -> None:
    """Each tick of each scenario, printed or not; together they bind by every reason that there is."""
    found: set[Why] = set()
    for file in SCENARIOS:
        for decision in decisions_of(file):
            check(decision)
            found |= {decision.why}
    assert set(Why) - found == set()
