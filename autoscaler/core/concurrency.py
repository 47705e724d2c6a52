"""Concurrency mode: demand is what is in flight, and a gauge that shows none of it is not believed.

Where an engine exports no tokens, demand is running + waiting + held over the target concurrency; a gauge needs no
second sample. An engine that never told what waits has no queue; one that told it before and does not now is in flight
by an unknown number, and the demand stays where it was.

What runs is checked against what ends. By Little's law L = λ·W, with W the time that a request runs, measured where
something was seen to run, over the last FADE_ENDS or so requests that ended:

    W = Σ ½(running before + after)·Δt / Σ ended          over intervals in which something was seen to run

A pod whose gauge read 0 at both ends of an interval although requests ended in it ought to have shown λ·W of them at
its scrape. From the first such interval on that number stands in for the gauge, if it is SEEN_AT_LEAST or more, so that
more traffic still orders more. The pod is called *unseen* once UNSEEN_LIMIT sightings were missed in a row, of one
scrape at most SEEN_AT_MOST: Poisson traffic does that once in exp(20) times. Of requests
so short that a scrape rarely sees one W is overrated, as one that was seen counts for a whole interval, but λ·W is then
about 1, too small to be judged.

A gauge that has read 0 ever since the memory began gives no W. Then nobody knows what runs, and nothing is scaled down
as long as requests end: requests so short that no scrape has seen one yet read the same as a broken gauge. Engines that
do not count what ends are believed, and so is a gauge that repeats a number above 0: a full batch reads so.

Worked example: requests run for 10 s, a pod ends 12 in 15 s and shows nothing: 12/15·10 = 8 ought to run, of which 5
count; after five such intervals 25 > 20: unseen.

Invariants: pure; a pod that shows a request is believed.
"""

from dataclasses import dataclass, field
from math import exp

from autoscaler.core.counters import FINISHED, RUNNING, as_wide, gains_of
from autoscaler.core.doubts import QUIET_S
from autoscaler.core.gauges import Instant
from autoscaler.core.intervals import Track

FADE_ENDS = 400.0
LEAST_ENDED = 1.0
SEEN_AT_LEAST = 2.0
SEEN_AT_MOST = 5.0
UNSEEN_LIMIT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """How long requests run, and which pods show none of them.

    ``running_s`` request-seconds were seen to run while ``ended`` requests ended, both fading. ``unseen`` holds the
    sightings that a pod missed in a row, for those that missed any.
    """

    running_s: float = 0.0
    ended: float = 0.0
    unseen: dict[str, float] = field(default_factory=dict)

    @property
    def residence_s(self) -> float | None:
        """W, the seconds that a request runs; ``None`` until some were seen to run and to end."""
        return self.running_s / self.ended if self.ended >= LEAST_ENDED else None

    @property
    def unseen_pods(self) -> tuple[str, ...]:
        """Return the pods whose gauge is proved to show nothing, by name."""
        return tuple(sorted(pod for pod, missed in self.unseen.items() if missed > UNSEEN_LIMIT))


def sightings(memory: Sightings, before: dict[str, Track], after: dict[str, Track]) -> Sightings:
    """Return the sightings after a tick that made the tracks ``after`` of those ``before``."""
    running_s = ended = 0.0
    unseen: dict[str, float] = {}
    for pod, track in after.items():
        old = before.get(pod)
        gains = None if old is None or track.at <= old.at else gains_of(as_wide(old.values), track.values)
        missed = memory.unseen.get(pod, 0.0)
        if old is not None and gains is not None:
            ends, dt_s = gains[FINISHED], track.at - old.at
            shown = (old.values[RUNNING] or 0.0) + (track.values[RUNNING] or 0.0)
            if shown > 0:
                missed = 0.0
                if ends is not None:
                    running_s, ended = running_s + shown / 2 * dt_s, ended + ends
            elif ends:
                missed += _sightings_due(ends / dt_s, memory.residence_s)
        if missed > 0:
            unseen[pod] = missed
    kept = exp(-ended / FADE_ENDS)
    return Sightings(running_s=memory.running_s * kept + running_s, ended=memory.ended * kept + ended, unseen=unseen)


def _sightings_due(ended_rps: float, residence_s: float | None) -> float:
    due = 0.0 if residence_s is None else ended_rps * residence_s
    return min(due, SEEN_AT_MOST) if due >= SEEN_AT_LEAST else 0.0


def in_flight(memory: Sightings, tracks: dict[str, Track], seen: Instant) -> float:
    """Return the requests in flight at all expected pods and the gateway, λ·W standing in for gauges without sight."""
    told = seen.gauges
    hidden = sum(max(tracks[pod].arrival_rps or 0.0, 0.0) for pod in memory.unseen) * (memory.residence_s or 0.0)
    running = seen.scaled(told.running + hidden, told.running_pods)
    return (running or 0.0) + (seen.waiting or 0.0)


def guess(memory: Sightings, seen: Instant, counted_s: float | None) -> str | None:
    """Return what the demand rests on that nobody measured, as a sentence, or ``None``.

    ``counted_s`` have passed since a request was last counted to end; ``None``: none ever was.
    """
    if seen.running or memory.residence_s is not None or counted_s is None or counted_s >= QUIET_S:
        return None
    return "requests end, and none was ever seen to run"
