"""The picture of a demo: one HTML file that works offline, drawn from the journals by Plotly.

A column for each model; from top to bottom: demand, replicas by state, waiting requests, attainment so far. Ours in
full, the others as lines. Every change of the target is marked on the replicas; the mark tells the reason on hover.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from pathlib import Path
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autoscaler.core.signals import ReplicaState
from autoscaler.footprint.states import pool_of
from autoscaler.journal import Entry, OutcomeStatus
from simulator.experiments.score import FirstTokens
from simulator.journalfile import whole
from simulator.telemetry import EPOCH_AT

ROWS = (
    "Demand: requests a second that engines took",
    "Replicas",
    "Requests waiting, in engines and at the gateway",
    "In time so far (share of first tokens)",
)
DEMAND = "requests taken"
OURS_COLOR, READY_COLOR, WARMING_COLOR = "#0b5fa5", "#9cc9ec", "#f4b860"
PREWARM_COLOR, DRAINING_COLOR, FAILED_COLOR = "#cfe6d4", "#c9c4bd", "#d98880"
OTHER_COLORS = ("#c0392b", "#7f8c8d", "#8e44ad")


_MARK = '<meta name="generator" content="inference-autoscaler simulator">'
_STYLE = "<style>html, body {margin: 0} #demo {height: 100vh !important; min-height: 900px}</style>"
_DIVISION = b'<div id="demo" class="plotly-graph-div"'
"""What pictures have had before they had the mark."""


_LINES = " (areas: ours by state; lines: the others' ready and starting)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of time on the axis, as a word in the plural, and its seconds."""

    name: str
    seconds: float

    def of(self, at: float) -> float:
        """Return an instant in units after the simulation's beginning."""
        return (at - EPOCH_AT) / self.seconds


MINUTES, HOURS, DAYS = (
    Unit(name="minutes", seconds=60.0),
    Unit(name="hours", seconds=3600.0),
    Unit(name="days", seconds=86_400.0),
)


def unit_of(entries: Sequence[Entry]) -> Unit:
    """Return the unit in which a run of this length is read most easily."""
    span_s = entries[-1].at - EPOCH_AT if entries else 0.0
    return MINUTES if span_s <= 6 * 3600 else HOURS if span_s <= 3 * 86_400 else DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One run as it is drawn: a name and its journal."""

    name: str
    entries: tuple[Entry, ...]
    unit: Unit = MINUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One model as it is drawn: ours first, then the others.

    ``objective_s`` is the TTFT objective, ``attainment`` the share of requests that shall keep it.
    """

    title: str
    objective_s: float
    attainment: float | None = None
    tracks: tuple[Track, ...]


def write(path: Path, columns: Sequence[Column], *, title: str) -> None:
    """Write the picture as one HTML file, whole or not at all."""
    drawn = figure(columns, title=title)
    # As high as the window, which the style holds above a height that can be read.
    drawn.update_layout(height=None, autosize=True)
    config = {"displaylogo": False, "responsive": True}
    with whole(path) as part:
        # A fixed id for the division: a random one would make two runs of one seed differ.
        page = drawn.to_html(include_plotlyjs=True, full_html=True, div_id="demo", config=config)
        part.write_text(page.replace("<head>", f"<head>{_MARK}{_STYLE}", 1), encoding="utf-8")


def is_ours(path: Path) -> bool:
    """Return whether a file is a picture that ``write`` wrote, so that it may be written again.

    Raises:
        OSError: it cannot be read.
    """
    page = path.read_bytes() if path.is_file() else b""
    return _MARK.encode() in page or _DIVISION in page


