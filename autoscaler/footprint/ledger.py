"""The ledger: rows of accelerator time by state, their price, and the sheets that add them up.

Time is a whole number of accelerator-milliseconds, so every sum is exact, in any order. Money is kept as the exact
product ``accelerator-ms × micro-dollars an hour`` until it is shown; then parts are rounded so that they add up to the
rounded whole (largest remainder). A price that is not known is ``None`` all the way and is shown as "unknown": the time
that it belongs to is counted apart as unpriced, never as free.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

MS_PER_HOUR = 3_600_000
MICRO_PER_USD = 1_000_000


class AcceleratorState(StrEnum):
    """What an accelerator does at an instant. The set is closed: every held millisecond is in exactly one."""

    BUSY = "busy"
    IDLE = "idle"
    PREWARM = "prewarm"
    WARMING = "warming"
    DRAINING = "draining"
    ASLEEP = "asleep"
    FAILED = "failed"
    UNALLOCATED = "unallocated"
    UNKNOWN = "unknown"


# Held, and good to nobody: no work and no reason to wait, or a replica that cannot start.
WASTE = frozenset({AcceleratorState.IDLE, AcceleratorState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """Accelerator time of one policy in one state.

    ``start_at`` and ``end_at`` are unix seconds on whole milliseconds. ``accelerator_ms`` is the sum over the
    accelerators held in this state between them. ``price_usd_per_hour`` is the price of one accelerator for one hour;
    ``None`` is a price that is not known.
    """

    policy: str
    model: str
    accelerator: str
    state: AcceleratorState
    start_at: float
    end_at: float
    accelerator_ms: int
    price_usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a sheet: accelerator-milliseconds by state, and what they cost as far as prices are known.

    ``micro_usd_ms`` is the exact cost in micro-dollars × milliseconds an hour; divide by 3,600,000 for micro-dollars.
    """

    key: str
    ms: dict[AcceleratorState, int] = field(default_factory=dict)
    micro_usd_ms: int = 0
    unpriced_ms: int = 0

    @property
    def total_ms(self) -> int:
        """All accelerator-milliseconds of the line."""
        return sum(self.ms.values())

    @property
    def waste_ms(self) -> int:
        """The milliseconds in which accelerators were held for nothing."""
        return sum(value for state, value in self.ms.items() if state in WASTE)

    @property
    def cost_usd(self) -> Decimal | None:
        """Cost of the priced time in dollars, rounded to micro-dollars; ``None`` if no time has a price."""
        if self.total_ms > 0 and self.unpriced_ms == self.total_ms:
            return None
        return Decimal(_rounded(self.micro_usd_ms, MS_PER_HOUR)) / MICRO_PER_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Lines that add up: ``total`` is their exact sum, state by state and in cost."""

    lines: tuple[Line, ...]
    total: Line


def micro_usd_per_hour(price_usd_per_hour: float) -> int:
    """Return a price in whole micro-dollars an hour."""
    return int((Decimal(str(price_usd_per_hour)) * MICRO_PER_USD).to_integral_value())


def sheet(rows: Iterable[LedgerRow], key: Callable[[LedgerRow], str]) -> Sheet:
    """Add rows up by a key, largest line first; lines of equal size by name."""
    lines: dict[str, Line] = {}
    total = Line(key="total")
    for row in rows:
        name = key(row)
        lines[name] = plus(lines.get(name, Line(key=name)), row)
        total = plus(total, row)
    ordered = sorted(lines.values(), key=lambda line: (-line.total_ms, line.key))
    return Sheet(lines=tuple(ordered), total=total)


def plus(line: Line, row: LedgerRow) -> Line:
    """Return a line with a row added."""
    ms = {**line.ms, row.state: line.ms.get(row.state, 0) + row.accelerator_ms}
    if row.price_usd_per_hour is None:
        unpriced_ms = line.unpriced_ms + row.accelerator_ms
        return Line(key=line.key, ms=ms, micro_usd_ms=line.micro_usd_ms, unpriced_ms=unpriced_ms)
    cost = line.micro_usd_ms + row.accelerator_ms * micro_usd_per_hour(row.price_usd_per_hour)
    return Line(key=line.key, ms=ms, micro_usd_ms=cost, unpriced_ms=line.unpriced_ms)


def apportion(parts: Sequence[int], unit: int) -> tuple[int, ...]:
    """Return the parts in whole units (each ``unit`` large) so that they sum to the rounded sum of the parts.

    Largest remainder (Hamilton): every part is rounded down, then the units that are missing go to the largest
    remainders. So a printed column adds up to its printed total. Parts are not negative.
    """
    floors = [part // unit for part in parts]
    missing = _rounded(sum(parts), unit) - sum(floors)
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(parts[i] % unit), i))
    for i in by_remainder[:missing]:
        floors[i] += 1
    return tuple(floors)


def _rounded(value: int, unit: int) -> int:
    return (2 * value + unit) // (2 * unit)
