"""Counters: one pod's sample as a row of numbers, and what each of them gained since the row before.

A sample is read once and then handled as a row, since at sixty pods this is where a decision spends its time. What is
missing is ``None`` in a row, and so is the gain of what is missing at either end.

Invariants: pure; every number in a row is finite and not negative.
"""

from enum import Enum, auto
from typing import NamedTuple

from autoscaler.core.gauges import FULLEST, MOST
from autoscaler.core.signals import PodSample

Row = tuple[float | None, ...]
Gain = list[float | None]

# Positions in a row: two gauges, the counters, and the KV cache's use and size. New ones are added at the end: rows are
# kept in the memory, and one of an earlier version is shorter.
RUNNING, WAITING, PROMPTS, FIRST_TOKENS, GENERATED, FINISHED, ITL_SUM_S, ITL_COUNT, STEPS, KV_RATIO, KV_CAPACITY = (
    range(11)
)
WIDTH = 11
COUNTERS = slice(PROMPTS, KV_RATIO)
MOVES = (GENERATED, STEPS, FINISHED, FIRST_TOKENS, PROMPTS)
NEW: Row = (0.0,) * WIDTH  # An engine that has just started.


class Fall(NamedTuple):
    """Where a pod's counters stood before one of them fell, and to where it fell."""

    stood: Row
    floor: Row


class Back(Enum):
    """Whether a counter that fell has come back to where it had stood, and how."""

    NOT_YET = auto()
    CLIMBED = auto()
    LEAPT = auto()


def row_of(sample: PodSample) -> Row:
    """Return a sample's numbers, ``None`` for what is missing or no measurement."""
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
        sample.kv_ratio if sample.kv_ratio is not None and sample.kv_ratio <= FULLEST else None,
        sample.kv_capacity_tokens,
    )
    return tuple([value if value is not None and 0 <= value <= MOST else None for value in row])


def as_wide(values: Row) -> Row:
    """Return a row of this version: one of an earlier version knows fewer numbers."""
    return values if len(values) == WIDTH else (*values, *[None] * WIDTH)[:WIDTH]


def gains_of(before: Row, after: Row) -> Gain | None:
    """Return what each number gained, ``None`` where it is unknown; nothing if a counter fell: the engine restarted."""
    gains = [None if old is None or new is None else new - old for old, new in zip(before, after, strict=True)]
    for gain in gains[COUNTERS]:
        if gain is not None and gain < 0:
            return None
    return gains


def back_from(fallen: Fall, before: Row, after: Row) -> Back:
    """Return whether a counter that fell is back where it had stood, and whether it climbed or leapt there.

    A scrape that missed half of a pod's series reads as a restart, and the next whole one as a lifetime of work done
    between two scrapes: a leap. A restarted engine that works its way up has gained most of it before.
    """
    back = Back.NOT_YET
    rows = (as_wide(fallen.stood), as_wide(fallen.floor), before, after)
    for stood, floor, old, new in zip(*[row[COUNTERS] for row in rows], strict=True):
        if stood is None or floor is None or old is None or new is None:
            continue
        if floor <= old < stood <= new:
            if new - old > old - floor:
                return Back.LEAPT
            back = Back.CLIMBED
    return back


def counts(gains: Gain) -> tuple[float | None, float | None]:
    """Return the requests whose prompts and whose answers an interval counted."""
    first, finished = gains[FIRST_TOKENS], gains[FINISHED]
    # Prompt tokens are counted with the first token; where that is not counted, with the end of the request.
    # The other way round for answers: where their ends are not counted, so many begin.
    return finished if first is None else first, first if finished is None else finished


def in_flight(values: Row) -> float:
    """Return the requests in a pod as far as they are told."""
    return (values[RUNNING] or 0.0) + (values[WAITING] or 0.0)


def inside(values: Row) -> float | None:
    """Return the requests in a pod, ``None`` unless both that run and that wait are told."""
    return None if values[RUNNING] is None or values[WAITING] is None else in_flight(values)


def generates(values: Row) -> bool:
    """Return whether an engine was ever seen to generate: one that only embeds gives no token, and is not frozen."""
    return bool(values[GENERATED] or values[ITL_COUNT])
