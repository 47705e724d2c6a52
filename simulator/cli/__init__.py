"""The simulator's command line. What a command needs is imported when it runs, so that ``--help`` is quick."""

import codecs
import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from simulator.cli.compare import compare
from simulator.cli.run import report, run
from simulator.cli.trace import trace as trace_group
from simulator.cli.tune import tune

_PLAIN = {"–": "-", "×": "x", "→": "->", "≤": "<=", "…": "...", "·": ".", "±": "+-"}
_PLAIN |= dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True))


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a stream's encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lost), error.end


class Commands(click.Group):
    """A group that answers a wrong call in one sentence and leaves quietly when it is interrupted."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:  # noqa: ANN401
        """Run a command; exit 1 or 2 with one sentence on stderr, or 130 after Ctrl-C."""
        codecs.register_error("plain", _plain)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="plain")
        try:
            code = super().main(args, *more, **{**extra, "standalone_mode": False})
            sys.stdout.flush()
            sys.exit(code)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EIO}:
                raise
            _drop_output()
            click.echo(f"Error: cannot print or write: {error.strerror}; do so where there is room", err=True)
            sys.exit(1)
        except click.ClickException as error:
            if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
                error.ctx = None  # without it click prints no usage around the sentence
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)


def _drop_output() -> None:
    """Let what is still to be printed go nowhere, so that the interpreter does not fail on it as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _named(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a name, or fail where it is empty or cannot be one: an empty one would be the present folder."""
    if value is not None and (not value.strip() or "\0" in value):
        raise click.BadParameter("it is empty; name a file or folder, or leave the option out", param=param)
    return value


class Seconds(click.FloatRange):
    """A number of seconds within bounds; NaN, which no comparison catches, is out of them.

    ``because`` is the reason of the upper bound, for whoever is above it.
    """

    def __init__(self, least: float, most: float, *, because: str) -> None:
        super().__init__(least, most)
        self._most = most
        self._least = least
        self._because = because

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return the number, or fail with its bounds."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if not self._least <= number <= self._most:
            why = f" {self._because}" if number > self._most else ""
            self.fail(f"{value} is not in the range {self._describe_range()}.{why}", param, ctx)
        return number


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inference-autoscaler")
def main() -> None:
    """Replay traffic against a modelled cluster, with the same decision code that runs in production.

    \b
    simulator demo                                     the main job, on an hour of real traffic
    simulator trace info monday.csv.gz                 what your traffic is like
    simulator run mine.yaml monday.csv.gz              what your policy makes of it; simulator report out/run
    simulator compare mine.yaml --trace monday.csv.gz  what the same attainment costs with HPA, KEDA, Knative
    simulator tune mine.yaml --trace monday.csv.gz     which settings would keep the promise for less
    """  # noqa: D301 - click reads the backspace


@main.command()
@click.option("--trace", metavar="FILE", callback=_named, help="Another trace of any form; replaces both models.")
@click.option(
    "--policy",
    metavar="FILE",
    callback=_named,
    help="Another ScalingPolicy; without --trace it scales the chat traffic.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Seed of jitter and cold starts."
)
@click.option(
    "--cold-start",
    "coldstart_s",
    type=Seconds(1, 1200, because="Decisions look at most 20 minutes ahead, so no longer start can be planned for."),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Median of the simulated cold start.",
)
@click.option("--out", callback=_named, default="out/demo", show_default=True, metavar="FOLDER", help="Folder.")
@click.option("--fast", is_flag=True, help="Do not slow the live view down to what one can follow.")
def demo(*, trace: str | None, policy: str | None, seed: int, coldstart_s: float, out: str, fast: bool) -> None:
    """Replay an hour of real traffic: ours beside the HPA, live, with table and picture.

    \b
    simulator demo                              the two Azure traces of 2023
    simulator demo --cold-start 300             what if replicas took five minutes?
    simulator demo --trace mine.csv --seed 3    your own requests
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import demo as replay  # noqa: PLC0415 - the engine's compiler and the plots take seconds to import

    folder = Path(out)
    replay.refuse_folder(folder)
    replay.replay(replay.setups(trace, policy, seed=seed, coldstart_s=coldstart_s), folder, fast=fast)


for command in (run, report, compare, tune, trace_group):
    main.add_command(command)

if __name__ == "__main__":
    main()
