"""The demo's tables: the comparison, the footprint, and what was learnt of the cold start."""

from collections.abc import Sequence
from decimal import Decimal

from rich.markup import escape
from rich.table import Table

from autoscaler.footprint.ledger import AcceleratorState, apportion
from autoscaler.footprint.states import pool_of
from autoscaler.journal import Entry
from simulator.demo import SETTLING_S, Setup
from simulator.score import Latency, Score

FOOTPRINT_NOTE = "prewarm: pooled replicas that did nothing; a pool that shares the work is busy."
_SHOWN_STATES = (
    AcceleratorState.BUSY,
    AcceleratorState.IDLE,
    AcceleratorState.PREWARM,
    AcceleratorState.WARMING,
    AcceleratorState.DRAINING,
    AcceleratorState.UNKNOWN,
)


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return an empty table that fits 80 columns: names to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for heading in names:
        table.add_column(heading, no_wrap=True, vertical="bottom")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def comparison(setup: Setup, scores: Sequence[Score]) -> Table:
    """Return ours beside the others: latency, attainment, accelerator time, money, cold starts."""
    spec, scenario = setup.policy.spec, setup.scenario
    title = (
        f"{setup.policy.metadata.name}: {escape(scenario.trace.name)}, {len(scenario.trace):,} requests, "
        f"TTFT within {spec.objectives.ttft_seconds:g} s for {spec.objectives.ttft_attainment:.0%}\n"
        f"{escape(scenario.profile.name)}"
    )
    settled = f"after\n{SETTLING_S / 60:.0f} min"
    latencies = ("TTFT\np50 s", "\np95 s", "\np99 s")
    numbers = (*latencies, "in\ntime %", settled, "accel.\nhours", "\ndollars", "cold\nstarts", "\nwaited")
    table = _table(title, ("autoscaler",), numbers)
    for score in scores:
        table.add_row(
            score.name,
            *map(latency, (score.ttft_p50, score.ttft_p95, score.ttft_p99)),
            percent(score.attainment),
            percent(score.settled_attainment),
            f"{score.accelerator_hours:.2f}",
            dollars(score.cost_usd),
            str(score.coldstarts),
            f"{score.waited_for_coldstart:.0f}",
        )
    return table


def footprint(setup: Setup, scores: Sequence[Score]) -> Table:
    """Return accelerator-seconds by state; each row sums exactly to what was held."""
    title = f"{setup.policy.metadata.name}: footprint in accelerator-seconds"
    table = _table(title, ("autoscaler",), (*(state.value for state in _SHOWN_STATES), "held", "dollars"))
    for score in scores:
        # A state that has no column would be missing from the sum, so it is told as unknown.
        ms = dict.fromkeys(_SHOWN_STATES, 0)
        for state, spent in score.ledger.ms.items():
            ms[state if state in ms else AcceleratorState.UNKNOWN] += spent
        parts = apportion(list(ms.values()), 1000)
        table.add_row(score.name, *map(str, parts), str(sum(parts)), dollars(score.cost_usd))
    return table


def coldstarts(learnt: Sequence[tuple[str, Entry]]) -> Table:
    """Return what the cold start is believed to be now, and the horizon and pool it leads to."""
    headings = ("samples", "p50", "p75", "horizon", "hold of a\nsurplus", "pre-warm pool\nnow, shared")
    table = _table("The measured cold start, and what follows from it", ("model",), headings)
    for model, entry in learnt:
        numbers = entry.decision.numbers
        samples = numbers.get("coldstart_samples")
        table.add_row(
            model,
            "unknown" if samples is None else f"{samples:.0f}",
            *(_whole_s(numbers.get(name)) for name in ("coldstart_p50_s", "coldstart_p75_s", "horizon_s", "hold_s")),
            str(pool_of(entry.decision)),
        )
    return table


def _whole_s(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} s"


def latency(value: Latency | None) -> str:
    """Return a latency's seconds; ">" where it was longer than that."""
    if value is None:
        return "–"
    return f">{value.seconds:g}" if value.or_more else seconds(value.seconds)


def percent(share: float | None) -> str:
    """Return a share in percent, a dash where there was nothing to count."""
    return "–" if share is None else f"{share * 100:.2f}"


def seconds(value: float | None) -> str:
    """Return seconds with the digits that a reader needs."""
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def dollars(value: float | Decimal | None) -> str:
    """Return dollars with cents, or that the price is not known."""
    return "unknown" if value is None else f"{value:.2f}"
