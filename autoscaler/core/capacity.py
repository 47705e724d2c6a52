"""Capacity: what one replica can do, and how many replicas a demand needs.

An engine with continuous batching runs steps. One step with P prefill tokens, R decoding sequences and K context
tokens in the KV cache takes

    τ = a + b·P + c·R + d·K                       a in s, b in s/token, c in s/sequence, d in s/token

Everything but ``a`` is *marginal*: it can be added up over requests, whichever replica serves them. One request of
p prompt tokens and o output tokens, beside which a running sequence holds k KV tokens, is therefore worth

    w = b·p + (c + d·k)·o                         replica-seconds

and a demand D is a number of replica-seconds of such work per second, that is "replicas' worth of marginal work".
The fixed time ``a`` is not in D: it is what limits the batch. A replica at marginal load ρ = D/n runs steps of
τ = a/(1 − ρ) and holds λ/n·o·τ sequences, λ = D/w. From that the lines of :func:`need`, of which the largest binds:

    utilization     D / 0.97
    burst           D/2 + sqrt(D²/4 + σ²·ln(1/ε)/(2·S'))          σ² = 2·λ·w²·IDC, ε = 0.1
    batch slots     D + x/(0.9·M)                                 x = λ·o·a, M = max_num_seqs
    KV memory       D + x·k/(0.9·V)                               V = KV capacity of a replica in tokens
    decode speed    (D + z·sqrt(σ_T²/T)) / (1 − a/tpot)           T = tpot·max(o/2, 2), z = Φ⁻¹(q)
                                                                  σ_T² = 2·λ·w²·(1 + (IDC − 1)·min(1, T/15 s))

S' = max(S − b·p − a, S/4) is what the TTFT objective S leaves for waiting. The burst line is the Brownian tail of a
pooled queue solved for n (Kingman; Halfin and Whitt); the decode line is the same for the work that arrives while a
request decodes. Derivations and measurements: decision core, sections 2.4 and 13.

A line whose input is unknown (M, V, tpot) is left out and named. An objective that no number of replicas can meet
(tpot ≤ a; S ≤ b·p + a) drops its line too, with a condition: clamping would order replicas that do not help.

Coefficients come from the policy (measured) or from a physics prior, which is flagged as such: weights are read once
a step (a), a token costs two FLOPs a parameter (b), a KV token is read once a step (d). Against operator tables of
8B and 70B models on seven GPUs it is within about 35 %. Learning them online replaces :func:`known` later; the mode
is named in the decision so that a reader knows which it was.

In *concurrency mode*, for engines that export no tokens, a replica carries ``target_concurrency`` requests in
flight, D is requests in flight over that number, and need(D) = D.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, log, sqrt
from statistics import NormalDist

from autoscaler.core.decision import Condition, Term, Why
from autoscaler.core.policy import PolicySpec

MAX_UTILIZATION = 0.97
MAX_SLOT_FILL = 0.9
MAX_KV_FILL = 0.9
WAIT_TAIL = 0.1  # ε: the probability of waiting longer than S' inside the metric lag.
DISPERSION_SPAN_S = 15.0  # Over spans shorter than this the measured dispersion is blended towards Poisson.
DEFAULT_TARGET_CONCURRENCY = 8.0
TARGET_SLOT_SHARE = 0.7  # Of max_num_seqs, when only that is known: a full batch has no room for a burst.
MOST_REPLICAS = 1e9  # Keeps every candidate finite, so that rounding it up cannot fail.

PHYSICS = "physics prior"
_ASSUMED_CLASS = "A100-80GB"
_ASSUMED_BILLION = 8.0
_BANDWIDTH_EFFICIENCY = 0.8
_FLOPS_EFFICIENCY = 0.7
_STEP_OVERHEAD_S = 0.0015
_SHARDING_COST = 1.15  # Collectives of tensor parallelism, on a and b; 70B on four H100 against the same, unsharded.
_SEQUENCE_SHARE = 0.57  # c/b in the operator tables: 0.48 to 0.585 over A100, H100, H200, L40S, B200.
_KV_BYTES_8B = 131_072.0  # 32 layers × 8 KV heads × 128 × (K and V) × 2 bytes; grows about with √parameters under GQA.


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """Step-time coefficients of one replica, in seconds per step, prefill token, sequence and KV token."""

    a_s: float
    b_s: float
    c_s: float
    d_s: float
    source: str

    @property
    def guessed(self) -> bool:
        """Whether nothing was measured."""
        return self.source.startswith(PHYSICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMix:
    """What the present requests are like: means in tokens, and the dispersion of their arrivals (1 is Poisson)."""

    prompt_tokens: float
    output_tokens: float
    kv_tokens: float
    dispersion: float

    def work_s(self, coefficients: Coefficients) -> float:
        """Return w, the marginal work of one request in replica-seconds."""
        decode_s = coefficients.c_s + coefficients.d_s * self.kv_tokens
        return max(coefficients.b_s * self.prompt_tokens + decode_s * self.output_tokens, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a replica and what was promised; ``None`` where it is unknown or not asked for."""

    ttft_s: float
    tpot_s: float | None = None
    max_sequences: float | None = None
    kv_capacity_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Replicas that a demand needs, unrounded: the largest line, its name, and every line."""

    replicas: float
    why: Why
    terms: tuple[Term, ...]


# Memory bandwidth in GB/s and dense BF16 (T4: FP16) TFLOP/s of one accelerator. Bandwidths as in the wrong-GPU fit
# test of the footprint; FLOPs from the vendors' data sheets, without sparsity.
_ACCELERATORS: dict[str, tuple[float, float]] = {
    "T4": (320, 65),
    "L4": (300, 121),
    "A10G": (600, 70),
    "L40S": (864, 362),
    "A100-40GB": (1555, 312),
    "A100-80GB": (2039, 312),
    "H100-80GB": (3350, 989),
    "H200": (4800, 989),
    "B200": (8000, 2250),
    "MI300X": (5300, 1307),
}


def accelerator_class(name: str) -> str | None:
    """Return the known class that a free name means ("NVIDIA-H100-80GB-HBM3" is H100-80GB), or ``None``."""
    parts = set(name.upper().replace("_", "-").replace(" ", "-").split("-"))
    whole = [known for known in _ACCELERATORS if set(known.split("-")) <= parts]
    chip = [known for known in _ACCELERATORS if known.split("-", maxsplit=1)[0] in parts]
    return next(iter(whole + chip), None)


def kv_bytes_per_token(spec: PolicySpec) -> float:
    """Return the bytes that a token takes in the KV cache: the policy's, else what models of its size usually have."""
    return spec.model.kv_bytes_per_token or _KV_BYTES_8B * sqrt(
        (spec.model.parameters_billion or _ASSUMED_BILLION) / 8.0
    )


