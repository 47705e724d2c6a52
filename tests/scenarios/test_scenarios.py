"""Golden scenarios: each file is a story in ``scenario_language``, with the decisions it must lead to."""

from pathlib import Path

import pytest

from tests.scenarios.scenario_language import replayed

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_scenario_leads_to_the_decisions_that_are_written_down(file: Path, request: pytest.FixtureRequest) -> None:
    """A decision changes only together with the file that shows it; ``--rewrite`` writes the new ones."""
    actual = replayed(file)
    if request.config.getoption("--rewrite", default=False):
        file.write_text(actual)
    assert file.read_text() == actual


def test_there_are_scenarios() -> None:
    """An empty folder would pass every story."""
    assert len(FILES) >= 10
