"""Guards: when the arithmetic of demand must not be followed, in the order in which they are asked.

Two tables. :data:`STOPS` end the decision before demand is looked at, the first that speaks wins:

=================  ============================================================  ===========================
guard              when                                                          then
=================  ============================================================  ===========================
paused             the policy says so                                            nothing may be written
target unknown     the target's replica count could not be read                  nothing may be written
contested          someone else changed the count 3 times in 10 minutes          leave it, report
zeroed by owner    it stands at 0, we did not set it, and nothing wakes it       leave it, say so
pinned             the policy pins a number until a time                         that number
blind              nobody told demand for max(stale, 3 scrapes), or ever         hold; orders made stay
fail-safe          blind for longer than failSafe.afterSeconds                   rise to its floor, never down
(held)             blind without any sample, and a gateway holds requests       rise by the backlog alone
contradictory      the metrics cannot all be true                                hold
no demand yet      no rate was ever measured                                     hold
=================  ============================================================  ===========================

:data:`BLOCKS` forbid only the way down, the first that speaks is named: counters that stand still though requests went
through, gauges that show nothing where requests end (what they ought to tell is taken from elsewhere), a partial answer
(warnings, fewer than 80 % of the ready replicas report, none at all, an engine that hangs, requests whose tokens nobody
tells, a demand that is a guess), a healthy replica starting (the owner of the pods would delete just that one: a
ReplicaSet removes pods that are not ready first), and the first max(H, hold) seconds of a memory.

The bounds (:mod:`autoscaler.core.bounds`) come last, over every outcome that may be written.

Time is *sighted* time where a guard waits (holds, start guard): it passes from sample to sample that tells demand. The
seconds of an outage of metrics do not pass for them, nor those of a demand that is a guess, else the first tick after
it would drop replicas on no evidence.

A target is contested in Enforce mode only: in the other modes whoever sets the count is not fighting us. So a world
that does not carry decisions out must be run in another mode.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from autoscaler.core.decision import Why
from autoscaler.core.demand import Observed
from autoscaler.core.policy import PolicySpec
from autoscaler.core.policy_parts import Mode
from autoscaler.core.signals import Replica, Signals
from autoscaler.core.starts import Start, ended

LEAST_REPORTING = 0.8
CONTEST_CHANGES = 3
CONTEST_S = 600.0
LONGEST_WAIT_S = 1200.0  # Clamps H and the economic hold: an estimate beyond 20 minutes is a finding, not a plan.
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardMemory:
    """What the guards carry: the sighted clock, who set the count, and how the last hour's starts ended.

    ``sighted_s`` is the sighted time since this memory began, up to the sample of ``sample_at``; ``expected`` the count
    that the last decision left.
    """

    began_at: float | None = None
    sighted_at: float | None = None
    sighted_s: float = 0.0
    expected: int | None = None
    sample_at: float | None = None
    zero_is_ours: bool = False
    foreign_at: tuple[float, ...] = ()
    starts: tuple[Start, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the guards look at.

    ``healthy`` replicas are asked for and on their way, ``loading`` are the pods that start, a rollout's included, both
    without the stuck ones. ``guard_s`` is max(H, hold); ``level_known`` whether demand was ever measured.
    """

    spec: PolicySpec
    signals: Signals
    memory: GuardMemory
    observed: Observed
    spec_replicas: int
    ready: int
    healthy: int
    loading: int
    guard_s: float
    level_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a guard says: the count (``None``: nothing may be written), the reason, and a sentence.

    ``bounded`` is false where even the bounds leave the count to its owner. ``held_by`` is the reason before a bound
    bound it.
    """

    target: int | None
    why: Why
    detail: str
    bounded: bool = True
    held_by: Why | None = None


def stale_after_s(spec: PolicySpec) -> float:
    """Return the age at which the newest sample blinds the decision, in seconds."""
    return max(spec.timing.stale_after_seconds, 3 * spec.timing.scrape_seconds)


def sighted(spec: PolicySpec, memory: GuardMemory, signals: Signals, observed: Observed) -> bool:
    """Return whether demand was told lately enough to decide by: by a sample, and by a difference of two."""
    if observed.newest_at is None or signals.at - observed.newest_at > stale_after_s(spec):
        return False
    # Samples that give no rate (engines that start again and again) are no sight for longer than samples that stay out.
    measured_at = memory.began_at if observed.measured_at is None else observed.measured_at
    return measured_at is None or signals.at - measured_at <= stale_after_s(spec)


def update(
    spec: PolicySpec, memory: GuardMemory, signals: Signals, observed: Observed, stuck: tuple[Replica, ...]
) -> GuardMemory:
    """Return the memory after one tick's signals, before its decision."""
    sees = sighted(spec, memory, signals, observed)
    passed_s, sample_at = 0.0, memory.sample_at
    if sees and observed.newest_at is not None:
        gap_s = 0.0 if sample_at is None else max(observed.newest_at - sample_at, 0.0)
        # A gap (a restart, an outage) was no sight: of it the new sample's own interval counts, as in the forecast.
        passed_s = gap_s if gap_s <= stale_after_s(spec) else spec.timing.scrape_seconds
        passed_s = 0.0 if observed.guess is not None else passed_s  # A guess is no sight.
        sample_at = observed.newest_at if sample_at is None else max(observed.newest_at, sample_at)
    return replace(
        memory,
        began_at=signals.at if memory.began_at is None else memory.began_at,
        sighted_at=signals.at if sees else memory.sighted_at,
        sighted_s=memory.sighted_s + passed_s,
        sample_at=sample_at,
        foreign_at=_foreign(spec, memory, signals),
        starts=ended(memory.starts, signals, stuck),
    )


