"""Faults of nodes, handed to the pool of nodes as it takes them (``nodepool.schedule_fault`` and ``close_group``)."""

from collections.abc import Callable, Sequence
from functools import partial

from simulator.faults.kinds import NodeLoss, SpotReclaim, Stockout
from simulator.faults.plan import Occurrence
from simulator.faults.victims import Victims, node_name
from simulator.nodes.events import NodeFault
from simulator.nodes.nodepool import NodePool


def befall_nodes(nodes: NodePool, occurrences: Sequence[Occurrence], victims: Victims) -> None:
    """Let what befalls nodes come at its time. A loss or reclaim that finds no node passes, and has no victim."""
    for one in occurrences:
        fault = one.fault
        if isinstance(fault, Stockout):
            for group in nodes.groups:
                if fault.group in {None, group.name}:
                    refused = partial(victims.note, one, group.name)
                    nodes.close_group(group.name, begins_s=one.begins_s, ends_s=one.ends_s, on_refused=refused)
        elif isinstance(fault, (NodeLoss, SpotReclaim)) and one.begins_s >= 0:
            for number in range(fault.nodes):
                nodes.schedule_fault(_node_fault(fault, one.begins_s, one.luck(number)), _noting(victims, one))


def _noting(victims: Victims, one: Occurrence) -> Callable[[int], None]:
    return lambda number: victims.note(one, node_name(number))


def _node_fault(fault: NodeLoss | SpotReclaim, at_s: float, pick: float) -> NodeFault:
    if isinstance(fault, NodeLoss):
        return NodeFault(at_s=at_s, pick=pick, group=fault.group, replaced_after_s=fault.noticed_seconds)
    return NodeFault(at_s=at_s, pick=pick, group=fault.group, notice_s=fault.notice_seconds)
