"""Signals: what is known of one target at one instant, and how well.

A number that is missing is never 0. Five things look alike on a dashboard and mean five different things here:

=============  =======================================================  ==================================
presence       what was seen                                            what may be done
=============  =======================================================  ==================================
present        a sample newer than the staleness limit (0 is a value)   decide
stale          the newest sample is older than the limit                hold, never down
absent         the pod is scraped, or ought to be, but has no series    hold back: scale sums, no down
invalid        NaN, an infinity or a negative count                     as absent, and named
target-down    the scrape itself fails (``up`` is 0)                    as absent, and named
=============  =======================================================  ==================================

Counters are handed over as they stand, with the time of their own sample, not as rates: the difference between two
samples of one pod is taken by the core, over the time between those two samples. So ticks and scrapes may alias
without harm, and a restarted pod is seen as one. Instants end in ``_at`` and are unix seconds, durations in ``_s``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Presence(StrEnum):
    """How well one pod's sample is known."""

    PRESENT = "present"
    STALE = "stale"
    ABSENT = "absent"
    INVALID = "invalid"
    TARGET_DOWN = "target-down"


class ReplicaState(StrEnum):
    """The life of a replica as the cluster tells it."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica: its state and the instants of its phases, as far as it got.

    ``pod`` is the key that joins it with its sample: the pod's name, which is unique within the policy's namespace
    at any one time; ``uid`` tells apart two pods that had the same name. ``ready_at`` is the *first* Ready; readiness
    that flaps later changes ``state`` and not ``ready_at``. ``reason`` says why a replica failed or is stuck, in
    Kubernetes' own words (ImagePullBackOff, CrashLoopBackOff, Unschedulable, ...).
    A replica whose pod no longer exists is reported once more, as ``GONE`` with ``gone_at``, so that the ledger can
    close its account to the instant; the core ignores it.
    """

    pod: str
    uid: str
    state: ReplicaState
    ordered_at: float
    scheduled_at: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    deleted_at: float | None = None
    gone_at: float | None = None
    reason: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """One pod's engine metrics at one scrape.

    Gauges are ``None`` where the engine does not export them or the value was not finite. Counters are cumulative
    since the engine's start. ``ttft_within`` and ``tpot_within`` hold (upper edge in seconds, cumulative count) of
    the histogram buckets around the objective, ascending by edge.
    """

    pod: str
    at: float
    presence: Presence = Presence.PRESENT
    running: float | None = None
    waiting: float | None = None
    kv_ratio: float | None = None
    kv_capacity_tokens: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    finished_requests: float | None = None
    steps: float | None = None
    ttft_count: float | None = None
    ttft_within: tuple[tuple[float, float], ...] = ()
    itl_sum_s: float | None = None
    itl_count: float | None = None
    tpot_count: float | None = None
    tpot_within: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything that is known of one target at the instant ``at``.

    ``spec_replicas`` is what stands on the target now; ``None`` if the target was not found or not readable.
    ``held_requests`` counts requests that a gateway holds because no replica takes them; ``None`` where nothing is
    known of a gateway. ``samples`` has one entry for each ready replica that ought to have one, whatever its
    presence. ``surge_replicas`` are the pods beyond ``spec_replicas`` that a rollout makes. ``warnings`` are the
    sources' own words for a partial answer; with any of them nothing is scaled down. ``unwritten`` says that the last
    decision was not carried out (refused, or lost to another writer), so that the count is not what it left.
    """

    at: float
    spec_replicas: int | None
    replicas: tuple[Replica, ...] = ()
    samples: tuple[PodSample, ...] = ()
    held_requests: float | None = None
    surge_replicas: int = 0
    warnings: tuple[str, ...] = ()
    unwritten: bool = False

    def count(self, state: ReplicaState) -> int:
        """Return the number of replicas in a state."""
        return sum(1 for replica in self.replicas if replica.state is state)
