"""What a trace is, told as a table for the terminal, as JSON, and as one HTML file that works offline."""

from collections.abc import Iterator
from html import escape
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from rich.table import Table
from rich.text import Text

from simulator.traces import Source
from simulator.traces.summary import Lengths, Summary

_UNITS = (("minutes", 60.0, 7200.0), ("hours", 3600.0, 3 * 86_400.0), ("days", 86_400.0, inf))
"""Of the axis: a word, its seconds, and below which span it is taken."""
_OVER_TIME = "over time"
_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 40
_RATE, _PROMPT, _OUTPUT, _POISSON = "#0b5fa5", "#16a085", "#d35400", "#7f8c8d"


def table(source: Source, summary: Summary) -> Table:
    """Return the figures as a table with a label and a value on each line."""
    # Names and what stands in broken lines are shown as they are: they are no markup.
    title = Text(source.traffic.name, style="bold")
    drawn = Table(title=title, title_justify="left", box=None, show_header=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column()
    for label, value in _figures(source, summary):
        drawn.add_row(label, Text(value))
    return drawn


def _figures(source: Source, summary: Summary) -> Iterator[tuple[str, str]]:
    yield "form", source.form
    yield "requests", f"{summary.requests:,} in {_span(summary.span_s)}"
    yield "rate", f"{summary.mean_rps:,.3f} a second in the mean"
    yield _OVER_TIME, f"{sparkline(summary.curve.arrival_rps)} up to {summary.curve.arrival_rps.max():,.3g} a second"
    cv = summary.interarrival_cv
    yield "CV of distances", "unknown" if cv is None else f"{cv:.2f} (1: Poisson, more: bursts)"
    for window in summary.windows:
        if window.dispersion is not None and window.peak_over_mean is not None:
            yield (
                f"in {window.width_s:g} s",
                f"index of dispersion {window.dispersion:,.2f}, peak {window.peak_over_mean:.2f} × mean",
            )
    yield "prompt tokens", _lengths(summary.prompt)
    yield "output tokens", _lengths(summary.output)
    if summary.reuse is not None:
        blocks = f"{summary.reuse.blocks:,} blocks of {summary.reuse.block_tokens} tokens"
        yield "prefix reuse", f"{summary.reuse.reused_ratio:.1%} of {blocks} were there before"
    for note in source.notes:
        yield "note", note


def sparkline(values: NDArray[np.float64]) -> str:
    """Return a line of bars from 0 to the highest value, the means of equal stretches of the values."""
    means = [part.mean() for part in np.array_split(values, min(_COLUMNS, values.size))]
    highest = max(*means, 1e-12)
    return "".join(_BARS[min(len(_BARS) - 1, int(mean / highest * len(_BARS)))] for mean in means)


def _lengths(lengths: Lengths) -> str:
    return f"mean {lengths.mean:,.0f}, p50 {lengths.p50:,}, p99 {lengths.p99:,}, longest {lengths.longest:,}"


def _span(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:,.0f} s"
    return f"{seconds / 3600:,.1f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:,.2f} days"


def as_json(source: Source, summary: Summary) -> dict[str, Any]:
    """Return the figures with what they are of."""
    curve = summary.curve
    return {
        "name": source.traffic.name,
        "form": source.form,
        "requests": summary.requests,
        "span_s": summary.span_s,
        "mean_rps": summary.mean_rps,
        "interarrival_cv": summary.interarrival_cv,
        "windows": [
            {"width_s": w.width_s, "dispersion": w.dispersion, "peak_over_mean": w.peak_over_mean}
            for w in summary.windows
        ],
        "prompt_tokens": _lengths_json(summary.prompt),
        "output_tokens": _lengths_json(summary.output),
        "reuse": None
        if summary.reuse is None
        else {name: getattr(summary.reuse, name) for name in ("block_tokens", "blocks", "distinct", "reused_ratio")},
        "broken_lines": source.broken,
        "notes": list(source.notes),
        "curve": {
            "width_s": curve.width_s,
            "arrival_rps": curve.arrival_rps.tolist(),
            "prompt_tokens_per_s": curve.prompt_tokens_per_s.tolist(),
            "output_tokens_per_s": curve.output_tokens_per_s.tolist(),
        },
    }


def _lengths_json(lengths: Lengths) -> dict[str, float]:
    return {"mean": lengths.mean, "p50": lengths.p50, "p99": lengths.p99, "longest": lengths.longest}


def write_html(path: Path, source: Source, summary: Summary) -> None:
    """Write the page to a file.

    Raises:
        OSError: the file cannot be written.
    """
    drawn = figure(summary).to_html(
        include_plotlyjs=True, full_html=False, div_id="trace", config={"displaylogo": False}
    )
    # The rate over time is drawn below.
    told = [(label, value) for label, value in _figures(source, summary) if label != _OVER_TIME]
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in told)
    title = escape(source.traffic.name)
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
        "body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 1250px; padding: 0 1em; }"
        " th { text-align: left; font-weight: 400; color: #566573; padding-right: 1.5em; vertical-align: top;"
        " white-space: nowrap; }"
        f"</style></head><body><h1>{title}</h1><table>{rows}</table>{drawn}</body></html>\n",
        encoding="utf-8",
    )


