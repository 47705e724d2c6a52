"""The ledger adds up, in time and in money."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.footprint.ledger import AcceleratorState, LedgerRow, apportion, sheet


def row(policy: str, ms: int, price: float | None, state: AcceleratorState = AcceleratorState.BUSY) -> LedgerRow:
    """Return a row of one policy."""
    return LedgerRow(
        policy=policy,
        model="m",
        accelerator="H100-80GB",
        state=state,
        start_at=0,
        end_at=1,
        accelerator_ms=ms,
        price_usd_per_hour=price,
    )


@given(st.lists(st.integers(min_value=0, max_value=10**12)), st.integers(min_value=1, max_value=10**7))
def test_rounded_parts_sum_to_the_rounded_whole(parts: list[int], unit: int) -> None:
    """No part is more than one unit off, and the column adds up."""
    rounded = apportion(parts, unit)
    assert sum(rounded) == (2 * sum(parts) + unit) // (2 * unit)
    assert all(abs(whole * unit - part) <= unit for whole, part in zip(rounded, parts, strict=True))


def test_an_hour_costs_its_price() -> None:
    """One accelerator for one hour costs exactly what the price list says."""
    (line,) = sheet([row("a", 3_600_000, 3.333333)], lambda r: r.policy).lines
    assert line.cost_usd == Decimal("3.333333")


def test_an_unknown_price_is_unknown_and_never_free() -> None:
    """Time without a price is counted apart; a line with no priced time has no cost at all."""
    table = sheet([row("a", 1000, None), row("b", 3_600_000, 2.0)], lambda r: r.policy)
    assert [(line.key, line.cost_usd) for line in table.lines] == [("b", Decimal(2)), ("a", None)]
    assert table.total.unpriced_ms == 1000
    assert table.total.cost_usd == Decimal(2)


STATES = st.sampled_from(list(AcceleratorState))
ROWS = st.builds(row, st.sampled_from("abc"), st.integers(0, 10**10), st.sampled_from([None, 0.1, 3.07]), STATES)


@given(st.lists(ROWS, max_size=30))
def test_lines_sum_to_the_total(rows: list[LedgerRow]) -> None:
    """State by state and in cost, the total line is the exact sum of the others."""
    table = sheet(rows, lambda r: r.policy)
    assert table.total.total_ms == sum(r.accelerator_ms for r in rows) == sum(x.total_ms for x in table.lines)
    assert table.total.micro_usd_ms == sum(line.micro_usd_ms for line in table.lines)
    for state in AcceleratorState:
        assert table.total.ms.get(state, 0) == sum(line.ms.get(state, 0) for line in table.lines)
