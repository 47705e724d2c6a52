"""Reads the price list: the shipped one, or the administrator's own file of the same form."""

from importlib import resources
from pathlib import Path

from autoscaler.footprint.prices import PriceList, parse_prices


def shipped_prices() -> PriceList:
    """Return the price list that comes with the package."""
    return parse_prices(resources.files("autoscaler.footprint").joinpath("prices.yaml").read_text(encoding="utf-8"))


def read_prices(path: Path) -> PriceList:
    """Return the price list of a file.

    Raises:
        OSError: the file cannot be read.
        PriceListError: it is not a price list; the message says where.
    """
    return parse_prices(path.read_text(encoding="utf-8"))
