"""The comparison as a table for the terminal, as JSON, and as one HTML file that works offline."""

from collections.abc import Sequence
from dataclasses import asdict
from math import log10
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.baselines.peers import PEERS, Style
from simulator.experiments.frontier import Cost, staircase
from simulator.experiments.provenance import cluster_json, faults_json, trace_digest, versions
from simulator.experiments.sweep import WANTED, Case, Row
from simulator.journalfile import whole
from simulator.pages.tables import counted, titled

_COLORS = (
    *("#0b5fa5", "#c0392b", "#e59866", "#8e44ad", "#16a085", "#d35400", "#2c3e50", "#b7950b"),
    *("#e377c2", "#1f9d55", "#17becf", "#7f8c8d", "#6e2c00", "#5d6d7e"),
)
_BOUNDS = frozenset({"static", "oracle"})
_LEGEND = (
    "every setting that was tried is a point, the best are joined; dotted: as its project ships it,"
    " solid: as an expert sets it, dashed: bounds"
)
_READING = "≤: even the cheapest setting that was tried reaches more; knob: the cheapest setting for 99 %"
_LOWEST = 0.5
"""The attainment at which the picture begins."""
_LATE_LEAST = 1e-5  # Nothing late at all is drawn here.
_HOURS = [step * 10.0**power for power in range(-2, 6) for step in (1, 1.5, 2, 3, 5, 7)]


def told(found: Cost) -> str:
    """Return what an attainment costs as a table says it."""
    if found.hours is None:
        return f"never ({found.best * 100:.2f} %)"
    return f"{'≤ ' if found.at_most else ''}{found.hours:.1f}"


def table(case: Case, rows: Sequence[Row], *, seeds: int) -> Group:
    """Return the table with its title: what each wanted attainment costs each peer, in accelerator-hours."""
    title = (
        f"{case.policy.metadata.name}: accelerator-hours at an attainment of {_promise(case)}\n{_traffic(case, seeds)}"
    )
    drawn = Table(box=None, padding=(0, 2, 0, 0))
    drawn.add_column("autoscaler", no_wrap=True)
    for wanted in WANTED:
        drawn.add_column(f"{wanted:.1%}", justify="right", no_wrap=True)
    drawn.add_column("knob", justify="right", no_wrap=True)
    for row in rows:
        drawn.add_row(name(row), *(told(row.cost(wanted)) for wanted in WANTED), _setting(row))
    return Group(titled(title, drawn), Text(_READING, style="dim"))


def name(row: Row) -> str:
    """Return how a row is called."""
    styles = PEERS[row.peer].styles
    return row.peer if len(styles) == 1 else f"{row.peer} ({row.style.value})"


def as_json(case: Case, rows: Sequence[Row], *, seeds: Sequence[int]) -> dict[str, Any]:
    """Return all that was tried with what it follows from."""
    return {
        "trace": {"name": case.trace.name, "digest": trace_digest(case.trace), "copies": case.copies},
        "policy": case.policy.spec.model_dump(mode="json", by_alias=True),
        "promise": asdict(case.promise),
        "coldstart_s": case.coldstart_s,
        "routing": case.routing,
        "seeds": list(seeds),
        "versions": versions(),
        **cluster_json(case.cluster),
        "peers": [_row_json(row) for row in rows],
        **faults_json(case.faults),
    }


def _row_json(row: Row) -> dict[str, Any]:
    peer = PEERS[row.peer]
    return {
        "peer": row.peer,
        "style": row.style.value,
        "upstream": peer.upstream,
        "knob": peer.knob.name,
        "costs": [asdict(row.cost(wanted)) for wanted in WANTED],
        "settings": [
            {"knob": point.knob, "accelerator_hours": point.hours, "attainment": point.attainment,
             "seeds": [result.as_json() for result in row.results[point.knob]]}
            for point in row.points
        ],
    }  # fmt: skip


