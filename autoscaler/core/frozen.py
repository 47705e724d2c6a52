"""Frozen counters: one that stands still although requests went through the engine that it must have counted.

A series that an exporter forgets, that an upgrade leaves behind under its old name, or that a recording rule repeats
looks like an engine without traffic, and is not missing. What shows it is a conservation law: what flows in and not out
is inside. A request that got its first token after a counter last moved, and is not in the engine any more, has ended
since; and whoever has ended was counted by all three: it had a prompt, it had tokens, it was finished. So with

    n      first tokens that the pod gave since the counter last moved
    in     what is in it now, running + waiting (an engine may preempt what has begun)

at least n − in requests went through uncounted. The counter is frozen if that is more than the margin

    n − in > 10 + 4·sqrt(n)     and first tokens came in 4 intervals or more

because gauges and counters may be from different instants, and an engine does not count a request that its client gives
up: only a counter that never moves is judged, so that one finished request among many given up starts it anew. A rule
that records once a minute is slow, not frozen. Once frozen a counter is so until it moves, or its pod starts again.

A count of ends that stood still over those 4 intervals tells no arrivals before it is proved frozen, nor when it moves
again: first tokens do, and in honest traffic they tell the same.

First tokens themselves may stand still. Of e requests that ended since they last moved, at most those had theirs before
that were inside then; so e less those, beyond the same margin, proves it. They are then as if they were missing: ends
tell arrivals and prompts, and nothing has to be held for it.

Where first tokens and ends both stand still, neither says anything of the other, and the rest of the page is asked. A
request went uncounted if

    it is in the engine no more                       the gauges fell
    its prompt was counted                            every engine counts prompts at the first token or at the end
    it had tokens, and nobody is inside               at either end of the interval

LEAST_LEFT such requests, in as many intervals as above, prove that both do (or that the gauges are as wrong); only the
last two where an engine does not tell ends at all, as a queue may drain there. A prompt that is computed anew because
the KV cache was full may be counted twice: only a cache below ROOMY says so. And where ends are told, generated tokens
stay in the cache until their request has ended: with G of them since either was counted, K held, and V the size of the
cache, those who ended took

    u = G/V − ΔK/V > LEAST_UNHELD of the cache along  as the engine itself tells V

Everything is kept by pod, since a pod's last move: pods that come, go and restart change nothing in one another.
Long answers, a queue that drains and a night without traffic give no n beyond what is in the engine. An engine without
a count of first tokens, or without one of the gauges, is not judged by them.

What cannot be told from honest traffic: a pod that repeats a page on which nobody is inside is an idle pod, which a
router may leave alone while its siblings are loaded (with a request on that page it hangs,
:func:`autoscaler.core.intervals.hung`); and a pod whose counts and prompts stand still with a request inside has long
answers, if it does not tell both its generated tokens and its cache: the steps of its engine say no more. Where that is
so in every pod nothing is scaled down (:mod:`autoscaler.core.doubts`). A model whose cache does not grow with its
answers (state space, sliding window) looks frozen while one answer is longer than LEAST_UNHELD of the cache and nobody
else begins or ends; so does an engine that counts a prompt piece by piece, over a prompt of four scrapes.

Worked example: a pod serves 2 requests/s of 6 s each, and its count of finished requests stops. After 60 s it has given
n = 120 first tokens and has 12 inside; 108 > 10 + 4·sqrt(120) = 53.8: frozen.

Invariants: pure; a counter that moves is not frozen.
"""

from math import sqrt
from typing import NamedTuple

from autoscaler.core.counters import (
    FINISHED,
    FIRST_TOKENS,
    GENERATED,
    KV_CAPACITY,
    KV_RATIO,
    PROMPTS,
    Gain,
    Row,
    counts,
    generates,
    inside,
)

LEAST_INTERVALS = 4
LEAST_LEFT = 4.0
LEAST_UNHELD = 0.05  # Beyond a use that is rounded to hundredths.
ROOMY = 0.9
MARGIN_REQUESTS = 10.0
MARGIN_ROOTS = 4.0
MOST_INSIDE = 1e12


