"""The order of the tests, and how random examples are drawn."""

import os

import pytest
from hypothesis import settings

# What decides whether a change lands draws the same examples every time. HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the end-to-end run, which is minutes of waiting, then the other servers; the rest runs beside them."""
    items.sort(key=lambda item: (not item.get_closest_marker("endtoend"), not item.get_closest_marker("servers")))
