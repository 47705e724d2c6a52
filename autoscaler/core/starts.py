"""How the last hour's starts ended: whether replicas come at all, or starting them has become a way to lose them.

Pure; one entry a start, known by its pod's uid, so that a start that was called stuck and came after all has come.
"""

from dataclasses import dataclass
from math import inf

from autoscaler.core.signals import Replica, Signals

FAILING_S = 3600.0
FAILING_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start of the last hour that ended: it came, or it is stuck (``came`` is false)."""

    uid: str
    ordered_at: float
    came: bool


def ended(starts: tuple[Start, ...], signals: Signals, stuck: tuple[Replica, ...]) -> tuple[Start, ...]:
    """Return the ended starts that were ordered in the last hour."""
    since = signals.at - FAILING_S
    known = {start.uid: start for start in starts if start.ordered_at > since}
    seen = [(replica, True) for replica in signals.replicas if replica.ready_at is not None]
    seen += [(replica, False) for replica in stuck if replica.ready_at is None]
    for replica, came in seen:
        old = known.get(replica.uid)
        if since < replica.ordered_at < inf and (old is None or old.came != came):
            known[replica.uid] = Start(uid=replica.uid, ordered_at=replica.ordered_at, came=came)
    after = tuple(known.values())
    return starts if after == starts else after


def failing(starts: tuple[Start, ...]) -> bool:
    """Return whether starts fail as a rule: most of the last hour's are stuck, and none came after the newest one."""
    stuck = [start.ordered_at for start in starts if not start.came]
    if len(stuck) < FAILING_STARTS or 2 * len(stuck) < len(starts):
        return False
    newest = max(stuck)
    return not any(start.came and start.ordered_at > newest for start in starts)
