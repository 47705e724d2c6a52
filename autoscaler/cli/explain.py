"""``autoscaler explain``: why a policy's replicas are what they are, from the journal."""

import time
from typing import Any

import click
from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoscaler.adapters.store import Store
from autoscaler.cli.number_words import Said, said
from autoscaler.cli.reading import Instant, output_option, policy_in, reading, store_option
from autoscaler.cli.tables import (
    ago,
    count,
    counted,
    fits,
    gist,
    heading,
    instant,
    iso,
    number,
    seconds,
    show,
    show_json,
    table,
)
from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Replica, ReplicaState
from autoscaler.journal import Entry
from autoscaler.report import Move

MOVES_SHOWN = 5
NOT_READY_SHOWN = 8
# A tick may be late and one may be lost; after four of them something is wrong.
SILENT_TICKS = 4

EXAMPLES = """\b
Examples:
  autoscaler explain prod/chat
  autoscaler explain prod/chat --at 2026-12-01T08:00:00Z
  autoscaler explain prod/chat --last 20
"""


@click.command(epilog=EXAMPLES)
@click.argument("policy", metavar="[NAMESPACE/]NAME")
@store_option
@click.option("--at", "at", type=Instant(), help="The decision in force at this time, ISO 8601; else the newest.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The last N decisions, a line each.")
@output_option
def explain(policy: str, url: str, at: float | None, last: int | None, output: str) -> None:
    """Tell why a policy's replicas are what they are."""
    with reading(url) as store:
        name = policy_in(store, policy)
        entries = store.entries(name, until=at, limit=last or 1)
        oldest_at = store.oldest_at(name)
        if not entries:
            raise click.ClickException(_none_at(name, at or 0.0, oldest_at))
        moves = store.moves(name, until=entries[-1].at, limit=MOVES_SHOWN)
        spec = store.spec(entries[-1].policy_digest)
    if output == "json":
        encoded = [_as_json(entry) for entry in entries]
        show_json(encoded if last else {**encoded[0], "moves": [_move_json(move) for move in moves]})
        return
    silent = _silence(entries[-1], time.time() if at is None else at, newest=at is None)
    if last:
        show(heading(name, _told(entries, last, oldest_at)), *silent, _lines(entries))
    else:
        show(*_page(name, entries[0], spec, moves, silent))


def _none_at(name: str, at: float, oldest_at: float | None) -> str:
    kept = f"; the oldest that is kept is of {instant(oldest_at)} UTC" if oldest_at is not None else ""
    return (
        f"policy {name} has no decision at or before {instant(at)} UTC{kept}; entries are forgotten after "
        "--keep-journal-days, and earlier where the store gets larger than --journal-gib"
    )


def _told(entries: tuple[Entry, ...], last: int, oldest_at: float | None) -> str:
    """Return what a list of decisions is, with the windows over which its columns are taken."""
    numbers = entries[-1].decision.numbers
    level_s, horizon_s = (number(numbers[key]) if key in numbers else "?" for key in ("level_span_s", "horizon_s"))
    which = f"the last {counted(len(entries), 'decision')}"
    if len(entries) < last and oldest_at is not None:
        which = f"all {counted(len(entries), 'decision')} that are kept, from {instant(oldest_at)} on"
    columns = f"demand in replicas of work, smoothed over {level_s} s, and {horizon_s} s ahead"
    return f"{which}; times in UTC; {columns}"


def _silence(entry: Entry, at: float, *, newest: bool) -> list[Text]:
    """Return a line where the last decision is older than it would be if the controller had been at work."""
    silent_s = at - entry.at
    if silent_s <= SILENT_TICKS * max(entry.decision.next_at - entry.at, 1.0):
        return []
    until = "since then: is the controller running, and the leader?" if newest else f"until {instant(at)} UTC"
    return [Text(f"Nothing was recorded for {seconds(silent_s)} {until}", style="bold red")]


def newest_entry(store: Store, policy: str) -> Entry:
    """Return a policy's newest entry; it has one, since the store knows its name."""
    return store.entries(policy, limit=1)[0]