def physics_prior(spec: PolicySpec) -> Coefficients:
    """Return coefficients from bandwidth, FLOPs and the model's size; what had to be assumed stands in the source."""
    known = accelerator_class(spec.accelerator.class_)
    bandwidth_gbps, tflops = _ACCELERATORS[known or _ASSUMED_CLASS]
    billion = spec.model.parameters_billion or _ASSUMED_BILLION
    count = spec.accelerator.count_per_replica
    sharding = _SHARDING_COST if count > 1 else 1.0
    bytes_per_s = bandwidth_gbps * 1e9 * count * _BANDWIDTH_EFFICIENCY
    weights_s = billion * 1e9 * spec.model.bytes_per_parameter / bytes_per_s
    token_s = 2.0 * billion * 1e9 / (tflops * 1e12 * count * _FLOPS_EFFICIENCY) * sharding
    assumed = [f"{_ASSUMED_CLASS} for the unknown class {spec.accelerator.class_}"] if known is None else []
    if spec.model.parameters_billion is None:
        assumed.append(f"{_ASSUMED_BILLION:g} billion parameters")
    source = PHYSICS + (f"; assumed {' and '.join(assumed)}" if assumed else f" for {known}")
    return Coefficients(
        a_s=(weights_s + _STEP_OVERHEAD_S) * sharding,
        b_s=token_s,
        c_s=_SEQUENCE_SHARE * token_s,
        d_s=kv_bytes_per_token(spec) / bytes_per_s,
        source=source,
    )


def known(spec: PolicySpec) -> Coefficients:
    """Return the policy's measured coefficients, else the physics prior: the capacity mode named ``known``."""
    measured = spec.engine.step_time
    if measured is None:
        return physics_prior(spec)
    return Coefficients(
        a_s=measured.fixed_seconds,
        b_s=measured.prefill_token_seconds,
        c_s=measured.sequence_seconds,
        d_s=measured.kv_token_seconds,
        source=measured.source,
    )


def target_concurrency(spec: PolicySpec) -> float:
    """Return the requests in flight one replica shall carry: the policy's, else 0.7 of its batch slots, else 8."""
    return _target_concurrency(spec)[0]


def _target_concurrency(spec: PolicySpec) -> tuple[float, str]:
    engine = spec.engine
    if engine.target_concurrency is not None:
        return engine.target_concurrency, "engine.targetConcurrency"
    if engine.max_sequences is not None:
        return max(1.0, TARGET_SLOT_SHARE * engine.max_sequences), f"{TARGET_SLOT_SHARE:g} of engine.maxSequences"
    return DEFAULT_TARGET_CONCURRENCY, "the default"


