"""The real cluster, as one policy sees it: the ``World`` that the controller drives.

``observe`` asks the API server one thing, the target's /scale, and takes everything else from what is at hand: pods
from the store that the watch feeds, samples from the snapshot that the tick took for all policies. ``scale`` writes,
in mode Enforce alone, and asks in the very instant before whether it still may.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.adapters import kube_pods, kube_selector
from autoscaler.adapters.kube import KubeError
from autoscaler.adapters.kube_pods import PodHistory
from autoscaler.adapters.kube_scale import NotAskedError, Scale, Scales, Target
from autoscaler.adapters.kube_selector import Selector
from autoscaler.adapters.kube_state import ObjectStore
from autoscaler.core.decision import Decision
from autoscaler.core.policy_parts import Mode
from autoscaler.core.signals import PodSample, Presence, Replica, ReplicaState, Signals
from autoscaler.journal import Outcome, OutcomeStatus

# A list of pods older than this may hold pods that are no more: it is good enough to go up on, not down.
PODS_STALE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the tick's snapshot tells of one policy. ``warnings`` are the reasons why it may not be all."""

    samples: tuple[PodSample, ...] = ()
    held_requests: float | None = None
    warnings: tuple[str, ...] = ()


# Pick one policy's part out of the snapshot: the instant, and the names of the pods that ought to have a sample.
Look = Callable[[float, Sequence[str]], Sight]
# Why nothing may be written at this instant, in one sentence; None if it may.
Bar = Callable[[], str | None]


