"""Intervals: what each pod's counters gained between two of its own samples, and how bursty arrivals are.

Every sample carries its pod's own time, so a difference is taken between two samples of *one pod*, over the time
between *those two*. A counter that fell is a restart: that pod's interval is dropped. A pod that was not seen before
only stores its counters, unless it became ready within the last three scrapes: then everything it ever counted came
since, and is taken as a whole.

    dA = Δfinished + Δ(running + waiting)                                        arrivals of a pod

A mean is a gain over a count (prompt tokens over first tokens), so both must be told *by the same pod*: a counter that
is missing beside a count that moved would pull the mean towards zero, and the target with it. Such a pod contributes
to neither, and its requests are counted as untold.

A pod is *still* while it has requests at both ends of an interval and none of its counters moved; :func:`hung` says
when that has lasted too long to be one long step. Where the engine counts its steps, two scrapes are enough; a prefill
of 100,000 tokens that is not counted before it ends takes longer, so without them it is the staleness limit.

Arrivals are dispersed by the index of dispersion in bins of 15 s, from successive differences, which a slow trend
does not inflate: m = ½(A_t + A_{t−1}), v = ½(A_t − A_{t−1})², IDC = max(1, v̄/m̄), both means with weight
max(0.01, 1/(pairs + 5)).

Invariants: pure; no rate comes of one sample; a missing counter contributes nothing, a missing gauge changes nothing;
no value that is not finite leaves this module.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from autoscaler.core.policy_parts import Timing
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals

LEAST_DISPERSION_WEIGHT = 0.01
SHORTEST_INTERVAL_S = 0.05
# Still for less than this is one long step: a chunk of 8,192 tokens takes over 2 s on a small GPU.
STILL_AT_LEAST_S = 10.0
CLOCK_SLACK_S = 60.0  # What lies further ahead was told by a broken clock.
FULLEST = 1.5  # A KV use beyond this is no ratio.
MOST = 1e12  # A count beyond this is no measurement; keeps every later product finite.

# Positions in Track.values: two gauges, then the counters. A sample is read once and then handled as a row, since at
# sixty pods this is where a decision spends its time.
RUNNING, WAITING, PROMPTS, FIRST_TOKENS, GENERATED, FINISHED, ITL_SUM_S, ITL_COUNT, STEPS = range(9)
GAUGES = 2
WIDTH = 9
_MOVES = (GENERATED, STEPS, FINISHED, FIRST_TOKENS, PROMPTS)
_NEW: tuple[float | None, ...] = (0.0,) * WIDTH


class Track(NamedTuple):
    """A pod's newest sample, as far as it is a measurement, and the arrival rate of its last interval.

    ``values`` are running, waiting, prompt tokens, first tokens, generated tokens, finished requests, sum and count of
    the inter-token latency, and engine steps. ``None`` is what the engine does not export, and the rate before the
    second sample. ``still_s`` is for how long it has had requests and moved none of them.
    """

    at: float
    values: tuple[float | None, ...]
    arrival_rps: float | None = None
    still_s: float = 0.0


class Gains(NamedTuple):
    """What the counters of all pods with a new interval gained, in pairs of which each pod told both or neither.

    ``prompt_requests`` prompts had ``prompt_tokens``, ``output_requests`` answers ``output_tokens``; ``itl_count`` gaps
    took ``itl_sum_s``. ``untold_prompts`` and ``untold_outputs`` are requests whose tokens their pod did not tell.
    """

    prompt_tokens: float = 0.0
    prompt_requests: float = 0.0
    output_tokens: float = 0.0
    output_requests: float = 0.0
    itl_sum_s: float = 0.0
    itl_count: float = 0.0
    untold_prompts: float = 0.0
    untold_outputs: float = 0.0


_NOTHING = Gains()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispersion:
    """State of the index of dispersion: the open bin (arrivals, seconds), the last one, and the means of pairs."""

    open_arrivals: float = 0.0
    open_s: float = 0.0
    last_arrivals: float | None = None
    pairs: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def index(self) -> float:
        """IDC, at least 1."""
        return max(1.0, self.variance / self.mean) if self.mean > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Sums of the gauges of one instant over the pods that tell them, and how many did.

    ``kv_tokens`` are held by the ``kv_running`` sequences of those pods whose KV use and capacity are known.
    """

    running: float = 0.0
    running_pods: int = 0
    waiting: float = 0.0
    waiting_pods: int = 0
    kv_tokens: float = 0.0
    kv_running: float = 0.0
    kv_capacity: float = 0.0
    kv_pods: int = 0


def finite(value: float | None) -> float | None:
    """Return a count that can be one, else ``None``: NaN, infinities and negative counts are missing."""
    return value if value is not None and 0 <= value <= MOST else None


