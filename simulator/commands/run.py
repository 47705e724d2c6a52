"""What ``simulator run`` and ``simulator report`` do: one contender on one trace, kept as a folder, told as a page.

A run's folder holds ``run.json`` (what it follows from and what it came to), ``journal.jsonl.gz`` (every tick: what was
seen, what was decided and why, what came of it), and ``policy.yaml`` and ``cluster.yaml`` as they were; with nodes also
``starts.csv``, why each start took what it took. It appears whole or not at all, and the same (trace, policy, cluster,
seed, versions) give the same bytes. Of several pools, each but the first has a folder of its own in that of the first,
named after its policy, with the same files.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from autoscaler.core.policy import ScalingPolicy
from autoscaler.journal import Entry
from simulator import journalfile
from simulator.baselines.peers import PEERS, Style
from simulator.commands import inputs
from simulator.commands.cases import CaseOptions, case_of
from simulator.experiments.provenance import cluster_json, faults_json, trace_digest, versions, write_json
from simulator.experiments.roles import beside_scenarios, role_scenarios, transfer_of
from simulator.experiments.sweep import Case
from simulator.experiments.trial import Part, Result, run_beside, run_roles
from simulator.faults.victims import Befallen, with_shared_nodes
from simulator.nodes import placedstarts
from simulator.pages import run_report, run_tables
from simulator.run import Contender
from simulator.world import Scenario

KV_GIGABYTES_PER_S = 25.0
"""A link of 200 Gb/s."""
JOURNAL, FACTS, POLICY = "journal.jsonl.gz", "run.json", "policy.yaml"
CLUSTER, FAULTS, STARTS = "cluster.yaml", "faults.yaml", "starts.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``simulator run``. ``knob`` None is the policy's own quantile, or the middle of a peer's grid."""

    case: CaseOptions
    peer: str
    style: str
    knob: float | None
    seed: int
    beside: tuple[tuple[Path, str], ...] = ()
    decode: Path | None = None
    kv_gigabytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One pool of the run: whose policy scales it on what; all but the first have a folder in that of the first."""

    policy_file: Path
    case: Case
    scenario: Scenario
    peer: str
    style: Style
    knob: float
    role: str | None = None

    @property
    def place(self) -> str:
        """Its folder within the run's."""
        return self.scenario.name

    def contender(self) -> Contender[Any, Any]:
        """Who scales it."""
        return PEERS[self.peer].contender(self.scenario, self.case.policy.spec, self.knob, self.style)


