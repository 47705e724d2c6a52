"""The decision: a replica count, the one reason that bound it, everything that lost, and numbers to recompute it.

A decision is always returned. Holding is a decision with a named reason, so that "why did it do nothing?" has an
answer in the journal as plain as "why did it scale?".
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Why(StrEnum):
    """The rule that bound the target. Every member is explained to users in docs/reasons.md."""

    # What demand asks for: the line of need() that was largest.
    UTILIZATION = "utilization"
    BURST = "burst"
    BATCH_SLOTS = "batch-slots"
    KV_MEMORY = "kv-memory"
    DECODE_SPEED = "decode-speed"
    BACKLOG = "backlog"
    CONCURRENCY = "concurrency"
    # What clamps it.
    MIN_REPLICAS = "min-replicas"
    MAX_REPLICAS = "max-replicas"
    PREWARM_MIN = "prewarm-min"
    PREWARM_MAX = "prewarm-max"
    PIN = "pin"
    FAIL_SAFE = "fail-safe"
    REPLACE_STUCK = "replace-stuck"
    # What holds it back from going down, or from moving at all.
    STABILIZATION = "stabilization"
    STARTING = "replica-starting"
    START_GUARD = "start-guard"
    BLIND = "blind"
    PARTIAL = "partial-metrics"
    CONTRADICTORY = "contradictory-metrics"
    NO_DEMAND_YET = "no-demand-seen-yet"
    PAUSED = "paused"
    ZEROED_BY_OWNER = "zeroed-by-owner"
    CONTESTED = "contested"
    TARGET_UNKNOWN = "target-unknown"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One candidate for the replica count: its name (a ``Why`` value) and the unrounded replicas it asks for."""

    name: str
    replicas: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something a person should know that is no reason for the count: a stuck start, an unreachable objective.

    ``name`` is CamelCase, stable, and documented; ``message`` is one sentence with the figures.
    """

    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of one tick for one target.

    Shapes and units: ``target`` in replicas, absolute, to be compared with ``spec_replicas``; ``None`` only when
    nothing may be written whatever the count is (paused, target unknown). ``want`` is what demand asks for now,
    ``want_down`` its maximum over the hold. ``prewarm`` is the part of ``target`` held above present need.
    ``numbers`` holds every input of the formulas by its symbol's name with unit, e.g. ``demand_quantile`` (replicas),
    ``horizon_s``, ``coldstart_p50_s``; a value that was not known is absent from it. ``terms`` are all candidates,
    the one that bound among them: what demand asks for line by line, what was wanted within the hold, replacements of
    stuck starts, pin, fail-safe, and the bounds. ``wanted_by`` is the line that made ``want``, also where another
    reason bound the target. ``capacity`` says how a replica's capacity is known and from where, and which line no
    objective asks for. ``detail`` is one sentence for a person.
    ``held_by`` is the reason that stood before a bound clamped the count, ``None`` where none did.
    """

    at: float
    target: int | None
    spec_replicas: int | None
    why: Why
    detail: str
    next_at: float
    want: int | None = None
    want_down: int | None = None
    ready: int = 0
    warming: int = 0
    prewarm: int = 0
    terms: tuple[Term, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    held_by: Why | None = None
    wanted_by: Why | None = None
    capacity: str = ""

    @property
    def moves(self) -> bool:
        """Whether the target differs from what stands on the target now."""
        return self.target is not None and self.target != self.spec_replicas