def figure(summary: Summary) -> go.Figure:
    """Return the picture: requests and tokens over time, dispersion by window, lengths."""
    curve = summary.curve
    unit, unit_s = next(each for each in _UNITS if summary.span_s < each[2])[:2]
    every = f"{curve.width_s:g} s"
    drawn = make_subplots(
        rows=3, cols=2, vertical_spacing=0.12, horizontal_spacing=0.09,
        specs=[[{"colspan": 2}, None], [{"colspan": 2}, None], [{}, {}]],
        subplot_titles=(f"requests a second, means of {every}", f"tokens a second, means of {every}",
                        "index of dispersion by window (Poisson: 1)", "lengths"),
    )  # fmt: skip
    x = [number * curve.width_s / unit_s for number in range(curve.arrival_rps.size)]
    steps = {"shape": "hv", "width": 1.3}
    drawn.add_scatter(x=x, y=curve.arrival_rps, name="requests", line={**steps, "color": _RATE}, row=1, col=1)
    for name, values, color in (
        ("prompt tokens", curve.prompt_tokens_per_s, _PROMPT),
        ("output tokens", curve.output_tokens_per_s, _OUTPUT),
    ):
        drawn.add_scatter(x=x, y=values, name=name, line={**steps, "color": color}, row=2, col=1)
    _add_dispersion(drawn, summary)
    for name, lengths, color in (("prompt", summary.prompt, _PROMPT), ("output", summary.output, _OUTPUT)):
        share = lengths.requests / max(1, summary.requests)
        drawn.add_scatter(
            x=lengths.edges[:-1].clip(1), y=share, name=f"{name} lengths", line={**steps, "color": color}, row=3, col=2
        )
    for row in (1, 2):
        drawn.update_xaxes(title_text=unit, row=row, col=1)
        drawn.update_yaxes(rangemode="tozero", row=row, col=1)
    drawn.update_xaxes(type="log", title_text="tokens", row=3, col=2)
    drawn.update_yaxes(title_text="share of requests", rangemode="tozero", tickformat=".0%", row=3, col=2)
    drawn.update_layout(template="plotly_white", height=980, legend={"orientation": "h"}, margin={"t": 40})
    return drawn


def _add_dispersion(drawn: go.Figure, summary: Summary) -> None:
    told = [window for window in summary.windows if window.dispersion]
    widths = [window.width_s for window in told]
    drawn.add_scatter(
        x=widths, y=[window.dispersion for window in told], name="index of dispersion", mode="lines+markers",
        line={"color": _RATE}, row=3, col=1,
    )  # fmt: skip
    drawn.add_scatter(
        x=widths, y=[1.0] * len(widths), name="Poisson", line={"color": _POISSON, "dash": "dot"}, row=3, col=1
    )
    drawn.update_xaxes(type="log", title_text="window, s", tickvals=widths, row=3, col=1)
    drawn.update_yaxes(type="log", dtick="D2", row=3, col=1)