def run(policy: Path, trace: str, out: Path, options: Options) -> None:
    """Run one contender, or one for each of several pools, keep the folder, and print what it came to.

    Raises:
        click.ClickException: an input is missing or wrong, or the folder is there already; the message says what to do.
    """
    _refuse_odd_setting(options)
    pools = _pools(policy, trace, options)
    folder = inputs.new_folder(out)
    try:
        results = _kept(folder, pools, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    console = Console()
    for pool, result, place in zip(pools, results, _folders(folder, pools), strict=True):
        for table in run_tables.tables(result, place / JOURNAL, pool.case, role=pool.role):
            console.print(table)
            console.print()
        for line in run_tables.missed(result.befallen):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print(f"kept in {place.resolve()}; as a page: simulator report {place}", soft_wrap=True, markup=False)


def _pools(policy: Path, trace: str, options: Options) -> tuple[Pool, ...]:
    if options.decode is not None and options.beside:
        raise click.ClickException("--decode and --beside do not go together; leave one of them out")
    if options.kv_gigabytes_per_s is not None and options.decode is None:
        raise click.ClickException(
            "--kv-gigabytes-per-second is the link to a decode pool; give --decode, or leave it out"
        )
    # Of a model in two roles the decode policy has the objective per output token.
    case = case_of(policy, trace, replace(options.case, joint=options.case.joint and options.decode is None))
    if options.decode is not None:
        decode = case_of(options.decode, trace, options.case)
        _refuse_same_names((case, decode))
        # The prefill policy promises when the first token comes, the decode policy how fast the others do.
        case = replace(case, promise=replace(case.promise, tpot_s=decode.promise.tpot_s))
        sends, receives = role_scenarios(case, decode, options.seed)
        return (
            _pool(policy, case, sends, options, role="prefill"),
            _pool(options.decode, decode, receives, options, role="decode"),
        )
    if options.beside and options.case.cluster is None:
        raise click.ClickException("--beside needs nodes that the models share; give them by --cluster")
    others = tuple(case_of(other, requests, options.case) for other, requests in options.beside)
    files = (policy, *(other for other, _ in options.beside))
    _refuse_same_names((case, *others))
    scenarios = beside_scenarios((case, *others), options.seed)
    return tuple(
        _pool(file, each, scenario, options)
        for file, each, scenario in zip(files, (case, *others), scenarios, strict=True)
    )


def _pool(file: Path, case: Case, scenario: Scenario, options: Options, role: str | None = None) -> Pool:
    if options.peer == "static" and options.knob is not None:
        _refuse_out_of_bounds(options.knob, case.policy, place=file)
    knob = options.knob if options.knob is not None else _usual(case.policy, options.peer)
    return Pool(
        policy_file=file, case=case, scenario=scenario, peer=options.peer, style=Style(options.style), knob=knob,
        role=role,
    )  # fmt: skip


def _refuse_same_names(cases: Sequence[Case]) -> None:
    names = [case.policy.metadata.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise click.ClickException(f"two policies are called {name}; give each its own metadata.name")


def _folders(folder: Path, pools: Sequence[Pool]) -> list[Path]:
    return [folder, *(folder / pool.place for pool in pools[1:])]


def _kept(folder: Path, pools: Sequence[Pool], options: Options) -> list[Result]:
    """Run, writing the journals as they grow, then the facts."""
    folders = _folders(folder, pools)
    contenders = [pool.contender() for pool in pools]
    with _progress() as progress, ExitStack() as journals:
        task = progress.add_task(", ".join(contender.name for contender in contenders), total=1.0)
        parts = []
        for pool, contender, place in zip(pools, contenders, folders, strict=True):
            place.mkdir(exist_ok=True)
            parts.append(
                Part(
                    scenario=pool.scenario,
                    contender=contender,
                    promise=pool.case.promise,
                    price_usd_per_hour=pool.case.price_usd_per_hour,
                    on_entry=journals.enter_context(journalfile.writer(place / JOURNAL)),
                )
            )
        results = _run(pools, parts, options, on_share=lambda share: progress.update(task, completed=share))
    for pool, part, result, place in zip(pools, parts, results, folders, strict=True):
        _keep_inputs(place, pool, result, options.case)
        befallen = with_shared_nodes(result.befallen, results[0].befallen)
        write_json(place / FACTS, _facts(pool, part, result, befallen) | _relation(pool, pools))
    return results


def _run(
    pools: Sequence[Pool], parts: Sequence[Part], options: Options, on_share: Callable[[float], object]
) -> list[Result]:
    if options.decode is None:
        return run_beside(parts, on_share=on_share)
    transfer = transfer_of(pools[0].case.policy.spec, options.kv_gigabytes_per_s or KV_GIGABYTES_PER_S)
    return run_roles(parts[0], parts[1], transfer, on_share=on_share)


def _keep_inputs(folder: Path, pool: Pool, result: Result, options: CaseOptions) -> None:
    shutil.copyfile(pool.policy_file, folder / POLICY)
    if options.cluster is not None:
        shutil.copyfile(options.cluster, folder / CLUSTER)
        placedstarts.write_csv(folder / STARTS, result.starts)
    if options.faults is not None:
        shutil.copyfile(options.faults, folder / FAULTS)


def _facts(pool: Pool, part: Part, result: Result, befallen: Sequence[Befallen]) -> dict[str, Any]:
    case, scenario = pool.case, pool.scenario
    facts: dict[str, Any] = {
        "trace": {"name": scenario.trace.name, "digest": trace_digest(scenario.trace), "span_s": scenario.trace.span_s},
        "policy_digest": part.contender.digest,
        "peer": {
            "name": pool.peer, "style": pool.style.value, "knob": pool.knob, "upstream": PEERS[pool.peer].upstream,
        },
        "seed": scenario.seed,
        "coldstart_s": case.coldstart_s,
        "routing": case.routing,
        "promise": asdict(case.promise),
        "versions": versions(),
        "result": result.as_json(),
        **cluster_json(scenario.cluster),
        **faults_json(case.faults),
    }  # fmt: skip
    if case.faults is not None:
        facts["faults"]["occurrences"] = [one.as_json() for one in befallen]
    return facts


def _relation(pool: Pool, pools: Sequence[Pool]) -> dict[str, Any]:
    """What a pool's facts say of the others; nothing where there are none."""
    others = [other.place for other in pools if other is not pool]
    if not others:
        return {}
    return {"beside": others} if pool.role is None else {"role": pool.role, "with": others}


def _refuse_odd_setting(options: Options) -> None:
    inputs.refuse_unknown_peers([options.peer])
    peer = PEERS[options.peer]
    if Style(options.style) not in peer.styles:
        styles = ", ".join(style.value for style in peer.styles)
        raise click.ClickException(f"{options.peer} has no --style {options.style}; it has: {styles}")
    knob = peer.knob
    # Written so that NaN, of which no comparison holds, is refused too.
    if options.knob is not None and not knob.least <= options.knob <= knob.most:
        raise click.ClickException(
            f"--knob {options.knob:g} cannot be {options.peer}'s {knob.name}; give {knob.least:g} to {knob.most:g}"
        )
    if options.knob is not None and knob.whole and options.knob != int(options.knob):
        raise click.ClickException(f"--knob {options.knob:g}: {knob.name} come in whole numbers; give one")


def _refuse_out_of_bounds(replicas: float, policy: ScalingPolicy, *, place: Path) -> None:
    """Refuse a fixed number that the policy's bounds would cut: the run would go by another name than its own."""
    bounds = policy.spec.replicas
    if not bounds.min <= replicas <= bounds.max:
        raise click.ClickException(
            f"--knob {replicas:g}: {place} allows {bounds.min} to {bounds.max} replicas (spec.replicas);"
            " give one of these, or change the policy"
        )


def _usual(policy: ScalingPolicy, peer: str) -> float:
    quantile = policy.spec.prewarm.quantile
    grid = PEERS[peer].knob.grid
    if peer == "ours":
        return 0.9 if quantile is None else quantile
    middle = grid[len(grid) // 2]
    bounds = policy.spec.replicas
    return min(max(middle, bounds.min), bounds.max) if peer == "static" else middle


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def report(folder: Path, out: Path | None) -> None:
    """Write a run's page as one HTML file and print its path.

    Raises:
        click.ClickException: no run in that folder, a damaged one, or a page that is there already.
    """
    page = folder / "report.html" if out is None else out
    if page.exists():
        raise click.ClickException(f"{page} is there already, nothing was overwritten; name another file by --out")
    facts, policy, entries = _read(folder)
    with inputs.told_writing(page, "name another by --out"):
        run_report.write(page, facts, policy, entries)
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
