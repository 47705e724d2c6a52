"""What nodes cost, the empty ones and the empty places on them included, and what of it went to replicas that slept."""

from collections.abc import Iterable
from dataclasses import dataclass

from simulator.nodes.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidNodes:
    """What nodes came to: each from the instant it was asked for to the instant it was gone. ``usd`` None: unknown.

    ``asleep_hours`` are those of replicas that slept, ``asleep_accelerator_hours`` of the accelerators that they held.
    """

    accelerator_hours: float
    usd: float | None
    nodes: int
    asleep_hours: float = 0.0
    asleep_accelerator_hours: float = 0.0


def paid_for(nodes: Iterable[Node], until_s: float, owner: str | None = None) -> PaidNodes:
    """Return what nodes came to by ``until_s``, those that went before included; sleep is that of an ``owner``'s."""
    count, accelerator_hours, asleep_s, asleep_accelerator_s = 0, 0.0, 0.0, 0.0
    usd: float | None = 0.0
    for node in nodes:
        end_s = min(node.gone_s, until_s)
        hours, price = (end_s - node.asked_s) / 3600, node.group.usd_per_hour
        slept_s, held_s = node.asleep.slept_s(end_s, owner)
        count += 1
        accelerator_hours += hours * node.group.accelerators_per_node
        usd = None if usd is None or price is None else usd + hours * price
        asleep_s += slept_s
        asleep_accelerator_s += held_s
    return PaidNodes(
        accelerator_hours=accelerator_hours,
        usd=usd,
        nodes=count,
        asleep_hours=asleep_s / 3600,
        asleep_accelerator_hours=asleep_accelerator_s / 3600,
    )
