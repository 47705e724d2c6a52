"""Intervals: what each pod's counters gained between two of its own samples.

Every sample carries its pod's own time, so a difference is taken between two samples of *one pod*, over the time
between *those two*. A counter that fell is a restart: that pod's interval is dropped. So is the one in which it leaps
back to where it had stood: then no engine restarted, and a scrape had lost a part of the pod's series. A pod that was
not seen before only stores its counters, unless it became ready within the last three scrapes: then everything it ever
counted came since, and is taken as a whole.

    dA = Δfinished + Δ(running + waiting)                                        arrivals of a pod

A mean is a gain over a count (prompt tokens over first tokens), so both must be told *by the same pod*: a counter that
is missing beside a count that moved would pull the mean towards zero, and the target with it. Such a pod contributes
to neither, and its requests are counted as untold. A counter that stands still is not believed to have gained nothing:
the requests wait for it (``unpaired``) until it moves, or until :mod:`autoscaler.core.frozen` has proved that it is
frozen. From then on, and in the interval in which it moves again, it is as if it were missing: arrivals are told by the
first tokens, and the tokens of the requests by nobody.

A pod is *still* while it has requests at both ends of an interval and none of its counters moved; :func:`hung` says
when that has lasted too long to be one long step. Where the engine counts its steps, two scrapes are enough; a prefill
of 100,000 tokens that is not counted before it ends takes longer, so without them it is the staleness limit.

Invariants: pure; no rate comes of one sample; a missing counter contributes nothing, a missing gauge changes nothing;
no value that is not finite leaves this module.
"""

from math import isfinite
from typing import NamedTuple

from autoscaler.core.counters import (
    FINISHED,
    FIRST_TOKENS,
    GENERATED,
    ITL_COUNT,
    ITL_SUM_S,
    MOVES,
    NEW,
    PROMPTS,
    RUNNING,
    STEPS,
    WAITING,
    Back,
    Fall,
    Gain,
    Row,
    as_wide,
    back_from,
    counts,
    gains_of,
    generates,
    in_flight,
    row_of,
)
from autoscaler.core.frozen import ALL_MOVE, BEGINNINGS, ENDS, SERIES, Stand, as_many, believed, stands_after
from autoscaler.core.gauges import MOST, finite
from autoscaler.core.policy_parts import Timing
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals

SHORTEST_INTERVAL_S = 0.05
# Still for less than this is one long step: a chunk of 8,192 tokens takes over 2 s on a small GPU.
STILL_AT_LEAST_S = 10.0
CLOCK_SLACK_S = 60.0  # What lies further ahead was told by a broken clock.


class Track(NamedTuple):
    """A pod's newest sample, as far as it is a measurement, and the arrival rate of its last interval.

    ``values`` are running, waiting, prompt tokens, first tokens, generated tokens, finished requests, sum and count of
    the inter-token latency, and engine steps. ``None`` is what the engine does not export, and the rate before the
    second sample. ``still_s`` is for how long it has had requests and moved none of them; ``stands`` how prompt tokens,
    generated tokens and finished requests stand, and nothing while all of them move. ``fallen`` is the last fall of its
    counters, until they leap back to where they had stood.
    """

    at: float
    values: Row
    arrival_rps: float | None = None
    still_s: float = 0.0
    stands: tuple[Stand, ...] = ()
    fallen: Fall | None = None


class Gains(NamedTuple):
    """What the counters of all pods with a new interval gained, in pairs of which each pod told both or neither.

    ``prompt_requests`` prompts had ``prompt_tokens``, ``output_requests`` answers ``output_tokens``; ``itl_count`` gaps
    took ``itl_sum_s``. ``untold_prompts`` and ``untold_outputs`` are requests whose tokens their pod did not tell,
    ``counted`` the beginnings and ends that were counted.
    """

    prompt_tokens: float = 0.0
    prompt_requests: float = 0.0
    output_tokens: float = 0.0
    output_requests: float = 0.0
    itl_sum_s: float = 0.0
    itl_count: float = 0.0
    untold_prompts: float = 0.0
    untold_outputs: float = 0.0
    counted: float = 0.0