def usable(sample: PodSample, at: float, *, exports_tokens: bool) -> bool:
    """Return whether a sample is present, its time can be true, and it tells what demand is measured by.

    That is a count of requests, or where no tokens are exported what is running. A sample without is no sight of
    demand, however many other series it has.
    """
    # Believed, a sample from a broken clock would hide all later ones as old.
    if sample.presence is not Presence.PRESENT or not -MOST <= sample.at <= at + CLOCK_SLACK_S:
        return False
    if exports_tokens:
        return finite(sample.finished_requests) is not None or finite(sample.ttft_count) is not None
    return finite(sample.running) is not None


def gauges(samples: list[PodSample], kv_capacity_tokens: float | None) -> Gauges:
    """Return the sums of the gauges; ``kv_capacity_tokens`` stands in where a pod does not tell its KV capacity."""
    running = waiting = kv_tokens = kv_running = kv_capacity = 0.0
    running_pods = waiting_pods = kv_pods = 0
    for sample in samples:
        now, queued = finite(sample.running), finite(sample.waiting)
        if queued is not None:
            waiting, waiting_pods = waiting + queued, waiting_pods + 1
        capacity = finite(sample.kv_capacity_tokens) or kv_capacity_tokens
        if capacity is not None:
            kv_capacity, kv_pods = kv_capacity + capacity, kv_pods + 1
        if now is None:
            continue
        running, running_pods = running + now, running_pods + 1
        ratio = sample.kv_ratio
        if capacity is not None and now > 0 and ratio is not None and 0 <= ratio <= FULLEST:
            kv_tokens, kv_running = kv_tokens + ratio * capacity, kv_running + now
    return Gauges(
        running=running,
        running_pods=running_pods,
        waiting=waiting,
        waiting_pods=waiting_pods,
        kv_tokens=kv_tokens,
        kv_running=kv_running,
        kv_capacity=kv_capacity,
        kv_pods=kv_pods,
    )


def missing(timing: Timing, signals: Signals, samples: list[PodSample], newest_at: float | None) -> int:
    """Count ready replicas without a sample that had two scrapes' time to give one."""
    present = {sample.pod for sample in samples}
    clock = signals.at if newest_at is None else newest_at
    latest = clock - 2 * timing.scrape_seconds
    return sum(
        1
        for replica in signals.replicas
        if replica.state is ReplicaState.READY
        and replica.pod not in present
        and (replica.ready_at is None or replica.ready_at <= latest)
    )


def tracked(
    timing: Timing,
    tracks: dict[str, Track],
    replicas: tuple[Replica, ...],
    samples: list[PodSample],
    newest_at: float | None,
) -> tuple[dict[str, Track], Gains]:
    """Return the new tracks, and the gains of the counters summed over the pods with a new interval.

    Pods without a sample are forgotten. ``newest_at`` is the newest sample's time at the tick before.
    """
    ready_at = {replica.pod: replica.ready_at for replica in replicas}
    after: dict[str, Track] = {}
    gained: list[tuple[float, ...]] = []
    for sample in samples:
        before = tracks.get(sample.pod)
        if before is not None and sample.at - before.at < SHORTEST_INTERVAL_S:
            after[sample.pod] = before
            continue
        values = _values(sample)
        old = _NEW if before is None else _as_wide(before.values)
        gains = None if before is None else _gains(old, values)
        dt_s = still_s = None
        if before is not None and gains is not None:
            dt_s = sample.at - before.at
            still_s = before.still_s + dt_s if _is_still(old, values, gains) else 0.0
        if gains is None:
            old, gains = _NEW, _gains(_NEW, values)
            dt_s = _since_ready(timing, newest_at, sample, ready_at.get(sample.pod))
        rate_rps = None
        if gains is not None and dt_s is not None:
            rate_rps = _arrivals(gains, dt_s)
            gained.append(_told(gains))
        after[sample.pod] = Track(sample.at, values, rate_rps, still_s or 0.0)
    return after, Gains(*[sum(column) for column in zip(*gained, strict=True)]) if gained else _NOTHING


def hung(timing: Timing, tracks: dict[str, Track]) -> tuple[str, ...]:
    """Return the pods that have requests and have moved none of them for too long, by name."""
    stale_s = max(timing.stale_after_seconds, 3 * timing.scrape_seconds)
    with_steps_s = max(STILL_AT_LEAST_S, 2 * timing.scrape_seconds)

    found = []
    for pod, track in tracks.items():
        if track.still_s > 0:
            counts_steps = _as_wide(track.values)[STEPS] is not None
            if track.still_s >= (with_steps_s if counts_steps else stale_s):
                found.append(pod)
    return tuple(sorted(found))


