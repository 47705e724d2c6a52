"""``simulator compare``: every peer's main knob swept on the same traffic."""

from pathlib import Path
from typing import Any

import click

from simulator.cli.options import case_options, jobs_option, seeds_option, take_case


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from simulator.commands import inputs  # noqa: PLC0415 - the engine's compiler takes seconds to import

    wanted = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    inputs.refuse_unknown_peers(wanted)
    return wanted


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--trace", required=True, metavar="TRACE", help="A file of requests, or a shipped trace's name.")
@click.option(
    "--with", "peers", callback=_names, default="ours,hpa,hpa-queue,keda,kpa", show_default=True, metavar="NAME,…",
    help="Whom to compare, by commas.",
)  # fmt: skip
@seeds_option(3)
@case_options
@click.option(
    "--carry-over", metavar="TRACE", help="Show each peer with the setting that was best on this other trace."
)
@jobs_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/compare"), show_default=True, help="A new folder."
)
def compare(policy: Path, trace: str, carry_over: str | None, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Show what 98, 99 and 99.5 % of requests in time cost under each autoscaler.

    \b
    simulator compare policies/vllm/llama-3.1-8b-a100-80gb.yaml --trace azure-conv-2023 --copies 6
    simulator compare mine.yaml --trace monday.csv.gz --with ours,hpa,keda,kpa,ray --seeds 5
    simulator compare mine.yaml --trace monday.csv.gz --carry-over sunday.csv.gz

    Every peer is swept in its default and its expert setting, over a grid that widens until its best point lies inside.
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import compare as comparison  # noqa: PLC0415 - the engine's compiler takes seconds to import

    comparison.compare(policy, trace, carry_over, out, comparison.Options(case=take_case(options), **options))
