"""The live view of the demo: one column a model, redrawn as time goes; plain lines where there is no terminal.

It fits a terminal of 80 columns and 24 lines. The sentence that explains the last decision stands at the bottom, where
its length moves nothing else.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from autoscaler.core.signals import PodSample
from autoscaler.footprint.states import pool_of
from autoscaler.journal import Entry
from simulator.experiments.demo import Frame
from simulator.experiments.score import FirstTokens
from simulator.telemetry import EPOCH_AT

PLAIN_EVERY_S = 300.0
LIVE_S = 22.0
"""Seconds that the live view takes on a terminal: the replay itself is done in a few."""
NARROW = 72
"""Columns below which what ours decided, and why, comes before the others' replicas."""


class Pace:
    """Slows a replay down, so that it takes about so many seconds of real time; one that is slower is left alone."""

    def __init__(
        self, over_s: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._over_s = over_s
        self._clock = clock
        self._sleep = sleep
        self._began_s = clock()

    def keep(self, share: float) -> None:
        """Wait until the share of the time has gone by that the replay has come to."""
        ahead_s = self._began_s + share * self._over_s - self._clock()
        if ahead_s > 0:
            self._sleep(ahead_s)


class LiveView:
    """Shows the newest frame of every model."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._frames: dict[str, Frame] = {}
        self._tokens: dict[str, FirstTokens] = {}
        self._live: Live | None = None
        self._next_plain_s: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("replaying"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("replay", total=1.0)

    @contextmanager
    def shown(self) -> Iterator["LiveView"]:
        """Show the view while the block runs."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, refresh_per_second=8, get_renderable=self.drawn) as self._live:
            yield self

    @property
    def share(self) -> float:
        """How much of the trace is replayed, by the model that is behind."""
        return min((frame.share for frame in self._frames.values()), default=0.0)

    def show(self, frame: Frame) -> None:
        """Take one more frame."""
        name = frame.setup.policy.metadata.name
        objective_s = frame.setup.policy.spec.objectives.ttft_seconds
        self._frames[name] = frame
        self._tokens.setdefault(name, FirstTokens(objective_s)).add(frame.entries[0].signals.samples)
        self._progress.update(self._task, completed=self.share)
        if self._live is None:
            self._say(name, frame)

    def _say(self, name: str, frame: Frame) -> None:
        """Print one line of a model every few simulated minutes."""
        second = frame.entries[0].at - EPOCH_AT
        if second < self._next_plain_s.get(name, 0.0):
            return
        self._next_plain_s[name] = second + PLAIN_EVERY_S
        facts = _facts(frame, self._tokens[name]) | _last(frame)
        shown = ", ".join(f"{label} {text}" for label, text in facts.items())
        self._console.print(f"{name}: {shown}", soft_wrap=True, markup=False, highlight=False)

    def drawn(self) -> RenderableType:
        """Return what is to be seen now. Called by the thread that redraws: it works on a copy."""
        frames = tuple(self._frames.items())
        narrow = self._console.width < NARROW
        columns = [_column(frame, self._tokens[name], narrow=narrow) for name, frame in frames]
        table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(style="dim", no_wrap=True)
        for name, frame in frames:
            model = frame.setup.policy.spec.model.name.rsplit("/", maxsplit=1)[-1]
            table.add_column(Text(f"{name} ({model})"), ratio=1, overflow="fold")
        for label in columns[0] if columns else ():
            table.add_row(label, *(Text(column.get(label, "")) for column in columns))
        return Group(self._progress, table)


def _column(frame: Frame, tokens: FirstTokens, *, narrow: bool) -> dict[str, str]:
    # A model's HPA has a target of its own, which would be a row of its own: the metric is enough here.
    others = {_contender(entry).rsplit(" ", maxsplit=1)[0]: _replicas(entry) for entry in frame.entries[1:]}
    last = _last(frame)
    return _facts(frame, tokens) | (last | others if narrow else others | last)


def _last(frame: Frame) -> dict[str, str]:
    decision = frame.entries[0].decision
    return {
        "decision": f"{decision.spec_replicas} → {decision.target} ({decision.why.value})",
        "because": decision.detail,
    }


def _contender(entry: Entry) -> str:
    return entry.policy.split("/", maxsplit=1)[1]


def _replicas(entry: Entry) -> str:
    return f"{entry.decision.ready} ready, {entry.decision.warming} warming"


def _facts(frame: Frame, tokens: FirstTokens) -> dict[str, str]:
    entry, slots = frame.entries[0], frame.setup.policy.spec.engine.max_sequences
    decision, samples = entry.decision, entry.signals.samples
    arrival_rps = decision.numbers.get("arrival_rps")
    return {
        "time": str(timedelta(seconds=int(entry.at - EPOCH_AT))),
        "taken": "unknown" if arrival_rps is None else f"{arrival_rps:.1f} requests/s",
        "waiting": f"{sum(sample.waiting or 0.0 for sample in samples):.0f} requests",
        "batch fill": _fill(samples, slots),
        "KV cache": _mean(sample.kv_ratio for sample in samples),
        "in time": f"{tokens.in_time / tokens.counted:.2%} so far" if tokens.counted else "no request yet",
        "replicas": _replicas(entry),
        "pre-warm": f"{pool_of(decision)} of them, sharing the work",
    }


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.0%}" if known else "unknown"


def _fill(samples: Iterable[PodSample], slots: int | None) -> str:
    if slots is None:
        return "unknown: the policy names no maxSequences"
    return _mean(None if sample.running is None else sample.running / slots for sample in samples)
