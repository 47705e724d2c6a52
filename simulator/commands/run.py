"""What ``simulator run`` and ``simulator report`` do: one contender on one trace, kept as a folder, told as a page.

A run's folder holds ``run.json`` (what it follows from and what it came to), ``journal.jsonl.gz`` (every tick: what was
seen, what was decided and why, what came of it), and ``policy.yaml`` and ``cluster.yaml`` as they were; with nodes also
``starts.csv``, why each start took what it took. It appears whole or not at all, and the same (trace, policy, cluster,
seed, versions) give the same bytes.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from autoscaler.core.policy import ScalingPolicy
from autoscaler.footprint.ledger import AcceleratorState, apportion
from autoscaler.journal import Entry
from autoscaler.report import report as journal_report
from simulator import journalfile
from simulator.baselines.peers import PEERS, Style
from simulator.cluster import Routing
from simulator.commands import inputs
from simulator.commands.cases import case_of
from simulator.experiments.outcomes import Outcomes
from simulator.experiments.provenance import cluster_json, faults_json, trace_digest, versions, write_json
from simulator.experiments.sweep import Case, scenario_of
from simulator.experiments.trial import Result, run_trial
from simulator.nodes import placedstarts
from simulator.nodes.placedstarts import PlacedStart
from simulator.pages import run_report
from simulator.pages.tables import dollars, seconds

JOURNAL, FACTS, POLICY = "journal.jsonl.gz", "run.json", "policy.yaml"
CLUSTER, FAULTS, STARTS = "cluster.yaml", "faults.yaml", "starts.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``simulator run``. ``knob`` None is the policy's own quantile, or the middle of a peer's grid."""

    peer: str
    style: str
    knob: float | None
    copies: int
    seed: int
    coldstart_s: float | None
    joint: bool
    faults: Path | None = None
    cluster: Path | None = None
    routing: Routing = "least_outstanding"


