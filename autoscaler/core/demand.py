"""Demand: from the pods' counters to work arriving per second, in replicas.

What the counters gained between two samples of a pod comes from :mod:`autoscaler.core.intervals`. Each pod keeps the
rate of its last interval until its next sample, as ticks and scrapes alias; a tick without any new sample updates
nothing. Summed over pods, with dA a pod's arrivals in its Δt,

    λ = max(Σ dA/Δt · expected/known + Δheld/Δt, 0)                      requests/s

"Known" are the pods with a rate, "expected" those that report and those that have been ready for two scrapes and do
not: what a missing pod serves is estimated, not forgotten. Δheld is the change of what a gateway holds.

A pod whose sample has no count of requests (in concurrency mode: nothing running) gives no sight of demand; it counts
as one that does not report. Where requests were counted and nobody told their tokens, the last mean stands in, so that
more traffic still orders more, and ``Observed.untold`` says so: on a guessed mean nothing is scaled down.

Token means are weighted by counts, so that the noise of a quiet night does not move them: with x the mean of an
interval and m its count, ``v += (1 − exp(−m/400))·(x − v)`` (KV tokens: 300). They start at p = 500, o = 100,
k = p + o/2; the first measured interval replaces these.

Work is released as engines do it: a prompt at once, decoding over the residence time of the request,

    y_prefill = λ·b·p
    y_decode += (1 − exp(−Δt/max(o·ITL, 1)))·(λ·(c + d·k)·o − y_decode)
    y         = y_prefill + y_decode                                     replica-seconds per second

In concurrency mode (no token counters) the demand is what is in flight over the target concurrency
(:mod:`autoscaler.core.concurrency`).

Whoever asks before a mean was measured is served by the starting value, on which nothing is scaled down
(:mod:`autoscaler.core.doubts`). What contradicts itself does so until a newer interval says otherwise: ticks between
two scrapes know nothing new.

Invariants: pure; missing values move nothing; y ≥ 0; every number in the memory is finite.
"""

from dataclasses import dataclass, field, replace
from math import exp

from autoscaler.core import concurrency
from autoscaler.core.capacity import Coefficients, RequestMix, target_concurrency
from autoscaler.core.concurrency import Sightings, sightings
from autoscaler.core.dispersion import Dispersion, binned
from autoscaler.core.doubts import QUIET_S, contradiction, guess
from autoscaler.core.gauges import Instant, finite, gauges
from autoscaler.core.intervals import Gains, Track, frozen, hung, missing, tracked, usable
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals

