"""Options that several commands share."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time in seconds, or with a unit: 90, 15m, 2h, 1.5d, 1w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return seconds, or fail with what can be given."""
        text = str(value).strip()
        number, unit_s = (text[:-1], _UNITS_S[text[-1]]) if text[-1:] in _UNITS_S else (text, 1.0)
        try:
            seconds = float(number) * unit_s
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            self.fail(
                f"{value} is no time; give seconds, or a number with s, m, h, d or w, such as 90, 15m or 1.5d",
                param,
                ctx,
            )
        return seconds


FORMS = ("azure", "burstgpt", "mooncake", "servegen", "prometheus", "journal", "native")
ROUTINGS = ("least_outstanding", "round_robin", "random", "prefix_aware")


def case_options(command: Command) -> Command:
    """Add the options of ``CaseOptions``: what happens in a run, beside its policy and its trace."""
    command = _with(command, *_reading(("--journal-policy",), seed=False))
    return _with(
        command,
        click.option(
            "--copies",
            type=click.IntRange(1, 1000),
            default=1,
            show_default=True,
            help="Copies of the trace laid over one another, jittered.",
        ),
        click.option(
            "--faults",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="What goes wrong, and when (docs/faults.md).",
        ),
        click.option(
            "--routing",
            type=click.Choice(ROUTINGS),
            default=ROUTINGS[0],
            show_default=True,
            help="How a replica is picked for a request.",
        ),
        click.option(
            "--cluster",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Nodes that replicas run on, as simulator/data/cluster-example.yaml; there is always room by default.",
        ),
        click.option(
            "--cold-start",
            "coldstart_s",
            type=click.FloatRange(1, 1200),
            metavar="SECONDS",
            help="Median from order to Ready; 120, or what --cluster says, by default.",
        ),
        click.option(
            "--joint", is_flag=True, help="Count a request only if the objective per output token was kept as well."
        ),
    )


jobs_option = click.option("--jobs", type=click.IntRange(1, 1024), help="Cores to use; all of them by default.")


def seeds_option(default: int) -> Callable[[Command], Command]:
    """Return the option that says over how many seeds a mean is taken."""
    return click.option(
        "--seeds",
        type=click.IntRange(1, 100),
        default=default,
        show_default=True,
        help="Seeds to take the mean over.",
    )


def take_case(options: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a command runs
    """Take the options of ``case_options`` out of all, and return them as ``CaseOptions``."""
    from simulator.commands.cases import CaseOptions  # noqa: PLC0415 - the engine's compiler takes seconds to import
    from simulator.traces import Reading  # noqa: PLC0415

    fields = [field.name for field in dataclasses.fields(Reading)]
    reading = Reading(**{name: options.pop(name) for name in fields if name in options and name != "seed"})
    names = [field.name for field in dataclasses.fields(CaseOptions) if field.name != "reading"]
    return CaseOptions(reading=reading, **{name: options.pop(name) for name in names})


def reading_options(command: Command) -> Command:
    """Add the options that say how a trace is read."""
    return _with(command, *_reading(("--policy", "--journal-policy"), seed=True))


def reading_of(options: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a command runs
    """Return the options of ``reading_options``."""
    from simulator.traces import Reading  # noqa: PLC0415

    return Reading(**options)


def _reading(policy: tuple[str, ...], *, seed: bool) -> Iterator[Any]:
    yield click.option("--form", type=click.Choice(FORMS), help="The file's form; by default told from the file.")
    if seed:
        yield click.option(
            "--seed",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="Of all that has to be drawn, such as times within a second.",
        )
    yield click.option(
        "--lengths",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="ServeGen's table of lengths; by default the one beside its table of rates.",
    )
    yield click.option(
        *policy, "whose", metavar="NAMESPACE/NAME", help="Whose entries of a journal, where there are several."
    )
    yield click.option("--model", help="Which model's series of a Prometheus, where there are several.")
    yield click.option(
        "--since",
        "since_s",
        type=Duration(),
        help="How far back a journal or a live Prometheus is read.  [default: all of a journal, 1d]",
    )
    yield click.option(
        "--step",
        "step_s",
        type=Duration(),
        default="15",
        show_default=True,
        help="How finely a Prometheus is asked.",
    )
    yield click.option(
        "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer token for a Prometheus."
    )
    yield click.option("--strict", is_flag=True, help="Refuse a file with a line that cannot be read.")


def _with(command: Command, *options: Any) -> Command:  # noqa: ANN401
    for option in reversed(options):
        command = option(command)
    return command
