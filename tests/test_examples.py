"""How random examples are drawn: what decides whether a change lands must not decide by luck."""

import os

import pytest
from hypothesis import settings


@pytest.mark.skipif("HYPOTHESIS_PROFILE" in os.environ, reason="another profile was asked for")
def test_every_run_draws_the_same_examples_wherever_it_runs() -> None:
    """Not only where CI is set: `make test` and `make check` give one verdict for one state of the code."""
    assert settings.default is not None
    assert settings.default.derandomize
    assert settings.default.deadline is None