PROMPT_TOKENS = 500.0
OUTPUT_TOKENS = 100.0
TOKEN_WEIGHT = 400.0
KV_WEIGHT = 300.0
LEAST_COUNT = 1e-6  # Requests are whole; what is less is a rounding, and a mean over it may be infinite.
ITL_WEIGHT = 0.2
ITL_STEPS = 2.5  # Inter-token latency before one was measured, in fixed step times.


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandMemory:
    """What the measurement of demand carries from tick to tick; a mean is ``None`` until it was measured.

    ``measured_at`` is the sample time of the newest interval that told demand. ``tells_waiting`` says whether any pod
    ever told what waits in it. ``untold`` and ``contradiction`` are those of the newest interval. ``untold_prompts``
    and ``untold_outputs`` stay until such tokens are told again, or nobody asks any more; ``asked_at`` is the newest
    sample at which somebody did, ``counted_at`` at which a request was counted to begin or to end. ``sightings`` are
    those of concurrency mode. ``held`` is what a gateway held at ``held_at``, at ``newest_at`` where that is ``None``.
    """

    tracks: dict[str, Track] = field(default_factory=dict)
    newest_at: float | None = None
    held: float | None = None
    held_at: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    kv_tokens: float | None = None
    itl_s: float | None = None
    decode_work: float | None = None
    demand: float | None = None
    arrival_rps: float | None = None
    dispersion: Dispersion = field(default_factory=Dispersion)
    measured_at: float | None = None
    asked_at: float | None = None
    counted_at: float | None = None
    tells_waiting: bool = False
    untold: str | None = None
    untold_prompts: bool = False
    untold_outputs: bool = False
    contradiction: str | None = None
    sightings: Sightings = field(default_factory=Sightings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one tick knows of demand.

    ``fresh`` says that a new interval was folded in, over ``dt_s``; ``demand`` is y in replicas, or in-flight over
    target concurrency, the newest known. ``newest_at`` is the newest sample that tells demand, ``measured_at`` the
    newest that gave an interval. Sums over pods are scaled to all ``expected`` pods. ``running`` and ``waiting`` are
    ``None`` if no pod told; ``waiting`` includes what a gateway holds. ``hung`` are the pods that have requests and
    move none, ``frozen`` the counters that stand still though requests went through, ``unseen`` the pods in which
    requests end and none is shown to run. ``untold`` says what was not told
    of requests that were counted; ``contradiction`` is a sentence if the metrics cannot all be true, ``guess`` if
    demand rests on what nobody measured. ``idle`` says that nobody has asked for long.
    """

    newest_at: float | None
    measured_at: float | None
    idle: bool
    fresh: bool
    dt_s: float
    demand: float | None
    arrival_rps: float | None
    mix: RequestMix
    itl_s: float | None
    reporting: int
    expected: int
    running: float | None
    waiting: float | None
    held: float | None
    kv_capacity_tokens: float | None
    hung: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    untold: str | None = None
    contradiction: str | None = None
    guess: str | None = None


def initial() -> DemandMemory:
    """Return the memory of having seen nothing."""
    return DemandMemory()


def update(
    spec: PolicySpec, coefficients: Coefficients, memory: DemandMemory, signals: Signals
) -> tuple[DemandMemory, Observed]:
    """Fold one tick's samples into the memory and say what is known of demand. Total on any signals."""
    samples = [sample for sample in signals.samples if usable(sample, signals.at, exports_tokens=spec.exports_tokens)]
    newest_at = max([sample.at for sample in samples], default=None)
    # What a hung engine has is not served by more replicas: it counts as one that does not report.
    stuck = frozenset(hung(spec.timing, memory.tracks))
    moving = [sample for sample in samples if sample.pod not in stuck] or samples
    seen = Instant(
        newest_at=newest_at,
        reporting=len(samples),
        expected=len(samples) + missing(spec.timing, signals, samples, newest_at),
        gauges=gauges(moving, spec.engine.kv_tokens),
        held=finite(signals.held_requests),
        kv_capacity_tokens=spec.engine.kv_tokens,
    )
    if newest_at is None or (memory.newest_at is not None and newest_at <= memory.newest_at):
        # What piles up while no engine serves does not arrive anew when the first one takes it all.
        alone = newest_at is None and seen.held is not None and memory.newest_at is not None
        after = replace(memory, held=seen.held, held_at=signals.at) if alone else memory
        return after, _observed(spec, after, seen)
    tracks, gains = tracked(spec.timing, memory.tracks, signals.replicas, samples, memory.newest_at)
    after = _with_means(memory, gains, seen, tracks)
    dt_s = spec.timing.scrape_seconds if memory.newest_at is None else newest_at - memory.newest_at
    if not spec.exports_tokens:
        after = replace(after, sightings=sightings(after.sightings, memory.tracks, tracks))
        after = _with_asked(_in_flight(spec, after, seen), seen, gains)
        measured = not _lacks_waiting(after, seen)
    else:
        held_s = dt_s if memory.held_at is None else max(newest_at - memory.held_at, spec.timing.scrape_seconds)
        arrival_rps = _arrival_rps(memory, after, seen, held_s, stuck)
        measured = arrival_rps is not None
        if arrival_rps is not None:
            after = _with_work(spec, coefficients, after, arrival_rps, dt_s)
        # From the first sample on it is known for how long none was counted.
        after = replace(after, counted_at=after.counted_at or newest_at)
        after = _with_untold(_with_asked(after, seen, gains), gains)
    if measured:
        residence_s = mix(after).output_tokens * coefficients.a_s
        odd = contradiction(spec.timing, tracks, seen, after.arrival_rps, residence_s)
        after = replace(after, measured_at=newest_at, contradiction=odd)
    return after, _observed(spec, after, seen, dt_s=dt_s if measured else None)


def _lacks_waiting(memory: DemandMemory, seen: Instant) -> bool:
    return memory.tells_waiting and seen.gauges.waiting_pods == 0


def _in_flight(spec: PolicySpec, after: DemandMemory, seen: Instant) -> DemandMemory:
    """Return the memory with the demand of concurrency mode; as it was where what waits was told and is not now."""
    if _lacks_waiting(after, seen):
        return replace(after, untold="no engine tells any more how many requests wait in it")
    in_flight = concurrency.in_flight(after.sightings, after.tracks, seen)
    return replace(after, demand=in_flight / target_concurrency(spec), untold=None)


def _arrival_rps(
    before: DemandMemory, after: DemandMemory, seen: Instant, held_s: float, stuck: frozenset[str]
) -> float | None:
    """Return the arrivals per second at all expected pods and the gateway, ``None`` if no pod had a rate.

    ``held_s`` is the time since the gateway was seen before.
    """
    known = {pod: track.arrival_rps for pod, track in after.tracks.items() if track.arrival_rps is not None}
    rates = [rate_rps for pod, rate_rps in known.items() if pod not in stuck] or list(known.values())
    if not rates:
        return None
    held_rps = 0.0 if seen.held is None or before.held is None else (seen.held - before.held) / held_s
    return max(sum(rates) * max(seen.expected, len(rates)) / len(rates) + held_rps, 0.0)


def _with_asked(memory: DemandMemory, seen: Instant, gains: Gains) -> DemandMemory:
    """Return the memory with when requests were last there (they came, or are in an engine or held), and counted."""
    counted = gains.counted > 0
    asked = bool(memory.arrival_rps or seen.running or seen.waiting or counted)
    return replace(
        memory,
        asked_at=seen.newest_at if asked else memory.asked_at,
        counted_at=seen.newest_at if counted else memory.counted_at,
    )


def _guess(memory: DemandMemory, seen: Instant, *, exports_tokens: bool) -> str | None:
    newest_at, asked_at, counted_at = memory.newest_at, memory.asked_at, memory.counted_at
    if newest_at is None or asked_at is None or counted_at is None:
        return None
    if not exports_tokens:
        return concurrency.guess(memory.sightings, seen, newest_at - counted_at)
    means = {"prompt tokens": memory.prompt_tokens, "generated tokens": memory.output_tokens}
    return guess(seen, means, newest_at - asked_at, newest_at - counted_at)


def _is_idle(memory: DemandMemory, *, exports_tokens: bool = True) -> bool:
    # Where tokens are counted an unknown rate is no rate of nothing.
    if memory.newest_at is None or (exports_tokens and memory.arrival_rps != 0):
        return False
    return memory.asked_at is None or memory.newest_at - memory.asked_at >= QUIET_S


def _with_untold(memory: DemandMemory, gains: Gains) -> DemandMemory:
    """Return the memory with what nobody told of requests that were counted: prompts and answers each for themselves.

    An interval in which no request says anything of it leaves it as it was.
    """
    # Without arrivals there is no work, whatever a request of them would have been. That none ended is not enough.
    begun = gains.prompt_requests + gains.untold_prompts
    idle = _is_idle(memory) and begun == 0
    prompts = _is_untold(gains.prompt_requests, gains.untold_prompts, before=memory.untold_prompts and not idle)
    outputs = _is_untold(gains.output_requests, gains.untold_outputs, before=memory.untold_outputs and not idle)
    which = "prompt tokens" if prompts else "generated tokens"
    untold = f"requests are counted, but no engine tells their {which}" if prompts or outputs else None
    return replace(memory, untold_prompts=prompts, untold_outputs=outputs, untold=untold)


def _is_untold(told: float, untold: float, *, before: bool) -> bool:
    return told <= 0 and (untold > 0 or before)


def put_right(memory: DemandMemory) -> DemandMemory:
    """Return the memory after a clock ahead was put right: the means stay, what is timed by it goes."""
    gone = replace(memory, newest_at=None, measured_at=None, asked_at=None, counted_at=None, held=None, held_at=None)
    return replace(gone, tracks={})


def mix(memory: DemandMemory) -> RequestMix:
    """Return what the requests are like, with the starting values where nothing was measured."""
    prompt = PROMPT_TOKENS if memory.prompt_tokens is None else max(memory.prompt_tokens, 1.0)
    output = OUTPUT_TOKENS if memory.output_tokens is None else max(memory.output_tokens, 1.0)
    kv = prompt + output / 2 if memory.kv_tokens is None else max(memory.kv_tokens, 1.0)
    return RequestMix(prompt_tokens=prompt, output_tokens=output, kv_tokens=kv, dispersion=memory.dispersion.index)


def _weighted(old: float | None, total: float, count: float, constant: float) -> float | None:
    """Return the count-weighted mean; the first measured interval replaces what was assumed."""
    if count < LEAST_COUNT:
        return old
    mean = total / count
    return mean if old is None else old + (1 - exp(-count / constant)) * (mean - old)


def _with_means(memory: DemandMemory, gains: Gains, seen: Instant, tracks: dict[str, Track]) -> DemandMemory:
    itl_s = memory.itl_s
    if gains.itl_count > 0:
        mean_s = gains.itl_sum_s / gains.itl_count
        itl_s = mean_s if itl_s is None else itl_s + ITL_WEIGHT * (mean_s - itl_s)
    running = seen.gauges.kv_running if seen.gauges.kv_running >= 1 else 0.0
    return replace(
        memory,
        tracks=tracks,
        newest_at=seen.newest_at,
        held=seen.held,
        held_at=None,
        prompt_tokens=_weighted(memory.prompt_tokens, gains.prompt_tokens, gains.prompt_requests, TOKEN_WEIGHT),
        output_tokens=_weighted(memory.output_tokens, gains.output_tokens, gains.output_requests, TOKEN_WEIGHT),
        kv_tokens=_weighted(memory.kv_tokens, seen.gauges.kv_tokens, running, KV_WEIGHT),
        itl_s=itl_s,
        tells_waiting=memory.tells_waiting or seen.gauges.waiting_pods > 0,
    )


def _with_work(
    spec: PolicySpec, coefficients: Coefficients, after: DemandMemory, arrival_rps: float, dt_s: float
) -> DemandMemory:
    """Return the memory with arrivals, dispersion and released work of the interval."""
    # A bin cannot be shorter than a scrape.
    bin_s = max(spec.timing.dispersion_bin_seconds, spec.timing.scrape_seconds)
    requests = mix(after)
    itl_s = after.itl_s if after.itl_s is not None else ITL_STEPS * coefficients.a_s
    decode = arrival_rps * (coefficients.c_s + coefficients.d_s * requests.kv_tokens) * requests.output_tokens
    if after.decode_work is not None:
        residence_s = max(requests.output_tokens * itl_s, 1.0)
        decode = after.decode_work + (1 - exp(-dt_s / residence_s)) * (decode - after.decode_work)
    return replace(
        after,
        arrival_rps=arrival_rps,
        decode_work=decode,
        demand=arrival_rps * coefficients.b_s * requests.prompt_tokens + decode,
        dispersion=binned(after.dispersion, arrival_rps * dt_s, dt_s, bin_s),
    )


def _observed(spec: PolicySpec, memory: DemandMemory, seen: Instant, dt_s: float | None = None) -> Observed:
    """Return what is known; ``dt_s`` is given when a new interval was folded in."""
    return Observed(
        newest_at=seen.newest_at,
        measured_at=memory.measured_at,
        idle=_is_idle(memory, exports_tokens=spec.exports_tokens),
        fresh=dt_s is not None,
        dt_s=0.0 if dt_s is None else dt_s,
        demand=memory.demand,
        arrival_rps=memory.arrival_rps,
        mix=mix(memory),
        itl_s=memory.itl_s,
        reporting=seen.reporting,
        expected=seen.expected,
        running=seen.running,
        waiting=seen.waiting,
        held=seen.held,
        kv_capacity_tokens=seen.kv_capacity,
        hung=hung(spec.timing, memory.tracks),
        # Where no tokens are exported demand is what is in flight, and no counter is asked.
        frozen=frozen(memory.tracks) if spec.exports_tokens else (),
        unseen=memory.sightings.unseen_pods,
        untold=memory.untold,
        contradiction=memory.contradiction,
        guess=_guess(memory, seen, exports_tokens=spec.exports_tokens),
    )
