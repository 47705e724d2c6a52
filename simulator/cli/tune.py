"""``simulator tune``: a search over a policy's knobs on recorded traffic."""

from pathlib import Path
from typing import Any

import click

from simulator.cli.options import case_options, jobs_option, seeds_option, take_case


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--trace", required=True, metavar="TRACE", help="A file of requests, or a shipped trace's name.")
@click.option(
    "--trials",
    type=click.IntRange(1, 100_000),
    default=48,
    show_default=True,
    help="Settings to try in all, the policy as it is first.",
)
@seeds_option(2)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Seed of the search itself.")
@case_options
@jobs_option
@click.option("--resume", is_flag=True, help="Go on with the search in --out, given the same; --trials may be more.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/tune"), show_default=True, help="A new folder."
)
def tune(policy: Path, trace: str, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Search for the cheapest settings of a policy that keep its promise.

    \b
    simulator tune policies/vllm/llama-3.1-8b-a100-80gb.yaml --trace azure-code-2023 --copies 8
    simulator tune mine.yaml --trace monday.csv.gz --trials 200 --out out/monday
    simulator tune mine.yaml --trace monday.csv.gz --trials 200 --out out/monday --resume

    The first 60 % of the traffic is searched on; what is told is how the settings do on the rest, beside the policy as
    it was. The folder has the tuned policy, evidence.json, and trials.jsonl with all that was tried. Stopped anywhere
    and resumed, a search ends in the same bytes.
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import tune as tuning  # noqa: PLC0415 - the engine's compiler takes seconds to import

    tuning.run(policy, trace, out, tuning.Options(case=take_case(options), **options))
