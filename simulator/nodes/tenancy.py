"""A pool's place on nodes: what it asks of them for its replicas."""

from dataclasses import dataclass

from simulator.nodes.node import Needs
from simulator.nodes.nodepool import NodePool
from simulator.startup.model import StartupTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The nodes, the name by which they know the pool, and what each of its replicas needs."""

    nodes: NodePool
    pool: str
    needs: Needs

    def occupy(self, replica_id: int) -> int:
        """Place a replica that runs from the beginning. Returns the node's number, -1 if there is no room."""
        return self.nodes.occupy((self.pool, replica_id), self.needs)

    def order(self, replica_id: int, times: StartupTimes, at_s: float) -> None:
        """Order a replica with the drawn parts of its phases."""
        self.nodes.order((self.pool, replica_id), self.needs, times, at_s)

    def release(self, replica_id: int, at_s: float, *, in_order: bool) -> None:
        """The replica is gone since at_s; ``in_order``: it had finished what it had, and may sleep."""
        self.nodes.release((self.pool, replica_id), at_s, in_order=in_order)
