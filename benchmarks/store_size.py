"""How many bytes a policy leaves in the store in a day: ``python -m benchmarks.store_size``.

One simulated day for each of some fleets, small to large, with our decision core at every tick of 15 s, written tick by
tick to an SQLite store as the controller writes it, pods named as Kubernetes names them: their names and uids are what
compresses least. What is measured are the pages in use, table by table, each with its indexes.

The last line is one JSON object: ``days`` with, for each fleet, the mean replicas, the bytes of a day by table, the
bytes of one entry, for how many days one policy fills a GiB, what the day's ledger takes once it is rolled up to hours,
and how long the longest step takes in which half a thousand entries are forgotten; seed, versions and machine.
"""

import json
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from autoscaler.adapters.store import Retention, Store, Tick
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry
from benchmarks.machine import machine, versions
from benchmarks.simulator_scale import COLD_START_S, DAY_S, PROFILE, SPEC, TICK_S, traffic
from simulator.compiled import exercise
from simulator.engine.profiles import load_profile
from simulator.run import Contender, run
from simulator.startup.model import StartupModel
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.world import Scenario

GIB = 2**30
# An hour's ticks in one transaction: the content is the same as with one for each, and the benchmark ends sooner.
TICKS_AT_ONCE = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of one policy: its mean Ready replicas, and what it left."""

    requests: int
    mean_replicas: float
    bytes_by_table: dict[str, int]
    bytes_a_day: int
    bytes_an_entry: float
    days_in_a_gib: float
    ledger_bytes_in_hours: int
    longest_step_ms: float


def day(requests: int, seed: int, folder: Path) -> Day:
    """Run one day and write it down; return what it came to."""
    path = folder / f"{requests}.db"
    ready: list[int] = []
    with Store.open(str(path)) as store:
        waiting: list[Tick] = []
        for entry, memory in _entries(requests, seed):
            ready.append(entry.decision.ready)
            waiting.append(Tick(entry=entry, memory=memory, spec=SPEC, price_usd_per_hour=0.7))
            if len(waiting) == TICKS_AT_ONCE:
                store.record_all(waiting)
                waiting.clear()
        store.record_all(waiting)
    tables = _bytes_by_table(path)
    total = sum(tables.values())
    with Store.open(str(path)) as store:
        store.prune(EPOCH_AT + 2 * DAY_S, Retention(buckets_s=0.0))
        in_hours = _bytes_by_table(path)["ledger"]
        longest_ms = _longest_step_ms(store)
    return Day(
        requests=requests,
        mean_replicas=sum(ready) / len(ready),
        bytes_by_table=tables,
        bytes_a_day=total,
        bytes_an_entry=tables["entries"] / len(ready),
        days_in_a_gib=GIB / total,
        ledger_bytes_in_hours=in_hours,
        longest_step_ms=longest_ms,
    )


def _entries(requests: int, seed: int) -> Iterator[tuple[Entry, Memory]]:
    scenario = Scenario(
        name="prod",
        trace=traffic(requests, 1.0, seed),
        profile=load_profile(PROFILE),
        startup=StartupModel.of_total(COLD_START_S),
        initial_replicas=1 + requests // 120_000,
        seed=seed,
        scraping=Scraping(scrape_s=TICK_S, lag_s=TICK_S),
    )
    ours = Contender(name="llm", decide=decide, policy=SPEC, memory=initial(SPEC), digest="0" * 16)
    for entry, memory in run(scenario, ours):
        yield replace(entry, signals=_named_as_pods(entry.signals)), memory


def _longest_step_ms(store: Store) -> float:
    longest_s, removed = 0.0, 1
    while removed:
        began = time.perf_counter()
        removed = store.prune(EPOCH_AT + 2 * DAY_S, Retention(entries_s=0.0), within_s=0.0).total()
        longest_s = max(longest_s, time.perf_counter() - began)
    return longest_s * 1000


def _named_as_pods(signals: Signals) -> Signals:
    """Return the signals with the names and uids that Kubernetes gives: random, and so hard to compress."""
    return replace(
        signals,
        replicas=tuple(replace(one, pod=_pod(one.pod), uid=str(_uid(one.pod))) for one in signals.replicas),
        samples=tuple(replace(one, pod=_pod(one.pod)) for one in signals.samples),
    )


def _uid(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


def _pod(name: str) -> str:
    return f"llama-3-1-8b-instruct-6d4cf56db6-{_uid(name).hex[:5]}"


def _bytes_by_table(path: Path) -> dict[str, int]:
    """Return the pages in use of each table with its indexes, in bytes."""
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = raw.execute(
            "SELECT tbl_name, SUM(pgsize) FROM dbstat JOIN sqlite_master USING (name) GROUP BY tbl_name"
        ).fetchall()
    raw.close()
    return {str(name): int(size) for name, size in rows}


@click.command(help=__doc__)
@click.option("--requests", multiple=True, default=(100_000, 700_000, 2_000_000), type=click.IntRange(1000))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def main(requests: tuple[int, ...], seed: int) -> None:
    """Run each day and print the figures."""
    exercise()
    days = []
    with tempfile.TemporaryDirectory() as folder:
        for count in requests:
            one = day(count, seed, Path(folder))
            days.append(one)
            click.echo(
                f"{one.mean_replicas:5.1f} replicas: {one.bytes_a_day / 1e6:6.1f} MB a day, "
                f"{one.bytes_an_entry:.0f} bytes an entry, {one.days_in_a_gib:.0f} days in a GiB; "
                f"ledger {one.bytes_by_table['ledger'] / 1e3:.0f} kB, {one.ledger_bytes_in_hours / 1e3:.0f} in hours; "
                f"{one.longest_step_ms:.0f} ms for the longest step of forgetting"
            )
    figures = {"days": [asdict(one) for one in days], "seed": seed}
    click.echo(json.dumps({**figures, **machine(), "versions": versions("numpy", "sqlalchemy")}))


if __name__ == "__main__":
    main()
