"""Write docs/comparison.md from comparisons that were run: ``python -m docs.comparison out/comparison``.

The commands that make them stand on the page, and here.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

PAGE = Path(__file__).parent / "comparison.md"
PICTURES = Path(__file__).parent / "comparison"
HOURS = "ours,hpa,hpa-queue,keda,kpa,apa,ray,watermark,wva,dynamo,static,oracle"
DAYS = "ours,hpa,hpa-queue,keda,kpa,static,oracle"
A100, H100 = "policies/vllm/llama-3.1-8b-a100-80gb.yaml", "policies/vllm/llama-3.1-8b-h100.yaml"

MOONCAKE = "{shared}/mooncake_conversation_trace.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One traffic: the name of its folder, what it is, and the commands, of which the last compares.

    In a command ``{folder}`` is the folder of all, and ``{shared}`` that of traces which are not part of the package.
    """

    key: str
    title: str
    about: str
    commands: tuple[str, ...]


TRAFFICS = (
    Traffic(
        key="conv",
        title="Azure conversation hour, 2023",
        about="Twelve jittered copies of 19,366 requests (CC-BY 4.0, part of the package). Smooth: the busiest minute"
        " is 1.5 times the mean.",
        commands=(f"compare {A100} --trace azure-conv-2023 --copies 12 --with {HOURS} --seeds 2",),
    ),
    Traffic(
        key="code",
        title="Azure code hour, 2023",
        about="Eight jittered copies of 8,819 requests (CC-BY 4.0, part of the package). Bursty: the busiest minute is"
        " 4.1 times the mean.",
        commands=(f"compare {A100} --trace azure-code-2023 --copies 8 --with {HOURS} --seeds 2",),
    ),
    Traffic(
        key="servegen",
        title="A day of ServeGen's m-large",
        about="The second day of the table of clients, a quarter of its requests (Apache-2.0; each client's arrivals"
        " from its own Gamma or Weibull distribution).",
        commands=(
            "trace slice {shared}/servegen_m-large_rates.csv.gz {folder}/day0.parquet --from 1d --to 2d",
            "trace scale {folder}/day0.parquet {folder}/day.parquet --factor 0.25",
            f"compare {A100} --trace {{folder}}/day.parquet --with {DAYS} --seeds 1",
        ),
    ),
    Traffic(
        key="mooncake",
        title="Mooncake conversation hour",
        about="Four copies of 12,031 requests (Apache-2.0) with prompts of 12,035 tokens in the mean, spread over the"
        " 3 s to which their times were cut. The longest prompts take 3 s alone, so the promise is 5 s here:"
        f" `sed 's/ttftSeconds: [0-9.]*/ttftSeconds: 5/' {H100} > out/comparison/long-prompts.yaml`. Engines keep"
        " prefixes; each request goes to the replica with the fewest outstanding.",
        commands=(f"compare {{folder}}/long-prompts.yaml --trace {MOONCAKE} --copies 4 --with {HOURS} --seeds 1",),
    ),
    Traffic(
        key="week",
        title="A synthetic week",
        about="Made up: days of which the highest hour is five times the lowest, calm weekends, bursts of two minutes."
        " Ten million requests, replayed for each of 154 settings: about an hour of one core.",
        commands=(
            "trace make {folder}/week.parquet --for 1w --rate 20 --daily 5 --weekend 0.4 --dispersion 20 --burst 2m",
            f"compare {A100} --trace {{folder}}/week.parquet --with {DAYS} --seeds 1",
        ),
    ),
)

INTRODUCTION = """# What the same attainment costs

<!-- Written by `python -m docs.comparison out/comparison`. -->

Accelerator-hours that each autoscaler needs for 98, 99 and 99.5 % of first tokens within the policy's objective, on
five traffics. Every peer's main knob is swept in its default and its expert setting ([peers.md](peers.md)), on the
same requests, cluster and cold starts (median 120 s); a grid widens until its best point lies inside, and to the bound
of the knob before *never* is said. *static* is the best fixed fleet, *oracle* knows the future (not what cached
prefixes save); both are bounds and no autoscalers.

How to read it: **≤** stands where even the cheapest setting that was tried reaches more, and *never* where none reaches
it (the highest attainment in brackets). The setting is the one for 99 %. All knobs were searched on the very traffic
that is shown, ours too: `--carry-over` tells what a setting is worth elsewhere. All of it is simulated
([accuracy.md](accuracy.md) says how far that may be trusted), with engines of one kind and no limit of nodes.
"""


def cost(told: Mapping[str, Any]) -> str:
    """Return what an attainment costs, as the table has it."""
    if told["hours"] is None:
        return f"never ({told['best']:.1%})"
    return f"{'≤ ' if told['at_most'] else ''}{told['hours']:.1f}"


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of one traffic, line by line."""
    heads = [f"{told['wanted']:.1%}" for told in result["peers"][0]["costs"]]
    yield f"| autoscaler | {' | '.join(heads)} | knob | setting |"
    yield "|---|" + "---:|" * len(heads) + "---|---:|"
    several = {row["peer"] for row in result["peers"] if row["style"] == "expert"}
    for row in result["peers"]:
        name = f"{row['peer']} ({row['style']})" if row["peer"] in several else f"**{row['peer']}**"
        knob = row["costs"][1]["knob"]
        setting = "" if knob is None else f"{knob:.3g}"
        yield f"| {name} | {' | '.join(map(cost, row['costs']))} | {row['knob']} | {setting} |"


def section(traffic: Traffic, result: Mapping[str, Any]) -> str:
    """Return the section of one traffic."""
    commands = "\n".join(f"    {command}" for command in shown(traffic))
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join(
        (
            f"\n## {traffic.title}\n\n{traffic.about}\n\n{commands}\n",
            *rows(result),
            f"\n![{traffic.title}: accelerator-hours against attainment](comparison/{traffic.key}.png)\n",
            f"Trace {result['trace']['digest']}, seeds {', '.join(map(str, result['seeds']))}; {versions}.\n",
        )
    )


def shown(traffic: Traffic) -> list[str]:
    """Return the commands of a traffic as a reader runs them."""
    told = [f"simulator {one}".format(folder="out/comparison", shared="../shared/traces") for one in traffic.commands]
    return [*told[:-1], f"{told[-1]} --out out/comparison/{traffic.key}"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Write the page and its pictures from the comparisons in FOLDER, as the page's own commands make them."""
    text = INTRODUCTION
    PICTURES.mkdir(exist_ok=True)
    for traffic in TRAFFICS:
        html, png = folder / traffic.key / "comparison.html", PICTURES / f"{traffic.key}.png"
        text += section(traffic, json.loads((folder / traffic.key / "comparison.json").read_text()))
        subprocess.run([sys.executable, "-m", "docs.picture", html, png, "--size", "1100x780"], check=True)
    PAGE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