def put_right(memory: GuardMemory, at: float) -> GuardMemory:
    """Return the memory after a clock ahead was put right to ``at``: no instant of it lies in the future."""
    began_at, sighted_at = (None if one is None else min(one, at) for one in (memory.began_at, memory.sighted_at))
    return replace(memory, began_at=began_at, sighted_at=sighted_at, sample_at=None)


def decided(memory: GuardMemory, signals: Signals, verdict: Verdict) -> GuardMemory:
    """Return the memory after the decision: the count that it leaves, and whether a zero is ours."""
    ours = verdict.bounded and verdict.target is not None
    expected = verdict.target if ours else signals.spec_replicas
    return replace(memory, expected=expected, zero_is_ours=ours and verdict.target == 0)


def _foreign(spec: PolicySpec, memory: GuardMemory, signals: Signals) -> tuple[float, ...]:
    """Return the instants of the last three times that the count was not what we left.

    A write of ours that was put back at once (a tool that keeps a manifest does just that) is one of them; one that was
    never carried out is not.
    """
    now, expected = signals.spec_replicas, memory.expected
    if spec.paused or spec.mode is not Mode.ENFORCE:
        return ()
    # An instant ahead of this one was told by a clock that was put right since.
    before = tuple(at for at in memory.foreign_at if at <= signals.at)
    if now is None or expected is None or now == expected or signals.unwritten:
        return before
    return (*before, signals.at)[-CONTEST_CHANGES:]


def _paused(situation: Situation) -> Verdict | None:
    if not situation.spec.paused:
        return None
    return Verdict(target=None, why=Why.PAUSED, detail="the policy is paused", bounded=False)


def _unknown(situation: Situation) -> Verdict | None:
    if situation.signals.spec_replicas is not None:
        return None
    detail = f"the target's replica count could not be read{_source(situation.signals)}"
    return Verdict(target=None, why=Why.TARGET_UNKNOWN, detail=detail, bounded=False)


def _contested(situation: Situation) -> Verdict | None:
    times = situation.memory.foreign_at
    if len(times) < CONTEST_CHANGES or times[-1] - times[0] > CONTEST_S:
        return None
    since_s = situation.signals.at - times[-1]
    if since_s >= CONTEST_S:
        return None
    detail = (
        f"someone else changed the replica count {CONTEST_CHANGES} times in {times[-1] - times[0]:.0f} s; "
        f"left alone until {CONTEST_S - since_s:.0f} s pass without a change"
    )
    return Verdict(target=situation.spec_replicas, why=Why.CONTESTED, detail=detail, bounded=False)


def _zeroed(situation: Situation) -> Verdict | None:
    """Leave a zero to its owner; with ``min`` 0 a held request wakes it, and one that was there first is nobody's."""
    memory = situation.memory
    if situation.spec_replicas > 0 or memory.zero_is_ours:
        return None
    held = situation.observed.held or 0.0
    if situation.spec.replicas.min == 0 and (held > 0 or memory.expected is None):
        return None
    detail = "the target was set to 0 by its owner; it is left there until the owner raises it"
    return Verdict(target=0, why=Why.ZEROED_BY_OWNER, detail=detail, bounded=False)


def _pinned(situation: Situation) -> Verdict | None:
    pin = situation.spec.pin
    if pin is None or pin.until.timestamp() <= situation.signals.at:
        return None
    detail = f"pinned to {pin.replicas} until {pin.until.isoformat()}"
    return Verdict(target=pin.replicas, why=Why.PIN, detail=detail)


