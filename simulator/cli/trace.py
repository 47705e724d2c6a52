"""``simulator trace``: what a trace is, and traces made from traces."""

from pathlib import Path
from typing import Any

import click

from simulator.cli.options import Duration, reading_of, reading_options


class Changing(click.ParamType):  # type: ignore[type-arg]
    """FROM:TO:RATIO, two times and a number."""

    name = "change"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a change of the rate, or fail with what can be given."""
        from simulator.traces.synthetic import Change  # noqa: PLC0415 - numpy takes a moment to import

        if isinstance(value, Change):
            return value
        parts = str(value).split(":")
        try:
            start_s, end_s = (Duration().convert(part, param, ctx) for part in parts[:2])
            (ratio,) = map(float, parts[2:])
        except ValueError:
            self.fail(f"{value} is no change; give FROM:TO:RATIO, such as 6h:7h:3", param, ctx)
        return Change(start_s=start_s, end_s=end_s, ratio=ratio)


@click.group()
def trace() -> None:
    """Look at traces of requests, and make others from them.

    A trace is a file in one of many forms, told from the file itself, or a shipped trace's name:
    azure-conv-2023, azure-code-2023.

    \b
    simulator trace info azure-conv-2023
    simulator trace info conversation_trace.jsonl.gz --html mooncake.html
    simulator trace convert BurstGPT_1.csv burstgpt.parquet
    simulator trace convert http://prometheus:9090 yesterday.parquet --model llama --since 24h
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
    from simulator.commands import trace as trace_commands  # noqa: PLC0415 - the plots take seconds to import

    trace_commands.info(file, reading_of(options), html=html, as_json=output == "json")


@trace.command()
@click.argument("file", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@reading_options
def convert(file: str, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Write a trace in another form, which the ending of OUT says.

    .parquet is our own: without loss, and the quickest to read. .csv and .csv.gz are Azure's form,
    .jsonl and .jsonl.gz Mooncake's, for other tools. IN may also be production itself: the URL of a Prometheus, an
    export of it as JSON, or the controller's store.

    \b
    simulator trace convert BurstGPT_1.csv burstgpt.parquet
    simulator trace convert azure-conv-2023 for-another-tool.jsonl
    simulator trace convert export.csv.gz whole.parquet --strict
    simulator trace convert http://prometheus:9090 yesterday.parquet --model llama --since 24h
    simulator trace convert journal.db week.parquet --policy prod/chat --since 7d
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import inputs  # noqa: PLC0415
    from simulator.commands import trace as trace_commands  # noqa: PLC0415

    trace_commands.write(inputs.read_source(file, reading_of(options)), out)


@trace.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--for", "span_s", type=Duration(), default="1d", show_default=True, help="How long, as in 90m, 1d, 2w.")
@click.option("--rate", "rate_rps", type=float, default=5.0, show_default=True, help="Requests a second, weekday mean.")
@click.option("--daily", "daily_ratio", type=float, default=1.0, show_default=True, help="Day's highest over lowest.")
@click.option("--peak-hour", type=click.FloatRange(0, 24), default=15.0, show_default=True, help="Hour of the highest.")
@click.option("--weekend", "weekend_ratio", type=float, default=1.0, show_default=True, help="Weekend over weekday.")
@click.option("--dispersion", type=float, default=1.0, show_default=True, help="Index of dispersion; 1 is Poisson.")
@click.option("--burst", "burst_s", type=Duration(), default="60", show_default=True, help="How long a burst lasts.")
@click.option("--ramp", "ramps", type=Changing(), multiple=True, metavar="FROM:TO:RATIO", help="Grows, and stays.")
@click.option("--jump", "jumps", type=Changing(), multiple=True, metavar="FROM:TO:RATIO", help="Is higher or lower.")
@click.option("--prompt", type=(float, float), default=(1020, 4142), show_default=True, metavar="P50 P99")
@click.option("--answer", type=(float, float), default=(129, 601), show_default=True, metavar="P50 P99")
@click.option("--longest", type=click.IntRange(1, 2**31 - 1), default=131_072, show_default=True, metavar="TOKENS")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def make(out: Path, **options: Any) -> None:  # noqa: ANN401
    """Make a trace up: shape over day and week, bursts, ramps and jumps, heavy-tailed lengths.

    The trace begins on a Monday at 0:00. With --dispersion D, requests come in bursts of the length --burst, such that
    their counts in windows of that length vary D times as much as by chance. Lengths are log-normal.

    \b
    simulator trace make day.parquet --rate 20 --daily 4 --dispersion 10
    simulator trace make week.parquet --for 1w --rate 8 --daily 5 --weekend 0.4 --dispersion 20 --burst 2m
    simulator trace make launch.parquet --for 4h --ramp 1h:2h:5 --jump 3h:190m:3
    simulator trace make code.parquet --prompt 1469 7436 --answer 13 251
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import trace as trace_commands  # noqa: PLC0415

    trace_commands.make(out, **options)


@trace.command()
@click.argument("file", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--factor", type=float, help="So many times as busy.")
@click.option("--rate", "rate_rps", type=float, help="So many requests a second in the mean.")
@click.option(
    "--jitter", "jitter_s", type=Duration(), default="30", show_default=True, help="Each copy's arrivals move."
)
@reading_options
def scale(file: str, out: Path, **options: Any) -> None:  # noqa: ANN401
    """Make a trace busier or less busy, and say how that was done.

    A whole factor lays jittered copies over one another, with lengths of requests close by. A fraction keeps requests
    by chance, which makes traffic less bursty. 2.5 is three copies, thinned. Tables of clients (ServeGen) need neither:
    each client sends more or less often, in bursts of the same shape.

    \b
    simulator trace scale azure-conv-2023 fleet.parquet --factor 15
    simulator trace scale week.parquet small.parquet --rate 2
    simulator trace scale servegen_m-large_rates.csv.gz m-large.parquet --rate 20
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import trace as trace_commands  # noqa: PLC0415

    scaling = {name: options.pop(name) for name in ("factor", "rate_rps", "jitter_s")}
    trace_commands.scale(file, out, reading_of(options), **scaling)


@trace.command("slice")
@click.argument("file", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--from", "start_s", type=Duration(), default="0", show_default=True, help="Where the part begins.")
@click.option("--to", "end_s", type=Duration(), help="Where it ends; by default with the trace.")
@reading_options
def cut(file: str, out: Path, start_s: float, end_s: float | None, **options: Any) -> None:  # noqa: ANN401
    """Take a part of a trace; its times count from the part's start.

    \b
    simulator trace slice azure-conv-2023 opening.parquet --to 20m
    simulator trace slice BurstGPT_1.csv day9.parquet --from 9d --to 10d
    """  # noqa: D301 - click reads the backspace
    from simulator.commands import trace as trace_commands  # noqa: PLC0415

    trace_commands.cut(file, out, reading_of(options), start_s=start_s, end_s=end_s)
