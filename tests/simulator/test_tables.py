"""The demo's tables: every figure whole at 80 columns, and columns that add up."""

from dataclasses import replace

import pytest
from rich.console import Console

from autoscaler.footprint.ledger import AcceleratorState, Line
from autoscaler.footprint.states import pool_of
from simulator.experiments.demo import OURS
from simulator.experiments.score import Quantile, Score, score
from simulator.pages import tables
from simulator.pages.figures import Figures
from tests.simulator.small_demo import policy, small_setup, told


def shown(table: Figures, width: int = 80) -> str:
    """Return a table as a terminal of that width shows it."""
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def scores() -> list[Score]:
    """Return the scores of the small demo."""
    return [score(told(number).name, told(number).entries, policy().spec, 3.43) for number in range(3)]


@pytest.mark.parametrize(("count", "words"), [(0, "0 seeds"), (1, "1 seed"), (2, "2 seeds"), (1200, "1,200 seeds")])
def test_one_of_a_thing_is_no_plural(count: int, words: str) -> None:
    """Tables say 1 seed."""
    assert tables.counted(count, "seed") == words


def large() -> Score:
    """Return a score with figures of a day on a hundred accelerators."""
    ms = dict.fromkeys(AcceleratorState, 987_654_000)
    return replace(
        scores()[0],
        name="HPA conc. 40",
        ttft_p50=Quantile(low_s=640.0, high_s=2560.0, linear_s=2559.9),
        ttft_p95=Quantile(low_s=0.25, high_s=0.5, linear_s=0.3),
        ttft_p99=Quantile(low_s=2560.0, high_s=None, linear_s=None),
        attainment=1.0,
        coldstarts=12_345,
        waited_for_coldstart=1_234_567.0,
        ledger=Line(key="", ms=ms, micro_usd_ms=10**16),
    )


def test_the_comparison_shows_every_figure_at_80_columns() -> None:
    """No figure and no name is cut off."""
    text = shown(tables.comparison(small_setup(), scores()))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for one in scores():
        line = next(line for line in text.splitlines() if line.startswith(one.name))
        figures = line.removeprefix(one.name).split()
        assert figures[3] == tables.percent(one.attainment)
        assert figures[5:7] == [f"{one.accelerator_hours:.2f}", f"{one.cost_usd:.2f}"]
        assert figures[7] == str(one.coldstarts)


@pytest.mark.parametrize("which", ["comparison", "footprint"])
def test_large_figures_fit_as_well(which: str) -> None:
    """A day on a hundred accelerators still fits."""
    text = shown(getattr(tables, which)(small_setup(), [large()]))
    assert "…" not in text
    assert "HPA conc. 40" in text


@pytest.mark.parametrize("width", [24, 40, 50, 60, 71, 79])
@pytest.mark.parametrize("which", ["comparison", "footprint", "coldstarts"])
def test_on_a_narrow_terminal_a_table_is_turned_and_no_figure_is_cut(which: str, width: int) -> None:
    """Every cell stands whole on a line, and no line is too long, down to the width of a name and a figure."""
    ours, *others = scores()
    table = tables.coldstarts([("chat", told(0).entries[-1])])
    if which != "coldstarts":
        table = getattr(tables, which)(small_setup(), [ours, large(), *others])
    text = shown(table, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in table.rows:
        assert all(cell in text for cell in row)


def test_what_a_user_named_is_no_markup() -> None:
    """Brackets in the name of a model, a trace or a contender are shown as they are."""
    odd = Figures(title="[red]chat[/red] [x]", headings=("a[b]", "c"), rows=(("[/oops]", "1"),))
    for width in (80, 8):
        assert "[/oops]" in shown(odd, width)
    assert "[red]chat[/red] [x]" in shown(odd)


def test_a_footprint_row_adds_up_to_what_was_held_to_the_second() -> None:
    """The printed states of each row sum to the printed total: rounding loses nothing."""
    text = shown(tables.footprint(small_setup(), scores()))
    assert "…" not in text
    for one in scores():
        line = next(line for line in text.splitlines() if line.startswith(one.name))
        *states, held, _ = map(float, line.removeprefix(one.name).split())
        assert sum(states) == held == round(one.ledger.total_ms / 1000)


def test_a_state_without_a_column_is_told_as_unknown() -> None:
    """The closed set has states that the demo never meets; if one came, the row would still add up."""
    one = replace(scores()[0], ledger=Line(key="", ms={AcceleratorState.BUSY: 5000, AcceleratorState.FAILED: 2000}))
    line = shown(tables.footprint(small_setup(), [one])).splitlines()[-1]
    assert line.split()[1:8] == ["5", "0", "0", "0", "0", "2", "7"]


def test_the_cold_start_table_tells_what_was_learnt_and_what_follows() -> None:
    """Samples, quantiles, horizon, hold and pool of the last decision, whole at 80 columns."""
    entry = told(0).entries[-1]
    text = shown(tables.coldstarts([("chat", entry)]))
    assert "…" not in text
    figures = text.splitlines()[-1].replace(" s", "").split()
    names = ("coldstart_samples", "coldstart_p50_s", "coldstart_p75_s", "horizon_s", "hold_s")
    assert figures == ["chat", *(f"{entry.decision.numbers[name]:.0f}" for name in names), str(pool_of(entry.decision))]
    assert float(figures[1]) > 5


def test_a_decision_without_numbers_is_unknown_and_not_an_error() -> None:
    """A last decision that was blind or paused knows none of it."""
    entry = told(0).entries[-1]
    blind = replace(entry, decision=replace(entry.decision, numbers={}))
    assert shown(tables.coldstarts([("chat", blind)])).splitlines()[-1].split()[1:6] == ["unknown"] * 5


@pytest.mark.parametrize(
    ("low_s", "high_s", "linear_s", "text"),
    [
        (0.5, 0.75, 0.7012, "0.70"),
        (10.0, 15.0, 12.3, "12"),
        (640.0, 2560.0, 1318.2, "640–2560"),
        (0.0, 0.001, 0.0005, "0–0.001"),
        (2560.0, None, None, ">2560"),
    ],
)
def test_only_in_a_narrow_bucket_a_latency_is_a_point(
    low_s: float, high_s: float | None, linear_s: float | None, text: str
) -> None:
    """Where the upper edge is twice the lower one or more, the edges are told: nobody's tail is overstated."""
    assert tables.latency(Quantile(low_s=low_s, high_s=high_s, linear_s=linear_s)) == text


def test_a_latency_of_nothing_is_a_dash() -> None:
    """A run without a first token has no quantile."""
    assert tables.latency(None) == "–"


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (1.0, "100"), (0.99999, "99.99"), (0.5, "50.00"), (0.0, "0.00")],
)
def test_only_all_of_them_are_a_hundred_percent(share: float | None, text: str) -> None:
    """Rounding up would hide the late ones, and a share of nothing is none."""
    assert tables.percent(share) == text


def test_a_price_that_is_not_known_is_a_word() -> None:
    """Unknown is not nought."""
    assert (tables.dollars(None), tables.dollars(0.0)) == ("unknown", "0.00")
    assert OURS == "ours"
