"""The cluster that a scenario happens in, as values: node groups, and what starting a replica on a node takes."""

import hashlib
from dataclasses import dataclass
from math import inf

from simulator.engine.profiles import EngineProfile
from simulator.nodes.neighbors import Neighbor, NeighborPool
from simulator.nodes.node import Content, Needs, NodeGroup, Sleep, Tier
from simulator.nodes.nodepool import NodePool
from simulator.nodes.scaling import NodeScaling, Packing
from simulator.nodes.shared_nodes import SharedNodes
from simulator.startup.phases import PhasedStartup


class ModelledClusterError(ValueError):
    """A cluster on which a replica cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledCluster:
    """Nodes and start-up. ``startup`` None: what a scenario draws anyway is all that a start takes beside its node."""

    groups: tuple[NodeGroup, ...]
    packing: Packing = Packing.FIRST_FIT
    scaling: NodeScaling = NodeScaling()  # noqa: RUF009 - it is frozen
    startup: PhasedStartup | None = None
    image: Content | None = None
    weights: Content | None = None
    weights_from: Tier = Tier.OBJECT_STORE
    sleep: Sleep | None = None
    neighbors: tuple[Neighbor, ...] = ()

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of all of its values, those of recordings included."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def nodes(self, seed: int) -> SharedNodes:
        """Return the nodes of a run as they are at its beginning, with the neighbors on them."""
        nodes = SharedNodes(NodePool(self.groups, seed=seed, packing=self.packing, scaling=self.scaling))
        for neighbor in self.neighbors:
            pool = NeighborPool(neighbor, nodes.nodes, self.startup, seed)
            nodes.join(pool.name, pool)
        return nodes

    def needs(self, profile: EngineProfile) -> Needs:
        """Return what one replica of an engine needs of a node.

        Raises:
            ModelledClusterError: no group has such accelerators, or so many of them on one node.
        """
        needs = Needs(
            accelerator=profile.accelerator,
            accelerators=profile.accelerators_per_replica,
            image=self.image,
            weights=self.weights,
            weights_from=self.weights_from,
            sleep=self.sleep,
        )
        if not any(group.could_hold(needs) for group in self.groups):
            have = ", ".join(
                f"{group.name} ({group.accelerators_per_node} × {group.accelerator})" for group in self.groups
            )
            raise ModelledClusterError(
                f"no node of the cluster holds a replica: it needs {needs.accelerators} × {needs.accelerator} on one"
                f" node, and the groups are {have}; add a group with such nodes"
            )
        return needs

    def transfers_s(self, profile: EngineProfile) -> float:
        """Return what image and weights take on a node that has neither, with its links to itself: the longest group's.

        Raises:
            ModelledClusterError: as ``needs``.
        """
        needs = self.needs(profile)
        return max(_transfers_s(group, needs) for group in self.groups if group.could_hold(needs))

    def usual_start_s(self, profile: EngineProfile) -> float | None:
        """Return the time to Ready on a node with room that has neither image nor weights; None without a startup.

        Raises:
            ModelledClusterError: as ``needs``.
        """
        if self.startup is None:
            return None
        phases = (self.startup.schedule, self.startup.pull, self.startup.load, self.startup.warmup)
        return sum(phase.at(0.5) for phase in phases) + self.transfers_s(profile)


def _transfers_s(group: NodeGroup, needs: Needs) -> float:
    parts = ((needs.image, Tier.REGISTRY), (needs.weights, needs.weights_from))
    return sum(
        content.gigabytes / group.gigabytes_per_s.get(tier, inf)
        for content, tier in parts
        if content is not None and content not in group.preloaded
    )
