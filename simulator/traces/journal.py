"""Traffic from our own journal: what the controller saw in production, as requests to replay under another policy.

The journal is the controller's store (an SQLite file or the URL of a database) or the journal file of a simulated run.
Its entries hold the counters of every pod at every tick, each with the time of its own scrape. Prompt tokens are those
that were *computed*: what a prefix cache had already is not in them, which is the load that an engine without those
prefixes has to bear.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from autoscaler.adapters.store import Store, StoreError
from autoscaler.core.signals import PodSample, Presence
from autoscaler.journal import Entry
from autoscaler.report import Start
from simulator import journalfile
from simulator.traces.flows import Counted, Samples
from simulator.traces.trace import TraceError

_PAGE_ENTRIES = 2000
_NEW_FOR_S = 60.0
"""A pod that became ready so lately was at 0 then: all that it has counted came since."""


def store_entries(place: str, policy: str | None, since_s: float | None) -> Iterator[Entry]:
    """Yield a policy's entries in a store, the newest page first and each page in order of time; never all at once.

    Raises:
        TraceError: no store, one that cannot be read, no such policy, or several and none is named.
    """
    try:
        with Store.open(place, read_only=True) as store:
            name = _policy(place, store.policies(), policy)
            newest = store.entries(name, limit=1)
            since = newest[-1].at - since_s if newest and since_s is not None else None
            until = newest[-1].at if newest else 0.0
            while page := store.entries(name, since=since, until=until, limit=_PAGE_ENTRIES):
                yield from page
                until = page[0].at - 0.001
    except StoreError as error:
        raise TraceError(str(error)) from None


def store_starts(place: str, policy: str | None) -> tuple[Start, ...]:
    """Return the cold starts of a policy that a store has seen to Ready.

    Raises:
        TraceError: as ``store_entries``.
    """
    try:
        with Store.open(place, read_only=True) as store:
            chosen = _policy(store.place, store.policies(), policy, choice="policy beside journal")
            return store.coldstarts(chosen)
    except StoreError as error:
        raise TraceError(str(error)) from None


def _policy(place: str, known: tuple[str, ...], wanted: str | None, *, choice: str = "--journal-policy") -> str:
    names = ", ".join(known)
    if wanted is None and len(known) == 1:
        return known[0]
    if not known:
        raise TraceError(f"{place}: no entry of any policy; give the store of a controller that has run")
    if wanted is None:
        raise TraceError(f"{place}: entries of {len(known)} policies ({names}); choose one by {choice}")
    if wanted not in known:
        raise TraceError(f"{place}: no entry of policy {wanted}; there are: {names}")
    return wanted


def file_entries(place: str, path: Path, since_s: float | None) -> Iterator[Entry]:
    """Yield the entries of a run's journal file.

    Raises:
        TraceError: no such file, or a damaged one.
    """
    try:
        last = max((entry.at for entry in journalfile.read(path)), default=0.0) if since_s is not None else 0.0
        for entry in journalfile.read(path):
            if since_s is None or entry.at >= last - since_s:
                yield entry
    except OSError as error:
        raise TraceError(f"{place}: cannot be read ({error.strerror or error}); give a whole journal") from None
    except ValidationError:
        raise TraceError(f"{place}: an entry that this version cannot read; use the one that wrote it") from None


def counted_entries(place: str, entries: Iterable[Entry]) -> Counted:
    """Return what the pods counted.

    Raises:
        TraceError: fewer than two entries.
    """
    pods: dict[str, dict[float, tuple[float, ...]]] = defaultdict(dict)
    ticks: list[float] = []
    for entry in entries:
        ticks.append(entry.at)
        ready = {replica.pod: replica.ready_at for replica in entry.signals.replicas}
        for sample in entry.signals.samples:
            row = _row(sample)
            if row is None:
                continue
            pods[sample.pod][sample.at] = row
            began = ready.get(sample.pod)
            if began is not None and began < sample.at <= began + _NEW_FOR_S:
                pods[sample.pod].setdefault(began, (0.0,) * len(row))
    distances = np.diff(np.unique(ticks))
    if not distances.size:
        raise TraceError(f"{place}: fewer than two entries; give a longer journal")
    tables = [np.array([(at, *row) for at, row in sorted(rows.items())]) for rows in pods.values()]
    finished, prompts, outputs, in_flight = (
        tuple(_known(table[:, 0], table[:, column]) for table in tables) for column in range(1, 5)
    )
    return Counted(
        finished=finished,
        prompt_tokens=prompts,
        output_tokens=outputs,
        in_flight=in_flight,
        step_s=float(np.median(distances)),
        longest_s=float(distances.max()),
    )


def _row(sample: PodSample) -> tuple[float, ...] | None:
    """Return the counters and the requests in flight, NaN where one is not known; None where nothing is."""
    if sample.presence is not Presence.PRESENT:
        return None
    waiting, running = sample.waiting, sample.running
    in_flight = None if waiting is None or running is None else waiting + running
    values = (sample.finished_requests, sample.prompt_tokens, sample.generation_tokens, in_flight)
    return tuple(np.nan if value is None else value for value in values)


def _known(times: NDArray[np.float64], values: NDArray[np.float64]) -> Samples:
    known = np.isfinite(values)
    return times[known], values[known]
