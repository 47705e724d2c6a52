"""What ``simulator compare`` does: from files and options to sweeps with progress, a table, JSON and a picture."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.baselines.peers import PEERS
from simulator.commands import inputs
from simulator.commands.cases import CaseOptions, case_of
from simulator.experiments.provenance import write_json
from simulator.experiments.sweep import WANTED, Case, Row, carried, evaluator, point_of, swept
from simulator.pages import compare_report
from simulator.pages.tables import counted, titled


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    case: CaseOptions
    peers: tuple[str, ...]
    seeds: int
    jobs: int | None


def compare(policy: Path, trace: str, carry_over: str | None, out: Path, options: Options) -> None:
    """Sweep every peer, print the table, and write comparison.json and comparison.html to a new folder.

    Raises:
        click.ClickException: an input is missing or wrong, or the folder is there already; the message says what to do.
    """
    case = case_of(policy, trace, options.case)
    other = None if carry_over is None else case_of(policy, carry_over, options.case)
    folder = inputs.new_folder(out)
    try:
        _compared(folder, case, other, options)
    except BaseException:
        # Half a sweep shows nobody's best: interrupted, it leaves nothing in the way of the next.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _compared(folder: Path, case: Case, other: Case | None, options: Options) -> None:
    console = Console()
    seeds = tuple(range(1, options.seeds + 1))
    rows = _rows(console, case, seeds, options)
    console.print(compare_report.table(case, rows, seeds=len(seeds)))
    results = compare_report.as_json(case, rows, seeds=seeds)
    if other is not None:
        table, results["carried_over"] = _carried_over(console, case, other, seeds, options)
        console.print(table)
    with inputs.told_writing(folder):
        write_json(folder / "comparison.json", results)
        compare_report.write_html(folder / "comparison.html", case, rows, seeds=len(seeds))
    console.print(f"picture: {(folder / 'comparison.html').resolve()}", soft_wrap=True, markup=False)
    console.print(f"results: {(folder / 'comparison.json').resolve()}", soft_wrap=True, markup=False)


def _rows(console: Console, case: Case, seeds: Sequence[int], options: Options) -> list[Row]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    lines = [(peer, style) for peer in options.peers for style in PEERS[peer].styles]
    rows = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("sweeping", total=len(lines))
        for peer, style in lines:
            evaluate = evaluator(case, peer, style, seeds, jobs=options.jobs)
            for results in swept(PEERS[peer].knob, evaluate):
                row = Row(peer=peer, style=style, results=results)
                progress.update(
                    task, description=f"{compare_report.name(row)}: {counted(len(results), 'setting')} tried"
                )
            rows.append(row)
            progress.advance(task)
    return rows


def _carried_over(
    console: Console, case: Case, other: Case, seeds: Sequence[int], options: Options
) -> tuple[Group, list[dict[str, object]]]:
    """Sweep on the other traffic, and run each peer's best setting there on this one."""
    title = f"each with the setting that was cheapest for 99 % on {other.trace.name}"
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("autoscaler", "setting", "attainment", "accelerator-hours"):
        table.add_column(heading, justify="left" if heading == "autoscaler" else "right")
    told: list[dict[str, object]] = []
    for row in _rows(console, other, seeds, options):
        knob = carried(row, WANTED[1])
        results = evaluator(case, row.peer, row.style, seeds, jobs=options.jobs)([knob])
        point = point_of(knob, results[knob])
        table.add_row(compare_report.name(row), f"{knob:.3g}", f"{point.attainment:.2%}", f"{point.hours:.1f}")
        told.append(
            {"peer": row.peer, "style": row.style.value, "knob": knob, "attainment": point.attainment,
             "accelerator_hours": point.hours}
        )  # fmt: skip
    return titled(title, table), told
