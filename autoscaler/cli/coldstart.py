"""``autoscaler coldstart``: the measured cold start of a policy, whole and by phase, and the starts under way."""

import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoscaler.adapters.store import Store
from autoscaler.cli.explain import newest_entry
from autoscaler.cli.reading import output_option, policy_in, reading, store_option
from autoscaler.cli.tables import (
    ago,
    bar,
    bins,
    counted,
    heading,
    instant,
    iso,
    number,
    seconds,
    show,
    show_json,
    table,
)
from autoscaler.core.coldstart import ColdStartMemory, initial, predict, stuck, update
from autoscaler.core.plan import Memory
from autoscaler.core.signals import Replica, ReplicaState
from autoscaler.journal import Entry
from autoscaler.report import Start, quantile

SAMPLES_READ = 1000

Phase = tuple[str, Callable[[Start], float | None]]


def _between(first: str, last: str) -> Callable[[Start], float | None]:
    def length(start: Start) -> float | None:
        begin, end = getattr(start, first), getattr(start, last)
        return None if begin is None or end is None else float(end - begin)

    return length


PHASES: tuple[Phase, ...] = (
    ("ordered → scheduled", _between("ordered_at", "scheduled_at")),
    ("scheduled → started", _between("scheduled_at", "started_at")),
    ("started → ready", _between("started_at", "ready_at")),
    ("ordered → ready", _between("ordered_at", "ready_at")),
)

EXAMPLES = """\b
Examples:
  autoscaler coldstart prod/chat
  autoscaler coldstart prod/chat -o json
"""


@click.command(epilog=EXAMPLES)
@click.argument("policy", metavar="[NAMESPACE/]NAME")
@store_option
@output_option
def coldstart(policy: str, url: str, output: str) -> None:
    """Show how long a policy's replicas take from order to first Ready."""
    with reading(url) as store:
        name = policy_in(store, policy)
        entry = newest_entry(store, name)
        starts = store.coldstarts(name, limit=SAMPLES_READ)
        believed = _believed(store, entry, starts)
    if output == "json":
        show_json(_as_json(name, entry, starts, believed))
    else:
        show(*_page(name, entry, starts, believed))


def _believed(store: Store, entry: Entry, starts: tuple[Start, ...]) -> ColdStartMemory | None:
    """Return the controller's own model as it last stood, else the same model over the samples that are stored."""
    remembered = store.newest_memory(entry.policy, Memory)
    if remembered is not None:
        return remembered.memory.coldstart
    spec = store.spec(entry.policy_digest)
    if spec is None:
        return None
    prior_s = initial(spec).prior_s
    observations = tuple(start.coldstart_s for start in starts)
    ended = ColdStartMemory(
        prior_s=prior_s, estimate=predict(prior_s, observations, ()), observations=observations, floor_at=entry.at
    )
    return update(ended, entry.signals.replicas, entry.at)


def _page(name: str, entry: Entry, starts: tuple[Start, ...], believed: ColdStartMemory | None) -> list[RenderableType]:
    newest = "the newest " if len(starts) == SAMPLES_READ else ""
    samples = f"{newest}{counted(len(starts), 'cold start')} in the store"
    as_of = f"as of {instant(entry.at)} UTC, {ago(entry.at, time.time())}"
    parts: list[RenderableType] = [heading(name, f"{samples}; {as_of}")]
    if believed is not None:
        parts.append(_posterior(believed))
    if starts:
        parts += [_phases(starts), _distribution(starts)]
    else:
        parts.append(Text("None was seen yet: what is expected above is the policy's prior."))
    under_way = _under_way(entry)
    if under_way:
        parts.append(_waiting(under_way, entry.at, believed))
    else:
        parts.append(Text("No start is under way.", style="dim"))
    return parts


def _posterior(believed: ColdStartMemory) -> RenderableType:
    estimate = believed.estimate
    made = table("The next start", "from order to Ready", "time", "what for", numbers=["time"])
    made.add_row("half come within (p50)", seconds(estimate.p50_s), "the holds, the backlog and the economics")
    made.add_row("three of four within (p75)", seconds(estimate.p75_s), "the horizon of the forecast")
    made.add_row("nine of ten within (p90)", seconds(estimate.p90_s), "")
    made.add_row("stuck beyond", seconds(estimate.stuck_after_s), "an older one is not waited for")
    prior = f"prior median {seconds(believed.prior_s)}"
    under_way = f"{estimate.censored or 'none'} under way"
    said = f"{counted(estimate.samples, 'start')} measured and {under_way}; {prior}"
    learnt = f"Learnt from {said if estimate.samples or estimate.censored else f'nothing yet: {prior}'}."
    return Group(made, Text(learnt, style="dim"))


