"""The documentation and the code say the same."""

import re
from pathlib import Path

from click.testing import CliRunner

from autoscaler.cli import LazyGroup, main
from autoscaler.core.decision import Why

ROOT = Path(__file__).resolve().parent.parent


def test_every_reason_is_explained_and_none_that_does_not_exist() -> None:
    """docs/reasons.md has exactly one row for each member of Why."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/reasons.md").read_text(), flags=re.MULTILINE)

    assert sorted(rows) == sorted(why.value for why in Why)


def test_every_command_is_in_the_readme_and_has_help() -> None:
    """A command that nobody can find does not exist."""
    readme = (ROOT / "README.md").read_text()

    for name in LazyGroup.lazy:
        assert f"autoscaler {name}" in readme
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_every_file_that_the_architecture_names_is_there() -> None:
    """ARCHITECTURE.md leads a newcomer from file to file; none of its steps is into the void."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:autoscaler|simulator|deploy|tests|benchmarks|docs)/[\w./-]+)`", text))

    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