def figure(columns: Sequence[Column], *, title: str) -> go.Figure:
    """Return the figure: one column of subplots a model."""
    drawn = make_subplots(
        rows=len(ROWS),
        cols=len(columns),
        shared_xaxes=True,
        vertical_spacing=0.05,
        horizontal_spacing=0.06,
        row_heights=[0.2, 0.4, 0.2, 0.2],
        subplot_titles=[
            f"<b>{escape(column.title)}</b><br>{row}" if row is ROWS[0] else row + _legend_of(row, column)
            for row in ROWS
            for column in columns
        ],
    )
    named: set[str] = set()
    for number, column in enumerate(columns, start=1):
        shares = [_in_time(track.entries, column.objective_s) for track in column.tracks]
        _draw(drawn, number, column, shares, named)
        drawn.update_xaxes(title_text=column.tracks[0].unit.name, row=len(ROWS), col=number)
        drawn.update_yaxes(rangemode="tozero", row=1, col=number)
        drawn.update_yaxes(dtick=_step_of(column), row=2, col=number)
        # As log(1 + n): an empty queue lies at the bottom, and thousands are on the page too.
        ticks = _ticks_of(column)
        drawn.update_yaxes(
            tickvals=[log10(1 + n) for n in ticks], ticktext=[f"{n:,}" for n in ticks], rangemode="tozero",
            row=3, col=number,
        )  # fmt: skip
        drawn.update_yaxes(range=_share_range(column, shares), tickformat=".4~%", row=4, col=number)
    drawn.update_layout(
        title={"text": escape(title), "x": 0.01},
        template="plotly_white",
        height=1150,
        hovermode="closest",
        legend={"orientation": "h", "y": -0.06},
        margin={"t": 110, "l": 60, "r": 30},
    )
    return drawn


_DECADES = (0, 1, 10, 100, 1_000, 10_000, 100_000)
_FEW = (0, 1, 3, 10, 30, 100)


def _ticks_of(column: Column) -> tuple[int, ...]:
    """Return the numbers of waiting requests that the axis marks: finer where there are few, so that some are."""
    most = max((many for track in column.tracks for many in _waiting(track.entries)), default=0.0)
    return _FEW if most <= _FEW[-1] else _DECADES


def _step_of(column: Column) -> int:
    """Return the distance of whole replicas that the axis marks, so that it marks at most ten."""
    counts = [len(entry.signals.replicas) for track in column.tracks for entry in track.entries]
    most = max(counts, default=1)
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, most) if most <= 10 * step)


Shares = list[float | None]


def _share_range(column: Column, shares: Sequence[Shares]) -> tuple[float, float]:
    """Return the range of shares that shows what was late, however little it was."""
    told = [share for track in shares for share in track if share is not None]
    lowest = min([*told, column.attainment or 0.99])
    return lowest - 0.1 * (1 - lowest), 1 + 0.06 * (1 - lowest)


def _legend_of(row: str, column: Column) -> str:
    return _LINES if row is ROWS[1] and len(column.tracks) > 1 else ""


def _draw(drawn: go.Figure, number: int, column: Column, shares: Sequence[Shares], named: set[str]) -> None:
    """Draw one model, with the ``shares`` in time of each track; ``named`` stand in the legend already."""
    ours, *others = column.tracks
    _line(drawn, ours, _arrivals(ours.entries), row=1, col=number, color="#2c3e50", name=DEMAND, named=named)
    for label, color, counts in _states(ours.entries):
        name = f"{ours.name}: {label}"
        _line(drawn, ours, counts, row=2, col=number, color=color, name=name, named=named, stack="n")
    for other, color in zip(others, OTHER_COLORS, strict=False):
        counts = [float(entry.signals.spec_replicas or 0) for entry in other.entries]
        _line(drawn, other, counts, row=2, col=number, color=color, name=other.name, named=named)
    _moves(drawn, ours, number, named)
    for track, share, color in zip(column.tracks, shares, (OURS_COLOR, *OTHER_COLORS), strict=False):
        waiting = _waiting(track.entries)
        heights = [log10(1 + many) for many in waiting]
        _line(
            drawn, track, heights, row=3, col=number, color=color, name=track.name, named=named,
            told=[f"{many:,.0f} waiting" for many in waiting],
        )  # fmt: skip
        _line(drawn, track, share, row=4, col=number, color=color, name=track.name, named=named)
    if column.attainment is not None:
        text = f"objective {column.attainment:.0%}"
        note = {"annotation_text": text, "annotation_position": "bottom right", "annotation_font_size": 11}
        drawn.add_hline(y=column.attainment, row=4, col=number, line_dash="dot", line_color="#555555", **note)


