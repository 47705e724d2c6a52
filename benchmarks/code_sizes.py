"""Sizes of modules and functions against the targets of the house style.

Targets: module median at most 150 lines, 90th percentile and longest at most 350; function median at most 10 lines,
none over 70; every return typed; about as many test lines as code lines. ``.venv/bin/python -m benchmarks.code_sizes``
prints each target with its value and whether it is kept, and fails where a module or a function is too long.
"""

import ast
import json
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("autoscaler", "simulator", "deploy")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 350


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: where it stands, how long it is, and whether its return is typed."""

    place: str
    lines: int
    typed: bool


def modules(root: Path, packages: tuple[str, ...] = PACKAGES) -> dict[Path, int]:
    """Return the lines of each module below the packages, but those that are empty."""
    files = (file for package in packages for file in sorted((root / package).rglob("*.py")))
    lines = {file: len(file.read_text().splitlines()) for file in files}
    return {file: count for file, count in lines.items() if count}


def functions(file: Path) -> list[Function]:
    """Return every function and method of a file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            found.append(Function(place=f"{file}:{node.name}", lines=lines, typed=node.returns is not None))
    return found


def percentile(values: list[int], share: float) -> int:
    """Return the smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(root: Path) -> dict[str, float]:
    """Return the figures of a checkout."""
    sizes = modules(root)
    found = [function for file in sizes for function in functions(file)]
    lengths = [function.lines for function in found]
    test_lines = sum(modules(root, ("tests",)).values())
    return {
        "modules": len(sizes),
        "module_lines_median": statistics.median(sizes.values()),
        "module_lines_p90": percentile(list(sizes.values()), 0.9),
        "module_lines_max": max(sizes.values()),
        "functions": len(found),
        "function_lines_median": statistics.median(lengths),
        "function_lines_p90": percentile(lengths, 0.9),
        "function_lines_max": max(lengths),
        "returns_typed_ratio": round(sum(function.typed for function in found) / len(found), 4),
        "code_lines": sum(sizes.values()),
        "test_lines": test_lines,
        "test_by_code_ratio": round(test_lines / sum(sizes.values()), 2),
    }


TARGETS: tuple[tuple[str, str, float, bool], ...] = (
    ("module, median lines", "module_lines_median", 150, True),
    ("module, 90th percentile", "module_lines_p90", MODULE_LINES_MAX, True),
    ("module, longest", "module_lines_max", MODULE_LINES_MAX, True),
    ("function, median lines", "function_lines_median", 10, True),
    ("function, longest", "function_lines_max", FUNCTION_LINES_MAX, True),
    ("returns typed, share", "returns_typed_ratio", 1.0, False),
    ("test lines by code lines", "test_by_code_ratio", 0.8, False),
)
"""What is measured, the name of its figure, the target, and whether that is the most (else the least)."""


def verdicts(figures: dict[str, float]) -> list[tuple[str, float, str, bool]]:
    """Return (what, value, target, kept) for each target."""
    return [
        (
            what,
            figures[name],
            f"{'≤' if is_most else '≥'} {target:g}",
            (value <= target) if is_most else value >= target,
        )
        for what, name, target, is_most in TARGETS
        for value in (figures[name],)
    ]


def main() -> None:
    """Print targets, values and verdicts, the longest modules and functions, and one JSON object as the last line."""
    root = Path(__file__).resolve().parent.parent
    figures = measure(root)
    sizes = modules(root)
    found = verdicts(figures)
    print(f"{', '.join(PACKAGES)}: {figures['modules']:.0f} modules, {figures['functions']:.0f} functions")
    for what, value, target, kept in found:
        print(f"  {what:25} {value:8g}  target {target:6}  {'kept' if kept else 'MISSED'}")
    print("longest modules:")
    for file, lines in sorted(sizes.items(), key=lambda item: -item[1])[:5]:
        print(f"  {lines:5d}  {file.relative_to(root)}")
    print("longest functions:")
    longest = sorted((f for file in sizes for f in functions(file)), key=lambda f: -f.lines)[:5]
    for function in longest:
        print(f"  {function.lines:5d}  {function.place.removeprefix(f'{root}/')}")
    print(json.dumps({"benchmark": "code_sizes", **figures, "python": platform.python_version()}))
    sys.exit(figures["function_lines_max"] > FUNCTION_LINES_MAX or figures["module_lines_max"] > MODULE_LINES_MAX)


if __name__ == "__main__":
    main()