def run(policy: Path, trace: str, out: Path, options: Options) -> None:
    """Run one contender, keep its folder, and print what it came to.

    Raises:
        click.ClickException: an input is missing or wrong, or the folder is there already; the message says what to do.
    """
    case = case_of(
        policy, trace, copies=options.copies, coldstart_s=options.coldstart_s, joint=options.joint,
        cluster=options.cluster, faults=options.faults, routing=options.routing,
    )  # fmt: skip
    _refuse_odd_knob(options)
    folder = inputs.new_folder(out)
    try:
        result = _kept(folder, policy, case, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    console = Console()
    for table in _tables(result, folder, case):
        console.print(table)
        console.print()
    console.print(f"kept in {folder.resolve()}; as a page: simulator report {folder}", soft_wrap=True, markup=False)


def _kept(folder: Path, policy: Path, case: Case, options: Options) -> Result:
    """Run, writing the journal as it grows, then the facts."""
    scenario, peer = scenario_of(case, options.seed), PEERS[options.peer]
    knob = options.knob if options.knob is not None else _usual(case.policy, options.peer)
    contender = peer.contender(scenario, case.policy.spec, knob, Style(options.style))
    with _progress() as progress, journalfile.writer(folder / JOURNAL) as write:
        task = progress.add_task(contender.name, total=1.0)
        result = run_trial(
            scenario,
            contender,
            case.promise,
            price_usd_per_hour=case.price_usd_per_hour,
            on_entry=write,
            on_share=lambda share: progress.update(task, completed=share),
        )
    shutil.copyfile(policy, folder / POLICY)
    if options.cluster is not None:
        shutil.copyfile(options.cluster, folder / CLUSTER)
        placedstarts.write_csv(folder / STARTS, result.starts)
    if options.faults is not None:
        shutil.copyfile(options.faults, folder / FAULTS)
    facts: dict[str, Any] = {
        "trace": {"name": scenario.trace.name, "digest": trace_digest(scenario.trace), "span_s": scenario.trace.span_s},
        "policy_digest": contender.digest,
        "peer": {"name": options.peer, "style": options.style, "knob": knob, "upstream": peer.upstream},
        "seed": options.seed,
        "coldstart_s": case.coldstart_s,
        "routing": case.routing,
        "promise": asdict(case.promise),
        "versions": versions(),
        "result": result.as_json(),
        **cluster_json(case.cluster),
        **faults_json(case.faults),
    }
    if case.faults is not None:
        facts["faults"]["occurrences"] = [
            {"fault": one.fault.fault.value, "begins_s": max(0.0, one.begins_s), "ends_s": one.ends_s}
            for one in scenario.occurrences()
        ]
    write_json(folder / FACTS, facts)
    return result


def _refuse_odd_knob(options: Options) -> None:
    knob = PEERS[options.peer].knob
    # Written so that NaN, of which no comparison holds, is refused too.
    if options.knob is not None and not knob.least <= options.knob <= knob.most:
        raise click.ClickException(
            f"--knob {options.knob:g} cannot be {options.peer}'s {knob.name}; give {knob.least:g} to {knob.most:g}"
        )


def _usual(policy: ScalingPolicy, peer: str) -> float:
    quantile = policy.spec.prewarm.quantile
    grid = PEERS[peer].knob.grid
    if peer == "ours":
        return 0.9 if quantile is None else quantile
    return grid[len(grid) // 2]


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _tables(result: Result, folder: Path, case: Case) -> Iterator[Table]:
    found = result.outcomes
    facts = Table(title=f"{result.contender}: {case.trace.name}", title_justify="left", box=None, show_header=False)
    facts.add_column(style="dim")
    facts.add_column()
    for label, value in (
        ("requests scored", f"{found.requests:,} ({_not_served(found)})"),
        ("in time", f"{found.attainment:.3%} (first token alone {found.ttft_attainment:.3%})"),
        ("TTFT p50, p95, p99", ", ".join(seconds(v) for v in (found.ttft_p50_s, found.ttft_p95_s, found.ttft_p99_s))),
        ("TPOT p50, p95, p99", ", ".join(map(_milliseconds, (found.tpot_p50_s, found.tpot_p95_s, found.tpot_p99_s)))),
        ("accelerator-hours", f"{result.accelerator_hours:.2f}"),
        ("dollars", dollars(result.cost_usd)),
        *_paid(result),
        ("cold starts", f"{result.coldstarts} (at most {result.peak_replicas} replicas at a time)"),
        ("changes of the target", str(result.moves)),
    ):  # fmt: skip
        facts.add_row(label, value)
    yield facts
    ledger = journal_report(journalfile.read(folder / JOURNAL), case.policy.spec, case.price_usd_per_hour).ledger
    # No signal tells of a replica that sleeps, so what it holds is not in the journal; the nodes know it.
    asleep_ms = round(result.paid.asleep_accelerator_hours * 3_600_000) if result.paid else 0
    held_ms = {**ledger.ms, AcceleratorState.ASLEEP: asleep_ms} if asleep_ms else ledger.ms
    footprint = Table(title="accelerator-seconds by state, from the journal", title_justify="left", box=None)
    parts = apportion(list(held_ms.values()), 1000)
    for state in held_ms:
        footprint.add_column(state.value, justify="right")
    footprint.add_column("held", justify="right")
    footprint.add_row(*map(str, parts), str(sum(parts)))
    yield footprint
    if result.starts:
        yield _starts(result.starts)


def _starts(starts: Iterable[PlacedStart]) -> Table:
    table = Table(title="starts on nodes", title_justify="left", box=None)
    for name in ("room", "image", "weights from"):
        table.add_column(name)
    for name in ("starts", "median s", "longest s"):
        table.add_column(name, justify="right")
    for way in placedstarts.ways(starts):
        counts = (f"{way.starts:,}", f"{way.median_s:.1f}", f"{way.longest_s:.1f}")
        table.add_row(way.room, way.image or "-", way.weights or "-", *counts)
    return table


def _paid(result: Result) -> Iterator[tuple[str, str]]:
    """What nodes hold while no replica runs on them is paid too."""
    if result.paid is not None:
        yield (
            "accelerator-hours of the nodes",
            f"{result.paid.accelerator_hours:.2f} ({result.paid.nodes} nodes in all)",
        )
        yield "dollars of the nodes", dollars(result.paid.usd)
        if result.paid.asleep_hours:
            held = result.paid.asleep_accelerator_hours
            yield "replica-hours asleep", f"{result.paid.asleep_hours:.2f} ({held:.2f} accelerator-hours held in them)"


def _not_served(found: Outcomes) -> str:
    lost = f", {found.lost:,} lost in crashes" if found.lost else ""
    return f"{found.refused:,} refused{lost}, {found.unfinished:,} unfinished"


def _milliseconds(value_s: float | None) -> str:
    return "unknown" if value_s is None else f"{value_s * 1000:.1f} ms"


def report(folder: Path, out: Path | None) -> None:
    """Write a run's page as one HTML file and print its path.

    Raises:
        click.ClickException: no run in that folder, a damaged one, or a page that is there already.
    """
    page = folder / "report.html" if out is None else out
    if page.exists():
        raise click.ClickException(f"{page} is there already, nothing was overwritten; name another file by --out")
    facts, policy, entries = _read(folder)
    try:
        run_report.write(page, facts, policy, entries)
    except OSError as error:
        raise click.ClickException(f"cannot write {page}: {error.strerror or error}; name another by --out") from error
    Console().print(f"report: {page.resolve()}", soft_wrap=True, markup=False)


def _read(folder: Path) -> tuple[dict[str, Any], ScalingPolicy, tuple[Entry, ...]]:
    remedy = "give a folder that simulator run has made"
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        entries = tuple(journalfile.read(folder / JOURNAL))
    except OSError as error:
        raise click.ClickException(f"{folder} holds no run ({error.strerror or error}); {remedy}") from error
    except ValueError as error:
        raise click.ClickException(f"{folder}: the run is damaged or of another version; {remedy}") from error
    if not entries:
        raise click.ClickException(f"{folder}: the journal is empty; {remedy}")
    return facts, inputs.read_policy(folder / POLICY), entries
