"""What ARCHITECTURE.md promises about the shape of the code, kept by tests.

The import contracts themselves are in ``.importlinter`` and run in ``make check``; a linter can only deny, so what
the core *may* import is an allow-list here.
"""

import ast
from pathlib import Path

import pytest

from benchmarks.code_sizes import FUNCTION_LINES_MAX, MODULE_LINES_MAX, functions, measure, modules, verdicts

ROOT = Path(__file__).resolve().parent.parent
CORE_MAY_IMPORT = {
    "autoscaler",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "math",
    "numpy",
    "pydantic",
    "statistics",
    "typing",
}
NAMES_THAT_SAY_NOTHING = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "base",
    "misc",
    "types",
    "interfaces",
}
CODE = sorted(modules(ROOT))


def imported(file: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("file", sorted((ROOT / "autoscaler/core").glob("*.py")), ids=lambda file: file.stem)
def test_the_core_imports_only_what_is_pure(file: Path) -> None:
    """The core sees no clock, no file, no network: it imports nothing beyond a short list."""
    assert imported(file) - CORE_MAY_IMPORT == set()


def test_the_core_imports_nothing_of_the_product_but_itself() -> None:
    """Below the core there is nothing."""
    for file in (ROOT / "autoscaler/core").glob("*.py"):
        tree = ast.parse(file.read_text())
        froms = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        ours = {name for name in froms if name.startswith("autoscaler")}
        assert {name for name in ours if not name.startswith("autoscaler.core")} == set(), file


def test_the_sizes_are_told_with_their_targets_and_verdicts() -> None:
    """A figure without its target says nothing; what is deployed is measured like the rest."""
    figures = measure(ROOT)
    told = {what: kept for what, _, _, kept in verdicts(figures)}
    assert told["module, longest"] == (figures["module_lines_max"] <= MODULE_LINES_MAX)
    missed = {what: kept for what, _, _, kept in verdicts({**figures, "function_lines_max": 71.0})}
    assert not missed["function, longest"]
    assert any(file.is_relative_to(ROOT / "deploy") for file in CODE)


def test_the_product_has_exactly_one_protocol() -> None:
    """One port, the World: a second one would be a second architecture."""
    protocols = [
        f"{file.name}:{node.name}"
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
    ]
    assert protocols == ["driver.py:World"]


def test_no_function_is_longer_than_seventy_lines() -> None:
    """A function fits on a screen."""
    long = {f.place: f.lines for file in CODE for f in functions(file) if f.lines > FUNCTION_LINES_MAX}
    assert long == {}


def test_no_module_is_longer_than_350_lines() -> None:
    """A module is one idea."""
    assert {str(file): n for file, n in modules(ROOT).items() if n > MODULE_LINES_MAX} == {}


def test_module_names_say_what_is_inside() -> None:
    """No module is a drawer for things without a place."""
    assert [file for file in CODE if file.stem in NAMES_THAT_SAY_NOTHING] == []


def test_every_function_is_typed() -> None:
    """Every return is annotated."""
    assert [f.place for file in CODE for f in functions(file) if not f.typed] == []