def _blind(situation: Situation) -> Verdict | None:
    spec, signals, observed = situation.spec, situation.signals, situation.observed
    # Without a ready replica there is nobody to give a sample: what a gateway holds may still order.
    if sighted(spec, situation.memory, signals, observed) or (observed.newest_at is None and observed.expected == 0):
        return None
    dark_s = blind_s(situation.memory, signals.at)
    floor = spec.fail_safe.replicas
    if floor is not None and dark_s >= spec.fail_safe.after_seconds:
        detail = f"no metrics for {dark_s:.0f} s: at least the fail-safe's {floor} replicas"
        return Verdict(target=max(situation.spec_replicas, floor), why=Why.FAIL_SAFE, detail=detail)
    if observed.newest_at is None:
        detail = f"none of {observed.expected} ready replicas has a sample that tells demand"
    elif signals.at - observed.newest_at > stale_after_s(spec):
        detail = f"the newest sample is {signals.at - observed.newest_at:.0f} s old"
    else:
        detail = "samples come, but for too long no two of one engine that give a rate"
    return Verdict(target=situation.spec_replicas, why=Why.BLIND, detail=f"{detail}{_source(signals)}; held")


def blind_s(memory: GuardMemory, at: float) -> float:
    """Return the seconds since demand was last told, since the memory began if it never was; 0 with sight."""
    last_at = memory.began_at if memory.sighted_at is None else memory.sighted_at
    return 0.0 if last_at is None else max(at - last_at, 0.0)


def named(pods: tuple[str, ...]) -> str:
    """Return the first few names and how many more there are."""
    shown = ", ".join(pods[:NAMED])
    return shown if len(pods) <= NAMED else f"{shown} and {len(pods) - NAMED} more"


def _source(signals: Signals) -> str:
    """Return what the sources themselves say of why they are not known, to be put behind a sentence."""
    return f" ({signals.warnings[0]})" if signals.warnings else ""


def _contradictory(situation: Situation) -> Verdict | None:
    if situation.observed.contradiction is None:
        return None
    detail = f"{situation.observed.contradiction}; held"
    return Verdict(target=situation.spec_replicas, why=Why.CONTRADICTORY, detail=detail)


def _no_demand(situation: Situation) -> Verdict | None:
    if situation.level_known:
        return None
    detail = "no rate is known before the second sample; held"
    return Verdict(target=situation.spec_replicas, why=Why.NO_DEMAND_YET, detail=detail)


def _frozen(situation: Situation) -> Verdict | None:
    observed = situation.observed
    # With nobody asking for long there is no work, whatever the counters say.
    if not (observed.frozen or observed.unseen) or observed.idle:
        return None
    detail = f"no scale-down on counters that stand still: {named(observed.frozen)}"
    if not observed.frozen:
        detail = f"no scale-down on gauges that show nothing where requests end: running of {named(observed.unseen)}"
    return Verdict(target=situation.spec_replicas, why=Why.CONTRADICTORY, detail=detail)


def _partial(situation: Situation) -> Verdict | None:
    observed = situation.observed
    if situation.signals.warnings:
        detail = f"no scale-down on a partial answer: {situation.signals.warnings[0]}"
    elif observed.reporting == 0 or observed.reporting < LEAST_REPORTING * observed.expected:
        detail = f"no scale-down while {observed.reporting} of {observed.expected} ready replicas report"
    elif observed.hung:
        detail = f"no scale-down while {named(observed.hung)} hang: they have requests and move none"
    elif observed.untold is not None:
        detail = f"no scale-down on a guess: {observed.untold}"
    elif observed.guess is not None:
        detail = f"no scale-down on a guess: {observed.guess}"
    else:
        return None
    return Verdict(target=situation.spec_replicas, why=Why.PARTIAL, detail=detail)


def _starting(situation: Situation) -> Verdict | None:
    coming = max(situation.healthy, situation.loading)
    if coming == 0:
        return None
    detail = f"no scale-down while {coming} replicas start: those would be deleted first"
    return Verdict(target=situation.spec_replicas, why=Why.STARTING, detail=detail)


def _start_guard(situation: Situation) -> Verdict | None:
    left_s = situation.guard_s - situation.memory.sighted_s
    if left_s <= 0:
        return None
    detail = f"no scale-down for another {left_s:.0f} s after a start without memory"
    return Verdict(target=situation.spec_replicas, why=Why.START_GUARD, detail=detail)


Guard = Callable[[Situation], Verdict | None]
STOPS: tuple[Guard, ...] = (
    _paused,
    _unknown,
    _contested,
    _zeroed,
    _pinned,
    _blind,
    _contradictory,
    _no_demand,
)
BLOCKS: tuple[Guard, ...] = (_frozen, _partial, _starting, _start_guard)


def first(guards: tuple[Guard, ...], situation: Situation) -> Verdict | None:
    """Return the verdict of the first guard that speaks, or ``None``."""
    for guard in guards:
        verdict = guard(situation)
        if verdict is not None:
            return verdict
    return None
