"""What ``simulator demo`` does: from files and options to the live view, the tables and the picture.

Errors are told in one sentence before anything runs; files appear when everything that belongs in them is known.
"""

from dataclasses import replace
from importlib import resources
from pathlib import Path
from tempfile import TemporaryFile

import click
from rich.console import Console

from autoscaler.core.policy import ScalingPolicy
from autoscaler.core.policy_parts import Preset
from autoscaler.footprint.prices import PriceList, PriceListError
from autoscaler.journal import Entry
from autoscaler.policyfile import parse
from autoscaler.pricelist import shipped_prices
from simulator.commands import inputs
from simulator.engine.profiles import EngineProfile, ProfileError
from simulator.experiments import demo
from simulator.experiments.demo import Journals, Setup
from simulator.pages import picture, tables
from simulator.pages.live import LIVE_S, LiveView, Pace
from simulator.traces import Trace, in_memory

REPORT = "report.html"
SHORTEST_S = 120.0
"""A trace has to last longer than the first decisions take to learn anything."""
LONGEST_S = 2 * 86_400.0
"""Journals of every tick of three runs are held in memory, and the picture draws all of them."""


def replay(setups: list[Setup], out: Path, *, fast: bool = True) -> None:
    """Run all contenders on all models, keep their journals, and tell from these what came of it.

    On a terminal the live view takes as long as one needs to follow it, unless it is to be fast.

    Raises:
        click.ClickException: the folder cannot be written.
    """
    console = Console()
    journals: dict[tuple[str, str], list[Entry]] = {}
    pace = Pace(0.0 if fast or not console.is_terminal else LIVE_S)
    with LiveView(console).shown() as view:
        for frame in demo.frames(setups):
            view.show(frame)
            pace.keep(view.share)
            for entry in frame.new:
                model, contender = entry.policy.split("/", maxsplit=1)
                journals.setdefault((model, contender), []).append(entry)
    try:
        paths = demo.keep(out, journals)
        kept = demo.read(paths)
        html = out / REPORT
        columns = [_column(setup, kept) for setup in setups]
        picture.write(html, columns, title=_title(setups))
    except OSError as error:
        raise click.ClickException(
            f"cannot write to {out}: {error.strerror or error}; name another folder by --out"
        ) from error
    _tell(console, setups, kept)
    _say(console, f"picture: {html.resolve()}")
    for path in paths.values():
        _say(console, f"journal: {path.resolve()}")


