"""What ``simulator tune`` does: a search in a folder, with progress; the tuned policy with its evidence.

The folder holds ``task.json`` and ``trials.jsonl`` (every setting that was tried: what ``--resume`` goes on from),
``policy.yaml`` (the tuned policy, comments kept) and ``evidence.json``. Interrupted, it keeps what it has: the best so
far is run on the held-out part and written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import optuna
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulator.commands import inputs, tune_folder
from simulator.commands.cases import CaseOptions, case_of
from simulator.commands.tuned_policy import rewritten
from simulator.experiments import search as tune
from simulator.experiments.policy_settings import Settings
from simulator.experiments.provenance import cluster_json, faults_json, trace_digest, versions, write_json
from simulator.experiments.sweep import Case
from simulator.journalfile import whole
from simulator.pages import tune_report
from simulator.pages.tables import counted
from simulator.pages.tune_report import Outcome

POLICY, EVIDENCE = "policy.yaml", "evidence.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``simulator tune``."""

    case: CaseOptions
    trials: int
    seeds: int
    seed: int
    jobs: int | None
    resume: bool


def run(policy: Path, trace: str, out: Path, options: Options) -> None:
    """Search, and write the tuned policy with the evidence beside it.

    Raises:
        click.ClickException: an input is missing or wrong, the folder is there already, or none that could be resumed.
    """
    case = case_of(policy, trace, options.case)
    text = policy.read_text(encoding="utf-8")
    rewritten(text, Settings(quantile=0.9, hold_s=0, pool=0), str(policy))  # Refused now, or after hours of search.
    with inputs.told_errors():
        train, test = tune.split(case)
    task = _task(case, options)
    if options.resume:
        tune_folder.refuse_another(out, task)
    else:
        tune_folder.begin(out, task)
    seeds = tuple(range(1, options.seeds + 1))
    tried, interrupted = _searched(out, train, options, seeds)
    if not tried:
        raise click.ClickException(f"interrupted before anything was tried; go on with --resume --out {out}")
    found = tune.best(tried, case.policy.spec.objectives.ttft_attainment)
    was, now = _held_out(out, test, found, seeds, options.jobs)
    outcome = Outcome(
        case=case,
        found=found,
        before={"train": tried[0].figures, "test": was},
        after={"train": found.best.figures, "test": now},
    )
    with inputs.told_writing(out / POLICY, tune_folder.GO_ON), whole(out / POLICY) as part:
        head = tune_report.head(outcome, EVIDENCE)
        part.write_text(head + rewritten(text, outcome.found.best.settings, str(policy)), encoding="utf-8")
    with inputs.told_writing(out / EVIDENCE, tune_folder.GO_ON):
        write_json(out / EVIDENCE, tune_report.evidence(outcome, task, (train, test)))
    _tell(out, outcome, interrupted=interrupted)


def _task(case: Case, options: Options) -> dict[str, Any]:
    """What the search follows from: it must not be resumed for another."""
    return {
        "trace": trace_digest(case.trace),
        "policy": case.policy.spec.model_dump(mode="json", by_alias=True),
        "copies": options.case.copies,
        "seeds": options.seeds,
        "seed": options.seed,
        "coldstart_s": case.coldstart_s,
        "routing": case.routing,
        "joint": options.case.joint,
        "versions": versions() | {"optuna": optuna.__version__},
        **faults_json(case.faults),
        **cluster_json(case.cluster),
    }


def _searched(out: Path, train: Case, options: Options, seeds: Sequence[int]) -> tuple[list[tune.Tried], bool]:
    """Search with progress; return all that was tried, and whether Ctrl-C ended it early."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tune_folder.opened(out) as (known, keep),
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        if len(known) > options.trials:
            raise click.ClickException(
                f"{out} holds {counted(len(known), 'setting')} tried already;"
                f" give --trials {len(known)} or more, or another folder by --out"
            )
        tried = list(known)
        shown = progress.add_task("searching", total=options.trials, completed=len(tried))
        wanted = train.policy.spec.objectives.ttft_attainment
        try:
            for one in tune.search(
                train, known, trials=options.trials, seeds=seeds, seed=options.seed, jobs=options.jobs
            ):  # fmt: skip
                keep(one)
                tried.append(one)
                figures = tune.best(tried, wanted).best.figures
                best = f"best so far {figures.attainment:.2%} at {figures.hours:.2f} h"
                progress.update(shown, completed=len(tried), description=best)
        except KeyboardInterrupt:
            return tried, True
    return tried, False


def _held_out(
    out: Path, test: Case, found: tune.Found, seeds: Sequence[int], jobs: int | None
) -> tuple[tune.Figures, tune.Figures]:
    """Return what the policy as it was comes to on what is held out, and what the best does."""
    settings = [None] if found.best.settings is None else [None, found.best.settings]
    try:
        with Console(stderr=True).status("running the best on the held-out part"):
            figures = list(tune.evaluated(test, settings, seeds, jobs=jobs))
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted before the held-out part was run; {counted(found.tried, 'setting')} tried are kept:"
            f" the same command with --resume --out {out} goes on"
        ) from None
    return figures[0], figures[-1]


def _tell(folder: Path, outcome: Outcome, *, interrupted: bool) -> None:
    console = Console()
    console.print(tune_report.table(outcome, interrupted=interrupted))
    if not outcome.found.reached:
        console.print("no setting reached what the policy wants on the part searched on; this is what came nearest")
    console.print(outcome.held_out(), soft_wrap=True, highlight=False)
    console.print(f"tuned policy: {(folder / POLICY).resolve()}", soft_wrap=True, markup=False)
    if interrupted:
        console.print(f"go on: the same command with --resume --out {folder}", soft_wrap=True, markup=False)