_NOTHING = Gains()


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
        values = row_of(sample)
        old = NEW if before is None else as_wide(before.values)
        gains = None if before is None else gains_of(old, values)
        dt_s = still_s = fallen = None
        stood, leapt = ALL_MOVE, False
        if before is not None and (gains is None or before.fallen is not None):
            leapt, fallen = _fallen(before, old, values, gains)
        if before is not None and gains is not None and not leapt:
            dt_s = sample.at - before.at
            still_s = before.still_s + dt_s if _is_still(old, values, gains) else 0.0
            stood = as_many(before.stands)
        if gains is None:
            old, gains = NEW, gains_of(NEW, values)
            dt_s = _since_ready(timing, newest_at, sample, ready_at.get(sample.pod))
        rate_rps, stands = None, ALL_MOVE
        if gains is not None:
            stands = stands_after(stood, old, values, gains)
            if dt_s is not None:
                told = believed(stood, stands, gains)
                rate_rps = _arrivals(told, dt_s, count_ends=not stood[ENDS].doubtful)
                gained.append(_told(told, stood, values))
        stands = () if stands == ALL_MOVE else stands
        after[sample.pod] = Track(sample.at, values, rate_rps, still_s or 0.0, stands, fallen)
    return after, Gains(*[sum(column) for column in zip(*gained, strict=True)]) if gained else _NOTHING


def hung(timing: Timing, tracks: dict[str, Track]) -> tuple[str, ...]:
    """Return the pods that have requests and have moved none of them for too long, by name."""
    stale_s = max(timing.stale_after_seconds, 3 * timing.scrape_seconds)
    with_steps_s = max(STILL_AT_LEAST_S, 2 * timing.scrape_seconds)

    found = []
    for pod, track in tracks.items():
        if track.still_s > 0:
            counts_steps = as_wide(track.values)[STEPS] is not None
            if track.still_s >= (with_steps_s if counts_steps else stale_s):
                found.append(pod)
    return tuple(sorted(found))


def frozen(tracks: dict[str, Track]) -> tuple[str, ...]:
    """Return the counters that are proved to be frozen, as "finished requests of POD".

    First tokens are not missed where ends are counted.
    """
    found = []
    for pod, track in tracks.items():
        # Most pods have none that stands still.
        counts_ends = as_wide(track.values)[FINISHED] is not None and not (track.stands and track.stands[ENDS].frozen)
        for series, stand in zip(SERIES[: BEGINNINGS + (not counts_ends)], track.stands, strict=False):
            if stand.frozen:
                found.append(f"{series} of {pod}")
    return tuple(sorted(found))


def _fallen(before: Track, old: Row, values: Row, gains: Gain | None) -> tuple[bool, Fall | None]:
    """Return whether a pod's counters leapt back from a fall, and the fall that they have still to make up for."""
    fallen = before.fallen
    if gains is None:
        # Where they stood before the first of several falls: half of a pod may be missing, and then all of it.
        return False, Fall(old if fallen is None else fallen.stood, values)
    if fallen is None:
        return False, None
    back = back_from(fallen, old, values)
    return back is Back.LEAPT, fallen if back is Back.NOT_YET else None


def _is_still(before: Row, after: Row, gains: Gain) -> bool:
    """Return whether a pod had requests at both ends and moved none of them, as far as its counters tell."""
    known = False
    for index in MOVES:
        gain = gains[index]
        if gain:
            return False
        known = known or gain is not None
    return known and in_flight(before) > 0 and in_flight(after) > 0


def _told(gains: Gain, stood: tuple[Stand, ...], values: Row) -> tuple[float, ...]:
    """Return one pod's part of the sums, in the order of :class:`Gains`."""
    begun, ended = counts(gains)
    prompts = _pair(gains[PROMPTS], begun, stood[0])
    outputs = _pair(gains[GENERATED], ended, stood[1] if generates(values) else None)
    gaps = _pair(gains[ITL_SUM_S], gains[ITL_COUNT])
    counted = (gains[FIRST_TOKENS] or 0.0) + (gains[FINISHED] or 0.0)
    return (*prompts[:2], *outputs[:2], *gaps[:2], prompts[2], outputs[2], counted)


def _pair(gain: float | None, count: float | None, stood: Stand | None = None) -> tuple[float, float, float]:
    """Return gain and count where both are known, and the count that stands alone.

    The requests counted while the counter ``stood`` still go with what it gains when it moves.
    """
    if count is None:
        return (0.0, 0.0, 0.0)
    if gain is None:
        return (0.0, 0.0, count)
    if stood is None:
        return (gain, count, 0.0)
    return (gain, count + stood.unpaired, 0.0) if gain > 0 else (0.0, 0.0, 0.0)


def _arrivals(gains: Gain, dt_s: float, *, count_ends: bool) -> float | None:
    """Return a pod's arrivals per second; may be negative for one interval. ``None`` without a count of requests.

    A gauge that is not exported changes nothing: its requests are counted when they finish.
    """
    finished, first, waiting = gains[FINISHED], gains[FIRST_TOKENS], gains[WAITING] or 0.0
    if finished is not None and (count_ends or first is None):
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
