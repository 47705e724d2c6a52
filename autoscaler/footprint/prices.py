"""Prices: what one accelerator costs an hour, as a fact with its source and date.

A price is never a constant. The shipped list (``prices.yaml``) holds on-demand list prices; a policy may name a row of
it (``aws/h100``) or state its own price, which wins. What is in neither has no price: ``None``, never 0, because a
report that counts an unknown accelerator as free is worse than one that says that it does not know.

Pure: text in, values out. ``autoscaler.pricelist`` reads the file.
"""

import difflib
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from autoscaler.core.policy_parts import Accelerator


class PriceListError(ValueError):
    """A price list that cannot be read; the message says which row and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """One price: ``reference`` is ``provider/accelerator``, ``as_of`` an ISO date, or a year if no day is known."""

    reference: str
    provider: str
    class_: str
    usd_per_hour: float
    region: str
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """All known prices, by reference."""

    rows: tuple[PriceRow, ...] = ()

    def find(self, reference: str) -> PriceRow | None:
        """Return the row of a reference, upper or lower case, or None if there is none."""
        wanted = reference.strip().lower()
        return next((row for row in self.rows if row.reference == wanted), None)

    def nearest(self, reference: str) -> str | None:
        """Return the reference that was probably meant, or None if nothing is near."""
        names = [row.reference for row in self.rows]
        return next(iter(difflib.get_close_matches(reference.strip().lower(), names, n=1, cutoff=0.6)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorPrice:
    """US dollars for one accelerator and hour, or None if unknown; and where it comes from, or why it is unknown."""

    usd_per_hour: float | None
    source: str


_ROW = '{reference: mine/h100, class: H100-80GB, usd_per_hour: 2.5, as_of: "2026-11-24", source: contract}'


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    reference: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$")
    class_: str = Field(alias="class", min_length=1)
    usd_per_hour: float = Field(gt=0)
    region: str = "any"
    as_of: str = Field(pattern=r"^\d{4}(-\d{2}-\d{2})?$")
    source: str = Field(min_length=1)


class _List(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: tuple[_Row, ...]


def parse_prices(text: str) -> PriceList:
    """Return the price list of a YAML text.

    Raises:
        PriceListError: the text is not YAML, a row is not as it should be, or a reference stands twice.
    """
    try:
        listed = _List.model_validate(YAML(typ="safe", pure=True).load(text))
    except YAMLError as error:
        raise PriceListError(f"the price list is not valid YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise PriceListError(f"the price list is not a mapping with `rows`, each {_ROW}") from error
        place = ".".join(str(key) for key in first["loc"])
        raise PriceListError(f"the price list is wrong at {place}: {first['msg']}; `rows` are like {_ROW}") from error
    rows = tuple(_row(row) for row in listed.rows)
    twice = sorted({row.reference for row in rows if sum(other.reference == row.reference for other in rows) > 1})
    if twice:
        raise PriceListError(f"the price list has two rows for {twice[0]}; keep one")
    return PriceList(rows=rows)


def price_of(accelerator: Accelerator, prices: PriceList) -> AcceleratorPrice:
    """Return the price of a policy's accelerator: its own figure, else the row that it names, else unknown."""
    stated = accelerator.price
    if stated is None:
        return AcceleratorPrice(usd_per_hour=None, source="the policy states no price")
    if stated.usd_per_hour is not None:
        return AcceleratorPrice(usd_per_hour=stated.usd_per_hour, source="the policy")
    reference = stated.reference or ""
    row = prices.find(reference)
    if row is None:
        return AcceleratorPrice(usd_per_hour=None, source=f"no row {reference} in the price list")
    source = f"{row.reference}, list price on demand, {row.region}, as of {row.as_of} ({row.source})"
    return AcceleratorPrice(usd_per_hour=row.usd_per_hour, source=source)


def _row(row: _Row) -> PriceRow:
    return PriceRow(
        reference=row.reference,
        provider=row.reference.split("/", maxsplit=1)[0],
        class_=row.class_,
        usd_per_hour=row.usd_per_hour,
        region=row.region,
        as_of=row.as_of,
        source=row.source,
    )
