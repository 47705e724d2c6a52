"""``simulator run`` and ``simulator report``: one contender on one trace, kept as a folder, told as a page."""

from pathlib import Path
from typing import Any

import click

from simulator.cli.options import case_options, take_case


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("trace")
@click.option("--peer", default="ours", show_default=True, metavar="NAME", help="Who scales: ours, hpa, keda, kpa, …")
@click.option("--style", type=click.Choice(("default", "expert")), default="default", show_default=True)
@click.option("--knob", type=float, help="The peer's main setting; by default the policy's, or the middle of its grid.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Seed of jitter and cold starts."
)
@click.option(
    "--beside",
    type=(click.Path(path_type=Path), str),
    multiple=True,
    metavar="POLICY TRACE",
    help="Another model on the same nodes (--cluster), with its own policy and traffic; as often as you like.",
)
@click.option(
    "--decode",
    type=click.Path(path_type=Path),
    metavar="POLICY",
    help="Roles: POLICY's replicas compute prompts, this policy's decode them (docs/roles.md).",
)
@click.option(
    "--kv-gigabytes-per-second",
    "kv_gigabytes_per_s",
    type=click.FloatRange(min=0, min_open=True),
    help="With --decode: how fast a prompt's KV cache travels; 25, a link of 200 Gb/s, by default.",
)
@case_options
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/run"), show_default=True, help="A new folder."
)
def run(policy: Path, trace: str, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Replay a trace under a policy; keep the result with its journal.

    \b
    simulator run policies/vllm/llama-3.1-8b-a100-80gb.yaml azure-conv-2023 --copies 6
    simulator run mine.yaml monday.csv.gz --seed 7 --cold-start 300 --out out/monday
    simulator run mine.yaml monday.csv.gz --cluster nodes.yaml --out out/monday-on-nodes
    simulator run mine.yaml talks.jsonl --routing prefix_aware --out out/talks
    simulator run mine.yaml monday.csv.gz --peer hpa --knob 16 --out out/monday-hpa
    simulator run mine.yaml monday.csv.gz --cluster nodes.yaml --beside other.yaml tuesday.csv.gz --out out/two
    simulator run prefill.yaml monday.csv.gz --decode decode.yaml --out out/roles
    simulator report out/monday
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import run as single  # noqa: PLC0415 - the engine's compiler takes seconds to import

    single.run(policy, trace, out, single.Options(case=take_case(options), **options))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file; by default report.html in the run's folder."
)
def report(folder: Path, out: Path | None) -> None:
    """Tell a run as one HTML file that works offline: click a decision to see why.

    \b
    simulator report out/run
    simulator report out/monday --out monday.html
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import run as single  # noqa: PLC0415 - the plots take seconds to import

    single.report(folder, out)
