"""The live view: whole at 80 columns and 24 lines, and plain lines where there is no terminal."""

import io
from dataclasses import replace
from functools import cache

import pytest
from rich.console import Console

from autoscaler.footprint.states import pool_of
from simulator.experiments import demo
from simulator.experiments.demo import Frame
from simulator.pages.live import LiveView, Pace
from simulator.telemetry import EPOCH_AT
from tests.simulator.small_demo import policy, small_setup


@cache
def frames() -> tuple[Frame, ...]:
    """Return the frames of the small demo."""
    return tuple(demo.frames([small_setup()]))


def twin(frame: Frame) -> Frame:
    """Return the same frame of a second model."""
    other = policy().model_copy(update={"metadata": policy().metadata.model_copy(update={"name": "code"})})
    return replace(frame, setup=replace(frame.setup, policy=other))


def drawn(width: int, *shown: Frame) -> str:
    """Return what the view shows after some frames, on a terminal of that width."""
    view = LiveView(Console(file=io.StringIO(), width=width, height=24, force_terminal=True))
    with view.shown():
        for frame in shown:
            view.show(frame)
    page = Console(file=io.StringIO(), width=width, height=24, color_system=None)
    with page.capture() as capture:
        page.print(view.drawn())
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("upto", [1, 20, 40, 60])
def test_nothing_is_cut_off_and_it_fits_a_terminal(width: int, upto: int) -> None:
    """Two models side by side: no dots, no line too long, at most 24 lines, and the whole sentence of the decision."""
    text = drawn(width, *(one for frame in frames()[:upto] for one in (frame, twin(frame))))
    lines = text.splitlines()
    assert "…" not in text
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    frame = frames()[upto - 1]
    column = (width - 12) // 2
    left = " ".join(line[12 : 12 + column].strip() for line in lines[3:])
    assert " ".join(frame.entries[0].decision.detail.split()) in " ".join(left.split())


def test_it_shows_the_figures_of_the_newest_frame() -> None:
    """Time, requests taken, queue, replicas, the last decision with its reason, and the others beside it."""
    frame = frames()[40]
    text = drawn(120, *frames()[:41])
    entry = frame.entries[0]
    assert "0:11:00" in text
    assert f"{entry.decision.numbers['arrival_rps']:.1f} requests/s" in text
    assert f"{sum(sample.waiting or 0 for sample in entry.signals.samples):.0f} requests" in text
    assert f"{entry.decision.ready} ready, {entry.decision.warming} warming" in text
    assert f"{pool_of(entry.decision)} of them, sharing the work" in text
    assert f"{entry.decision.spec_replicas} → {entry.decision.target} ({entry.decision.why.value})" in text
    for other in frame.entries[1:]:
        assert f"{other.decision.ready} ready, {other.decision.warming} warming" in text


def test_a_sentence_with_brackets_is_shown_as_it_is() -> None:
    """What the core says is text and not markup."""
    frame = frames()[0]
    odd = replace(frame.entries[0], decision=replace(frame.entries[0].decision, detail="[bold]said[/bold] [x]"))
    assert "[bold]said[/bold] [x]" in drawn(100, replace(frame, entries=(odd, *frame.entries[1:])))


def test_without_a_terminal_each_model_says_a_line_every_five_minutes() -> None:
    """Plain text for logs: one line a model at its first tick and every five simulated minutes after it."""
    console = Console(width=80, force_terminal=False, color_system=None)
    view = LiveView(console)
    with console.capture() as capture, view.shown():
        for frame in frames():
            view.show(frame)
            view.show(twin(frame))
    lines = capture.get().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"{name}: time {time}" for time in ("0:01:00", "0:06:00", "0:11:00", "0:16:00") for name in ("chat", "code")
    ]
    parts = ("taken", "waiting", "batch fill", "KV cache", "ready", "warming", "pre-warm", "so far", "decision")
    assert all(part in lines[2] for part in parts)
    moment = next(frame for frame in frames() if "time 0:06:00" in lines[2] and frame.entries[0].at - EPOCH_AT == 360)
    assert f"because {moment.entries[0].decision.detail}" in lines[2]


def test_on_a_narrow_terminal_the_decision_comes_before_the_others() -> None:
    """Where rows may be cut off below, what ours did and why is not among them."""
    for width, first in ((80, "HPA"), (60, "because")):
        text = drawn(width, *frames()[:20])
        rows = [line.split(" ")[0] for line in text.splitlines()]
        assert (rows.index("HPA") < rows.index("because")) == (first == "HPA")


def test_the_pace_waits_only_as_long_as_the_replay_is_ahead() -> None:
    """A quarter of the trace may be shown after a quarter of the time; who is late does not wait."""
    now: list[float] = [100.0]
    waited: list[float] = []
    pace = Pace(20.0, clock=lambda: now[0], sleep=waited.append)
    pace.keep(0.25)
    now[0] = 109.0
    pace.keep(0.5)
    now[0] = 130.0
    pace.keep(1.0)
    assert waited == [5.0, 1.0]