def _page(
    name: str, entry: Entry, spec: PolicySpec | None, moves: tuple[Move, ...], silent: list[Text]
) -> list[RenderableType]:
    decision = entry.decision
    head: list[RenderableType] = [heading(name, f"{instant(entry.at)} UTC, {ago(entry.at, time.time())}")]
    if spec is not None:
        head.append(Text(_serves(spec), style="dim"))
    how = [Text(f"Capacity: {decision.capacity}", style="dim")] if decision.capacity else []
    parts: list[RenderableType] = [Group(*head, *silent, _verdict(entry), Text(decision.detail), *how)]
    if decision.terms:
        parts.append(_candidates(decision))
    if decision.numbers:
        parts.append(_inputs(decision))
    parts += _replicas(entry)
    if decision.conditions:
        parts.append(_conditions(decision))
    if moves:
        parts.append(_moves(moves))
    return parts


def _serves(spec: PolicySpec) -> str:
    target = spec.target_ref
    held = f"{spec.accelerator.count_per_replica} × {spec.accelerator.class_}"
    return f"{spec.model.name} on {target.kind}/{target.name}, {held} a replica, mode {spec.mode.value}"


def _verdict(entry: Entry) -> Text:
    decision, status = entry.decision, entry.outcome.status.value
    verdict = f"target {count(decision.target)}, stands at {count(decision.spec_replicas)}"
    line = Text.assemble((verdict, "bold"), "  reason ", (decision.why.value, "bold yellow"), f"  outcome {status}")
    if entry.outcome.detail:
        line.append(f" ({entry.outcome.detail})")
    return line


# What is a candidate only where it binds: beside it these would read as replicas that somebody asked for.
_LIMITS = frozenset({Why.MIN_REPLICAS.value, Why.MAX_REPLICAS.value, Why.FAIL_SAFE.value, Why.STABILIZATION.value})


def _bound(decision: Decision) -> tuple[int, str]:
    """Return which term to mark, and what to say of it: the one that bound, else the one that demand is bound by."""
    terms, why = decision.terms, decision.why.value
    named = [i for i, term in enumerate(terms) if term.name == why]
    if named:
        return named[0], "bound"
    asked = [i for i, term in enumerate(terms) if term.name not in _LIMITS] or list(range(len(terms)))
    wanted = [i for i in asked if decision.wanted_by is not None and terms[i].name == decision.wanted_by.value]
    largest = wanted[0] if wanted else max(asked, key=lambda i: (terms[i].replicas, -i))
    if decision.target == decision.want:
        return largest, "bound"
    return largest, f"what demand asks for, but {why} bound the target"


def _candidates(decision: Decision) -> Table:
    made = table("Candidates, in replicas", "", "reason", "replicas", "note", numbers=["replicas"])
    marked, note = _bound(decision)
    for i, term in sorted(enumerate(decision.terms), key=lambda pair: (-pair[1].replicas, pair[0])):
        row = ("▶", note) if i == marked else ("", "limit" if term.name in _LIMITS else "")
        made.add_row(row[0], term.name, f"{term.replicas:.2f}", row[1], style="bold yellow" if i == marked else None)
    return made


def _inputs(decision: Decision) -> RenderableType:
    """Return the numbers with their units under headings, in two columns where there is room."""
    groups = list(said(decision.numbers).items())
    half, left = sum(len(rows) + 1 for _, rows in groups) / 2, 0
    while left < len(groups) and sum(len(rows) + 1 for _, rows in groups[: left + 1]) <= half + 3:
        left += 1
    sides = Table.grid(padding=(0, 4))
    sides.add_row(_numbers(groups[:left]), _numbers(groups[left:]))
    return Group(Text("Inputs", style="bold"), sides if fits(sides) else _numbers(groups))


