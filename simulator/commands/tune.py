"""What ``simulator tune`` does: a study in a folder, a search with progress, the tuned policy with its evidence.

The folder holds ``study.log`` (every setting that was tried: what ``--resume`` goes on from), ``policy.yaml`` (the
tuned policy, comments kept) and ``evidence.json``. Interrupted, it keeps what it has: the best so far is written.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from ruamel.yaml import YAML

from simulator.commands import inputs
from simulator.commands.cases import CaseOptions, case_of
from simulator.experiments import search as tune
from simulator.experiments.provenance import cluster_json, faults_json, trace_digest, versions, write_json
from simulator.experiments.sweep import Case
from simulator.journalfile import whole
from simulator.pages.tables import counted

STUDY, POLICY, EVIDENCE, TASK = "study.log", "policy.yaml", "evidence.json", "task.json"


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
    train, test = tune.split(case)
    folder = _folder(out, _task(case, options), resume=options.resume)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="tune", storage=JournalStorage(JournalFileBackend(str(folder / STUDY))), load_if_exists=True
    )
    jobs, seeds = options.jobs or os.cpu_count() or 1, tuple(range(1, options.seeds + 1))
    interrupted = _search(study, train, options, seeds, jobs)
    try:
        best = tune.best(study)
    except ValueError:
        raise click.ClickException(
            f"interrupted before anything was tried; go on with --resume --out {folder}"
        ) from None
    tuned = tune.evaluated(test, [best.settings], seeds, jobs=jobs)[0]
    before = {"train": tune.as_it_is(train, seeds, jobs=jobs), "test": tune.as_it_is(test, seeds, jobs=jobs)}
    after = {"train": best.train, "test": tuned}
    _write_policy(
        folder / POLICY, policy, settings=best.settings, case=case, after=after["test"], before=before["test"]
    )
    write_json(folder / EVIDENCE, _evidence(case, options, best, before, after))
    _tell(folder, case, best, before, after, interrupted=interrupted)


def _task(case: Case, options: Options) -> dict[str, Any]:
    """What the search follows from: a study must not be resumed for another."""
    return {
        "trace": trace_digest(case.trace),
        "policy": case.policy.spec.model_dump(mode="json", by_alias=True),
        "copies": options.case.copies,
        "seeds": options.seeds,
        "seed": options.seed,
        "coldstart_s": case.coldstart_s,
        "routing": case.routing,
        "joint": options.case.joint,
        **faults_json(case.faults),
        **cluster_json(case.cluster),
    }


def _folder(out: Path, task: dict[str, Any], *, resume: bool) -> Path:
    if not resume:
        folder = inputs.new_folder(out)
        write_json(folder / TASK, task)
        return folder
    try:
        known = json.loads((out / TASK).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{out} holds no search to resume; leave --resume out to begin one") from error
    if known != task:
        raise click.ClickException(f"{out} is a search on other input; name another folder by --out")
    return out


def _search(study: optuna.Study, train: Case, options: Options, seeds: Sequence[int], jobs: int) -> bool:
    """Search with progress; True if Ctrl-C ended it early."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("searching", total=options.trials)

        def shown(tried: int, best: tune.Found) -> None:
            text = f"best so far {best.train.attainment:.2%} at {best.train.hours:.2f} h"
            progress.update(task, completed=tried, description=text)

        try:
            tune.search(study, train, trials=options.trials, seeds=seeds, seed=options.seed, jobs=jobs, on_batch=shown)
        except KeyboardInterrupt:
            return True
    return False


def _write_policy(
    path: Path, source: Path, *, settings: tune.Settings, case: Case, after: tune.Figures, before: tune.Figures
) -> None:
    """Write the user's own file with the settings changed, its comments kept, and the evidence at its head."""
    yaml = YAML()
    yaml.preserve_quotes = True
    document = yaml.load(source.read_text(encoding="utf-8"))
    spec = document["spec"]
    prewarm = spec.setdefault("prewarm", {})
    prewarm["quantile"] = round(settings["prewarm.quantile"], 4)
    prewarm["min"] = int(settings["prewarm.min"])
    spec.setdefault("scaleDown", {})["stabilizationSeconds"] = round(settings["scaleDown.stabilizationSeconds"])
    text = StringIO()
    yaml.dump(document, text)
    head = (
        f"# Tuned on the first {tune.TRAIN_SHARE:.0%} of {case.trace.name}. On the rest, unseen:\n"
        f"# {after.attainment:.3%} in time at {after.hours:.2f} accelerator-hours;\n"
        f"# before {before.attainment:.3%} at {before.hours:.2f}. The evidence is in {EVIDENCE} beside it.\n"
    )
    missed = _missed(case, after)
    if missed is not None:
        head += f"# {missed}\n"
    with whole(path) as part:
        part.write_text(head + text.getvalue(), encoding="utf-8")


def _evidence(
    case: Case, options: Options, best: tune.Found, before: dict[str, tune.Figures], after: dict[str, tune.Figures]
) -> dict[str, Any]:
    return {
        "task": _task(case, options),
        "wanted": case.policy.spec.objectives.ttft_attainment,
        "settings": dict(best.settings),
        "tried": best.tried,
        "reached_in_training": best.reached,
        "reached_on_the_rest": _missed(case, after["test"]) is None,
        "before": {part: tune.as_json(figures) for part, figures in before.items()},
        "after": {part: tune.as_json(figures) for part, figures in after.items()},
        "versions": versions() | {"optuna": optuna.__version__},
    }


def _missed(case: Case, after: tune.Figures) -> str | None:
    """Return the sentence on a promise that the tuned policy does not keep on traffic that it has not seen."""
    wanted = case.policy.spec.objectives.ttft_attainment
    if after.attainment >= wanted:
        return None
    return f"It misses the {wanted:.2%} that the policy wants there: search on more traffic before you use it."


def _tell(
    folder: Path,
    case: Case,
    best: tune.Found,
    before: dict[str, tune.Figures],
    after: dict[str, tune.Figures],
    *,
    interrupted: bool,
) -> None:
    console = Console()
    title = f"{counted(best.tried, 'setting')} tried{', then interrupted' if interrupted else ''}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "searched on: in time", "hours", "held out: in time", "hours"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in (("as it was", before), ("tuned", after)):
        cells = [text for one in figures.values() for text in (f"{one.attainment:.2%}", f"{one.hours:.2f}")]
        table.add_row(name, *cells)
    console.print(table)
    if not best.reached:
        console.print("no setting reached what the policy wants; this is the one that came nearest")
    missed = _missed(case, after["test"])
    if missed is not None:
        console.print(f"held out: {missed}", soft_wrap=True)
    if before["test"].attainment >= after["test"].attainment and before["test"].hours <= after["test"].hours:
        console.print("held out: the policy as it was does as well for no more hours; keep it", soft_wrap=True)
    console.print(f"tuned policy: {(folder / POLICY).resolve()}", soft_wrap=True, markup=False)
    if interrupted:
        console.print(f"go on: the same command with --resume --out {folder}", soft_wrap=True, markup=False)
