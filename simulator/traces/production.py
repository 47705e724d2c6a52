"""Sources that are production itself: a Prometheus, live or exported, and our own journal."""

from collections.abc import Callable, Iterator

import numpy as np

from simulator.traces.flows import Counted, flow_of, flow_traffic
from simulator.traces.forms import SQLITE_MAGIC
from simulator.traces.journal import counted_entries, file_entries, store_entries
from simulator.traces.lines import head
from simulator.traces.prometheus import asked_rows, counted_rows, exported_rows
from simulator.traces.source import Input, Reading, Source

_DAY_S = 86_400.0
_GAP_STEPS = 4
"""Samples farther apart than so many of the usual distances are told as a gap."""


def open_prometheus(given: Input, reading: Reading) -> Source:
    """Open an export of range queries, or ask a live Prometheus.

    Raises:
        TraceError: it cannot be read or asked, or counters are missing.
    """
    if given.path is None:
        since_s = _DAY_S if reading.since_s is None else reading.since_s
        rows = asked_rows(
            given.place, since_s=since_s, step_s=reading.step_s, model=reading.model, token_file=reading.token_file
        )
    else:
        rows = exported_rows(given.place, given.path)
    return _source("prometheus", given, counted_rows(given.place, rows, reading.model), reading.seed)


def open_journal(given: Input, reading: Reading) -> Source:
    """Open the controller's store, or the journal of a simulated run.

    Raises:
        TraceError: it cannot be read, or has too little in it.
    """
    if given.path is None or head(given.place, given.path).startswith(SQLITE_MAGIC):
        entries = store_entries(given.place, reading.whose, reading.since_s)
    else:
        entries = file_entries(given.place, given.local(), reading.since_s)
    return _source("journal", given, counted_entries(given.place, entries), reading.seed)


def _source(form: str, given: Input, counted: Counted, seed: int) -> Source:
    flow = flow_of(given.place, counted)
    return Source(
        traffic=flow_traffic(given.name, flow, seed=seed),
        form=form,
        requests=int(np.floor(flow.requests[-1] + 0.5)),
        notes=tuple(_notes(counted, seed)),
    )


def _notes(counted: Counted, seed: int) -> Iterator[str]:
    yield (
        f"drawn from counters every {counted.step_s:g} s: within that requests are placed by chance, and lengths have"
        f" the counted means but the shape of a geometric distribution (seed {seed})"
    )
    if not any(times.size for times, _ in counted.in_flight):
        yield "without gauges of requests in flight, requests are placed where they ended, not where they came"
    if counted.longest_s > _GAP_STEPS * counted.step_s:
        yield f"samples are up to {counted.longest_s:g} s apart: what came in a gap is spread evenly over it"


OPENERS: dict[str, Callable[[Input, Reading], Source]] = {"prometheus": open_prometheus, "journal": open_journal}
