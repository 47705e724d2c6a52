"""``autoscaler footprint``: accelerator time by state, and what it cost, from the ledger."""

import time
from decimal import Decimal
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from autoscaler.cli.reading import Duration, output_option, reading, store_option
from autoscaler.cli.tables import fits, heading, instant, iso, show, show_json, table
from autoscaler.footprint.ledger import (
    MS_PER_HOUR,
    WASTE,
    AcceleratorState,
    Line,
    Sheet,
    apportion,
    sheet,
)

UNKNOWN = "unknown"
# A hundredth of an hour in ms, and a cent in micro-dollars × ms an hour: the units of the printed columns.
HOUR_UNIT = MS_PER_HOUR // 100
CENT_UNIT = 10_000 * MS_PER_HOUR

_KEYS = {
    "policy": lambda row: row.policy,
    "model": lambda row: row.model,
    "accelerator": lambda row: row.accelerator,
}

EXAMPLES = """\b
Examples:
  autoscaler footprint
  autoscaler footprint --since 7d --by accelerator -o json
"""


@click.command(epilog=EXAMPLES)
@store_option
@click.option("--since", type=Duration(), default="24h", show_default=True, help="How far back, e.g. 30m, 24h, 7d.")
@click.option(
    "--by", type=click.Choice(["policy", "model", "accelerator"]), default="policy", show_default=True, help="Lines."
)
@output_option
def footprint(url: str, since: float, by: str, output: str) -> None:
    """Show accelerator-hours by state, and what they cost."""
    until_at = time.time()
    with reading(url) as store:
        rows = store.ledger(since=until_at - since, until=until_at)
        kept = store.ledger_span()
    asked_at = until_at - since
    # What overlaps the beginning counts whole: five minutes, an hour where it is old.
    since_at = min([asked_at, *(row.start_at for row in rows)])
    added = sheet(rows, _KEYS[by])
    if output == "json":
        show_json({**_as_json(added, by, since_at, until_at), "ledger_from": iso(kept[0]) if kept else None})
    elif not rows:
        click.echo(f"No accelerator time was recorded since {instant(since_at)} UTC; {_reaches(kept)}")
    else:
        span = f"accelerator-hours by {by}, {instant(since_at)} to {instant(until_at)} UTC"
        wide = sheet_table(added, by)
        show(
            heading("Footprint", span),
            *_unknown_before(asked_at, kept),
            wide if fits(wide) else sheet_list(added, by),
            _notes(added),
        )


def _reaches(kept: tuple[float, float] | None) -> str:
    if kept is None:
        return "the ledger is empty; is the controller running?"
    return f"the ledger reaches from {instant(kept[0])} to {instant(kept[1])} UTC; try a longer --since"


def _unknown_before(asked_at: float, kept: tuple[float, float] | None) -> list[Text]:
    """Return a line where more was asked for than is kept: the sums are then of less than they seem."""
    if kept is None or kept[0] <= asked_at:
        return []
    return [Text(f"The ledger begins at {instant(kept[0])} UTC: of the time before nothing is kept.", style="yellow")]


def sheet_table(added: Sheet, by: str) -> Table:
    """Return a sheet as a table in accelerator-hours; every column adds up to its total as printed."""
    states = [state for state in AcceleratorState if added.total.ms.get(state)]
    names = [state.value for state in states]
    made = table("", by, *names, "total", "waste", "cost", numbers=[*names, "total", "waste", "cost"])
    made.show_footer = True
    columns = [apportion([line.ms.get(state, 0) for line in added.lines], HOUR_UNIT) for state in states]
    columns.append(apportion([line.total_ms for line in added.lines], HOUR_UNIT))
    cents = apportion([line.micro_usd_ms for line in added.lines], CENT_UNIT)
    for i, line in enumerate(added.lines):
        made.add_row(line.key, *(_hours(column[i]) for column in columns), _waste(line), _cost(line, cents[i]))
    footers = [
        "total",
        *(_hours(sum(column)) for column in columns),
        _waste(added.total),
        _cost(added.total, sum(cents)),
    ]
    for column, footer in zip(made.columns, footers, strict=True):
        column.footer = Text(footer, style="bold")
    return made


def sheet_list(added: Sheet, by: str) -> Table:
    """Return a sheet as a list with a line for each state, for narrow terminals."""
    made = table("", by, "hours", "share", "cost", numbers=["hours", "share", "cost"])
    totals = apportion([line.total_ms for line in added.lines], HOUR_UNIT)
    cents = apportion([line.micro_usd_ms for line in added.lines], CENT_UNIT)
    blocks = [*zip(added.lines, totals, cents, strict=True), (added.total, sum(totals), sum(cents))]
    for line, total, cost in blocks:
        made.add_row(line.key, _hours(total), "", _cost(line, cost), style="bold")
        states = [state for state in AcceleratorState if line.ms.get(state)]
        for state, hours in zip(states, apportion([line.ms[state] for state in states], HOUR_UNIT), strict=True):
            share = f"{100 * line.ms[state] / line.total_ms:.1f} %"
            made.add_row(f"  {state.value}", _hours(hours), share, "", style="red" if state in WASTE else None)
        made.add_section()
    return made


def _hours(hundredths: int) -> str:
    return f"{Decimal(hundredths) / 100:,.2f}" if hundredths else "–"


def _waste(line: Line) -> str:
    return f"{100 * line.waste_ms / line.total_ms:.1f} %" if line.total_ms else "–"


def _cost(line: Line, cents: int) -> str:
    if line.unpriced_ms == line.total_ms and line.total_ms:
        return UNKNOWN
    cost = f"${Decimal(cents) / 100:,.2f}"
    return f"{cost} + {UNKNOWN}" if line.unpriced_ms else cost


_MEANINGS = {
    AcceleratorState.BUSY: "ready, with requests",
    AcceleratorState.IDLE: "ready without requests, and held for no reason",
    AcceleratorState.PREWARM: "ready without requests, and held on purpose",
    AcceleratorState.WARMING: "held by a replica that is not ready yet",
    AcceleratorState.DRAINING: "held by a replica that is on its way out",
    AcceleratorState.FAILED: "held by a replica that cannot start",
    AcceleratorState.UNKNOWN: "held, but no trustworthy sample said whether it worked",
}


def _notes(added: Sheet) -> Text:
    notes = [f"{state} = {words}" for state, words in _MEANINGS.items() if added.total.ms.get(state)]
    notes.append(f"waste = {' and '.join(sorted(WASTE))}, as a share of the total")
    if added.total.unpriced_ms:
        hours = added.total.unpriced_ms / MS_PER_HOUR
        notes.append(f"{hours:,.1f} accelerator-hours have no known price and are in no dollar figure")
    return Text("\n".join(notes), style="dim")


def _as_json(added: Sheet, by: str, since_at: float, until_at: float) -> dict[str, Any]:
    return {
        "by": by,
        "since": iso(since_at),
        "until": iso(until_at),
        "lines": [_line_json(line) for line in added.lines],
        "total": _line_json(added.total),
    }


def _line_json(line: Line) -> dict[str, Any]:
    cost = line.cost_usd
    return {
        "key": line.key,
        "accelerator_ms": {state.value: line.ms.get(state, 0) for state in AcceleratorState},
        "total_accelerator_ms": line.total_ms,
        "waste_share": line.waste_ms / line.total_ms if line.total_ms else None,
        "cost_usd": None if cost is None else str(cost),
        "unpriced_accelerator_ms": line.unpriced_ms,
    }
