"""When nodes come and go, as the Kubernetes cluster autoscaler has it: pure rules over what there is.

Up: every ``scan_s`` the pending replicas that fit neither what is free nor what is on its way are packed onto new
nodes, oldest first, each of the group that costs least for a node (unknown prices last), then wastes least, then comes
first in the file. A group that could not grow is left alone for ``backoff_s``. Down: a node that has been empty for
``empty_s`` goes, longest empty first, down to the group's least number. Defaults are those of the cluster autoscaler
(--scan-interval, --scale-down-unneeded-time, --initial-node-group-backoff-duration). Left out: moving replicas to empty
a node, the pause after each growth (--scale-down-delay-after-add), and a back-off that grows from try to try.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, inf

from simulator.nodes.node import Needs, Node, NodeGroup


class Packing(StrEnum):
    """Which of the nodes with room a replica is placed on."""

    FIRST_FIT = "firstFit"
    """The oldest."""
    MOST_ALLOCATED = "mostAllocated"
    """The one with the fewest free accelerators: what is empty stays empty, and goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeScaling:
    """How nodes are scaled. ``empty_s`` infinity: never down."""

    scan_s: float = 10.0
    empty_s: float = 600.0
    backoff_s: float = 300.0

    def scan_at_or_after(self, at_s: float) -> float:
        """Return the first scan that is not before at_s."""
        return inf if at_s == inf else ceil(at_s / self.scan_s) * self.scan_s

    def scan_after(self, at_s: float) -> float:
        """Return the first scan after at_s."""
        return inf if at_s == inf else (floor(at_s / self.scan_s) + 1) * self.scan_s


def choose_node(nodes: Iterable[Node], needs: Needs, packing: Packing, at_s: float) -> Node | None:
    """Return the node that a replica is placed on, None if none that is ready has room; nodes come oldest first.

    Where one of its kind sleeps, it wakes: such a node goes first.
    """
    fitting = [node for node in nodes if node.ready_s <= at_s and node.has_room(needs)]
    fitting = [node for node in fitting if node.asleep.count(needs)] or fitting
    if packing is Packing.FIRST_FIT:
        return fitting[0] if fitting else None
    return min(fitting, key=lambda node: (node.free, node.number), default=None)


def uncovered(pending: Iterable[Needs], nodes: Iterable[Node], at_s: float) -> list[Needs]:
    """Return the pending replicas that will find no room on the nodes that are on their way."""
    room = [(node.group, node.free) for node in nodes if node.ready_s > at_s and not node.cordoned]
    return [needs for needs in pending if not _take(room, needs)]


def _take(room: list[tuple[NodeGroup, int]], needs: Needs) -> bool:
    for index, (group, free) in enumerate(room):
        if group.accelerator == needs.accelerator and free >= needs.accelerators:
            room[index] = (group, free - needs.accelerators)
            return True
    return False


def growth(
    waiting: Sequence[Needs], groups: Sequence[NodeGroup], counts: Mapping[str, int], open_groups: frozenset[str]
) -> list[NodeGroup]:
    """Return the groups of the nodes to ask for, one entry a node; ``counts`` are the nodes that each group has."""
    asked: list[NodeGroup] = []
    room: list[tuple[NodeGroup, int]] = []
    for needs in waiting:
        if _take(room, needs):
            continue
        able = [
            (group, index)
            for index, group in enumerate(groups)
            if group.name in open_groups
            and group.could_hold(needs)
            and counts[group.name] + asked.count(group) < group.max_nodes
        ]
        if able:
            group, _ = min(able, key=lambda one: (*_cost(one[0], needs), one[1]))
            asked.append(group)
            room.append((group, group.accelerators_per_node - needs.accelerators))
    return asked


def _cost(group: NodeGroup, needs: Needs) -> tuple[float, int]:
    return (inf if group.usd_per_hour is None else group.usd_per_hour), group.accelerators_per_node - needs.accelerators


def leaving(nodes: Iterable[Node], scaling: NodeScaling, counts: Mapping[str, int], at_s: float) -> list[Node]:
    """Return the nodes that have been empty for long enough and are above their group's least number."""
    left = dict(counts)
    going = []
    for node in sorted(nodes, key=lambda node: (node.empty_since_s, node.number)):
        if empty_until(node, scaling) <= at_s and left[node.group.name] > node.group.min_nodes:
            left[node.group.name] -= 1
            going.append(node)
    return going


def empty_until(node: Node, scaling: NodeScaling) -> float:
    """Return when a node will have been empty for long enough; infinity where it is not empty."""
    return node.empty_since_s + scaling.empty_s if node.empty else inf
