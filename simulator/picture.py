"""The picture of a demo: one HTML file that works offline, drawn from the journals by Plotly.

A column for each model; from top to bottom: demand, replicas by state, waiting requests, attainment so far. Ours in
full, the others as lines. Every change of the target is marked on the replicas; the mark tells the reason on hover.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autoscaler.core.signals import ReplicaState
from autoscaler.journal import Entry, OutcomeStatus
from simulator.journalfile import whole
from simulator.score import FirstTokens
from simulator.telemetry import EPOCH_AT

ROWS = ("Demand: requests a second", "Replicas", "Requests waiting", "In time so far (share of first tokens)")
OURS_COLOR, READY_COLOR, WARMING_COLOR = "#0b5fa5", "#9cc9ec", "#f4b860"
OTHER_COLORS = ("#c0392b", "#7f8c8d", "#8e44ad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One run as it is drawn: a name and its journal."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One model as it is drawn: ours first, then the others. ``objective_s`` is the TTFT objective."""

    title: str
    objective_s: float
    tracks: tuple[Track, ...]


def write(path: Path, columns: Sequence[Column], *, title: str) -> None:
    """Write the picture as one HTML file, whole or not at all."""
    drawn = figure(columns, title=title)
    with whole(path) as part:
        # A fixed id for the division: a random one would make two runs of one seed differ.
        drawn.write_html(part, include_plotlyjs=True, full_html=True, div_id="demo", config={"displaylogo": False})


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
            f"<b>{column.title}</b><br>{row}" if row is ROWS[0] else row for row in ROWS for column in columns
        ],
    )
    known: set[str] = set()
    for number, column in enumerate(columns, start=1):
        _draw(drawn, number, column, known=frozenset(known))
        known |= {track.name for track in column.tracks}
    for number in range(1, len(columns) + 1):
        drawn.update_xaxes(title_text="minutes", row=len(ROWS), col=number)
        drawn.update_yaxes(type="log", row=3, col=number)
        drawn.update_yaxes(tickformat=".0%", row=4, col=number)
    drawn.update_layout(
        title={"text": title, "x": 0.01},
        template="plotly_white",
        height=1150,
        hovermode="closest",
        legend={"orientation": "h", "y": -0.06},
        margin={"t": 110, "l": 60, "r": 30},
    )
    return drawn


def _draw(drawn: go.Figure, number: int, column: Column, *, known: frozenset[str]) -> None:
    """Draw one model; ``known`` are the runs that the legend has already."""
    first = number == 1
    ours, *others = column.tracks
    _line(drawn, ours, _arrivals(ours.entries), row=1, col=number, color="#2c3e50", name="arrivals", legend=first)
    for state, color, label in (
        (ReplicaState.READY, READY_COLOR, "ready"),
        (ReplicaState.STARTING, WARMING_COLOR, "warming"),
    ):
        counts = [float(entry.signals.count(state)) for entry in ours.entries]
        _line(
            drawn, ours, counts, row=2, col=number, color=color, name=f"{ours.name}: {label}", legend=first, stack="n"
        )
    for other, color in zip(others, OTHER_COLORS, strict=False):
        counts = [float(entry.signals.spec_replicas or 0) for entry in other.entries]
        legend = other.name not in known
        _line(drawn, other, counts, row=2, col=number, color=color, name=other.name, legend=legend)
    _moves(drawn, ours, number, legend=first)
    for track, color in zip(column.tracks, (OURS_COLOR, *OTHER_COLORS), strict=False):
        # The others are in the legend by their replicas; ours has areas there, and its line is met here first.
        legend = first and track is ours
        _line(drawn, track, _waiting(track.entries), row=3, col=number, color=color, name=track.name, legend=legend)
        shares = _in_time(track.entries, column.objective_s)
        _line(drawn, track, shares, row=4, col=number, color=color, name=track.name, legend=False)


def _line(
    drawn: go.Figure,
    track: Track,
    values: list[float | None] | list[float],
    *,
    row: int,
    col: int,
    color: str,
    name: str,
    legend: bool,
    stack: str | None = None,
) -> None:
    line = go.Scatter(
        x=_minutes(track.entries),
        y=values,
        name=name,
        legendgroup=name,
        showlegend=legend,
        mode="lines",
        line={"color": color, "width": 0 if stack else 1.6, "shape": "hv"},
        stackgroup=stack,
        fillcolor=color if stack else None,
    )
    drawn.add_trace(line, row=row, col=col)


def _moves(drawn: go.Figure, track: Track, col: int, *, legend: bool) -> None:
    moved = [entry for entry in track.entries if entry.outcome.status is OutcomeStatus.SCALED]
    marks = go.Scatter(
        x=_minutes(moved),
        y=[entry.decision.target for entry in moved],
        name="decisions",
        legendgroup="decisions",
        showlegend=legend,
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


def _minutes(entries: Sequence[Entry]) -> list[float]:
    return [(entry.at - EPOCH_AT) / 60 for entry in entries]


def _arrivals(entries: Sequence[Entry]) -> list[float | None]:
    return [entry.decision.numbers.get("arrival_rps") for entry in entries]


def _waiting(entries: Sequence[Entry]) -> list[float]:
    # The axis is logarithmic: an empty queue is drawn at a half.
    return [max(0.5, sum(sample.waiting or 0.0 for sample in entry.signals.samples)) for entry in entries]


def _in_time(entries: Sequence[Entry], objective_s: float) -> list[float | None]:
    tokens = FirstTokens(objective_s)
    shares: list[float | None] = []
    for entry in entries:
        tokens.add(entry.signals.samples)
        shares.append(tokens.in_time / tokens.counted if tokens.counted else None)
    return shares
