"""What a run came to, as tables for the terminal."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Group
from rich.table import Table

from autoscaler.footprint.ledger import AcceleratorState, apportion
from autoscaler.report import report as journal_report
from simulator import journalfile
from simulator.experiments.outcomes import Outcomes
from simulator.experiments.sweep import Case
from simulator.experiments.trial import Result
from simulator.faults.victims import Befallen
from simulator.nodes import placedstarts
from simulator.nodes.placedstarts import PlacedStart
from simulator.pages.tables import counted, dollars, seconds, titled

MISSED_MOST = 20
"""Lines on faults that found nobody: what comes by chance in a run of weeks would fill pages."""


def tables(result: Result, journal: Path, case: Case, *, role: str | None = None) -> Iterator[Group]:
    """Yield what a run came to: the requests, the cost, accelerator-seconds by state, and the starts on nodes.

    Of a model in two roles the requests are told once, with the first of them.
    """
    found = result.outcomes
    part = "" if role is None else f", {role}"
    title = f"{result.contender}{part}: {case.trace.name}"
    facts = Table(box=None, show_header=False)
    facts.add_column(style="dim")
    facts.add_column()
    for label, value in (
        *(() if role == "decode" else _requests(found)),
        ("accelerator-hours", f"{result.accelerator_hours:.2f}"),
        ("dollars", dollars(result.cost_usd)),
        *_paid(result),
        ("cold starts", f"{result.coldstarts} (at most {counted(result.peak_replicas, 'replica')} at a time)"),
        ("changes of the target", str(result.moves)),
    ):  # fmt: skip
        facts.add_row(label, value)
    yield titled(title, facts)
    ledger = journal_report(journalfile.read(journal), case.policy.spec, case.price_usd_per_hour).ledger
    # No signal tells of a replica that sleeps, so what it holds is not in the journal; the nodes know it.
    asleep_ms = round(result.paid.asleep_accelerator_hours * 3_600_000) if result.paid else 0
    held_ms = {**ledger.ms, AcceleratorState.ASLEEP: asleep_ms} if asleep_ms else ledger.ms
    footprint = Table(box=None)
    parts = apportion(list(held_ms.values()), 1000)
    for state in held_ms:
        footprint.add_column(state.value, justify="right")
    footprint.add_column("held", justify="right")
    footprint.add_row(*map(str, parts), str(sum(parts)))
    yield titled("accelerator-seconds by state, from the journal", footprint)
    if result.starts:
        yield _starts(result.starts)


def _requests(found: Outcomes) -> Iterator[tuple[str, str]]:
    yield from (
        ("requests scored", f"{found.requests:,} ({_not_served(found)})"),
        ("in time", f"{found.attainment:.3%} (first token alone {found.ttft_attainment:.3%})"),
        ("TTFT p50, p95, p99", ", ".join(map(_seconds, (found.ttft_p50_s, found.ttft_p95_s, found.ttft_p99_s)))),
        ("TPOT p50, p95, p99", ", ".join(map(_milliseconds, (found.tpot_p50_s, found.tpot_p95_s, found.tpot_p99_s)))),
    )


def missed(befallen: Iterable[Befallen]) -> Iterator[str]:
    """Yield one line for each fault that found nobody; of very many the first, and how many more there are."""
    lines = [one.missed for one in befallen if one.missed is not None]
    yield from (f"found nobody: {line}" for line in lines[:MISSED_MOST])
    if len(lines) > MISSED_MOST:
        yield f"found nobody: {len(lines) - MISSED_MOST:,} more; run.json names all"


def _starts(starts: Iterable[PlacedStart]) -> Group:
    table = Table(box=None)
    for name in ("room", "image", "weights from"):
        table.add_column(name)
    for name in ("starts", "median s", "longest s"):
        table.add_column(name, justify="right")
    for way in placedstarts.ways(starts):
        counts = (f"{way.starts:,}", f"{way.median_s:.1f}", f"{way.longest_s:.1f}")
        table.add_row(way.room, way.image or "-", way.weights or "-", *counts)
    return titled("starts on nodes", table)


def _paid(result: Result) -> Iterator[tuple[str, str]]:
    """What nodes hold while no replica runs on them is paid too."""
    if result.paid is not None:
        yield (
            "accelerator-hours of the nodes",
            f"{result.paid.accelerator_hours:.2f} ({counted(result.paid.nodes, 'node')} in all)",
        )
        yield "dollars of the nodes", dollars(result.paid.usd)
        if result.paid.asleep_hours:
            held = result.paid.asleep_accelerator_hours
            yield "replica-hours asleep", f"{result.paid.asleep_hours:.2f} ({held:.2f} accelerator-hours held in them)"


def _not_served(found: Outcomes) -> str:
    lost = f", {found.lost:,} lost in crashes" if found.lost else ""
    return f"{found.refused:,} refused{lost}, {found.unfinished:,} unfinished"


def _seconds(value_s: float | None) -> str:
    return "unknown" if value_s is None else f"{seconds(value_s)} s"


def _milliseconds(value_s: float | None) -> str:
    return "unknown" if value_s is None else f"{value_s * 1000:.1f} ms"
