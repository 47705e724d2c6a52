"""The flag that rewrites the scenario files with what the decision core does now."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rewrite``: ``pytest tests/scenarios --rewrite``, then read the difference before you commit it."""
    parser.addoption("--rewrite", action="store_true", help="Write the present decisions into the scenario files.")