def _say(console: Console, text: str) -> None:
    """Print text as it is: what a user named is no markup, and a path is in one piece."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _title(setups: list[Setup]) -> str:
    """Return what was replayed, and for how long, in words."""
    names = " and ".join(setup.scenario.trace.name for setup in setups)
    minutes = max(setup.scenario.trace.span_s for setup in setups) / 60
    span = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return f"{names}, {span}: inference-autoscaler (ours) beside the HPA"


def _tell(console: Console, setups: list[Setup], kept: Journals) -> None:
    """Print the tables, from the journals alone."""
    scores = [(setup, demo.scores(setup, kept)) for setup in setups]
    for setup, found in scores:
        console.print(tables.comparison(setup, found))
        console.print()
    for note in tables.notes(setups):
        _say(console, note)
    console.print()
    for setup, found in scores:
        console.print(tables.footprint(setup, found))
        console.print()
    _say(console, tables.FOOTPRINT_NOTE)
    console.print()
    names = [setup.policy.metadata.name for setup in setups]
    console.print(tables.coldstarts([(name, kept[name, demo.OURS][-1]) for name in names]))
    console.print()


def _column(setup: Setup, kept: Journals) -> picture.Column:
    name = setup.policy.metadata.name
    tracks = tuple(
        picture.Track(name=contender, entries=entries) for (model, contender), entries in kept.items() if model == name
    )
    objectives = setup.policy.spec.objectives
    return picture.Column(
        title=name, objective_s=objectives.ttft_seconds, attainment=objectives.ttft_attainment, tracks=tracks
    )


def refuse_folder(out: Path) -> None:
    """Refuse a folder that cannot be written before the work of a minute is lost to it.

    Raises:
        click.ClickException: it is a file, it cannot be written, or a file of somebody else's would be overwritten.
    """
    place = out.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except OSError as error:  # A name that is too long.
        raise click.ClickException(f"--out {str(out)[:100]}: {error.strerror}; name another folder") from error
    if not place.is_dir():
        what = "is a file" if place == out.absolute() else f"lies below the file {place}"
        raise click.ClickException(f"--out {out} {what}; name a folder")
    try:
        # What the rights say is not all: nobody may write to /proc, or to a disk that is mounted read-only.
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise click.ClickException(f"--out {out}: cannot write to {place} ({reason}); name another folder") from error
    html = out / REPORT
    if html.exists() and not picture.is_ours(html):
        raise click.ClickException(
            f"{html} is no report of the simulator and would be lost; name another folder by --out"
        )


def setups(trace: str | None, policy: str | None, *, seed: int, coldstart_s: float) -> list[Setup]:
    """Return the models of the demo: the two shipped ones, or the user's.

    Raises:
        click.ClickException: a file is not there or wrong.
    """
    chat = demo.CHAT_NEED_REPLICAS, demo.CHAT_IN_FLIGHT_PER_POD
    code = demo.CODE_NEED_REPLICAS, demo.CODE_IN_FLIGHT_PER_POD
    models = [(_policy(policy, "demo-chat.yaml"), _trace(trace or "azure-conv-2023"), *chat)]
    if trace is None and policy is None:
        models.append((_policy(None, "demo-code.yaml"), _trace("azure-code-2023"), *code))
    prices = _prices()
    for model, requests, *_ in models:
        _refuse_too_long(model, requests, policy or model.metadata.name)
    shipped = trace is None and policy is None
    return [
        replace(
            demo.setup(model, requests, need_replicas=need, prices=prices, seed=seed, coldstart_s=coldstart_s),
            in_flight_per_pod=in_flight,
            in_flight_is_swept=shipped,
        )
        for model, requests, need, in_flight in models
    ]


def _refuse_too_long(model: ScalingPolicy, trace: Trace, place: str) -> None:
    """Refuse requests that no replica can hold: an engine answers them with an error, so they have no TTFT at all.

    Raises:
        click.ClickException: there are such requests.
    """
    profile = _profile(model, place)
    refused = int(demo.too_long(trace, profile).sum())
    if refused:
        tokens = trace.prompt_tokens.astype(int) + trace.output_tokens
        raise click.ClickException(
            f"{place}: {refused:,} of {len(trace):,} requests of {trace.name} need more than spec.engine.kvTokens"
            f" {profile.kv_tokens:,} (the longest {tokens.max():,} tokens); raise kvTokens to what the engine"
            " reports, or take these requests out of the trace"
        )


def _profile(model: ScalingPolicy, place: str) -> EngineProfile:
    """Return the engine that a policy describes.

    Raises:
        click.ClickException: such an engine cannot serve.
    """
    try:
        return demo.profile_of(model)
    except ProfileError as error:
        raise click.ClickException(f"{place}: {error}") from error


def _prices() -> PriceList:
    try:
        return shipped_prices()
    except PriceListError as error:
        raise click.ClickException(str(error)) from error


def _trace(name_or_path: str) -> Trace:
    """Return a shipped trace or the trace of a file.

    Raises:
        click.ClickException: there is none, or it cannot be used.
    """
    source = inputs.read_source(name_or_path)
    span_s = source.traffic.span_s
    if span_s > LONGEST_S:
        raise click.ClickException(
            f"{name_or_path}: it spans {span_s / 86_400:.1f} days, the demo replays two at most; give a part"
        )
    for note in source.notes:
        click.echo(f"{name_or_path}: {note}", err=True)
    with inputs.told_errors():
        trace = in_memory(source.traffic)
    if len(trace) < 2 or trace.span_s < SHORTEST_S:
        many = "1 request" if len(trace) == 1 else f"{len(trace)} requests"
        raise click.ClickException(
            f"{name_or_path}: {many} in {trace.span_s:.0f} s; give at least two minutes of traffic"
        )
    return trace


def _policy(path: str | None, shipped: str) -> ScalingPolicy:
    """Return the one policy of a file, or a shipped one.

    Raises:
        click.ClickException: the file cannot be read, or what is wrong in it, or the simulator has no such engine.
    """
    try:
        text = (
            resources.files("simulator").joinpath("data", shipped).read_text(encoding="utf-8")
            if path is None
            else Path(path).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise click.ClickException(f"cannot read the policy {path}: {reason}; give a YAML file by --policy") from error
    documents = parse(text, path or shipped)
    problems = [str(problem) for document in documents if document.policy is None for problem in document.problems]
    if problems:
        raise click.ClickException("\n".join(problems))
    if len(documents) > 1:
        raise click.ClickException(f"{path}: {len(documents)} policies; give a file with one, the simulator scales one")
    found = documents[0].policy
    if found is None:
        raise click.ClickException(f"{path}: no policy in this file; give a YAML file with one by --policy")
    if found.spec.engine.preset is not Preset.VLLM:
        raise click.ClickException(
            f"{path}: the simulated engine is vLLM, the policy's preset is {found.spec.engine.preset.value};"
            " set spec.engine.preset to vllm"
        )
    return found
