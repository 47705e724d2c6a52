"""What is measured, recomputed from the raw signals by sections 2.1, 2.2, 2.4, 3 and 6 of the decision core.

``Reference`` keeps every sample, rate, level, residual and want that there ever was and starts from them at each tick.
It knows no case but the plain one (all pods report, none restarts), and shares no code with the product.
"""

import math
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision
from autoscaler.core.signals import PodSample, Signals
from tests.core.engines_modelled import Engine, Traffic, lived, seen
from tests.core.pods_seen import A100, policy

SPEC = policy()
KV_TOKENS = 400_000
EDGES = 181
LOWEST, WIDTH = -3.0, 0.05


@dataclass(slots=True)
class Reference:
    """Everything that was seen, in lists; ``tick`` returns the figures that follow from all of it."""

    samples: list[dict[str, PodSample]] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    means: dict[str, float] = field(default_factory=dict)
    itl_s: float | None = None
    decode: float | None = None
    bins: list[float] = field(default_factory=list)
    works: list[tuple[float, float]] = field(default_factory=list)
    levels: list[tuple[float, float]] = field(default_factory=list)
    pending: list[tuple[float, float]] = field(default_factory=list)
    mass: list[float] = field(default_factory=lambda: [0.0] * (EDGES - 1))
    slow: float | None = None

    def tick(self, signals: Signals, horizon_s: float, lag_s: float) -> dict[str, float]:
        """Return the figures after one tick; nothing at the first."""
        now = {sample.pod: sample for sample in signals.samples}
        at = signals.samples[0].at
        self.samples.append(now)
        self.held.append(signals.held_requests or 0.0)
        self._kv(now)
        if len(self.samples) == 1:
            return {}
        dt_s = at - next(iter(self.samples[-2].values())).at
        rate_rps = self._measure(self.samples[-2], now, dt_s)
        self.bins.append(rate_rps * 15.0)
        work = self._work(rate_rps, dt_s)
        self._level(at, work, dt_s)
        base = max(level for when, level in self.levels if at - when <= 300.0)
        self._learn(at, base, horizon_s - lag_s)
        return {
            "arrival_rps": rate_rps,
            "demand": work,
            "dispersion": self.dispersion(),
            "level": self.levels[-1][1],
            "base": base,
            "scale": math.sqrt(max(base, 0.05)),
            "itl_s": self.itl_s or 0.0,
            "prompt_tokens": max(self.means.get("p", 500.0), 1.0),
            "output_tokens": max(self.means.get("o", 100.0), 1.0),
            "kv_tokens_per_request": max(self.means.get("k", self._p() + self._o() / 2), 1.0),
        }

    def _p(self) -> float:
        return self.means.get("p", 500.0)

    def _o(self) -> float:
        return self.means.get("o", 100.0)

    def _mean(self, name: str, total: float, count: float, constant: float) -> None:
        if count > 0:
            weight = 1 - math.exp(-count / constant) if name in self.means else 1.0
            self.means[name] = (1 - weight) * self.means.get(name, 0.0) + weight * total / count

    def _kv(self, now: dict[str, PodSample]) -> None:
        """Fold the KV tokens of a running sequence; gauges need no second sample."""
        running = sum(one.running or 0.0 for one in now.values())
        tokens = sum((one.kv_ratio or 0.0) * KV_TOKENS for one in now.values() if one.running)
        self._mean("k", tokens, running if running >= 1 else 0.0, 300.0)

    def _measure(self, before: dict[str, PodSample], now: dict[str, PodSample], dt_s: float) -> float:
        """Fold the token means and return the arrivals per second."""

        def gained(name: str) -> float:
            return float(sum(getattr(now[pod], name) - getattr(before[pod], name) for pod in now))

        self._mean("p", gained("prompt_tokens"), gained("ttft_count"), 400.0)
        self._mean("o", gained("generation_tokens"), gained("finished_requests"), 400.0)
        gaps = gained("itl_count")
        if gaps > 0:
            mean_s = gained("itl_sum_s") / gaps
            self.itl_s = mean_s if self.itl_s is None else 0.8 * self.itl_s + 0.2 * mean_s
        came = gained("finished_requests") + gained("running") + gained("waiting") + self.held[-1] - self.held[-2]
        return max(came / dt_s, 0.0)

    def _work(self, rate_rps: float, dt_s: float) -> float:
        k = self.means.get("k", self._p() + self._o() / 2)
        decode = rate_rps * (A100["sequenceSeconds"] + A100["kvTokenSeconds"] * max(k, 1.0)) * max(self._o(), 1.0)
        if self.decode is None:
            self.decode = decode
        else:
            itl_s = 2.5 * A100["fixedSeconds"] if self.itl_s is None else self.itl_s
            kept = math.exp(-dt_s / max(max(self._o(), 1.0) * itl_s, 1.0))
            self.decode = kept * self.decode + (1 - kept) * decode
        return float(rate_rps * A100["prefillTokenSeconds"] * max(self._p(), 1.0) + self.decode)

    def _level(self, at: float, work: float, dt_s: float) -> None:
        self.works.append((at, work))
        kept = math.exp(-dt_s / 60.0)
        self.levels.append((at, kept * self.levels[-1][1] + (1 - kept) * work if self.levels else work))

    def _learn(self, at: float, base: float, ahead_s: float) -> None:
        """Put the residuals whose time has come into the histogram, which fades by half in 480 units of weight."""
        recent = [work for when, work in self.works if at - when <= 29.0]
        mean = sum(recent) / len(recent)
        for _, then in [one for one in self.pending if one[0] <= at]:
            self.slow = mean if self.slow is None else 0.998 * self.slow + 0.002 * mean
            weight = min(5.0, max(mean, then / 2) / max(self.slow, 1e-6))
            self.mass = [one * 0.5 ** (weight / 480.0) for one in self.mass]
            residual = (mean - then) / math.sqrt(max(then, 0.05))
            self.mass[min(max(int((residual - LOWEST) // WIDTH), 0), EDGES - 2)] += weight
        self.pending = [one for one in self.pending if one[0] > at] + [(at + ahead_s, base)]

    def residual(self, q: float) -> float:
        """Return Q(q) over the histogram and twenty pseudo-observations from N(0, 0.35²)."""
        prior = NormalDist(0.0, 0.35)
        edges = [LOWEST + WIDTH * index for index in range(EDGES)]
        mass = [
            seen + 20.0 * (prior.cdf(high) - prior.cdf(low))
            for seen, low, high in zip(self.mass, edges[:-1], edges[1:], strict=True)
        ]
        left = q * sum(mass)
        for low, each in zip(edges, mass, strict=False):
            if left <= each:
                return low + WIDTH * left / each
            left -= each
        return edges[-1]

    def dispersion(self) -> float:
        """Return the index of dispersion over the bins so far."""
        mean = variance = 0.0
        pairs = 0
        for one, two in zip(self.bins, self.bins[1:], strict=False):
            if one == two == 0:
                continue
            pairs += 1
            m, v = (one + two) / 2, (two - one) ** 2 / 2
            if pairs == 1:
                mean, variance = m, 2 * m
                continue
            weight = max(0.01, 1 / (pairs + 5))
            mean, variance = mean + weight * (m - mean), variance + weight * (v - variance)
        return max(1.0, variance / mean) if mean > 0 else 1.0


def story(seed: int, spells: list[Traffic], ticks: int) -> list[tuple[Signals, Decision]]:
    """Return the signals and decisions of two engines through some spells of traffic; now and then a tick is left out.

    A gateway holds some requests, more and fewer.
    """
    random, at, memory = Random(seed), 0.0, initial(SPEC)
    engines = [Engine(pod=f"p{index}", born_at=-900.0) for index in range(2)]
    told = []
    for traffic in spells:
        for _ in range(ticks):
            passed_s = random.choice([15, 15, 15, 15, 30])
            at += passed_s
            lived(engines, traffic, random, passed_s)
            held: dict[str, Any] = {"held_requests": float(random.choice([0, 0, 5, 20]))}
            signals = seen(engines, at, **held)
            memory, decision = decide(SPEC, memory, signals)
            told.append((signals, decision))
    return told


spells = st.builds(
    Traffic,
    rate_rps=st.sampled_from([0.0, 0.2, 2.0, 6.0]),
    prompt_tokens=st.sampled_from([100.0, 1000.0]),
    output_tokens=st.sampled_from([1.0, 50.0, 400.0]),
)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(spells, min_size=2, max_size=4))
def test_every_measured_figure_can_be_recomputed_from_the_signals(seed: int, traffics: list[Traffic]) -> None:
    """λ, count-weighted means, released work, IDC, level, peak, the learnt error, and the most wanted in the hold."""
    reference = Reference()
    wants: list[tuple[float, int]] = []
    now = seen_s = 0.0
    for signals, decision in story(seed, traffics, 50):
        x = decision.numbers
        expected = reference.tick(signals, x["horizon_s"], x["lag_s"])
        told = {name: x[name] for name in expected if name in x}
        assert told == pytest.approx({name: expected[name] for name in told}, rel=1e-6, abs=1e-9)
        assert set(expected) - set(told) <= {"itl_s"}
        if not expected:
            continue
        residual = reference.residual(x["quantile"])
        assert x["residual_quantile"] == pytest.approx(residual, abs=1e-5)
        assert x["demand_quantile"] == pytest.approx(max(0.0, x["base"] + residual * x["scale"]), abs=1e-4)
        assert decision.want is not None
        # What rests on a guess is no sight: that time does not pass for the hold.
        seen_s, now = seen_s + (0.0 if x["guess"] else signals.samples[0].at - now), signals.samples[0].at
        wants.append((seen_s, decision.want))
        # A want exactly as old as the hold may be in it or not: the last bit decides.
        within = [max(want for at, want in wants if seen_s - at <= x["hold_s"] + slack_s) for slack_s in (-1e-6, 1e-6)]
        assert decision.want_down in within


def test_the_learnt_error_is_learnt() -> None:
    """The story above would be as true of a histogram that stays empty: this one moves its quantile by a quarter."""
    told = story(4, [Traffic(rate_rps=2.0), Traffic(rate_rps=6.0), Traffic(rate_rps=0.2)], 50)
    quantiles = [decision.numbers["residual_quantile"] for _, decision in told if decision.want is not None]
    assert max(quantiles) - min(quantiles) > 0.25
