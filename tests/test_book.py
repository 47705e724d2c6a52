"""The journal as the controller writes it: never in the way, and never a stale memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.adapters.store import Fault, Retention, Store, StoreError, Tick
from autoscaler.controller.book import WAITING_MAX, Book
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus, digest
from autoscaler.recall import MEMORY_FRESH_S

SPEC = PolicySpec.model_validate(
    {
        "targetRef": {"name": "chat"},
        "model": {"name": "m"},
        "accelerator": {"class": "L4"},
        "replicas": {"min": 1, "max": 4},
    }
)
NOON = 1_795_000_000.0


def tick(at: float) -> Tick:
    """Return one tick of a policy."""
    memory, decision = decide(SPEC, initial(SPEC), Signals(at=at, spec_replicas=1))
    outcome = Outcome(status=OutcomeStatus.UNCHANGED)
    signals = Signals(at=at, spec_replicas=1)
    entry = Entry(
        policy="p/chat", policy_digest=digest(SPEC), at=at, signals=signals, decision=decision, outcome=outcome
    )
    return Tick(entry=entry, memory=memory, spec=SPEC)


class Full(Store):
    """A store on a disk that is full at the beginning: a real one cannot be filled in a test."""

    full = True

    def record_all(self, ticks: object) -> None:
        """Fail while the disk is full."""
        if self.full:
            raise StoreError(Fault.FULL, "the disk is full")
        super().record_all(ticks)  # type: ignore[arg-type]


def learnt(memory: object) -> Memory:
    """Return a memory that has seen cold starts of 77 s."""
    assert isinstance(memory, Memory)
    cold = replace(memory.coldstart, observations=(77.0, 77.0, 77.0))
    return replace(memory, coldstart=cold)


@pytest.mark.parametrize(
    ("age_s", "all_of_it", "starts"), [(1.0, True, 3), (MEMORY_FRESH_S + 1.0, False, 3), (-5.0, False, 0)]
)
def test_only_a_fresh_memory_is_taken_up_whole(tmp_path: Path, age_s: float, all_of_it: bool, starts: int) -> None:
    """A restart goes on from the newest memory; of an old one only the cold starts are kept, of a later one nothing."""
    now = NOON
    book = Book(Store.open(str(tmp_path / "journal.db")), wall=lambda: now)
    written = replace(tick(NOON), memory=learnt(tick(NOON).memory))
    book.append([written])
    now = NOON + age_s
    recalled = book.recall("p/chat", initial(SPEC))
    assert (recalled == written.memory) is all_of_it
    assert len(recalled.coldstart.observations) == starts
    assert all_of_it or recalled.guard == initial(SPEC).guard
    book.close()


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """A full disk stops nothing, and loses nothing that fits into memory."""
    store = Full.open(str(tmp_path / "journal.db"))
    waiting: list[int] = []
    book = Book(store, on_trouble=waiting.append, wall=lambda: NOON)
    book.append([tick(NOON)])
    book.append([tick(NOON + 15)])
    store.full = False
    book.append([tick(NOON + 30)])
    assert waiting == [1, 2, 0]
    assert [entry.at for entry in store.entries("p/chat")] == [NOON, NOON + 15, NOON + 30]
    book.close()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """A disk that stays full costs the oldest entries, not the controller's memory."""
    waiting: list[int] = []
    book = Book(Full.open(str(tmp_path / "journal.db")), on_trouble=waiting.append, wall=lambda: NOON)
    book.append([tick(NOON)] * (WAITING_MAX + 10))
    assert waiting == [WAITING_MAX]
    book.close()


def test_what_grew_old_while_nobody_ran_goes_with_the_first_tick(tmp_path: Path) -> None:
    """A controller that is restarted every half hour keeps its journal as bounded as one that runs for weeks."""
    store = Store.open(str(tmp_path / "journal.db"))
    store.record_all([tick(NOON)])
    book = Book(store, retention=Retention(entries_s=3600.0), wall=lambda: NOON + 7200)
    book.append([tick(NOON + 7200)])
    assert [entry.at for entry in store.entries("p/chat")] == [NOON + 7200]
    book.close()


def test_without_a_store_nothing_is_kept(tmp_path: Path) -> None:
    """No store is a choice, not a fault."""
    book = Book(None)
    book.append([tick(NOON)])
    assert book.recall("p/chat", initial(SPEC)) == initial(SPEC)
    assert book.replicas("p/chat") == ()
