"""The controller's own Prometheus metrics: a fold of journal entries, and a few numbers about the loop itself.

A value that is not known has no series: an absent gauge is seen by an alert, a zero is believed.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from autoscaler.core.policy_parts import Mode
from autoscaler.journal import Entry
from autoscaler.status import sample_age_s

PREFIX = "inference_autoscaler"
_POLICY = ("namespace", "policy")


class ControllerMetrics:
    """All of the controller's metrics in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = {
            "desired": self._gauge("desired_replicas", "Replicas wanted now; absent in mode Observe.", _POLICY),
            "spec": self._gauge("spec_replicas", "Replicas that stand on the target.", _POLICY),
            "ready": self._gauge("ready_replicas", "Replicas that are Ready.", _POLICY),
            "warming": self._gauge("warming_replicas", "Replicas asked for and not Ready yet.", _POLICY),
            "prewarm": self._gauge("prewarm_replicas", "Part of desired held above present need.", _POLICY),
            "coldstart_p50": self._gauge("coldstart_p50_seconds", "Median of the next cold start.", _POLICY),
            "coldstart_p75": self._gauge("coldstart_p75_seconds", "0.75 quantile of the next cold start.", _POLICY),
            "sample_age": self._gauge("sample_age_seconds", "Age of the newest engine sample.", _POLICY),
        }
        self._decisions = Counter(
            f"{PREFIX}_decisions", "Decisions by the rule that bound.", (*_POLICY, "reason"), registry=self.registry
        )
        self._outcomes = Counter(
            f"{PREFIX}_outcomes", "What became of decisions.", (*_POLICY, "outcome"), registry=self.registry
        )
        self.tick_seconds = Histogram(
            f"{PREFIX}_tick_seconds",
            "Duration of a tick over all policies.",
            registry=self.registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        )
        self.query_errors = Counter(
            f"{PREFIX}_query_errors", "Failed Prometheus queries.", ("prometheus",), registry=self.registry
        )
        self.step_failures = Counter(
            f"{PREFIX}_step_failures", "Steps that failed by a fault of ours.", _POLICY, registry=self.registry
        )
        self._waiting_entries = self._gauge("waiting_entries", "Journal entries that a failed write left waiting.", ())
        self._lost_entries = Counter(
            f"{PREFIX}_lost_entries", "Journal entries given up while nothing could be written.", registry=self.registry
        )
        self._lost = 0
        self._store_trouble = self._gauge("store_trouble", "1 if something is wrong with the store; the log says.", ())
        self.ghosts = Counter(
            f"{PREFIX}_swept_objects", "Objects that the watch had lost and a list swept out.", registry=self.registry
        )
        self.leader = self._gauge("leader", "1 if this controller may write.", ())
        self.policies = self._gauge("policies", "Policies in hand.", ())

    def tell(self, namespace: str, name: str, mode: Mode, entry: Entry) -> None:
        """Take in one tick of one policy."""
        decision = entry.decision
        values: dict[str, float | None] = {
            "desired": None if mode is Mode.OBSERVE else decision.target,
            "spec": decision.spec_replicas,
            "ready": decision.ready,
            "warming": decision.warming,
            "prewarm": None if mode is Mode.OBSERVE else decision.prewarm,
            "coldstart_p50": decision.numbers.get("coldstart_p50_s"),
            "coldstart_p75": decision.numbers.get("coldstart_p75_s"),
            "sample_age": sample_age_s(entry.signals, entry.decision),
        }
        for key, value in values.items():
            if value is None:
                _drop(self._gauges[key], namespace, name)
            else:
                self._gauges[key].labels(namespace, name).set(value)
        self._decisions.labels(namespace, name, str(decision.why)).inc()
        self._outcomes.labels(namespace, name, str(entry.outcome.status)).inc()

    def tell_store(self, *, waiting: int, lost: int, trouble: str) -> None:
        """Take in how it stands with the store: entries that wait, those lost since the start, and what is wrong."""
        self._waiting_entries.set(waiting)
        self._lost_entries.inc(lost - self._lost)
        self._lost = lost
        self._store_trouble.set(bool(trouble))

    def forget(self, namespace: str, name: str) -> None:
        """Drop the gauges of a policy of which nothing is known now."""
        for gauge in self._gauges.values():
            _drop(gauge, namespace, name)

    def remove(self, namespace: str, name: str) -> None:
        """Drop all series of a policy that is no more: names come and go for as long as this process runs."""
        self.forget(namespace, name)
        for counter in (self._decisions, self._outcomes, self.step_failures):
            _drop(counter, namespace, name)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)


def _drop(series: Gauge | Counter, *labels: str) -> None:
    series.remove_by_labels(dict(zip(_POLICY, labels, strict=True)))
