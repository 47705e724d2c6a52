"""Prices: facts with source and date; what is unknown is None and never 0."""

import pytest

from autoscaler.core.policy_parts import Accelerator, Price
from autoscaler.footprint.prices import PriceList, PriceListError, parse_prices, price_of
from autoscaler.pricelist import shipped_prices

ROW = "{reference: acme/h100, class: H100-80GB, usd_per_hour: 3.5, as_of: '2026-10-01', source: a page}"
SHIPPED = shipped_prices()


def accelerator(price: Price | None) -> Accelerator:
    """One H100 a replica, at a price."""
    return Accelerator(class_="H100-80GB", count_per_replica=1, price=price)


def test_a_reference_finds_its_row() -> None:
    """Provider and accelerator, upper or lower case."""
    prices = parse_prices(f"rows: [{ROW}]")
    found = prices.find(" ACME/H100 ")
    assert found is not None
    assert (found.usd_per_hour, found.provider, found.as_of, found.region) == (3.5, "acme", "2026-10-01", "any")


def test_an_unknown_reference_has_no_price() -> None:
    """None, and the reason; 0 would say that it is free."""
    price = price_of(accelerator(Price(reference="acme/z9")), PriceList())
    assert price.usd_per_hour is None
    assert "acme/z9" in price.source


def test_no_price_is_unknown() -> None:
    """A policy that states none gets none, whatever the class."""
    assert price_of(accelerator(None), SHIPPED).usd_per_hour is None


def test_the_policys_own_price_wins_and_may_be_zero() -> None:
    """A stated 0 is a fact (owned hardware) and is kept apart from unknown."""
    assert price_of(accelerator(Price(usd_per_hour=0.0)), SHIPPED).usd_per_hour == 0.0


def test_a_listed_price_carries_its_source_and_date() -> None:
    """A report can say where its dollars come from."""
    price = price_of(accelerator(Price(reference="aws/h100")), SHIPPED)
    assert price.usd_per_hour == 6.88
    assert "as of 2026-11-09" in price.source
    assert "list price" in price.source


def test_a_misspelt_reference_is_guessed() -> None:
    """The nearest row is offered, and nothing where nothing is near."""
    assert SHIPPED.nearest("aws/h10") == "aws/h100"
    assert SHIPPED.nearest("zzzzzzzz") is None


def test_the_shipped_rows_are_plausible_facts() -> None:
    """Each row has a source, a year of 2026, and a price between a T4 and a GB200."""
    assert len(SHIPPED.rows) > 40
    for row in SHIPPED.rows:
        assert 0.3 < row.usd_per_hour < 20, row
        assert row.as_of.startswith("2026"), row
        assert row.source, row


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows: [", "not valid YAML"),
        ("", "not a mapping with `rows`"),
        ("root:x:0:0:/bin/sh", "not a mapping with `rows`"),
        ("rows: [{reference: acme/h100}]", "rows.0"),
        (f"rows: [{ROW}, {ROW}]", "two rows for acme/h100"),
        (f"rows: [{ROW.replace('3.5', '0')}]", "rows.0.usd_per_hour"),
        (f"rows: [{ROW.replace('3.5', '.nan')}]", "rows.0.usd_per_hour"),
        (f"rows: [{ROW.replace('acme/h100', 'h100')}]", "rows.0.reference"),
    ],
)
def test_a_broken_list_says_where(text: str, words: str) -> None:
    """The row and what is wrong, in one line."""
    with pytest.raises(PriceListError) as refused:
        parse_prices(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "_List" not in str(refused.value)


def test_the_row_that_an_error_shows_is_one() -> None:
    """Whoever copies it has a list."""
    with pytest.raises(PriceListError) as refused:
        parse_prices("rows: 3")
    example = str(refused.value).partition("are like ")[2]
    assert parse_prices(f"rows: [{example}]").find("mine/h100") is not None