def write_html(path: Path, case: Case, rows: Sequence[Row], *, seeds: int) -> None:
    """Write the frontier and the table as one HTML file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    drawn = figure(case, rows, seeds=seeds)
    with whole(path) as part:
        drawn.write_html(part, include_plotlyjs=True, full_html=True, div_id="compare", config={"displaylogo": False})


def figure(case: Case, rows: Sequence[Row], *, seeds: int) -> go.Figure:
    """Return the picture: accelerator-hours against attainment, every setting a point, the staircase a line."""
    drawn = go.Figure()
    peers = list(dict.fromkeys(row.peer for row in rows))
    for row in rows:
        color = _COLORS[peers.index(row.peer) % len(_COLORS)]
        steps = staircase(row.points)
        points = {"x": [p.hours for p in row.points], "y": [_nines(p.attainment) for p in row.points]}
        knob = PEERS[row.peer].knob.name
        text = [f"{name(row)}<br>{knob} {p.knob:g}<br>{p.attainment:.3%} at {p.hours:.1f} h" for p in row.points]
        legend = {"legendgroup": name(row), "name": name(row)}
        drawn.add_scatter(
            **points, **legend, mode="markers", text=text, hoverinfo="text", showlegend=False,
            marker={"color": color, "size": 6, "opacity": 0.45},
        )  # fmt: skip
        drawn.add_scatter(
            x=[p.hours for p in steps], y=[_nines(p.attainment) for p in steps], **legend, mode="lines+markers",
            line=_line(row, color), marker={"color": color, "size": 8}, hoverinfo="skip",
        )  # fmt: skip
    marks = (_LOWEST, 0.8, 0.9, 0.95, *WANTED, 0.999, 0.9999, 1.0)
    drawn.update_yaxes(
        title_text=f"attainment: {_promise(case)}", tickvals=[_nines(mark) for mark in marks],
        ticktext=[f"{mark * 100:g} %" for mark in marks], range=[_nines(_LOWEST), 5.1],
    )  # fmt: skip
    hours = [point.hours for row in rows for point in row.points if point.attainment >= _LOWEST and point.hours > 0]
    drawn.update_xaxes(
        title_text="accelerator-hours", type="log", tickvals=_HOURS, ticktext=[f"{hours:g}" for hours in _HOURS],
        range=[log10(0.95 * min(hours, default=1.0)), log10(1.05 * max(hours, default=100.0))],
    )  # fmt: skip
    title = f"What attainment costs: {case.policy.metadata.name}, {_traffic(case, seeds)}<br><sup>{_LEGEND}</sup>"
    drawn.update_layout(
        title={"text": title, "x": 0.01}, template="plotly_white", height=760, hovermode="closest",
        legend={"tracegroupgap": 0, "font": {"size": 11}},
    )  # fmt: skip
    return drawn


def _line(row: Row, color: str) -> dict[str, Any]:
    """A color for each peer: dotted as its project ships it, solid as an expert sets it; bounds are dashed."""
    dash = "dash" if row.peer in _BOUNDS else "dot" if row.style is Style.DEFAULT and row.peer != "ours" else "solid"
    return {"color": color, "width": 3 if row.peer == "ours" else 1.6, "shape": "hv", "dash": dash}


def _nines(attainment: float) -> float:
    return -log10(max(1 - attainment, _LATE_LEAST))


def _promise(case: Case) -> str:
    ttft = f"TTFT ≤ {case.promise.ttft_s:g} s"
    return ttft if case.promise.tpot_s is None else f"{ttft} and mean TPOT ≤ {case.promise.tpot_s:g} s"


def _traffic(case: Case, seeds: int) -> str:
    copies = "" if case.copies == 1 else f" × {case.copies}"
    return f"{case.trace.name}{copies}, cold start {case.coldstart_s:.4g} s, {counted(seeds, 'seed')}"


def _setting(row: Row) -> str:
    found = row.cost(0.99)
    return "" if found.knob is None else f"{found.knob:.3g}"
