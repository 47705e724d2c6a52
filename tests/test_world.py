"""What a world tells of a write that was not its own to make.

The /scale is kept in memory here: on a real API server nobody can choose which of two controllers writes first.
``tests/cluster/test_controller_world.py`` asks the real one.
"""

from dataclasses import dataclass, replace

from autoscaler.adapters import kube_pods
from autoscaler.adapters.kube_pods import PodHistory
from autoscaler.adapters.kube_scale import Scale, Scales, Target
from autoscaler.adapters.kube_state import ObjectStore
from autoscaler.controller.world import ClusterWorld, Sight
from autoscaler.core.decide import Memory, decide, initial
from autoscaler.core.decision import Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.policy_parts import Mode
from autoscaler.journal import OutcomeStatus

SPEC = PolicySpec.model_validate(
    {
        "targetRef": {"name": "chat"},
        "mode": "Enforce",
        "model": {"name": "m"},
        "accelerator": {"class": "L4"},
        "replicas": {"min": 2, "max": 9},
    }
)


class OneScale(Scales):
    """One target's count, in memory."""

    def __init__(self, selector: str = "app=chat") -> None:
        self.replicas = 2
        self.selector = selector

    def read(self, target: Target) -> Scale:  # noqa: ARG002 - there is one
        """Return what stands."""
        return Scale(replicas=self.replicas, selector=self.selector, resource_version="1")

    def write(self, target: Target, read: Scale, replicas: int) -> Scale:  # noqa: ARG002
        """Set it."""
        self.replicas = replicas
        return replace(read, replicas=replicas)


@dataclass
class Controller:
    """One controller's view of the target: its world, and what the core remembers. It leads or follows."""

    scale: OneScale
    leads: bool
    memory: Memory

    def __post_init__(self) -> None:
        clock = lambda: 0.0  # noqa: E731 - no time passes in a store of no pods
        self.world = ClusterWorld(
            target=Target(namespace="prod", api_version="apps/v1", kind="Deployment", name="chat"),
            scales=self.scale,
            pods=ObjectStore(trim=kube_pods.trim, clock=clock),
            history=PodHistory(clock),
            look=lambda _at, _pods: Sight(),
            bar=lambda: None if self.leads else "this controller is not the leader",
            clock=clock,
        )
        self.world.mode = Mode.ENFORCE

    def tick(self, at: float, spec: PolicySpec) -> tuple[Why, OutcomeStatus]:
        """Take one tick; return the reason and what came of it."""
        self.memory, decision = decide(spec, self.memory, self.world.observe(at))
        return decision.why, self.world.scale(decision).status


def at_least(replicas: int) -> PolicySpec:
    """Return the policy with another lower bound: an order, which moves the count without any metric."""
    return SPEC.model_copy(update={"replicas": SPEC.replicas.model_copy(update={"min": replicas})})


def test_a_follower_does_not_take_its_leaders_writes_for_a_strangers() -> None:
    """Whatever its leader wrote before it was killed, the one that takes over goes on from there at once."""
    scale = OneScale()
    leader = Controller(scale, leads=True, memory=initial(SPEC))
    follower = Controller(scale, leads=False, memory=initial(SPEC))
    for tick, least in enumerate((2, 3, 4, 5, 6, 7)):
        leader.tick(1000.0 + 15 * tick, at_least(least))
        follower.tick(1001.0 + 15 * tick, at_least(least))
    follower.leads = True
    why, status = follower.tick(1100.0, at_least(8))
    assert (why, status) == (Why.MIN_REPLICAS, OutcomeStatus.SCALED)
    assert scale.replicas == 8


def test_a_stranger_is_still_seen() -> None:
    """Somebody else's third change in ten minutes is one too many for the leader: it stops."""
    scale = OneScale()
    leader = Controller(scale, leads=True, memory=initial(SPEC))
    leader.tick(1000.0, SPEC)
    for tick in range(1, 4):
        scale.replicas = 5 + tick
        why, _ = leader.tick(1000.0 + 15 * tick, SPEC)
    assert why is Why.CONTESTED


def test_a_selector_that_cannot_be_read_is_told_and_the_bounds_still_hold() -> None:
    """A custom resource may print anything as its selector: its pods are unknown then, and the policy is stepped."""
    scale = OneScale(selector="app in (chat")
    leader = Controller(scale, leads=True, memory=initial(SPEC))
    signals = leader.world.observe(1000.0)
    assert signals.replicas == ()
    assert "'app in (chat' is no label selector" in signals.warnings[0]
    assert leader.tick(1015.0, at_least(3)) == (Why.MIN_REPLICAS, OutcomeStatus.SCALED)