class ClusterWorld:
    """One policy's target on a cluster. Used by one thread at a time."""

    def __init__(
        self,
        *,
        target: Target,
        scales: Scales,
        pods: ObjectStore,
        history: PodHistory,
        look: Look,
        bar: Bar,
        clock: Callable[[], float],
    ) -> None:
        self.target = target
        self.mode = Mode.OBSERVE
        self.asked_at = float("-inf")  # When the target was last asked for: who was not reached goes first next time.
        self._scales = scales
        self._pods = pods
        self._history = history
        self._look = look
        self._bar = bar
        self._clock = clock
        self._read: Scale | None = None
        self._selector = ""
        self._told: set[str] = set()
        self._unwritten = False
        self.unprobed: tuple[str, ...] = ()

    def observe(self, at: float) -> Signals:
        """Return what is known of the target. An unreadable target has ``spec_replicas`` None and says why."""
        warnings: list[str] = []
        self._read = None
        try:
            self._read = self._scales.read(self.target)
            self._selector = self._read.selector
            self.asked_at = at
        except KubeError as error:
            self.asked_at = self.asked_at if isinstance(error, NotAskedError) else at
            warnings.append(f"{self.target}: {error}")
        spec_replicas = self._read.replicas if self._read else None
        selector = self._parsed_selector(warnings)
        pods = self._selected(selector)
        self._warn_of_old_pods(warnings)
        sight = self._look(at, [str(pod["metadata"]["name"]) for pod in pods if self._ought_to_serve(pod)])
        self._note_unprobed(pods, sight.samples)
        replicas = [self._replica(pod, at) for pod in pods] + self._departed(selector)
        ready = {replica.pod for replica in replicas if replica.state is ReplicaState.READY}
        return Signals(
            at=at,
            spec_replicas=spec_replicas,
            replicas=tuple(self._untold(replicas)),
            samples=tuple(sample for sample in sight.samples if sample.pod in ready),
            held_requests=sight.held_requests,
            surge_replicas=kube_pods.surge(pods, spec_replicas),
            warnings=(*sight.warnings, *warnings),
            unwritten=self._unwritten,
        )

    def scale(self, decision: Decision) -> Outcome:
        """Carry out a decision as far as the mode goes; what was not written is told with its reason."""
        outcome = self._carried_out(decision)
        # Who may not write leaves no count behind, also where he would have left the one that stands: a follower must
        # not take its own leader's writes for a stranger's.
        kept = outcome.status is OutcomeStatus.UNCHANGED and self._bar() is None
        self._unwritten = outcome.status is not OutcomeStatus.SCALED and not kept
        return outcome

    def _carried_out(self, decision: Decision) -> Outcome:
        before = decision.spec_replicas
        if self.mode is not Mode.ENFORCE:
            return _outcome(OutcomeStatus.DRY_RUN, before, before, f"mode {self.mode} never writes /scale")
        if decision.target is None or not decision.moves:
            return _outcome(OutcomeStatus.UNCHANGED, before, before)
        if self._read is None:
            return _outcome(OutcomeStatus.ERROR, before, before, f"{self.target} could not be read")
        barred = self._bar()
        if barred is not None:
            return _outcome(OutcomeStatus.REFUSED, before, before, barred)
        try:
            after = self._scales.write(self.target, self._read, decision.target)
        except KubeError as error:
            return _outcome(_failure(error), before, before, str(error))
        return _outcome(OutcomeStatus.SCALED, before, after.replicas)

    def _parsed_selector(self, warnings: list[str]) -> Selector:
        """Return which pods are the target's; one that cannot be read selects none, and is told."""
        try:
            selector = kube_selector.parse(self._selector)
        except kube_selector.SelectorError as error:
            warnings.append(f"{self.target}: status.selector of its /scale: {error}, so its pods are not known")
            return Selector(requirements=())
        if self._read is not None and not selector.requirements:
            warnings.append(f"{self.target}: its /scale has no status.selector, so its pods are not known")
        return selector

    def _selected(self, selector: Selector) -> list[Mapping[str, Any]]:
        candidates = self._pods.in_namespace_with(self.target.namespace, selector.exact)
        return [pod for pod in candidates if selector.matches(pod["metadata"].get("labels") or {})]

    def _warn_of_old_pods(self, warnings: list[str]) -> None:
        listed_at = self._pods.synced_at
        if listed_at is None or self._clock() - listed_at > PODS_STALE_S:
            warnings.append("pods could not be listed lately; what is known of them may be out of date")

    def _ought_to_serve(self, pod: Mapping[str, Any]) -> bool:
        replica = kube_pods.replica(pod, self._history.firsts(str(pod["metadata"]["uid"])))
        return replica.state is ReplicaState.READY or replica.reason == kube_pods.NO_PROBE

    def _note_unprobed(self, pods: Sequence[Mapping[str, Any]], samples: Sequence[PodSample]) -> None:
        """Let the first engine sample of a pod without a probe stand for its Ready."""
        self.unprobed = tuple(sorted(str(pod["metadata"]["name"]) for pod in pods if not kube_pods.is_probed(pod)))
        if not self.unprobed:
            return
        seen = {sample.pod: sample.at for sample in samples if sample.presence is Presence.PRESENT}
        for pod in pods:
            name = str(pod["metadata"]["name"])
            if name in seen and name in self.unprobed:
                self._history.serving(str(pod["metadata"]["uid"]), seen[name])

    def _replica(self, pod: Mapping[str, Any], at: float) -> Replica:
        replica = kube_pods.replica(pod, self._history.firsts(str(pod["metadata"]["uid"])))
        if replica.state is ReplicaState.GONE and replica.gone_at is None:
            return dataclasses.replace(replica, gone_at=at)
        return replica

    def _departed(self, selector: Selector) -> list[Replica]:
        return [
            kube_pods.departed_replica(pod, firsts, gone_at)
            for gone_at, pod, firsts in self._history.departed()
            if pod["metadata"]["namespace"] == self.target.namespace
            and selector.matches(pod["metadata"].get("labels") or {})
        ]

    def _untold(self, replicas: Sequence[Replica]) -> list[Replica]:
        """Return the replicas without those whose end was told before: an account is closed once."""
        gone = {replica.uid for replica in replicas if replica.state is ReplicaState.GONE}
        untold = [replica for replica in replicas if replica.uid not in gone & self._told]
        self._told = gone
        return untold


def _failure(error: KubeError) -> OutcomeStatus:
    if error.conflict:
        return OutcomeStatus.CONFLICT
    return OutcomeStatus.REFUSED if error.refused else OutcomeStatus.ERROR


def _outcome(status: OutcomeStatus, before: int | None, after: int | None, detail: str = "") -> Outcome:
    return Outcome(status=status, replicas_before=before, replicas_after=after, detail=detail)
