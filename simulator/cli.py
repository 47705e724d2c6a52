"""The simulator's command line. What a command needs is imported when it runs, so that ``--help`` is quick."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from simulator.cli_compare import compare
from simulator.cli_run import report, run
from simulator.cli_tune import tune


class Commands(click.Group):
    """A group that answers a wrong call in one sentence and leaves quietly when it is interrupted."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:  # noqa: ANN401
        """Run a command; exit 1 or 2 with one sentence on stderr, or 130 after Ctrl-C."""
        try:
            sys.exit(super().main(args, *more, **{**extra, "standalone_mode": False}))
        except click.ClickException as error:
            if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
                error.ctx = None  # without it click prints no usage around the sentence
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)


class Seconds(click.FloatRange):
    """A number of seconds within bounds; NaN, which no comparison catches, is out of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return the number, or fail with its bounds."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inference-autoscaler")
def main() -> None:
    """Replay traffic against a modelled cluster, with the same decision code that runs in production.

    \b
    simulator demo
    simulator demo --seed 7 --cold-start 300
    simulator demo --trace my-requests.csv --policy my-policy.yaml
    """  # noqa: D301 - click reads the backspace


@main.command()
@click.option("--trace", metavar="FILE", help="Another trace, in the form of Azure's CSV; replaces both models.")
@click.option("--policy", metavar="FILE", help="Another ScalingPolicy; without --trace it scales the chat traffic.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Seed of jitter and cold starts."
)
@click.option(
    "--cold-start",
    "coldstart_s",
    type=Seconds(1, 3600),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Median of the simulated cold start.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True, help="Folder.")
def demo(trace: str | None, policy: str | None, seed: int, coldstart_s: float, out: Path) -> None:
    """Replay an hour of real traffic: ours beside the HPA, live, with table and picture.

    \b
    simulator demo                              the two Azure traces of 2023
    simulator demo --cold-start 300             what if replicas took five minutes?
    simulator demo --trace mine.csv --seed 3    your own requests
    """  # noqa: D301 - click reads the backspace
    from simulator import replay  # noqa: PLC0415 - the engine's compiler and the plots take seconds to import

    replay.refuse_folder(out)
    replay.replay(replay.setups(trace, policy, seed=seed, coldstart_s=coldstart_s), out)


for command in (run, report, compare, tune):
    main.add_command(command)

if __name__ == "__main__":
    main()