class Stand(NamedTuple):
    """How long one counter of one pod stands still, in what it should have counted.

    ``first_tokens`` and ``intervals`` in which they came, since the counter last moved; ``unpaired`` are the requests
    that were counted meanwhile, and wait for the tokens of this counter. ``inside`` were in the engine when first
    tokens last moved. While neither first tokens nor ends were counted ``left`` went uncounted and ``unheld`` of the KV
    cache was generated that is not held, in ``left_intervals``.
    """

    first_tokens: float = 0.0
    intervals: int = 0
    unpaired: float = 0.0
    frozen: bool = False
    inside: float = 0.0
    left: float = 0.0
    left_intervals: int = 0
    unheld: float = 0.0

    @property
    def doubtful(self) -> bool:
        """Whether first tokens came in so many intervals that the counter is not to be asked, though nothing is proved.

        Where few requests come, a proof takes long, and a fleet would have shrunk before it.
        """
        return self.intervals >= LEAST_INTERVALS


MOVING = Stand()
# The counters that are looked at for standing still, in the order of Track.stands.
JUDGED = (PROMPTS, GENERATED, FINISHED, FIRST_TOKENS)
SERIES = ("prompt tokens", "generated tokens", "finished requests", "first tokens")
ENDS, BEGINNINGS = 2, 3
ALL_MOVE: tuple[Stand, ...] = (MOVING, MOVING, MOVING, MOVING)


def followed(stand: Stand, gain: float | None, first_tokens: float, requests: float, inside: float | None) -> Stand:
    """Return how a counter stands after an interval in which it gained ``gain``.

    ``first_tokens`` and ``requests`` are what came in the interval: first tokens, and what is paired with the counter.
    ``inside`` are the requests in the pod at the end of it; ``None``: not told, and nothing can be proved.
    """
    if gain is None or gain > 0:
        return MOVING
    if first_tokens <= 0 and requests <= 0:
        return stand
    given = stand.first_tokens + first_tokens
    intervals = stand.intervals + (first_tokens > 0)
    after = stand._replace(first_tokens=given, intervals=intervals, unpaired=stand.unpaired + requests)
    return _judged(after, inside)


def _judged(stand: Stand, inside: float | None) -> Stand:
    """Return the stand as frozen if more went through uncounted than were ``inside``, beyond the margin."""
    if inside is None or not stand.doubtful:
        return stand
    margin = MARGIN_REQUESTS + MARGIN_ROOTS * sqrt(stand.first_tokens)
    return stand._replace(frozen=True) if stand.first_tokens - inside > margin else stand


def followed_by_ends(stand: Stand, gain: float | None, ends: float, inside_before: float | None) -> Stand:
    """Return how first tokens stand after an interval in which so many requests ended.

    ``inside_before`` are the requests in the pod at the beginning of it; ``None``: not told, and nothing is proved.
    """
    if gain is None or gain > 0:
        return MOVING
    if stand.intervals == 0:
        stand = stand._replace(inside=MOST_INSIDE if inside_before is None else inside_before)
    if ends <= 0:
        # What came since is inside too: to begin later asks for more.
        return stand if stand.intervals or stand.left or stand.frozen else MOVING
    ended = stand.first_tokens + ends
    after = stand._replace(first_tokens=ended, intervals=stand.intervals + 1)
    return _judged(after, stand.inside)


def followed_by_rest(stand: Stand, left: float, unheld: float = 0.0) -> Stand:
    """Return how first tokens or ends stand after an interval in which neither was counted.

    ``left`` requests went uncounted, and ``unheld`` of the KV cache was generated beyond what it gained.
    """
    if left <= 0 and unheld == 0:
        return stand
    after = stand._replace(
        left=stand.left + max(left, 0.0),
        left_intervals=stand.left_intervals + (left > 0 or unheld > 0),
        unheld=max(stand.unheld + unheld, 0.0),
    )
    enough = after.left >= LEAST_LEFT or after.unheld > LEAST_UNHELD
    return after._replace(frozen=True) if enough and after.left_intervals >= LEAST_INTERVALS else after


