"""When users are told what: the status patches and Events that follow from a tick, as few as say everything.

A status is written at once when something in it changed that a person acts on (a count, the reason, a condition), and
else every 60 s, so that its ages stay readable. Numbers inside sentences change with every tick and are no reason to
write. All writes go through one queue with a limited rate; a newer status replaces an older one that still waits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autoscaler.adapters import kube_tell
from autoscaler.adapters.kube import KubeApi, KubeError
from autoscaler.core.policy import GROUP, KIND, PLURAL, VERSION
from autoscaler.status import PolicyStatus, Truth, status_patch

logger = logging.getLogger(__name__)

WRITES_PER_S = 20.0
REFRESH_S = 60.0
EVENTS_WAITING_MAX = 200
# What comes and goes with every other tick is told as an Event once in so long; the status always tells how it stands.
REPEAT_S = 600.0
# Conditions whose True is the trouble; for all others of the standard set it is False.
_TROUBLE_WHEN_TRUE = frozenset({"Conflicted"})
_EXPECTED = frozenset({"ScalingLimited", "Ready", "AbleToScale"})
_STANDARD = frozenset({"Accepted", "TargetFound", "ScalingActive", *_TROUBLE_WHEN_TRUE, *_EXPECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which policy a status belongs to."""

    namespace: str
    name: str
    uid: str

    @property
    def reference(self) -> dict[str, Any]:
        """The policy as an Event refers to it."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    about: dict[str, Any]
    reason: str
    message: str
    warning: bool
    at: float


class Announcer:
    """Takes in statuses and Events, and writes them at its own pace. Runs on the event loop."""

    def __init__(self, api: KubeApi, *, may_write: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._api = api
        self._may_write = may_write
        self._clock = clock
        self._waiting: dict[str, tuple[Identity, PolicyStatus]] = {}
        self._events: deque[_Event] = deque(maxlen=EVENTS_WAITING_MAX)
        self._written: dict[str, tuple[float, tuple[Any, ...]]] = {}
        self._failing: dict[str, str] = {}
        self._warned_at: dict[str, dict[str, float]] = {}  # By uid, then by what was told.
        self._work = asyncio.Event()

    def status(self, who: Identity, status: PolicyStatus, *, previous: PolicyStatus) -> None:
        """Take in the status after a tick; conditions that became a trouble are told as Events too."""
        written_at, written = self._written.get(who.uid, (float("-inf"), ()))
        if _material(status) != written or self._clock() - written_at >= REFRESH_S:
            self._waiting[who.uid] = (who, status)
            self._work.set()
        for condition in status.conditions:
            before = previous.condition(condition.type)
            arose = before is None or before.status != condition.status
            if (
                arose
                and _troubles(condition.type, condition.status)
                and self._is_news(who.uid, f"{condition.type} {condition.reason}")
            ):
                at = condition.last_transition_time.timestamp()
                self.event(who, reason=condition.reason, message=condition.message, warning=True, at=at)

    def event(self, who: Identity, *, reason: str, message: str, warning: bool, at: float) -> None:
        """Take in an Event; the oldest that waits is dropped if there are too many."""
        self._events.append(_Event(about=who.reference, reason=reason, message=message, warning=warning, at=at))
        self._work.set()

    def _is_news(self, uid: str, text: str) -> bool:
        """Whether a warning was not told lately; it is taken as told by that."""
        now = self._clock()
        lately = {told: at for told, at in self._warned_at.get(uid, {}).items() if now - at < REPEAT_S}
        self._warned_at[uid] = {text: now} | lately
        return text not in lately

    def forget(self, uid: str) -> None:
        """Drop what waits for a policy that is no more."""
        self._waiting.pop(uid, None)
        self._written.pop(uid, None)
        self._failing.pop(uid, None)
        self._warned_at.pop(uid, None)

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await self._work.wait()
            if not self._waiting and not self._events:
                self._work.clear()
                continue
            if self._waiting:
                uid, (who, status) = next(iter(self._waiting.items()))
                del self._waiting[uid]
                await self._write_status(who, status)
            if self._events:
                await self._write_event(self._events.popleft())
            await asyncio.sleep(1.0 / WRITES_PER_S)

    async def _write_status(self, who: Identity, status: PolicyStatus) -> None:
        if not self._may_write():
            return
        patch = status_patch(status)
        try:
            await asyncio.to_thread(kube_tell.patch_status, self._api, who.reference, PLURAL, patch)
        except KubeError as error:
            if not error.missing:
                self._complain(who.uid, f"status of {who.namespace}/{who.name} was not written: {error}")
        else:
            self._written[who.uid] = (self._clock(), _material(status))
            self._failing.pop(who.uid, None)

    async def _write_event(self, event: _Event) -> None:
        if not self._may_write():
            return
        try:
            await asyncio.to_thread(
                kube_tell.post_event,
                self._api,
                event.about,
                reason=event.reason,
                message=event.message,
                warning=event.warning,
                at=event.at,
            )
        except KubeError as error:
            self._complain("events", f"an Event was not written: {error}")

    def _complain(self, about: str, message: str) -> None:
        """Log a failure once, not with every tick that repeats it."""
        if self._failing.get(about) != message:
            self._failing[about] = message
            logger.warning("%s", message)


def _material(status: PolicyStatus) -> tuple[Any, ...]:
    return (
        status.observed_generation,
        status.desired,
        status.ready,
        status.warming,
        status.prewarm,
        status.reason,
        status.cold_start.samples if status.cold_start else None,
        tuple((one.type, one.status, one.reason) for one in status.conditions),
    )


def _troubles(name: str, status: Truth) -> bool:
    if name in _EXPECTED:
        return False
    bad = Truth.TRUE if name in _TROUBLE_WHEN_TRUE or name not in _STANDARD else Truth.FALSE
    return status is bad
