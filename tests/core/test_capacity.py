"""Capacity: the lines of need(), the limits that drop them, and the physics prior."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import (
    Coefficients,
    Limits,
    RequestMix,
    accelerator_class,
    known,
    need,
    need_concurrency,
    objectives,
    physics_prior,
    target_concurrency,
)
from autoscaler.core.decision import Why
from tests.core.pods_seen import A100, policy

A100_8B = Coefficients(a_s=0.0115, b_s=70e-6, c_s=35e-6, d_s=80e-9, source="decision core, section 13")
MIX = RequestMix(prompt_tokens=1000, output_tokens=200, kv_tokens=1100, dispersion=1.0)
OPEN = Limits(ttft_s=2.0)
REACHED = Limits(ttft_s=2.0, tpot_s=0.05, max_sequences=256, kv_capacity_tokens=400_000)


def terms(demand: float, limits: Limits, mix: RequestMix = MIX, q: float = 0.9) -> dict[str, float]:
    """Return the lines of need() by name."""
    return {term.name: term.replicas for term in need(demand, q, A100_8B, mix, limits).terms}


def test_the_work_of_a_request_is_its_prompt_and_its_decoding() -> None:
    """W = b·p + (c + d·k)·o: 0.07 s of prefill and 200·(35 µs + 1,100·80 ns) of decoding."""
    assert MIX.work_s(A100_8B) == pytest.approx(0.07 + 200 * (35e-6 + 1100 * 80e-9))


def test_each_line_is_the_formula_of_the_design() -> None:
    """The five lines at D = 4, computed by hand from section 2.4."""
    demand, work_s = 4.0, MIX.work_s(A100_8B)
    in_flight = demand / work_s * 200 * 0.0115
    wait_s = 2.0 - 0.07 - 0.0115
    span_s = 0.05 * 100
    decode = (4 + 1.2815515655446004 * math.sqrt(2 * 4 * work_s / span_s)) / (1 - 0.0115 / 0.05)
    assert terms(demand, REACHED) == pytest.approx(
        {
            "utilization": 4 / 0.97,
            "burst": 2 + math.sqrt(4 + 2 * 4 * work_s * math.log(10) / (2 * wait_s)),
            "batch-slots": 4 + in_flight / (0.9 * 256),
            "kv-memory": 4 + in_flight * 1100 / (0.9 * 400_000),
            "decode-speed": decode,
        }
    )


def test_dispersion_counts_in_full_only_over_spans_of_fifteen_seconds() -> None:
    """Over T = 5 s a dispersion of 4 enters the decode line as 1 + 3·5/15 = 2: its noise grows by √2."""
    plain = terms(4.0, REACHED)["decode-speed"] * (1 - 0.0115 / 0.05) - 4
    bursty = RequestMix(prompt_tokens=1000, output_tokens=200, kv_tokens=1100, dispersion=4.0)
    assert terms(4.0, REACHED, bursty)["decode-speed"] * (1 - 0.0115 / 0.05) - 4 == pytest.approx(plain * math.sqrt(2))


def test_a_line_whose_limit_is_unknown_is_left_out_and_named() -> None:
    """Without batch slots and KV capacity only utilization and burst remain, and a condition says so."""
    assert set(terms(4.0, OPEN)) == {"utilization", "burst"}
    (condition,) = objectives(A100_8B, MIX, OPEN)
    assert condition.name == "TermsLeftOut"
    assert "engine.maxSequences, engine.kvTokens" in condition.message


@pytest.mark.parametrize(
    ("limits", "dropped"),
    [
        pytest.param(
            Limits(ttft_s=0.08, max_sequences=256, kv_capacity_tokens=400_000), "burst", id="TTFT below one prompt"
        ),
        pytest.param(
            Limits(ttft_s=2.0, tpot_s=0.0115, max_sequences=256, kv_capacity_tokens=400_000),
            "decode-speed",
            id="time per token at one step",
        ),
    ],
)
def test_an_unreachable_objective_drops_its_line_and_says_so(limits: Limits, dropped: str) -> None:
    """What no number of replicas can reach orders none: the line is dropped, not clamped."""
    assert dropped not in terms(4.0, limits)
    assert [condition.name for condition in objectives(A100_8B, MIX, limits)] == ["ObjectiveUnreachable"]


@given(
    st.floats(0, 500),
    st.floats(0, 500),
    st.floats(0.5, 0.999),
    st.builds(
        RequestMix,
        prompt_tokens=st.floats(1, 20_000),
        output_tokens=st.floats(1, 4000),
        kv_tokens=st.floats(1, 30_000),
        dispersion=st.floats(1, 50),
    ),
)
def test_more_demand_never_needs_fewer_replicas(one: float, other: float, q: float, mix: RequestMix) -> None:
    """need() grows with demand for any mix, and covers the demand itself."""
    less, more = sorted((one, other))
    needs = [need(demand, q, A100_8B, mix, REACHED).replicas for demand in (less, more)]
    assert needs[0] <= needs[1]
    assert needs[1] >= more


def test_no_demand_needs_no_replica() -> None:
    """An idle target needs nothing, and the plain line is the one that is named."""
    idle = need(0.0, 0.9, A100_8B, MIX, REACHED)
    assert (idle.replicas, idle.why) == (0.0, Why.UTILIZATION)


def test_an_absurd_demand_stays_finite() -> None:
    """Whatever was measured, a candidate can be rounded."""
    assert math.isfinite(need(1e300, 0.9, A100_8B, MIX, REACHED).replicas)


def test_measured_coefficients_win_over_the_prior() -> None:
    """A step time in the policy is taken as it is, with its source."""
    coefficients = known(policy())
    assert (coefficients.a_s, coefficients.source, coefficients.guessed) == (0.0115, A100["source"], False)


@pytest.mark.parametrize(
    ("chip", "billion", "count", "a_s", "b_s", "d_s"),
    [
        pytest.param("A100-80GB", 8.03, 1, 0.01157, 54.6e-6, 82.5e-9, id="A100 8B"),
        pytest.param("H100-80GB", 8.03, 1, 0.00638, 18.3e-6, 42.4e-9, id="H100 8B"),
        pytest.param("H100-80GB", 70.6, 4, 0.01518, 58.2e-6, 27.3e-9, id="four H100 70B"),
        pytest.param("H200", 8.03, 1, 0.00493, 18.8e-6, 30.2e-9, id="H200 8B"),
        pytest.param("L40S", 8.03, 1, 0.02219, 59.4e-6, 195e-9, id="L40S 8B"),
        pytest.param("B200", 8.03, 1, 0.00340, 9.2e-6, 18.0e-9, id="B200 8B"),
    ],
)
def test_the_physics_prior_is_near_the_operator_tables(
    chip: str, billion: float, count: int, a_s: float, b_s: float, d_s: float
) -> None:
    """Fixed time, prefill and KV within 40 % of the fits to measured operators (vLLM BF16), as the essay claims."""
    spec = policy(
        model={"name": "llm", "parametersBillion": billion},
        engine={},
        accelerator={"class": chip, "countPerReplica": count},
    )
    prior = physics_prior(spec)
    assert prior.guessed
    for mine, measured in ((prior.a_s, a_s), (prior.b_s, b_s), (prior.d_s, d_s)):
        assert 0.6 < mine / measured < 1.4


@pytest.mark.parametrize(("count", "collectives"), [(1, 1.0), (2, 1.15), (8, 1.15)])
def test_the_physics_prior_by_hand(count: int, collectives: float) -> None:
    """Weights are read once a step at 80 % of the bandwidth, a token is two FLOPs a parameter at 70 % of the peak.

    A replica of several accelerators pays 15 % more for both, as they talk to one another; a KV token is read by all.
    """
    spec = policy(
        model={"name": "llm", "parametersBillion": 32},
        engine={},
        accelerator={"class": "H100-80GB", "countPerReplica": count},
    )
    prior = physics_prior(spec)
    bytes_per_s, flops_per_s = count * 3350e9 * 0.8, count * 989e12 * 0.7
    assert prior.a_s == pytest.approx((64e9 / bytes_per_s + 0.0015) * collectives)
    assert prior.b_s == pytest.approx(64e9 / flops_per_s * collectives)
    assert prior.c_s == pytest.approx(0.57 * prior.b_s)
    # 8B: 32 layers of 8 heads of 128, K and V, two bytes each; the square root of four times the parameters is two.
    assert prior.d_s == pytest.approx(32 * 8 * 128 * 2 * 2 * 2 / bytes_per_s)


@pytest.mark.parametrize(
    ("name", "known_class"),
    [
        ("H100-80GB", "H100-80GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100-80GB"),
        ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("Tesla T4", "T4"),
        ("nvidia-l4", "L4"),
        ("NVIDIA-L40S", "L40S"),
        ("h100", "H100-80GB"),
        ("TPU-v5e", None),
    ],
)
def test_free_names_of_accelerators_find_their_class(name: str, known_class: str | None) -> None:
    """What a node's label calls a GPU is recognised; an unknown one is not guessed silently."""
    assert accelerator_class(name) == known_class


def test_an_assumption_of_the_prior_stands_in_its_source() -> None:
    """An unknown class or size is assumed, and the source names both."""
    source = physics_prior(policy(engine={}, accelerator={"class": "TPU-v5e"})).source
    assert source == "physics prior; assumed A100-80GB for the unknown class TPU-v5e and 8 billion parameters"


@pytest.mark.parametrize(
    ("engine", "target"),
    [
        ({"preset": "tgi", "targetConcurrency": 24}, 24.0),
        ({"preset": "tgi", "maxSequences": 100}, 70.0),
        ({"preset": "tgi"}, 8.0),
    ],
)
def test_the_target_concurrency_has_a_documented_default(engine: dict[str, object], target: float) -> None:
    """The policy's number, else 0.7 of the batch slots, else 8."""
    assert target_concurrency(policy(engine=engine)) == pytest.approx(target)


def test_concurrency_needs_as_many_replicas_as_demand_says() -> None:
    """In concurrency mode D is in replicas already, and the reason is named as such."""
    assert (need_concurrency(3.2).replicas, need_concurrency(3.2).why) == (3.2, Why.CONCURRENCY)