def _states(entries: Sequence[Entry]) -> tuple[tuple[str, str, list[float]], ...]:
    """Return (label, color, replicas at each entry) of the states; the pool shares the work of those that are ready."""
    ready = [entry.signals.count(ReplicaState.READY) for entry in entries]
    pool = [min(pool_of(entry.decision), many) for entry, many in zip(entries, ready, strict=True)]
    failed = [float(entry.signals.count(ReplicaState.FAILED)) for entry in entries]
    return (
        ("ready", READY_COLOR, [float(many - spare) for many, spare in zip(ready, pool, strict=True)]),
        ("ready, pre-warm", PREWARM_COLOR, [float(spare) for spare in pool]),
        ("warming", WARMING_COLOR, [float(entry.signals.count(ReplicaState.STARTING)) for entry in entries]),
        ("draining", DRAINING_COLOR, [float(entry.signals.count(ReplicaState.DRAINING)) for entry in entries]),
        *((("failed", FAILED_COLOR, failed),) if any(failed) else ()),
    )


def _is_new(name: str, named: set[str]) -> bool:
    """Return whether a name is not in the legend yet, and take it down."""
    if name in named:
        return False
    named.add(name)
    return True


def _line(
    drawn: go.Figure,
    track: Track,
    values: list[float | None] | list[float],
    *,
    row: int,
    col: int,
    color: str,
    name: str,
    named: set[str],
    stack: str | None = None,
    told: list[str] | None = None,
) -> None:
    line = go.Scatter(
        x=[track.unit.of(entry.at) for entry in track.entries],
        y=values,
        name=name,
        legendgroup=name,
        showlegend=_is_new(name, named),
        mode="lines",
        line={"color": color, "width": 0 if stack else 1.6, "shape": "hv"},
        stackgroup=stack,
        fillcolor=color if stack else None,
        text=told,
        hoverinfo=None if told is None else "x+text+name",
    )
    drawn.add_trace(line, row=row, col=col)


def _moves(drawn: go.Figure, track: Track, col: int, named: set[str]) -> None:
    moved = [entry for entry in track.entries if entry.outcome.status is OutcomeStatus.SCALED]
    marks = go.Scatter(
        x=[track.unit.of(entry.at) for entry in moved],
        y=[entry.decision.target for entry in moved],
        name="decisions",
        legendgroup="decisions",
        showlegend=_is_new("decisions", named),
        mode="markers",
        marker={
            "color": OURS_COLOR,
            "size": 8,
            "symbol": ["triangle-up" if _is_up(entry) else "triangle-down" for entry in moved],
        },
        text=[_reason(entry) for entry in moved],
        hoverinfo="text",
    )
    drawn.add_trace(marks, row=2, col=col)


def _is_up(entry: Entry) -> bool:
    return (entry.decision.target or 0) > (entry.decision.spec_replicas or 0)


def _reason(entry: Entry) -> str:
    decision = entry.decision
    head = f"<b>{decision.spec_replicas} → {decision.target}: {decision.why.value}</b>"
    return "<br>".join([head, *map(escape, wrap(decision.detail, 70, break_on_hyphens=False))])


def _arrivals(entries: Sequence[Entry]) -> list[float | None]:
    return [entry.decision.numbers.get("arrival_rps") for entry in entries]


def _waiting(entries: Sequence[Entry]) -> list[float]:
    """Requests that wait: in engines, and at the gateway as long as no replica takes any."""
    return [
        sum(sample.waiting or 0.0 for sample in entry.signals.samples) + (entry.signals.held_requests or 0.0)
        for entry in entries
    ]


def _in_time(entries: Sequence[Entry], objective_s: float) -> Shares:
    tokens = FirstTokens(objective_s)
    shares: Shares = []
    for entry in entries:
        tokens.add(entry.signals.samples)
        shares.append(tokens.in_time / tokens.counted if tokens.counted else None)
    return shares
