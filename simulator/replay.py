"""What ``simulator demo`` does: from files and options to the live view, the tables and the picture.

Errors are told in one sentence before anything runs; files appear when everything that belongs in them is known.
"""

import os
from importlib import resources
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from autoscaler.core.policy import ScalingPolicy
from autoscaler.footprint.prices import PriceList, PriceListError
from autoscaler.journal import Entry
from autoscaler.pricelist import shipped_prices
from simulator import demo, inputs, picture, tables
from simulator.demo import (
    CHAT_CONCURRENCY_PER_POD,
    CHAT_NEED_REPLICAS,
    CODE_CONCURRENCY_PER_POD,
    CODE_NEED_REPLICAS,
    Journals,
    Setup,
)
from simulator.live import LiveView
from simulator.profiles import ProfileError
from simulator.records import BLOCK_TOKENS
from simulator.traces import Trace, TraceError, load_trace

SHORTEST_S = 120.0
"""A trace has to last longer than the first decisions take to learn anything."""
LONGEST_S = 2 * 86_400.0
"""The demo keeps every tick in memory, to draw it."""


def replay(setups: list[Setup], out: Path) -> None:
    """Run all contenders on all models, keep their journals, and tell from these what came of it.

    Raises:
        click.ClickException: the folder cannot be written.
    """
    console = Console()
    journals: dict[tuple[str, str], list[Entry]] = {}
    with LiveView(console).shown() as view:
        for frame in demo.frames(setups):
            view.show(frame)
            for entry in frame.new:
                model, contender = entry.policy.split("/", maxsplit=1)
                journals.setdefault((model, contender), []).append(entry)
    try:
        kept = demo.read(demo.keep(out, journals))
        html = out / "report.html"
        columns = [_column(setup, kept) for setup in setups]
        picture.write(html, columns, title="An hour of real traffic: inference-autoscaler (ours) beside the HPA")
    except OSError as error:
        raise click.ClickException(
            f"cannot write to {out}: {error.strerror or error}; name another folder by --out"
        ) from error
    _tell(console, setups, kept)
    console.print(f"picture: {html.resolve()}", soft_wrap=True, markup=False)
    console.print(f"journals: {out.resolve()}/journal-*.jsonl.gz", soft_wrap=True, markup=False)


def _tell(console: Console, setups: list[Setup], kept: Journals) -> None:
    """Print the tables, from the journals alone."""
    scores = [(setup, demo.scores(setup, kept)) for setup in setups]
    for setup, found in scores:
        console.print(tables.comparison(setup, found))
        console.print()
    for setup, found in scores:
        console.print(tables.footprint(setup, found))
        console.print()
    console.print(tables.FOOTPRINT_NOTE, markup=False, highlight=False)
    console.print()
    names = [setup.policy.metadata.name for setup in setups]
    console.print(tables.coldstarts([(name, kept[name, demo.OURS][-1]) for name in names]))
    console.print()


def _column(setup: Setup, kept: Journals) -> picture.Column:
    name = setup.policy.metadata.name
    tracks = tuple(
        picture.Track(name=contender, entries=entries) for (model, contender), entries in kept.items() if model == name
    )
    return picture.Column(title=name, objective_s=setup.policy.spec.objectives.ttft_seconds, tracks=tracks)


def refuse_folder(out: Path) -> None:
    """Refuse a folder that cannot be written before the work of a minute is lost to it.

    Raises:
        click.ClickException: it is a file, or there is no right to write.
    """
    if out == Path():
        raise click.ClickException("--out is empty; name a folder")
    place = out.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except OSError as error:
        raise click.ClickException(f"--out: {error.strerror}; name another folder") from error
    if not place.is_dir():
        what = "is a file" if place == out.absolute() else f"lies below the file {place}"
        raise click.ClickException(f"--out {out} {what}; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise click.ClickException(f"--out {out}: no right to write to {place}; name another folder")


def setups(trace: str | None, policy: str | None, *, seed: int, coldstart_s: float) -> list[Setup]:
    """Return the models of the demo: the two shipped ones, or the user's.

    Raises:
        click.ClickException: a file is not there or wrong.
    """
    chat = _policy(policy, "demo-chat.yaml")
    models = [(chat, _trace("azure-conv-2023" if trace is None else trace), CHAT_NEED_REPLICAS)]
    targets = [CHAT_CONCURRENCY_PER_POD, CODE_CONCURRENCY_PER_POD]
    if trace is None and policy is None:
        models.append((_policy(None, "demo-code.yaml"), _trace("azure-code-2023"), CODE_NEED_REPLICAS))
    prices = _prices()
    try:
        return [
            demo.setup(
                model,
                _fitting(model, requests),
                need_replicas=need,
                prices=prices,
                seed=seed,
                coldstart_s=coldstart_s,
                concurrency_per_pod=target,
            )
            for (model, requests, need), target in zip(models, targets, strict=False)
        ]
    except ProfileError as error:
        raise click.ClickException(f"{policy}: the policy's engine cannot be simulated: {error}") from error


def _fitting(policy: ScalingPolicy, trace: Trace) -> Trace:
    """Return the requests that one replica's KV cache can hold; an engine refuses the others whoever scales it.

    Raises:
        click.ClickException: none fits.
    """
    blocks = demo.profile_of(policy).kv_blocks
    tokens = np.maximum(trace.prompt_tokens, 1).astype(np.int64) + np.maximum(trace.output_tokens, 1)
    fits = -(-tokens // BLOCK_TOKENS) <= blocks
    if fits.all():
        return trace
    said = f"{trace.name}: {int((~fits).sum()):,} of {len(trace):,} requests are longer than one replica's KV cache"
    if int(fits.sum()) < 2:
        raise click.ClickException(f"{said}; give a policy with more spec.engine.kvTokens")
    click.echo(f"{said} (spec.engine.kvTokens); no engine takes them, so they are left out", err=True)
    return Trace(
        name=trace.name,
        arrival_s=trace.arrival_s[fits],
        prompt_tokens=trace.prompt_tokens[fits],
        output_tokens=trace.output_tokens[fits],
    )


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
    try:
        trace = load_trace(name_or_path)
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    if len(trace) < 2 or trace.span_s < SHORTEST_S:
        many = "1 request" if len(trace) == 1 else f"{len(trace)} requests"
        raise click.ClickException(
            f"{name_or_path}: {many} in {trace.span_s:.0f} s; give at least two minutes of traffic"
        )
    if trace.span_s > LONGEST_S:
        days = trace.span_s / 86_400
        raise click.ClickException(f"{name_or_path}: {days:.1f} days of traffic; give a stretch of two days or less")
    return trace


def _policy(path: str | None, shipped: str) -> ScalingPolicy:
    """Return the one policy of a file, or a shipped one.

    Raises:
        click.ClickException: the file cannot be read, or what is wrong in it, or the simulator has no such engine.
    """
    if path is not None:
        return inputs.read_policy(Path(path))
    text = resources.files("simulator").joinpath("data", shipped).read_text(encoding="utf-8")
    return inputs.policy_of(text, shipped)
