"""The cluster as one policy sees it: real pods of a real API server, with samples that the test makes up.

The samples stand in for Prometheus, which has tests of its own.
"""

import time
from collections.abc import Sequence

import pytest

from autoscaler.adapters.kube import connect
from autoscaler.adapters.kube_scale import Scales, Target
from autoscaler.controller.clusterfeed import ClusterFeed
from autoscaler.controller.world import ClusterWorld, Sight
from autoscaler.core.signals import PodSample, ReplicaState, Signals
from deploy.install import INSTALL
from deploy.localcluster import LocalCluster
from deploy.localcluster.kubeconfig import CONTROLLER
from tests.cluster.controllers import apply, deployment, eventually

pytestmark = pytest.mark.servers


class Seen:
    """A world, its feed, and whether its engines have been scraped."""

    def __init__(self, cluster: LocalCluster, namespace: str) -> None:
        cluster.kubectl("apply", "-f", str(INSTALL))
        cluster.kubectl("wait", "crd/scalingpolicies.inference-autoscaler.dev", "--for=condition=Established")
        api = connect(cluster.kubeconfig_for(CONTROLLER), None)
        self.scraped = False
        self.feed = ClusterFeed(api, namespaces=[namespace])
        self.world = ClusterWorld(
            target=Target(namespace=namespace, api_version="apps/v1", kind="Deployment", name="chat"),
            scales=Scales(api, time.monotonic),
            pods=self.feed.pods,
            history=self.feed.history,
            look=self._look,
            bar=lambda: None,
            clock=time.monotonic,
        )

    def _look(self, at: float, pods: Sequence[str]) -> Sight:
        return Sight(samples=tuple(PodSample(pod=pod, at=at - 1.0) for pod in pods if self.scraped))

    def look(self) -> Signals:
        """Return what is seen after a fresh list."""
        self.feed.resync()
        return self.world.observe(time.time())

    def when(self, state: ReplicaState, count: int) -> Signals:
        """Return the first signals with so many replicas in a state."""

        def found() -> Signals | None:
            signals = self.look()
            return signals if signals.count(state) == count else None

        return eventually(found, what=f"{count} replicas {state}")


def test_pods_become_replicas_with_the_times_of_their_conditions(cluster: LocalCluster, namespace: str) -> None:
    """Ordered, scheduled, started and ready come from the pods themselves, in this order."""
    seen = Seen(cluster, namespace)
    apply(cluster, namespace, [deployment("chat", replicas=2)])
    signals = seen.when(ReplicaState.READY, 2)
    assert (signals.spec_replicas, signals.surge_replicas, signals.warnings) == (2, 0, ())
    for replica in signals.replicas:
        instants = [replica.ordered_at, replica.scheduled_at, replica.started_at, replica.ready_at]
        known = [instant for instant in instants if instant is not None]
        assert len(known) == 4
        assert known == sorted(known)
        assert replica.node is not None


def test_a_pod_without_a_probe_is_ready_with_its_first_sample(cluster: LocalCluster, namespace: str) -> None:
    """Ready that means nothing is not believed until the engine is seen."""
    seen = Seen(cluster, namespace)
    unprobed = deployment("chat")
    del unprobed["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    apply(cluster, namespace, [unprobed])

    def ready_by_its_condition() -> bool:
        return any(one.reason == "NoReadinessProbe" for one in seen.look().replicas)

    eventually(ready_by_its_condition, what="a pod that says Ready")
    assert seen.look().count(ReplicaState.READY) == 0
    assert seen.world.unprobed
    seen.scraped = True
    at = time.time()
    signals = seen.world.observe(at)
    assert [(one.state, one.ready_at) for one in signals.replicas] == [(ReplicaState.READY, at - 1.0)]
    assert len(signals.samples) == 1
    seen.scraped = False
    assert seen.look().count(ReplicaState.READY) == 1, "a sample that is missing later does not undo it"


def test_a_pod_that_went_is_told_of_once(cluster: LocalCluster, namespace: str) -> None:
    """An account is closed with the instant of its end, and closed once."""
    seen = Seen(cluster, namespace)
    apply(cluster, namespace, [deployment("chat", replicas=2)])
    seen.when(ReplicaState.READY, 2)
    cluster.kubectl("scale", "deployment", "chat", "-n", namespace, "--replicas=1")
    signals = seen.when(ReplicaState.GONE, 1)
    [gone] = [one for one in signals.replicas if one.state is ReplicaState.GONE]
    assert gone.gone_at is not None
    assert abs(gone.gone_at - signals.at) < 10.0
    assert seen.look().count(ReplicaState.GONE) == 0


def test_a_rollouts_surge_is_counted_apart(cluster: LocalCluster, namespace: str) -> None:
    """Pods of two templates side by side are more than were asked for, and are said to be."""
    seen = Seen(cluster, namespace)
    slow = deployment("chat", replicas=2)
    apply(cluster, namespace, [slow])
    seen.when(ReplicaState.READY, 2)
    slow["spec"]["template"]["metadata"]["annotations"]["coldstart.inference-autoscaler.dev/load"] = "30s"
    apply(cluster, namespace, [slow])

    def surging() -> Signals | None:
        signals = seen.look()
        return signals if signals.surge_replicas else None

    signals = eventually(surging, what="a surge")
    assert (signals.spec_replicas, signals.surge_replicas) == (2, 1)


def test_an_unreadable_target_is_not_zero_replicas(cluster: LocalCluster, namespace: str) -> None:
    """What cannot be read is unknown, with a reason."""
    signals = Seen(cluster, namespace).look()
    assert signals.spec_replicas is None
    assert 'deployments.apps "chat" not found' in signals.warnings[0]
