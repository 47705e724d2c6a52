"""The driver: the only loop body in the product, the same in the controller and in the simulator.

observe, decide, scale, record: one direction, no loop back but through the world. Retry is the next tick: a conflict
is an outcome that is recorded, not a reason to try again at once.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from autoscaler.core.decision import Decision
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry, Outcome

P = TypeVar("P")
M = TypeVar("M")

# Ours, and every baseline: HPA, KEDA, KPA, ... Pure: the memory that it returns is the only thing it will see again.
Decider = Callable[[P, M, Signals], tuple[M, Decision]]
Recorder = Callable[[Entry, M], None]


class World(Protocol):
    """The product's one port: a cluster, real or simulated, as one policy sees it."""

    def observe(self, at: float) -> Signals:
        """Return what is known of the target at an instant (unix seconds). Never raises: ignorance is a signal."""
        ...

    def scale(self, decision: Decision) -> Outcome:
        """Carry a decision out and say what came of it. Never raises: a failure is an outcome."""
        ...


class Driver(Generic[P, M]):
    """Steps one policy through time against one world."""

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        policy: P,
        memory: M,
        decide: Decider[P, M],
        world: World,
        record: Recorder[M],
    ) -> None:
        self.name = name
        self.digest = digest
        self.policy = policy
        self.memory = memory
        self._decide = decide
        self._world = world
        self._record = record

    def step(self, at: float) -> float:
        """Take one step at an instant and return the instant at which to take the next."""
        signals = self._world.observe(at)
        self.memory, decision = self._decide(self.policy, self.memory, signals)
        outcome = self._world.scale(decision)
        entry = Entry(
            policy=self.name,
            policy_digest=self.digest,
            at=at,
            signals=signals,
            decision=decision,
            outcome=outcome,
        )
        self._record(entry, self.memory)
        return decision.next_at
