"""The demo's tables: the comparison, the footprint, and what was learnt of the cold start."""

from collections.abc import Sequence
from decimal import Decimal
from math import floor

from rich.console import Group
from rich.table import Table
from rich.text import Text

from autoscaler.core.policy import PolicySpec
from autoscaler.core.policy_parts import Mode
from autoscaler.footprint.ledger import AcceleratorState, apportion
from autoscaler.footprint.states import pool_of
from autoscaler.journal import Entry
from simulator.experiments.demo import SETTLING_S, Setup
from simulator.experiments.score import Quantile, Score
from simulator.pages.figures import Figures
from simulator.traces import traffic_of

FOOTPRINT_NOTE = "prewarm: quiet ones of pool or minimum; a pool that shares the work is busy."
_SHOWN_STATES = (
    AcceleratorState.BUSY,
    AcceleratorState.IDLE,
    AcceleratorState.PREWARM,
    AcceleratorState.WARMING,
    AcceleratorState.DRAINING,
    AcceleratorState.UNKNOWN,
)


def comparison(setup: Setup, scores: Sequence[Score]) -> Figures:
    """Return ours beside the others: latency, attainment, accelerator time, money, cold starts."""
    spec, scenario = setup.policy.spec, setup.scenario
    requests = sum(len(piece) for piece in traffic_of(scenario.trace).pieces())
    title = (
        f"{setup.policy.metadata.name}: {scenario.trace.name}, {requests:,} requests, "
        f"TTFT within {spec.objectives.ttft_seconds:g} s for {spec.objectives.ttft_attainment:.0%}\n"
        f"{scenario.profile.name}"
    )
    settled = f"after\n{SETTLING_S / 60:.0f}min"
    latencies = ("TTFT\np50 s", "\np95 s", "\np99 s")
    headings = ("autoscaler", *latencies, "in\ntime%", settled, "accel\nhours", "cost\n$", "cold\nstarts", "\nwaited")
    rows = tuple(
        (
            score.name,
            *map(latency, (score.ttft_p50, score.ttft_p95, score.ttft_p99)),
            percent(score.attainment),
            percent(score.settled_attainment),
            amount(score.accelerator_hours),
            "unknown" if score.cost_usd is None else amount(score.cost_usd),
            str(score.coldstarts),
            f"{score.waited_for_coldstart:.0f}",
        )
        for score in scores
    )
    return Figures(title=title, headings=headings, rows=rows)


def notes(setups: Sequence[Setup]) -> tuple[str, ...]:
    """Return what a reader of the comparison has to know: how exact it is, and how the others were configured."""
    targets = ", ".join(f"{setup.in_flight_per_pod:g} for {setup.policy.metadata.name}" for setup in setups)
    bounds = ", ".join(dict.fromkeys(str(setup.policy.spec.replicas.max) for setup in setups))
    how = "swept for each trace" if all(setup.in_flight_is_swept for setup in setups) else "not swept for this"
    posed = (
        f"{setup.policy.metadata.name}: the policy is {_mode(setup.policy.spec)}; simulated as if mode Enforce."
        for setup in setups
        if setup.policy.spec.paused or setup.policy.spec.mode is not Mode.ENFORCE
    )
    return (
        *posed,
        "a–b, >a: between edges of the engine's histogram, which tells no finer.",
        f"HPA conc.: in flight a pod, {targets}, {how}.",
        "HPA queue: waiting a pod, as in vLLM's examples.",
        f"Most replicas, ours and theirs: {bounds}.",
    )


def _mode(spec: PolicySpec) -> str:
    return "paused" if spec.paused else f"in mode {spec.mode.value}"


def footprint(setup: Setup, scores: Sequence[Score]) -> Figures:
    """Return accelerator-seconds by state; each row sums exactly to what was held."""
    title = f"{setup.policy.metadata.name}: footprint in accelerator-seconds"
    headings = ("autoscaler", *(state.value for state in _SHOWN_STATES), "held", "dollars")
    rows: list[tuple[str, ...]] = []
    for score in scores:
        # A state that has no column would be missing from the sum, so it is told as unknown.
        ms = dict.fromkeys(_SHOWN_STATES, 0)
        for state, spent in score.ledger.ms.items():
            ms[state if state in ms else AcceleratorState.UNKNOWN] += spent
        parts = apportion(list(ms.values()), 1000)
        rows.append((score.name, *map(str, parts), str(sum(parts)), dollars(score.cost_usd)))
    return Figures(title=title, headings=headings, rows=tuple(rows))


def coldstarts(learnt: Sequence[tuple[str, Entry]]) -> Figures:
    """Return what the cold start is believed to be now, and the horizon and pool it leads to."""
    title = "The measured cold start, and what follows from it"
    headings = ("model", "samples", "p50", "p75", "horizon", "hold of a\nsurplus", "pre-warm pool\nnow, shared")
    rows: list[tuple[str, ...]] = []
    for model, entry in learnt:
        numbers = entry.decision.numbers
        samples = numbers.get("coldstart_samples")
        known = (_whole_s(numbers.get(name)) for name in ("coldstart_p50_s", "coldstart_p75_s", "horizon_s", "hold_s"))
        many = "unknown" if samples is None else f"{samples:.0f}"
        rows.append((model, many, *known, str(pool_of(entry.decision))))
    return Figures(title=title, headings=headings, rows=tuple(rows))


def titled(title: str, table: Table) -> Group:
    """Return a table under its title; a title of its own would be broken to the table's width."""
    return Group(Text(title, style="bold"), table)


def counted(count: int, one: str) -> str:
    """Return a number of things: 1 seed, 2 seeds."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def _whole_s(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} s"


def latency(value: Quantile | None) -> str:
    """Return a quantile in seconds: a point in a narrow bucket of the histogram, the edges of a wide one."""
    if value is None:
        return "–"
    if value.high_s is None or value.linear_s is None:
        return f">{value.low_s:g}"
    if value.is_wide:
        return f"{value.low_s:g}–{value.high_s:g}"
    return seconds(value.linear_s)


def seconds(value: float | None) -> str:
    """Return seconds with the digits that a reader needs."""
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def amount(value: float) -> str:
    """Return an amount with hundredths, from a thousand on without."""
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def percent(share: float | None) -> str:
    """Return a share in percent, cut after two digits: 99.996 are not all. A share of nothing is a dash."""
    if share is None:
        return "–"
    return "100" if share == 1 else f"{floor(share * 10_000) / 100:.2f}"


def dollars(value: float | Decimal | None) -> str:
    """Return dollars with cents, or that the price is not known."""
    return "unknown" if value is None else f"{value:.2f}"