def mode(spec: PolicySpec, coefficients: Coefficients) -> str:
    """Return how a replica's capacity is known and from where, and the lines that no objective asks for."""
    if not spec.exports_tokens:
        concurrency, source = _target_concurrency(spec)
        return f"concurrency mode: {concurrency:g} requests in flight a replica, from {source}"
    how = "guessed" if coefficients.guessed else "known"
    unasked = f"; no {Why.DECODE_SPEED.value} line without objectives.itlSeconds"
    return f"{how} mode: {coefficients.source}{'' if spec.objectives.itl_seconds is not None else unasked}"


def objectives(coefficients: Coefficients, mix: RequestMix, limits: Limits) -> tuple[Condition, ...]:
    """Return a condition for each objective that no number of replicas can meet, and for the lines left out."""
    conditions = []
    least_s = coefficients.b_s * mix.prompt_tokens + coefficients.a_s
    if limits.ttft_s <= least_s:
        message = f"no number of replicas gives a TTFT of {limits.ttft_s:g} s: a prompt alone takes {least_s:.3g} s"
        conditions.append(Condition(name="ObjectiveUnreachable", message=message))
    if limits.tpot_s is not None and limits.tpot_s <= coefficients.a_s:
        message = f"no number of replicas gives {limits.tpot_s:g} s per token: one step takes {coefficients.a_s:.3g} s"
        conditions.append(Condition(name="ObjectiveUnreachable", message=message))
    absent = [("engine.maxSequences", limits.max_sequences), ("engine.kvTokens", limits.kv_capacity_tokens)]
    unknown = [name for name, value in absent if value is None]
    if unknown:
        message = f"not known and left out of the need: {', '.join(unknown)}"
        conditions.append(Condition(name="TermsLeftOut", message=message))
    return tuple(conditions)


def need(demand: float, q: float, coefficients: Coefficients, mix: RequestMix, limits: Limits) -> Need:
    """Return the replicas that a demand of D replicas' worth of work needs, after section 2.4 of the decision core.

    ``q`` is the probability asked of the decode-speed line. Monotone in ``demand`` for a given mix; need(0) = 0.
    """
    demand = min(demand, MOST_REPLICAS)
    work_s = mix.work_s(coefficients)
    rate_rps = demand / work_s
    in_flight = rate_rps * mix.output_tokens * coefficients.a_s
    terms = [_term(Why.UTILIZATION, demand / MAX_UTILIZATION)]
    least_s = coefficients.b_s * mix.prompt_tokens + coefficients.a_s
    if limits.ttft_s > least_s:
        wait_s = max(limits.ttft_s - least_s, limits.ttft_s / 4)
        variance = 2 * rate_rps * work_s**2 * mix.dispersion
        burst = demand / 2 + sqrt(demand**2 / 4 + variance * log(1 / WAIT_TAIL) / (2 * wait_s))
        terms.append(_term(Why.BURST, burst))
    if limits.max_sequences is not None:
        terms.append(_term(Why.BATCH_SLOTS, demand + in_flight / (MAX_SLOT_FILL * limits.max_sequences)))
    if limits.kv_capacity_tokens is not None:
        kv_fill = in_flight * mix.kv_tokens / (MAX_KV_FILL * limits.kv_capacity_tokens)
        terms.append(_term(Why.KV_MEMORY, demand + kv_fill))
    if limits.tpot_s is not None and limits.tpot_s > coefficients.a_s:
        terms.append(_term(Why.DECODE_SPEED, _decode_speed(demand, q, coefficients, mix, limits.tpot_s)))
    return _largest(terms)


def need_concurrency(demand: float) -> Need:
    """Return the replicas that a demand in units of the target concurrency needs: as many."""
    return _largest([_term(Why.CONCURRENCY, demand)])


def _decode_speed(demand: float, q: float, coefficients: Coefficients, mix: RequestMix, tpot_s: float) -> float:
    span_s = tpot_s * max(mix.output_tokens / 2, 2.0)
    dispersion = 1 + (mix.dispersion - 1) * min(1.0, span_s / DISPERSION_SPAN_S)
    variance = 2 * demand * mix.work_s(coefficients) * dispersion
    return (demand + _normal_quantile(q) * sqrt(variance / span_s)) / (1 - coefficients.a_s / tpot_s)


@lru_cache(maxsize=1024)
def _normal_quantile(q: float) -> float:
    """Return Φ⁻¹(q). Cached as the quantile rarely moves: a pure function, so the cache is invisible."""
    return NormalDist().inv_cdf(q)


def _term(why: Why, replicas: float) -> Term:
    return Term(name=why.value, replicas=min(replicas, MOST_REPLICAS) if isfinite(replicas) else MOST_REPLICAS)


def _largest(terms: list[Term]) -> Need:
    # The first of equals binds, so that an idle target is bound by its utilization and not by the last line.
    binding = max(terms, key=lambda term: term.replicas)
    return Need(replicas=binding.replicas, why=Why(binding.name), terms=tuple(terms))