def _phases(starts: tuple[Start, ...]) -> Table:
    made = table(
        "Phases, as measured",
        "phase",
        "p50",
        "p95",
        "samples",
        "p50, share of the whole",
        numbers=["p50", "p95", "samples"],
    )
    total = quantile([start.coldstart_s for start in starts], 0.5) or 1.0
    for label, length in PHASES:
        lengths = [value for start in starts if (value := length(start)) is not None]
        middle = quantile(lengths, 0.5)
        share = bar((middle or 0.0) / total, 20)
        made.add_row(label, seconds(middle), seconds(quantile(lengths, 0.95)), str(len(lengths)), share)
    return made


def _distribution(starts: tuple[Start, ...]) -> Table:
    made = table("From order to first Ready", "seconds", "starts", "how often", numbers=["seconds", "starts"])
    found = bins([start.coldstart_s for start in starts])
    most = max(n for _, _, n in found)
    for low, high, n in found:
        made.add_row(f"{number(low)} – {number(high)}", str(n), bar(n / most, 30))
    return made


def _under_way(entry: Entry) -> list[Replica]:
    states = {ReplicaState.STARTING, ReplicaState.FAILED}
    found = [replica for replica in entry.signals.replicas if replica.state in states]
    return sorted(found, key=lambda replica: (replica.ordered_at, replica.uid))


def _reached(replica: Replica) -> str:
    if replica.state is ReplicaState.FAILED:
        return "failed"
    if replica.started_at is not None:
        return "started"
    return "scheduled" if replica.scheduled_at is not None else "ordered"


def _waiting(replicas: list[Replica], at: float, believed: ColdStartMemory | None) -> Table:
    made = table("Under way", "pod", "age", "reached", "note", numbers=["age"])
    hanging = set() if believed is None else {replica.uid for replica in stuck(believed, replicas, at)}
    for replica in replicas:
        is_stuck = replica.uid in hanging
        note = " ".join(word for word in ("STUCK" if is_stuck else "", replica.reason or "") if word)
        age = seconds(at - replica.ordered_at)
        made.add_row(replica.pod, age, _reached(replica), note, style="bold red" if is_stuck else None)
    return made


def _as_json(name: str, entry: Entry, starts: tuple[Start, ...], believed: ColdStartMemory | None) -> dict[str, Any]:
    estimate = None if believed is None else believed.estimate
    replicas = _under_way(entry)
    hanging = set() if believed is None else {r.uid for r in stuck(believed, replicas, entry.at)}
    return {
        "policy": name,
        "at": iso(entry.at),
        "next_start": estimate
        and {
            "p50_s": estimate.p50_s,
            "p75_s": estimate.p75_s,
            "p90_s": estimate.p90_s,
            "stuck_after_s": estimate.stuck_after_s,
            "samples": estimate.samples,
            "censored": estimate.censored,
            "source": estimate.source,
        },
        "phases": [_phase_json(label, length, starts) for label, length in PHASES],
        "samples": [
            {
                "pod": start.pod,
                "uid": start.uid,
                "ordered_at": iso(start.ordered_at),
                "scheduled_at": iso(start.scheduled_at),
                "started_at": iso(start.started_at),
                "ready_at": iso(start.ready_at),
                "coldstart_s": start.coldstart_s,
            }
            for start in starts
        ],
        "under_way": [
            {
                "pod": replica.pod,
                "uid": replica.uid,
                "age_s": entry.at - replica.ordered_at,
                "reached": _reached(replica),
                "stuck": replica.uid in hanging,
                "reason": replica.reason,
            }
            for replica in replicas
        ],
    }


def _phase_json(label: str, length: Callable[[Start], float | None], starts: tuple[Start, ...]) -> dict[str, Any]:
    lengths = [value for start in starts if (value := length(start)) is not None]
    return {
        "phase": label.replace(" → ", "-to-"),
        "p50_s": quantile(lengths, 0.5),
        "p95_s": quantile(lengths, 0.95),
        "samples": len(lengths),
    }
