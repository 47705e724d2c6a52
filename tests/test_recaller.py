"""What was learnt before a start is read from the store: never in the way of a tick, and never lost."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.kube import KubeApi
from autoscaler.adapters.store import Fault, Store, StoreError, Tick
from autoscaler.controller import recaller
from autoscaler.controller.book import REOPEN_EVERY_S, Book
from autoscaler.controller.handlers import Controller
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus, digest
from autoscaler.recall import MEMORY_FRESH_S, recalled
from tests.adapters.kube_servers import Server, serving
from tests.small_controller import controller, policy

pytestmark = pytest.mark.servers

NOON = 1_795_000_000.0
NAMES = ("prod/chat-000", "prod/chat-001", "prod/chat-002")
LEARNT_S = (77.0, 77.0, 77.0)
SPEC = PolicySpec.model_validate(policy(0)["spec"])


def learnt_store(path: Path) -> Store:
    """Return a store in which each of three policies has learnt what its starts take."""
    store = Store.open(str(path))
    for name in NAMES:
        signals = Signals(at=NOON - 30, spec_replicas=3)
        memory, decision = decide(SPEC, initial(SPEC), signals)
        entry = Entry(
            policy=name,
            policy_digest=digest(SPEC),
            at=signals.at,
            signals=signals,
            decision=decision,
            outcome=Outcome(status=OutcomeStatus.UNCHANGED),
        )
        learnt = replace(memory, coldstart=replace(memory.coldstart, observations=LEARNT_S))
        store.record_all([Tick(entry=entry, memory=learnt, spec=SPEC)])
    return store


def starts_stored(store: Store) -> list[tuple[float, ...]]:
    """Return the cold starts in the newest stored memory of each policy."""
    newest = [store.newest_memory(name, Memory) for name in NAMES]
    return [one.memory.coldstart.observations for one in newest if one is not None]


def starts_held(made: Controller) -> list[tuple[float, ...]]:
    """Return the cold starts that the controller believes in, by policy."""
    return [m.driver.memory.coldstart.observations for m in made._fleet.members if m.driver is not None]


def warned(store: Store) -> list[bool]:
    """Return for each policy whether its newest entry was decided without what was learnt."""
    return [recaller.UNRECALLED in store.entries(name, limit=1)[0].signals.warnings for name in NAMES]


@contextmanager
def unreadable(monkeypatch: pytest.MonkeyPatch, how: str) -> Iterator[None]:
    """Let a real store answer no question for memories: it hangs, or it refuses, until the block ends."""
    answers = threading.Event()
    real = Store.newest_memory

    def asked(self: Store, policy: str, kind: type[Any]) -> Any:
        if how == "refuses" and not answers.is_set():
            raise StoreError(Fault.UNREACHABLE, f"store {self.place} cannot be used: gone")
        assert answers.wait(30.0)
        return real(self, policy, kind)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "newest_memory", asked)
        yield
        answers.set()


async def longest_standstill_s(stop: asyncio.Event) -> float:
    """Return for how long the event loop stood still at most: so long no probe was answered."""
    worst_s, last = 0.0, time.monotonic()
    while not stop.is_set():
        await asyncio.sleep(0.02)
        worst_s, last = max(worst_s, time.monotonic() - last), time.monotonic()
    return worst_s


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_a_store_that_cannot_be_read_costs_a_moment_and_nothing_that_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Three policies come while no read is answered: probes are, targets go up and not down, all is learnt later."""
    monkeypatch.setattr(recaller, "WAITED_S", 0.5)
    now = NOON

    async def story(api: KubeApi) -> None:
        nonlocal now
        store = learnt_store(tmp_path / "journal.db")
        made = controller(api, 3, Book(store, wall=lambda: now))
        stop = asyncio.Event()
        watched = asyncio.create_task(longest_standstill_s(stop))
        with unreadable(monkeypatch, how):
            began = time.monotonic()
            await made.tick(NOON)
            await made.tick(NOON + 15)
            assert time.monotonic() - began < 5.0, "one deadline for all three, and in the first tick alone"
            stop.set()
            assert await watched < 0.4
            told = [member.status.condition("StoreTrouble") for member in made._fleet.members]
            assert all(one is not None and f"learnt of {', '.join(NAMES)} could not yet" in one.message for one in told)
            assert [store.entries(name, limit=1)[0].decision.target for name in NAMES] == [4, 4, 4]
            assert warned(store) == [True, True, True]
            assert starts_held(made) == [(), (), ()]
        assert starts_stored(store) == [LEARNT_S] * 3
        now += REOPEN_EVERY_S + 1.0
        await asyncio.sleep(0.2)
        await made.tick(NOON + 31)
        assert starts_held(made) == [LEARNT_S] * 3
        assert starts_stored(store) == [LEARNT_S] * 3
        assert warned(store) == [False, False, False]
        assert {member.status.condition("StoreTrouble") for member in made._fleet.members} == {None}
        await made._clerk.finish()
        store.close()

    with serving(Server) as api:
        asyncio.run(story(api))


def test_what_could_only_tell_of_cold_starts_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is never read does not keep a target up for ever, and its memory is not overwritten even then."""
    monkeypatch.setattr(recaller, "WAITED_S", 0.1)
    clock = 0.0

    async def story(api: KubeApi) -> None:
        nonlocal clock
        store = learnt_store(tmp_path / "journal.db")
        made = controller(api, 3, Book(store, wall=lambda: NOON))
        monkeypatch.setattr(made._recaller, "_clock", lambda: clock)
        with unreadable(monkeypatch, "hangs"):
            await made.tick(NOON)
            clock = MEMORY_FRESH_S - 1.0
            await made.tick(NOON + 585)
            assert warned(store) == [True, True, True]
            clock = MEMORY_FRESH_S
            await made.tick(NOON + 600)
            assert warned(store) == [False, False, False]
        assert starts_stored(store) == [LEARNT_S] * 3
        store.close()

    with serving(Server) as api:
        asyncio.run(story(api))


def test_a_memory_that_is_read_late_takes_our_own_write_for_nobody_elses() -> None:
    """While the store hung we ordered: the count that stands is what we left, not a stranger's."""
    old, _ = decide(SPEC, initial(SPEC), Signals(at=NOON, spec_replicas=5))
    ours, _ = decide(SPEC, initial(SPEC), Signals(at=NOON + 15, spec_replicas=7))
    taken = recalled(old, age_s=30.0, first=ours)
    after, _ = decide(SPEC, taken, Signals(at=NOON + 30, spec_replicas=7))
    assert after.guard.foreign_at == ()
    stranger, _ = decide(SPEC, old, Signals(at=NOON + 30, spec_replicas=7))
    assert stranger.guard.foreign_at == (NOON + 30,)
