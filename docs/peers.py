"""Write docs/peers.md from the vectors and the peers' own essays: ``python -m docs.peers``."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import ModuleType

import click

from simulator.baselines import aibrix, dynamo, hpa, keda, kpa, oracle, peer_settings, ray_serve, static, watermark, wva
from simulator.baselines.peers import PEERS
from tests.baselines.admission import Admission, Case, admission

PAGE = Path(__file__).parent / "peers.md"

# Names on the command line and the module, by the peer's file of vectors.
ADMITTED: Mapping[str, tuple[tuple[str, ...], ModuleType]] = {
    "hpa": (("hpa", "hpa-queue", "hpa-kv"), hpa),
    "keda": (("keda",), keda),
    "kpa": (("kpa",), kpa),
    "aibrix": (("apa", "aibrix-kpa"), aibrix),
    "ray": (("ray",), ray_serve),
    "watermark": (("watermark",), watermark),
    "wva": (("wva",), wva),
    "dynamo": (("dynamo",), dynamo),
}
BOUNDS: Mapping[str, ModuleType] = {"static": static, "oracle": oracle}

INTRODUCTION = """# The peers

<!-- Written by `python -m docs.peers` from tests/baselines/vectors and simulator/baselines; a test keeps it so. -->

The simulator runs other autoscalers beside ours, behind the same `Driver`, on the same traffic, nodes and cold starts.
Each is rebuilt from its project's source in one file of `simulator/baselines`, whose essay names what is easily got
wrong, and admitted by *vectors*: inputs and expected outcomes, transcribed from the project's own tests into
`tests/baselines/vectors`. A vector of a loop is a row of steps and counts once. Two bounds stand beside the peers, a
fixed fleet and an oracle.

"""

STYLES = """
## Styles

Every peer's main target is swept, so no peer is shown with somebody else's number. Beyond that it is shown as its
project ships it and as somebody would set it who knows cold starts:

"""


def words(text: str) -> str:
    """Return text in one line, with code marked as Markdown has it."""
    return re.sub(r"\s+", " ", text).replace("``", "`").strip()


def paragraph(module: ModuleType, opening: str) -> str:
    """Return the paragraph of a module's essay that has these words, with the list after it; "" if there is none."""
    parts = (module.__doc__ or "").split("\n\n")
    for number, part in enumerate(parts):
        if opening in part:
            follows = parts[number + 1] if number + 1 < len(parts) else ""
            return part + ("\n" + follows if follows.startswith("- ") and part.endswith(":") else "")
    return ""


def items(text: str) -> list[str]:
    """Return the items of a list, each in one line."""
    return [words(item) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def row(found: Admission, names: tuple[str, ...], module: ModuleType) -> str:
    """Return a peer's row of the table of admitted vectors."""
    passed = sum(case.passes() for case in found.cases)
    commands = ", ".join(f"`{name}`" for name in names)
    code = f"`simulator/baselines/{module.__name__.rsplit('.', 1)[-1]}.py`"
    return f"| {found.title} | {commands} | {PEERS[names[0]].upstream} | {code} | {passed} of {len(found.cases)} |"


def section(found: Admission, module: ModuleType) -> Iterator[str]:
    """Yield the lines of one peer: its traps, what is left out, and where its vectors come from."""
    yield f"\n### {found.title}\n"
    differs = paragraph(module, "Where it differs")
    for item in items(paragraph(module, "What is reproduced") + "\n" + differs):
        yield f"- {item}"
    left = paragraph(module, "Left out:")
    if left:
        yield f"\n{words(left[left.index('Left out:') :])}"
    yield "\n| check | upstream file | commit | vectors |\n|---|---|---|---|"
    for (check, source, commit), cases in groupby(found.cases, key=_origin):
        numbers = list(cases)
        passed = sum(case.passes() for case in numbers)
        yield f"| {check} | {source} | {commit[:9] or '–'} | {passed} of {len(numbers)} |"


def _origin(case: Case) -> tuple[str, str, str]:
    return case.check, case.source, case.commit


def page() -> str:
    """Return the page as it ought to be."""
    found = [(admission(peer), names, module) for peer, (names, module) in ADMITTED.items()]
    total = sum(len(one.cases) for one, _, _ in found)
    passed = sum(case.passes() for one, _, _ in found for case in one.cases)
    lines = ["| peer | `--with` | reproduces | in | vectors passed |", "|---|---|---|---|---|"]
    lines += [row(*one) for one in found]
    lines.append(f"| all | | | | {passed} of {total} |")
    text = INTRODUCTION + "\n".join(lines) + "\n" + STYLES
    text += "\n".join(f"- {item}" for item in items(peer_settings.__doc__ or "")) + "\n"
    text += "\n## What each reproduces, and what it leaves out\n"
    text += "\n".join(line for one, _, module in found for line in section(one, module)) + "\n"
    text += "\n## The bounds\n"
    for name, module in BOUNDS.items():
        essay = [words(part) for part in (module.__doc__ or "").split("\n\n") if not part.startswith("    ")]
        text += f"\n`{name}`: " + "\n\n".join(essay) + "\n"
    return text


@click.command()
def main() -> None:
    """Write docs/peers.md."""
    PAGE.write_text(page(), encoding="utf-8")
    click.echo(f"{PAGE.name}: {len(page().splitlines())} lines")


if __name__ == "__main__":
    main()
