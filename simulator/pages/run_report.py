"""A run as a page: one HTML file that works offline, with the decision explained at the point where one clicks.

The drawing is the demo's (``picture``). Under it stands a panel: a click on any tick of the replicas' plot shows what
was decided there, the rule that bound it, every candidate that lost, and the numbers to recompute it.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from math import ceil
from pathlib import Path
from string import Template
from typing import Any

import plotly.graph_objects as go

from autoscaler.core.policy import ScalingPolicy
from autoscaler.journal import Entry, OutcomeStatus
from simulator.journalfile import whole
from simulator.pages import picture

_REPLICAS_ROW = 2
TICKS_SHOWN = 6000
"""A day of ticks of 15 s is 5,760. A tick with its decision takes two kilobytes."""
MANY_TICKS = 1000
_FAULT_COLOR, _MISSED_COLOR = "#c0392b", "#7f8c8d"
_NAMES_TOLD = 8
FAULTS_LISTED = 200

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 1250px; padding: 0 1em; }
table { border-collapse: collapse; margin: .4em 1.5em .8em 0; }
td, th { padding: .15em .8em .15em 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } th { color: #566573; font-weight: 600; }
#why { background: #f4f8fb; border-left: 4px solid #0b5fa5; padding: 1em; }
#why .tables { display: flex; flex-wrap: wrap; align-items: flex-start; } .dim { color: #566573; }
</style></head><body>
<h1>$title</h1>
$facts
$starts
$figure
<div id="why"><p class="dim">Click a point of the replicas' plot: why was it decided so?</p></div>
<p class="dim">$source</p>
<script>
const decisions = $decisions;
const plot = document.getElementById("run");
const text = value => { const span = document.createElement("span"); span.textContent = value; return span.innerHTML; };
const row = ([name, value]) => `<tr><td>$${text(name)}</td><td class="number">$${text(value)}</td></tr>`;
const rows = pairs => pairs.map(row).join("");
const parts = (pairs, many) => Array.from({length: many}, (_, part) => {
  const size = Math.ceil(pairs.length / many);
  return pairs.slice(part * size, (part + 1) * size);
});
const table = (name, value, pairs) => `<table><tr><th>$${name}</th><th>$${value}</th></tr>$${rows(pairs)}</table>`;
plot.on("plotly_click", event => {
  const index = event.points.map(point => point.customdata).find(value => Number.isInteger(value));
  if (index === undefined) return;
  const d = decisions[index];
  document.getElementById("why").innerHTML = `<h3>$${text(d.head)}</h3><p>$${text(d.detail)}</p>` +
    d.conditions.map(condition => `<p><b>$${text(condition[0])}</b>: $${text(condition[1])}</p>`).join("") +
    `<div class="tables">$${table("candidate", "replicas", d.terms)}` +
    `$${parts(d.numbers, 3).map(pairs => table("number", "value", pairs)).join("")}</div>`;
});
</script></body></html>
""")


def write(path: Path, facts: dict[str, Any], policy: ScalingPolicy, entries: Sequence[Entry]) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part:
        part.write_text(page(facts, policy, entries), encoding="utf-8")


def page(facts: dict[str, Any], policy: ScalingPolicy, entries: Sequence[Entry]) -> str:
    """Return the page of a run."""
    name = facts["result"]["contender"] + (f", {facts['role']}" if "role" in facts else "")
    title = f"{policy.metadata.name}: {name} on {facts['trace']['name']}"
    ticks, entries = len(entries), shown(entries)
    thinned = f"{len(entries):,} of {ticks:,} ticks are shown: every change of the target, and others at even distances"
    unit = picture.unit_of(entries)
    drawn = figure(policy, entries, name=name)
    occurrences = facts.get("faults", {}).get("occurrences", [])
    mark_faults(drawn, occurrences, unit)
    return _PAGE.substitute(
        title=escape(title),
        facts=_facts(facts) + _relation(facts),
        starts=_starts(facts["result"].get("starts", ())) + _listed(occurrences, unit),
        figure=drawn.to_html(include_plotlyjs=True, full_html=False, div_id="run", config={"displaylogo": False}),
        # "</" would end the script where a text holds it.
        decisions=json.dumps([_decision(entry, unit) for entry in entries]).replace("</", "<\\/"),
        source=escape(_source(facts) if ticks == len(entries) else f"{thinned}; {_source(facts)}"),
    )