def _as_wide(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    # A memory of an earlier version knows fewer values.
    return values if len(values) == WIDTH else (*values, *[None] * WIDTH)[:WIDTH]


def _is_still(before: tuple[float | None, ...], after: tuple[float | None, ...], gains: list[float | None]) -> bool:
    """Return whether a pod had requests at both ends and moved none of them, as far as its counters tell."""
    known = False
    for index in _MOVES:
        gain = gains[index]
        if gain:
            return False
        known = known or gain is not None
    return known and _in_flight(before) > 0 and _in_flight(after) > 0


def _in_flight(values: tuple[float | None, ...]) -> float:
    return (values[RUNNING] or 0.0) + (values[WAITING] or 0.0)


def _told(gains: list[float | None]) -> tuple[float, ...]:
    """Return one pod's part of the sums, in the order of :class:`Gains`."""
    first, finished = gains[FIRST_TOKENS], gains[FINISHED]
    # Prompt tokens are counted with the first token; where that is not counted, with the end of the request.
    prompts = _pair(gains[PROMPTS], finished if first is None else first)
    # The other way round for answers: where their ends are not counted, so many begin.
    outputs = _pair(gains[GENERATED], first if finished is None else finished)
    gaps = _pair(gains[ITL_SUM_S], gains[ITL_COUNT])
    return (*prompts[:2], *outputs[:2], *gaps[:2], prompts[2], outputs[2])


def _pair(gain: float | None, count: float | None) -> tuple[float, float, float]:
    """Return gain and count where both are known, and the count that stands alone."""
    if count is None:
        return (0.0, 0.0, 0.0)
    return (0.0, 0.0, count) if gain is None else (gain, count, 0.0)


def _values(sample: PodSample) -> tuple[float | None, ...]:
    row = (
        sample.running,
        sample.waiting,
        sample.prompt_tokens,
        sample.ttft_count,
        sample.generation_tokens,
        sample.finished_requests,
        sample.itl_sum_s,
        sample.itl_count,
        sample.steps,
    )
    return tuple([value if value is not None and 0 <= value <= MOST else None for value in row])


def _gains(before: tuple[float | None, ...], after: tuple[float | None, ...]) -> list[float | None] | None:
    """Return what each value gained, ``None`` where it is unknown; nothing if a counter fell: the engine restarted."""
    gains = [None if old is None or new is None else new - old for old, new in zip(before, after, strict=True)]
    for gain in gains[GAUGES:]:
        if gain is not None and gain < 0:
            return None
    return gains


def _arrivals(gains: list[float | None], dt_s: float) -> float | None:
    """Return a pod's arrivals per second; may be negative for one interval. ``None`` without a count of requests.

    A gauge that is not exported changes nothing: its requests are counted when they finish.
    """
    finished, first, waiting = gains[FINISHED], gains[FIRST_TOKENS], gains[WAITING] or 0.0
    if finished is not None:
        return (finished + waiting + (gains[RUNNING] or 0.0)) / dt_s
    return None if first is None else (first + waiting) / dt_s


def _since_ready(timing: Timing, newest_at: float | None, sample: PodSample, ready_at: float | None) -> float | None:
    """Return the time over which a new pod's counters came about, or ``None`` if it was ready for too long."""
    if ready_at is None or not isfinite(ready_at) or ready_at > sample.at:
        return None
    scrape_s = timing.scrape_seconds
    # Discovery takes a scrape or two; up to three the counters still are those of this pod's first moments.
    interval_s = 3 * scrape_s if newest_at is None else max(3 * scrape_s, sample.at - newest_at)
    age_s = sample.at - ready_at
    # At least one scrape: five requests in the first second are no five requests a second.
    return max(age_s, scrape_s) if age_s <= interval_s else None


def binned(state: Dispersion, arrivals: float, dt_s: float, bin_s: float) -> Dispersion:
    """Put an interval's arrivals into bins; a full bin makes a pair with the one before."""
    arrivals, span_s = state.open_arrivals + arrivals, state.open_s + dt_s
    if span_s > 2 * bin_s + dt_s / 2 or dt_s > 2 * bin_s:
        # A long gap is smooth by averaging, not by nature.
        return replace(state, open_arrivals=0.0, open_s=0.0, last_arrivals=None)
    if span_s + dt_s / 2 < bin_s:
        return replace(state, open_arrivals=arrivals, open_s=span_s)
    count = arrivals * bin_s / span_s
    closed = replace(state, open_arrivals=0.0, open_s=0.0, last_arrivals=count)
    if state.last_arrivals is None or (count == 0 and state.last_arrivals == 0):
        return closed
    mean, variance = (count + state.last_arrivals) / 2, (count - state.last_arrivals) ** 2 / 2
    pairs = state.pairs + 1
    if pairs == 1:
        return replace(closed, pairs=1, mean=mean, variance=2 * mean)
    weight = max(LEAST_DISPERSION_WEIGHT, 1 / (pairs + 5))
    return replace(
        closed,
        pairs=pairs,
        mean=state.mean + weight * (mean - state.mean),
        variance=state.variance + weight * (variance - state.variance),
    )