def _numbers(groups: list[tuple[str, list[Said]]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim")
    for name, rows in groups:
        grid.add_row(Text(name, style="underline"))
        for row in rows:
            grid.add_row(f"  {row.words}", row.value, row.unit)
    return grid


def _replicas(entry: Entry) -> list[RenderableType]:
    decision, signals = entry.decision, entry.signals
    made = table("Replicas", "state", "number", "note", numbers=["number"])
    for state in ReplicaState:
        if state is not ReplicaState.GONE and (signals.count(state) or state is ReplicaState.READY):
            made.add_row(state.value, str(signals.count(state)), _remark(state, decision))
    missing = decision.warming - signals.count(ReplicaState.STARTING)
    if missing > 0:
        made.add_row("no pod yet", str(missing), "asked for, counted as warming")
    late = [r for r in signals.replicas if r.state in {ReplicaState.STARTING, ReplicaState.FAILED}]
    return [made, _not_ready(late, entry.at)] if late else [made]


def _remark(state: ReplicaState, decision: Decision) -> str:
    if state is ReplicaState.READY and decision.prewarm:
        return f"{decision.prewarm} of the {count(decision.target)} wanted are held above present need (pre-warm)"
    return ""


def _not_ready(replicas: list[Replica], at: float) -> Table:
    made = table("Not ready", "pod", "state", "age", "reason", numbers=["age"])
    oldest = sorted(replicas, key=lambda replica: (replica.ordered_at, replica.uid))
    for replica in oldest[:NOT_READY_SHOWN]:
        made.add_row(replica.pod, replica.state.value, seconds(at - replica.ordered_at), replica.reason or "")
    if len(oldest) > NOT_READY_SHOWN:
        made.add_row(f"and {len(oldest) - NOT_READY_SHOWN} more", "", "", "")
    return made


def _conditions(decision: Decision) -> Table:
    made = table("Conditions", "condition", "message")
    for condition in decision.conditions:
        made.add_row(condition.name, condition.message)
    return made


def _moves(moves: tuple[Move, ...]) -> Table:
    made = table("Last changes of the target, times in UTC", "when", "target", "reason", "outcome", "detail")
    for column in made.columns[:4]:
        column.no_wrap = True
    for move in reversed(moves):
        made.add_row(
            instant(move.at),
            f"{count(move.before)} → {move.after}",
            move.why.value,
            move.status.value,
            gist(move.detail),
        )
    return made


def _lines(entries: tuple[Entry, ...]) -> Table:
    wide = _line_table(entries, wide=True)
    return wide if fits(wide) else _line_table(entries, wide=False)


def _line_table(entries: tuple[Entry, ...], *, wide: bool) -> Table:
    """Return a line for each entry; on a narrow terminal without the date, the outcome and the sentence."""
    figures = {"waiting": "waiting", "demand": "level", "ahead": "demand_quantile"}
    numeric = ["ready", *figures]
    made = table("", "when", "target", *numeric, "reason", *(["outcome", "detail"] if wide else []), numbers=numeric)
    for entry in entries:
        decision = entry.decision
        row = [
            instant(entry.at)[0 if wide else 11 :],
            f"{count(decision.spec_replicas)} → {count(decision.target)}" if decision.moves else count(decision.target),
            str(decision.ready),
            *(count(decision.numbers.get(name)) for name in figures.values()),
            decision.why.value,
        ]
        row += [entry.outcome.status.value, gist(decision.detail)] if wide else []
        made.add_row(*row, style="bold" if decision.moves else None)
    return made


def _as_json(entry: Entry) -> dict[str, Any]:
    decision: dict[str, Any] = TypeAdapter(Decision).dump_python(entry.decision, mode="json")
    del decision["at"]
    replicas = {state.value: entry.signals.count(state) for state in ReplicaState}
    return {
        "policy": entry.policy,
        "policy_digest": entry.policy_digest,
        "at": iso(entry.at),
        **decision,
        "next_at": iso(entry.decision.next_at),
        "outcome": {"status": entry.outcome.status.value, "detail": entry.outcome.detail},
        "replicas": replicas,
    }


def _move_json(move: Move) -> dict[str, Any]:
    plain: dict[str, Any] = TypeAdapter(Move).dump_python(move, mode="json")
    return {**plain, "at": iso(move.at)}