def shown(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries that a page of a size that one can send holds: all of a day; of more, one in so many.

    Every write of another target is kept, and the last entry.
    """
    step = ceil(len(entries) / TICKS_SHOWN)
    kept = (i % step == 0 or _moved(entry) or i == len(entries) - 1 for i, entry in enumerate(entries))
    return [entry for entry, keep in zip(entries, kept, strict=True) if keep]


def _moved(entry: Entry) -> bool:
    return entry.outcome.status is OutcomeStatus.SCALED


def figure(policy: ScalingPolicy, entries: Sequence[Entry], *, name: str) -> go.Figure:
    """Return the demo's picture of one run, with a point to click at every tick."""
    unit = picture.unit_of(entries)
    track = picture.Track(name=name, entries=tuple(entries), unit=unit)
    column = picture.Column(
        title=policy.metadata.name, objective_s=policy.spec.objectives.ttft_seconds, tracks=(track,)
    )
    drawn = picture.figure([column], title="")
    ticks = go.Scatter(
        x=[unit.of(entry.at) for entry in entries],
        y=[_position(entry) for entry in entries],
        customdata=list(range(len(entries))),
        text=[f"{entry.decision.why.value}: click to see why" for entry in entries],
        hoverinfo="text",
        mode="markers",
        # Of very many, large ones would hide the states.
        marker={"size": 6 if len(entries) < MANY_TICKS else 3, "color": picture.OURS_COLOR, "opacity": 0.35},
        name="a tick",
    )  # fmt: skip
    drawn.add_trace(ticks, row=_REPLICAS_ROW, col=1)
    drawn.update_layout(margin={"t": 60})
    return drawn


def mark_faults(drawn: go.Figure, occurrences: Sequence[Mapping[str, Any]], unit: picture.Unit) -> None:
    """Mark when something went wrong, over all plots; a point on the upper edge tells on hover what, and whom.

    What found nobody is marked in grey, by an empty symbol.
    """
    if not occurrences:
        return
    # One shape over all plots, and all shapes at once: added one by one, those of a week would take minutes.
    drawn.layout.shapes = (*drawn.layout.shapes, *(_mark(one, unit) for one in occurrences))
    # Each at the height of its kind, so that two at once can both be pointed at.
    kinds = list(dict.fromkeys(one["fault"] for one in occurrences))
    values = (value for trace in drawn.select_traces(row=1, col=1) for value in trace.y or ())
    top = max((value for value in values if value is not None), default=1.0)
    for name, color, symbol, those in (
        ("faults", _FAULT_COLOR, "x", [one for one in occurrences if not _missed(one)]),
        ("faults that found nobody", _MISSED_COLOR, "x-open", [one for one in occurrences if _missed(one)]),
    ):
        points = go.Scatter(
            x=[one["begins_s"] / unit.seconds for one in those],
            y=[top * (1.05 + 0.5 * kinds.index(one["fault"]) / len(kinds)) for one in those],
            text=[_told(one, unit) for one in those],
            hoverinfo="text",
            mode="markers",
            marker={"color": color, "size": 8, "symbol": symbol},
            name=name,
        )
        if those:
            drawn.add_trace(points, row=1, col=1)


def _missed(one: Mapping[str, Any]) -> bool:
    """Whether it found nobody; a run that was kept before this was told says nothing of it."""
    return "befell" in one and one["befell"]["count"] == 0


def _mark(one: Mapping[str, Any], unit: picture.Unit) -> dict[str, Any]:
    begins, ends = one["begins_s"] / unit.seconds, one["ends_s"] / unit.seconds
    color = _MISSED_COLOR if _missed(one) else _FAULT_COLOR
    place = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": begins, "x1": ends}
    if ends > begins:
        # Below what is drawn, whose colors mean states.
        return {"type": "rect", "fillcolor": color, "opacity": 0.15, "line": {"width": 0}, "layer": "below", **place}
    return {"type": "line", "line": {"color": color, "width": 1, "dash": "dot"}, **place}


def _told(one: Mapping[str, Any], unit: picture.Unit) -> str:
    begins, ends = one["begins_s"] / unit.seconds, one["ends_s"] / unit.seconds
    digits = 1 if unit is picture.MINUTES else 2
    span = f"{begins:.{digits}f}" + (f" to {ends:.{digits}f}" if ends > begins else "")
    when = f"{one['fault']}: {unit.name[:-1]} {span}"
    return f"{when}<br>{escape(_befell(one['befell']))}" if "befell" in one else when


def _listed(occurrences: Sequence[Mapping[str, Any]], unit: picture.Unit) -> str:
    """What the marks say on hover, as a list for whoever reads or prints the page."""
    if not occurrences:
        return ""
    lines = "".join(f"<li>{_told(one, unit).replace('<br>', '; ')}</li>" for one in occurrences[:FAULTS_LISTED])
    more = f"<li>and {len(occurrences) - FAULTS_LISTED:,} more</li>" if len(occurrences) > FAULTS_LISTED else ""
    return f"<details><summary>faults</summary><ul>{lines}{more}</ul></details>"


def _befell(befell: Mapping[str, Any]) -> str:
    count, names = befell["count"], befell.get("names", [])
    if not count:
        return f"found nobody (it befalls {befell['of']})"
    more = f" and {count - _NAMES_TOLD} more" if count > _NAMES_TOLD else ""
    named = f": {', '.join(names[:_NAMES_TOLD])}{more}" if names else ""
    return f"befell {count} {befell['of'] if count > 1 else befell['of'][:-1]}{named}"


def _position(entry: Entry) -> int | None:
    """The target, or what stands where nothing may be written."""
    return entry.decision.spec_replicas if entry.decision.target is None else entry.decision.target


def _facts(facts: dict[str, Any]) -> str:
    result, outcomes = facts["result"], facts["result"]["outcomes"]
    share = outcomes["in_time"] / outcomes["requests"] if outcomes["requests"] else None
    shown = (
        (f"requests scored, from minute {result['opening_s'] / 60:g}", f"{outcomes['requests']:,}"),
        ("in time", "unknown" if share is None else f"{share:.3%}"),
        ("TTFT p99", "unknown" if outcomes["ttft_p99_s"] is None else f"{outcomes['ttft_p99_s']:.2f} s"),
        ("accelerator-hours", f"{result['accelerator_hours']:.2f}"),
        ("dollars", "unknown" if result["cost_usd"] is None else f"{result['cost_usd']:.2f}"),
        ("cold starts", str(result["coldstarts"])),
        ("changes of the target", str(result["moves"])),
    )
    cells = "".join(f"<th>{escape(label)}</th>" for label, _ in shown)
    return f"<table><tr>{cells}</tr><tr>{''.join(f'<td>{escape(value)}</td>' for _, value in shown)}</tr></table>"


def _relation(facts: Mapping[str, Any]) -> str:
    """Of one of several pools: what of the page is its own, and where the others are."""
    others = ", ".join(facts.get("with", facts.get("beside", ())))
    if "role" in facts:
        told = (
            f"The {facts['role']} pool of a model in two roles; the other is {others}. Requests, in time and TTFT are"
            " what senders saw of both, all else is this pool's: in its plots a first token is that of its own engines."
        )
    elif others:
        told = f"Beside it on the same nodes: {others}."
    else:
        return ""
    return f'<p class="dim">{escape(told)}</p>'


def _starts(ways: Sequence[Mapping[str, Any]]) -> str:
    """On nodes: how many starts found what, and what that took."""
    if not ways:
        return ""
    heading = "".join(f"<th>{one}</th>" for one in ("room", "image", "weights from", "starts", "median", "longest"))
    rows = "".join(
        f"<tr><td>{escape(way['room'])}</td><td>{escape(way['image'] or '–')}</td><td>{escape(way['weights'] or '–')}"
        f'</td><td class="number">{way["starts"]:,}</td><td class="number">{way["median_s"]:.1f} s</td>'
        f'<td class="number">{way["longest_s"]:.1f} s</td></tr>'
        for way in ways
    )
    return f"<details><summary>starts on nodes</summary><table><tr>{heading}</tr>{rows}</table></details>"


def _decision(entry: Entry, unit: picture.Unit) -> dict[str, Any]:
    decision = entry.decision
    return {
        "head": f"{unit.name[:-1]} {unit.of(entry.at):.2f}: {decision.spec_replicas} → {decision.target}"
        f" ({decision.why.value}), {decision.ready} ready, {decision.warming} warming; {entry.outcome.status.value}",
        "detail": decision.detail,
        "terms": [[term.name, f"{term.replicas:.2f}"] for term in decision.terms],
        "numbers": [[name, f"{value:.6g}"] for name, value in sorted(decision.numbers.items())],
        "conditions": [[condition.name, condition.message] for condition in decision.conditions],
    }


def _source(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    faults = f", faults {facts['faults']['digest']}" if "faults" in facts else ""
    return (
        f"trace {facts['trace']['digest']}, policy {facts['policy_digest']}, seed {facts['seed']},"
        f" cold start {facts['coldstart_s']:.4g} s{faults}; {versions}"
    )
