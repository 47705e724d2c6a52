"""Records of the lives of replicas: made, and read at an instant without telling the future."""

import numpy as np
from numpy.typing import NDArray

from simulator.engine.records import LIFE, Pool, Records, StepKind

PLANNED_TIMES = ("scheduled_s", "started_s", "loaded_s", "ready_s")
"""Fields that hold the future of a replica from the moment it is ordered."""


def new_lives(size: int) -> Records:
    """LIFE records of replicas that do not exist yet."""
    lives = np.zeros(size, dtype=LIFE)
    for field in LIFE.names or ():
        if field.endswith("_s") and field != "busy_s":
            lives[field] = np.nan
    lives["slot"] = lives["node"] = -1
    return lives


def counters_of(lives: Records, pool: Pool, at_s: float) -> Records:
    """Copies of the replica records of these lives, with the busy time up to at_s; zeros where there is none."""
    slots = lives["slot"]
    # As plain bytes: numpy copies records field by field, and at every tick that took six times as long.
    as_bytes = pool.replicas.view(f"V{pool.replicas.itemsize}")
    counters: Records = as_bytes[np.maximum(slots, 0)].view(pool.replicas.dtype)
    counters[slots < 0] = np.zeros((), dtype=counters.dtype)
    # A plain number: numpy asks an enum class for attributes, and would swallow a Ctrl-C that comes meanwhile.
    busy = counters["step_kind"] != int(StepKind.IDLE)
    counters["busy_s"] += np.where(busy, at_s - counters["busy_since_s"], 0.0)
    return counters


def known_at(lives: Records, at_s: float) -> Records:
    """A copy of life records without the instants that lie in the future at at_s: those are NaN."""
    lives = lives.copy()
    lived_s = np.fmin(lives["deleted_s"], at_s)
    for field in PLANNED_TIMES:
        lives[field][~(lives[field] <= lived_s)] = np.nan
    return lives


def lives_at(lives: Records, pool: Pool, at_s: float) -> tuple[Records, Records]:
    """Copies of life records as known at at_s, and of their replica records, row by row."""
    lives, counters = known_at(lives, at_s), counters_of(lives, pool, at_s)
    serving = lives["slot"] >= 0
    for field in ("busy_s", "requests_finished"):
        lives[field][serving] = counters[field][serving]
    return lives, counters


def starting_intervals(lives: Records, at_s: float) -> NDArray[np.float64]:
    """(n, 2) intervals in which a replica was starting: [ordered, ready), cut at deletion and at at_s."""
    end_s = np.fmin(np.fmin(lives["ready_s"], lives["deleted_s"]), at_s)
    intervals = np.column_stack([lives["ordered_s"], end_s])
    return np.asarray(intervals[end_s > lives["ordered_s"]], dtype=np.float64)
