"""What the ``simulator trace`` commands do: from a file to figures, a picture, another file."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from simulator.commands import inputs
from simulator.pages import trace_report
from simulator.traces import Reading, Source
from simulator.traces.scaling import Scaling, scaled, sliced
from simulator.traces.summary import summarise
from simulator.traces.synthetic import LogNormal, Recipe, synthetic_traffic
from simulator.traces.writing import refuse_name, write_traffic


def info(file: str, reading: Reading, *, html: Path | None, as_json: bool) -> None:
    """Print what a trace is, and write its picture if one is asked for.

    Raises:
        click.ClickException: the trace cannot be used, or the picture's file is there already.
    """
    if html is not None and html.exists():
        raise click.ClickException(f"{html} is there already, nothing was overwritten; name another --html")
    source = inputs.read_source(file, reading)
    with _progress("reading") as on_share, inputs.told_errors():
        summary = summarise(source.traffic, on_share=on_share)
    if html is not None:
        with inputs.new_file(html, "--html") as part:
            trace_report.write_html(part, source, summary)
    if as_json:
        click.echo(json.dumps(trace_report.as_json(source, summary), indent=1, allow_nan=False))
        return
    console = Console()
    console.print(trace_report.table(source, summary))
    if html is not None:
        console.print(f"picture: {html.resolve()}", soft_wrap=True, markup=False, highlight=False)


def write(source: Source, out: Path) -> None:
    """Write a trace to a new file and say what was written.

    Raises:
        click.ClickException: the file is there already or cannot be written, or there is no request.
    """
    with inputs.told_errors():
        refuse_name(out.name)
    with inputs.new_file(out, "OUT") as part, _progress("writing") as on_share, inputs.told_errors():
        requests = write_traffic(
            part,
            source.traffic,
            name=out.name,
            block_tokens=source.block_tokens,
            notes=source.notes,
            on_share=on_share,
        )
    for note in source.notes:
        click.echo(f"note: {note}")
    click.echo(f"{out}: {requests:,} requests over {source.traffic.span_s:,.0f} s")


def make(
    out: Path,
    *,
    prompt: tuple[float, float],
    answer: tuple[float, float],
    longest: int,
    **shape: Any,  # noqa: ANN401 - the fields of a recipe
) -> None:
    """Make a trace up and write it to a new file.

    Raises:
        click.ClickException: a number makes no sense, or the file is there already or cannot be written.
    """
    lengths = [LogNormal(p50=p50, p99=p99, longest=longest) for p50, p99 in (prompt, answer)]
    with inputs.told_errors():
        recipe = Recipe(prompt=lengths[0], output=lengths[1], **shape)
        traffic = synthetic_traffic(out.name.split(".")[0], recipe)
    write(Source(traffic=traffic, form="synthetic", requests=None, notes=(f"made up: {recipe.told()}",)), out)


def scale(
    file: str, out: Path, reading: Reading, *, factor: float | None, rate_rps: float | None, jitter_s: float
) -> None:
    """Write a trace that is more or less busy than another to a new file.

    Raises:
        click.ClickException: not one of factor and rate, or one that cannot be; what `write` raises.
    """
    if (factor is None) == (rate_rps is None):
        raise click.ClickException("give one of --factor and --rate")
    source = inputs.read_source(file, reading)
    if rate_rps is not None:
        factor = rate_rps / _mean_rps(source)
    with inputs.told_errors():
        other = scaled(source, Scaling(ratio=factor or 0.0, jitter_s=jitter_s, seed=reading.seed))
    write(other, out)


def _mean_rps(source: Source) -> float:
    requests, span_s = source.requests, source.traffic.span_s
    if not requests or not span_s:
        raise click.ClickException(f"{source.traffic.name}: its rate is not known; give a --factor")
    return requests / span_s


def cut(file: str, out: Path, reading: Reading, *, start_s: float, end_s: float | None) -> None:
    """Write a part of a trace to a new file.

    Raises:
        click.ClickException: there is nothing in that part; what `write` raises.
    """
    source = inputs.read_source(file, reading)
    with inputs.told_errors():
        part = sliced(source, start_s, end_s)
    write(part, out)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], object]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)
