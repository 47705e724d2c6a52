"""A made-up hour of one policy's life, for the tests of the store, the report and the commands that read them.

One replica serves from the start; at two minutes demand rises and a second one is ordered, which takes 95 s to come;
at twenty minutes the surplus goes.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from autoscaler.core.decision import Condition, Decision, Term, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from autoscaler.footprint.ledger import LedgerRow
from autoscaler.journal import Entry, Outcome, OutcomeStatus, digest

BEGIN = 1_800_000_000.0
TICK_S = 15.0


def spec(**changes: Any) -> PolicySpec:
    """Return the policy of the story."""
    fields: dict[str, Any] = {
        "targetRef": {"name": "chat"},
        "model": {"name": "llama-3.1-8b"},
        "accelerator": {"class": "H100-80GB", "countPerReplica": 2, "price": {"usdPerHour": 3.0}},
        "replicas": {"min": 1, "max": 8},
    }
    return PolicySpec.model_validate({**fields, **changes})


def _first(at: float) -> Replica:
    return Replica(
        pod="chat-a",
        uid="uid-a",
        state=ReplicaState.READY,
        ordered_at=BEGIN - 900,
        scheduled_at=BEGIN - 890,
        started_at=BEGIN - 860,
        ready_at=BEGIN - 800,
    )


def _second(at: float) -> Replica | None:
    ordered, deleted = BEGIN + 120.0, BEGIN + 1200.0
    if at <= ordered or at > deleted + 60:
        return None
    instants = {
        "scheduled_at": ordered + 2,
        "started_at": ordered + 20,
        "ready_at": ordered + 95,
        "deleted_at": deleted,
        "gone_at": deleted + 30,
    }
    known: dict[str, Any] = {name: instant for name, instant in instants.items() if instant <= at}
    state = ReplicaState.STARTING
    for name, reached in (
        ("ready_at", ReplicaState.READY),
        ("deleted_at", ReplicaState.DRAINING),
        ("gone_at", ReplicaState.GONE),
    ):
        state = reached if name in known else state
    return Replica(pod="chat-b", uid="uid-b", state=state, ordered_at=ordered, **known)


def _sample(replica: Replica, at: float) -> PodSample:
    since = max(0.0, min(at, BEGIN + 1200) - max(BEGIN, replica.ready_at or at))
    finished = float(int(since * 2))
    return PodSample(
        pod=replica.pod,
        at=at,
        presence=Presence.PRESENT,
        running=6.0 if at < BEGIN + 1200 else 0.0,
        waiting=2.0 if BEGIN + 120 <= at < BEGIN + 215 else 0.0,
        kv_ratio=0.41,
        generation_tokens=finished * 180,
        finished_requests=finished,
        ttft_count=finished,
        ttft_within=((1.0, float(int(finished * 0.9))), (2.5, float(int(finished * 0.97))), (5.0, finished)),
    )


def _decision(at: float, ready: int, spec_replicas: int) -> Decision:
    since = at - BEGIN
    if since < 120:
        target, why, detail = 1, Why.MIN_REPLICAS, "Demand asks for less than one replica; the policy holds one."
    elif since < 1200:
        target, why = 2, Why.UTILIZATION
        detail = "Demand one cold start ahead is 1.62 replicas at the 0.90 quantile, so two are held."
    else:
        target, why, detail = 1, Why.MIN_REPLICAS, "Nothing came for two cold starts; the policy holds one."
    return Decision(
        at=at,
        target=target,
        spec_replicas=spec_replicas,
        why=why,
        detail=detail,
        next_at=at + TICK_S,
        want=target,
        want_down=target,
        ready=ready,
        warming=max(0, spec_replicas - ready),
        terms=(
            Term(name="utilization", replicas=1.67 if target == 2 else 0.4),
            Term(name="burst", replicas=1.21),
            Term(name="batch-slots", replicas=0.88),
            Term(name="min-replicas", replicas=1.0),
        ),
        numbers={"arrival_rps": 2.0, "demand_quantile": 1.62, "horizon_s": 152.5, "coldstart_p50_s": 95.0},
        conditions=(
            Condition(name="CapacityFromPrior", message="Step times come from the prior; nothing was measured."),
        ),
    )


def story(policy: str = "prod/chat", ticks: int = 120) -> list[Entry]:
    """Return the story's entries, oldest first."""
    found = []
    for i in range(ticks):
        at = BEGIN + i * TICK_S
        replicas = tuple(replica for replica in (_first(at), _second(at)) if replica is not None)
        ready = tuple(replica for replica in replicas if replica.state is ReplicaState.READY)
        stands = 2 if BEGIN + 120 < at <= BEGIN + 1200 else 1
        decision = _decision(at, len(ready), stands)
        found.append(
            Entry(
                policy=policy,
                policy_digest=digest(spec()),
                at=at,
                signals=Signals(
                    at=at,
                    spec_replicas=stands,
                    replicas=replicas,
                    samples=tuple(_sample(replica, at) for replica in ready),
                ),
                decision=decision,
                outcome=Outcome(
                    status=OutcomeStatus.SCALED if decision.moves else OutcomeStatus.UNCHANGED,
                    replicas_before=stands,
                    replicas_after=decision.target,
                ),
            )
        )
    return found


def hourly(rows: Iterable[LedgerRow]) -> Counter[tuple[object, ...]]:
    """Return accelerator-milliseconds by all that finance tells apart, hour by hour."""
    found: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        hour = int(row.start_at // 3600)
        found[row.policy, row.state, row.model, row.accelerator, row.price_usd_per_hour, hour] += row.accelerator_ms
    return found
