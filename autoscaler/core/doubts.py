"""Doubts: what in the metrics cannot all be true, and what a demand rests on that nobody has measured.

A *contradiction* holds the replicas: every gauge is 0 although more requests arrive than could be so short, or all
engines have requests and move none.

A *guess* keeps only the way down shut, since nothing need be wrong. Demand is one where the tokens of a request are
the starting values and somebody has asked lately: nobody knows what those requests cost. It is one too where requests
run, and for QUIET_S none was counted to begin or to end in any pod. That may be one very long answer; it may be counts,
prompts and answers that all stand still with gauges that repeat themselves. The two read the same, and in either case
what runs has no count behind it.

Invariants: pure; nobody asks, nothing is guessed.
"""

from autoscaler.core.gauges import Instant
from autoscaler.core.intervals import Track, hung
from autoscaler.core.policy_parts import Timing

QUIET_S = 300.0  # Without a request for so long nobody asks; one empty scrape of sparse traffic says nothing.
SUSPICIOUS_IN_FLIGHT = 5.0  # Poisson with this mean is 0 in one of 150 scrapes.


def contradiction(
    timing: Timing, tracks: dict[str, Track], seen: Instant, arrival_rps: float | None, residence_s: float
) -> str | None:
    """Return what cannot be true in these metrics, as a sentence, or ``None``.

    ``residence_s`` is the least time that a request stays in an engine.
    """
    stuck = hung(timing, tracks)
    if stuck and len(stuck) == seen.reporting:
        return f"all {seen.reporting} engines that report have requests and have moved no token for too long"
    told = seen.gauges
    if arrival_rps is None or told.running_pods == 0 or told.waiting_pods == 0:
        return None
    # What a gateway holds is in no engine's gauge.
    if told.running + told.waiting == 0 and arrival_rps * residence_s > SUSPICIOUS_IN_FLIGHT:
        return f"{arrival_rps:.1f} requests/s arrive but every gauge is 0"
    return None


def guess(seen: Instant, means: dict[str, float | None], asked_s: float | None, counted_s: float | None) -> str | None:
    """Return what demand rests on that nobody measured, as a sentence, or ``None``.

    ``means`` are those of the tokens of a request, by name, ``None`` where there is only a starting value; ``asked_s``
    and ``counted_s`` have passed since requests were last there, and since one was last counted (``None``: never).
    """
    if asked_s is None or asked_s >= QUIET_S:
        return None
    unmeasured = [name for name, mean in means.items() if mean is None]
    if unmeasured:
        return f"requests are there, and their {' and '.join(unmeasured)} were never measured"
    if (seen.running or seen.waiting) and counted_s is not None and counted_s >= QUIET_S:
        return f"requests are there, and for {counted_s:.0f} s none was counted to begin or to end"
    return None
