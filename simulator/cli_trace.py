"""``simulator trace``: what a trace is, and traces made from traces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_FORMS = ("azure", "burstgpt", "mooncake", "servegen", "native")


def reading_options(command: F) -> F:
    """Give a command the options that say how a trace is read."""
    options = (
        click.option("--form", type=click.Choice(_FORMS), help="The file's form; by default told from the file."),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="Of all that has to be drawn, such as times within a second.",
        ),
        click.option(
            "--lengths",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="ServeGen's table of lengths; by default the one beside its table of rates.",
        ),
        click.option("--strict", is_flag=True, help="Refuse a file with a line that cannot be read."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _reading(options: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a command runs
    from simulator.traces import Reading  # noqa: PLC0415

    return Reading(**{name: options.pop(name) for name in ("form", "seed", "lengths", "strict")})


@click.group()
def trace() -> None:
    """Look at traces of requests, and make others from them.

    A trace is a file in one of many forms, told from the file itself, or a shipped trace's name:
    azure-conv-2023, azure-code-2023.

    \b
    simulator trace info azure-conv-2023
    simulator trace info conversation_trace.jsonl.gz --html mooncake.html
    simulator trace convert BurstGPT_1.csv burstgpt.parquet
    """  # noqa: D301 - click reads the backspace


@trace.command()
@click.argument("file")
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Draw it into this new HTML file.")
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
@reading_options
def info(file: str, html: Path | None, output: str, **options: Any) -> None:  # noqa: ANN401
    """Tell what a trace is: rate, burstiness, lengths, reuse of prefixes.

    \b
    simulator trace info azure-code-2023
    simulator trace info monday.csv.gz --html monday.html
    simulator trace info monday.csv.gz -o json | jq .interarrival_cv
    simulator trace info export.csv --form burstgpt --strict
    """  # noqa: D301 - click reads the backspace
    from simulator import trace_commands  # noqa: PLC0415 - the plots take seconds to import

    trace_commands.info(file, _reading(options), html=html, as_json=output == "json")


@trace.command()
@click.argument("file", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@reading_options
def convert(file: str, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Write a trace in another form, which the ending of OUT says.

    .parquet is our own: without loss, and thirty times as fast to read. .csv and .csv.gz are Azure's form,
    .jsonl and .jsonl.gz Mooncake's, for other tools.

    \b
    simulator trace convert BurstGPT_1.csv burstgpt.parquet
    simulator trace convert azure-conv-2023 for-another-tool.jsonl
    simulator trace convert export.csv.gz whole.parquet --strict
    """  # noqa: D301 - click reads the backspace
    from simulator import inputs, trace_commands  # noqa: PLC0415

    trace_commands.write(inputs.read_source(file, _reading(options)), out)
