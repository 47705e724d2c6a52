"""Nodes that several pools share, and all of them advanced side by side.

What one pool does matters to the others through the nodes alone: a replica that goes makes room, one that comes takes
it. So all pools go from one change to the next together, the nodes' changes included. While a replica drains nobody
knows when it will be empty, and the nodes learn of it at whole seconds; so then the pools go from second to second.
"""

from math import floor, inf
from typing import TypeAlias

from simulator.lifecycle import ClusterError, Lifecycle
from simulator.nodes.events import What
from simulator.nodes.neighbors import NeighborPool
from simulator.nodes.nodepool import NodePool

Tenant: TypeAlias = Lifecycle | NeighborPool
"""A pool on the nodes: with traffic, or one that only takes room."""


class SharedNodes:
    """Nodes and the pools on them."""

    def __init__(self, nodes: NodePool) -> None:
        self.nodes = nodes
        self._pools: dict[str, Tenant] = {}

    def join(self, name: str, pool: Tenant) -> None:
        """Let a pool live on the nodes.

        Raises:
            ClusterError: another pool has the name, or time has begun already.
        """
        if name in self._pools:
            raise ClusterError(f"two pools on the same nodes are called {name}; give each a name of its own")
        if self.nodes.now_s > 0:
            raise ClusterError(f"{name} comes at {self.nodes.now_s:g} s; pools that share nodes begin together")
        self._pools[name] = pool

    def advance(self, until_s: float) -> None:
        """Let everything up to and including until_s happen, to the nodes and to every pool on them.

        Raises:
            ClusterError: until_s lies in the past.
        """
        if until_s < self.nodes.now_s:
            raise ClusterError(f"cannot advance to {until_s:g} s: it is {self.nodes.now_s:g} s already")
        until_s = float(until_s)
        while (next_s := self._next_s()) <= until_s:
            self._go_to(max(next_s, self.nodes.now_s))
        self._go_to(until_s)

    def _next_s(self) -> float:
        pools = self._pools.values()
        changes_s = min((pool.next_change_s for pool in pools), default=inf)
        second_s = floor(self.nodes.now_s) + 1.0 if any(pool.any_draining for pool in pools) else inf
        return min(self.nodes.next_event_s, changes_s, second_s)

    def _go_to(self, at_s: float) -> None:
        for pool in self._pools.values():
            pool.run_to(at_s)
            if pool.next_change_s <= at_s:
                pool.change_lives()
        happenings = list(self.nodes.advance(at_s))
        for happening in happenings:
            pool = self._pools[happening.pool]
            # What one replica of a lost node had must not be handed to another one of it.
            if happening.what is What.LOST and isinstance(pool, Lifecycle):
                pool.close(happening.replica_id)
        for happening in happenings:
            self._pools[happening.pool].apply(happening)
