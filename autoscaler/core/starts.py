"""How the last hour's starts ended: whether replicas come at all, or starting them has become a way to lose them.

Pure; one entry a start, known by its pod's uid, so that a start that was called stuck and came after all has come.

In a crash loop a pod is tried again and again, and between two back-offs it looks like a start that is well. It is the
same start: it has failed until it is ready, else conditions and target would come and go with the tries. Other failures
end when they end: an image that is pulled after all is a start under way, which nobody should delete.

A start that is stuck at this instant tells of now, however long ago it was ordered. While starts fail and one of them
is still there, those that showed it are remembered too, though they may have been deleted: nothing has shown
otherwise, and an hour into a crash loop of every start a backlog would order anew what crashes too.
"""

from dataclasses import dataclass, replace
from math import isfinite

from autoscaler.core.signals import Replica, ReplicaState, Signals

FAILING_S = 3600.0
FAILING_STARTS = 3
CRASH_LOOP = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start that ended, of the last hour or stuck still: it came, or it is stuck (``came`` is false)."""

    uid: str
    ordered_at: float
    came: bool


def crashing(replicas: tuple[Replica, ...]) -> tuple[str, ...]:
    """Return the uids of the replicas in a crash loop."""
    return tuple(one.uid for one in replicas if one.state is ReplicaState.FAILED and one.reason == CRASH_LOOP)


def unrecovered(replicas: tuple[Replica, ...], crashed: tuple[str, ...]) -> tuple[Replica, ...]:
    """Return the replicas; those that ``crashed`` before and are being tried again are in their crash loop still."""
    if not crashed:
        return replicas
    return tuple(
        replace(one, state=ReplicaState.FAILED, reason=CRASH_LOOP)
        if one.state is ReplicaState.STARTING and one.uid in crashed
        else one
        for one in replicas
    )


def ended(starts: tuple[Start, ...], signals: Signals, stuck: tuple[Replica, ...]) -> tuple[Start, ...]:
    """Return the ended starts of the last hour, and of before what still tells of now (see the module)."""
    since = signals.at - FAILING_S
    hanging = [replica for replica in stuck if replica.ready_at is None]
    still = {replica.uid for replica in hanging}
    telling = still | (_shown(starts) if still and failing(starts) else set())
    known = {start.uid: start for start in starts if start.ordered_at > since or start.uid in telling}
    seen = [(replica, True) for replica in signals.replicas if replica.ready_at is not None]
    seen += [(replica, False) for replica in hanging]
    for replica, came in seen:
        old = known.get(replica.uid)
        told = isfinite(replica.ordered_at) and (not came or replica.ordered_at > since)
        if told and (old is None or old.came != came):
            known[replica.uid] = Start(uid=replica.uid, ordered_at=replica.ordered_at, came=came)
    after = tuple(known.values())
    return starts if after == starts else after


def _shown(starts: tuple[Start, ...]) -> set[str]:
    """Return the uids of the newest starts by which it shows that starts fail: as few as do, for memory is bounded."""
    stuck = sorted((start for start in starts if not start.came), key=lambda start: start.ordered_at)
    return {start.uid for start in stuck[-FAILING_STARTS:]}


def failing(starts: tuple[Start, ...]) -> bool:
    """Return whether starts fail as a rule: most that are remembered are stuck, and none came after the newest one."""
    stuck = [start.ordered_at for start in starts if not start.came]
    if len(stuck) < FAILING_STARTS or 2 * len(stuck) < len(starts):
        return False
    newest = max(stuck)
    return not any(start.came and start.ordered_at > newest for start in starts)