def stands_after(stood: tuple[Stand, ...], old: Row, values: Row, gains: Gain) -> tuple[Stand, ...]:
    """Return how the judged counters of a pod stand after an interval."""
    if gains[PROMPTS] and gains[GENERATED] and gains[FINISHED] and gains[FIRST_TOKENS]:
        return ALL_MOVE  # So it is for nearly every pod of a busy fleet.
    first, ends, before, after = gains[FIRST_TOKENS] or 0.0, gains[FINISHED] or 0.0, inside(old), inside(values)
    prompts, outputs = counts(gains)
    generating = generates(values)
    stands = (
        followed(stood[0], gains[PROMPTS], first, prompts or 0.0, after),
        followed(stood[1], gains[GENERATED], first, outputs or 0.0, after) if generating else MOVING,
        followed(stood[ENDS], gains[FINISHED], first, 0.0, after),
        followed_by_ends(stood[BEGINNINGS], gains[FIRST_TOKENS], ends, before) if generating else MOVING,
    )
    if first or ends:
        return tuple(stand if stand.frozen else _counted_again(stand) for stand in stands)
    left, unheld = _went(old, values, gains), _unheld(old, values, gains)
    judged = [
        followed_by_rest(stands[at], left, unheld) if gains[JUDGED[at]] == 0 else MOVING for at in (ENDS, BEGINNINGS)
    ]
    return (*stands[:ENDS], *judged)


def _counted_again(stand: Stand) -> Stand:
    return stand._replace(left=0.0, left_intervals=0, unheld=0.0)


def _went(old: Row, values: Row, gains: Gain) -> float:
    """Return how many requests at least went uncounted where neither first tokens nor ends were counted."""
    before, after = inside(old), inside(values)
    prompts, generated = gains[PROMPTS] or 0.0, gains[GENERATED] or 0.0
    empty = before == 0 and after == 0
    came = (prompts and (empty or _is_roomy(old, values))) or (generated and empty)
    # Where ends are not told, who leaves may have had a first token that was counted.
    tells_left = gains[FINISHED] is not None and before is not None and after is not None
    left = max((before or 0.0) - (after or 0.0), 0.0) if tells_left else 0.0
    return max(left, 1.0) if came else left


def _unheld(old: Row, values: Row, gains: Gain) -> float:
    """Return which share of the KV cache was generated beyond what it gained; 0 where nobody tells."""
    generated, grown, capacity = gains[GENERATED], gains[KV_RATIO], values[KV_CAPACITY]
    # Where ends are not told, who leaves takes along what it held.
    if gains[FINISHED] is None or generated is None or grown is None or not capacity or not _is_roomy(old, values):
        return 0.0
    return generated / capacity - grown


def _is_roomy(old: Row, values: Row) -> bool:
    """Return whether nothing was put out of the KV cache for want of room, as far as two scrapes tell."""
    # A use of nothing while requests run is a series that an engine has renamed.
    return 0 < (old[KV_RATIO] or 0.0) < ROOMY and 0 < (values[KV_RATIO] or 0.0) < ROOMY


def as_many(stands: tuple[Stand, ...]) -> tuple[Stand, ...]:
    """Return a pod's stands in full: none are kept while all move, and an earlier version knows fewer counters."""
    if not stands:
        return ALL_MOVE
    return stands if len(stands) == len(JUDGED) else (*stands, *ALL_MOVE[len(stands) :])


def believed(stood: tuple[Stand, ...], stands: tuple[Stand, ...], gains: Gain) -> Gain:
    """Return the gains without those of counters that are frozen, or were so until now: what they caught up is old."""
    if stood is ALL_MOVE and stands is ALL_MOVE:
        return gains
    kept = gains
    for index, before, after in zip(JUDGED, stood, stands, strict=True):
        if before.frozen or after.frozen:
            kept = [*kept]
            kept[index] = None
    if stands[ENDS].frozen and stands[ENDS].left_intervals and gains[FIRST_TOKENS] == 0:
        # Who went was counted by neither, so that none began says no more than that none ended.
        kept = [*kept]
        kept[FIRST_TOKENS] = None
    return kept
