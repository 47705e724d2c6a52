"""need(D): each line's replicas put back into the condition that the line was solved from (section 2.4).

The formulas of the product are solutions; here stand the equations. With n replicas at a marginal load ρ = D/n each, a
step takes a/(1 − ρ), so a replica holds λ/n·o·a/(1 − ρ) sequences.
"""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.capacity import Coefficients, Limits, RequestMix, need, objectives

engines = st.builds(
    Coefficients,
    a_s=st.floats(0.004, 0.1),
    b_s=st.floats(1e-5, 4e-4),
    c_s=st.floats(1e-5, 1e-4),
    d_s=st.floats(1e-8, 6e-7),
    source=st.just("drawn"),
)
mixes = st.builds(
    RequestMix,
    prompt_tokens=st.floats(1, 20_000),
    output_tokens=st.floats(1, 3000),
    kv_tokens=st.floats(1, 30_000),
    dispersion=st.floats(1, 30),
)
# Objectives in units of the least that is possible: below, at, just above (where the floor S/4 binds) and far above it.
reaches = st.sampled_from([0.5, 1.0, 1.01, 1.2, 1.34, 2.0, 30.0])


@settings(max_examples=300, deadline=None)
@given(st.floats(0.01, 60), st.floats(0.5, 0.99), engines, mixes, reaches, reaches, st.data())
def test_every_line_solves_its_equation_and_the_largest_binds(
    demand: float,
    q: float,
    engine: Coefficients,
    mix: RequestMix,
    ttft_reach: float,
    tpot_reach: float,
    data: st.DataObject,
) -> None:
    """Utilization, wait tail, slots, KV memory, decode speed; a line that no size can meet is dropped and named."""
    prompt_s, a_s = engine.b_s * mix.prompt_tokens, engine.a_s
    limits = Limits(
        ttft_s=ttft_reach * (prompt_s + a_s),
        tpot_s=data.draw(st.none() | st.just(tpot_reach * a_s)),
        max_sequences=data.draw(st.none() | st.floats(1, 1024)),
        kv_capacity_tokens=data.draw(st.none() | st.floats(1e3, 1e6)),
    )
    found = need(demand, q, engine, mix, limits)
    n = {term.name: term.replicas for term in found.terms}
    work_s = prompt_s + (engine.c_s + engine.d_s * mix.kv_tokens) * mix.output_tokens
    rate_rps = demand / work_s

    def sequences(replicas: float) -> float:
        return rate_rps / replicas * mix.output_tokens * a_s / (1 - demand / replicas)

    assert demand / n["utilization"] == pytest.approx(0.97)
    if "burst" in n:
        wait_s = max(limits.ttft_s - prompt_s - a_s, limits.ttft_s / 4)
        variance = 2 * rate_rps * work_s**2 * mix.dispersion
        tail = math.exp(-2 * n["burst"] * (n["burst"] - demand) * wait_s / variance)
        assert tail == pytest.approx(0.1, rel=1e-4)
    if "batch-slots" in n:
        assert sequences(n["batch-slots"]) == pytest.approx(0.9 * (limits.max_sequences or 0), rel=1e-4)
    if "kv-memory" in n:
        held = sequences(n["kv-memory"]) * mix.kv_tokens
        assert held == pytest.approx(0.9 * (limits.kv_capacity_tokens or 0), rel=1e-4)
    if "decode-speed" in n:
        tpot_s = limits.tpot_s or 0
        steps = max(mix.output_tokens / 2, 2)
        span_s = tpot_s * steps
        variance = 2 * rate_rps * work_s**2 * (1 + (mix.dispersion - 1) * min(1, span_s / 15))
        # The work that comes to one of n replicas while half an answer decodes fits beside its own steps.
        comes = (demand * span_s + NormalDist().inv_cdf(q) * math.sqrt(variance * span_s)) / n["decode-speed"]
        assert comes == pytest.approx(steps * (tpot_s - a_s), rel=1e-6)
    unreachable = [one for one in objectives(engine, mix, limits) if one.name == "ObjectiveUnreachable"]
    dropped = [
        ttft_reach <= 1.0 and "burst" not in n,
        limits.tpot_s is not None and tpot_reach <= 1.0 and "decode-speed" not in n,
    ]
    assert ("burst" in n) is (ttft_reach > 1.0)
    assert ("decode-speed" in n) is (limits.tpot_s is not None and tpot_reach > 1.0)
    assert len(unreachable) == sum(dropped)
    assert ("batch-slots" in n, "kv-memory" in n) == (
        limits.max_sequences is not None,
        limits.kv_capacity_tokens is not None,
    )
    assert found.replicas == max(n.values())
    assert n[found.why.value] == found.replicas
