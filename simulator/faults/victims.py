"""Whom each fault befell, taken down where it befalls: a fault that finds nobody must not look like one that hit.

Replicas, nodes and node groups are known by name. What befalls the controller's view or its writes is counted in ticks:
the looks and writes at which the fault was felt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.faults.kinds import (
    ControllerRestart,
    DelayedScrapes,
    Fault,
    LeaderChange,
    NodeLoss,
    PrometheusDown,
    ScaleConflict,
    ScaleRefused,
    SlowApi,
    SpotReclaim,
    Stockout,
)
from simulator.faults.plan import Occurrence


def pod_name(number: int) -> str:
    """Return the name of the pod that carries replica ``number``."""
    return f"replica-{number:04d}"


def node_name(number: int) -> str:
    """Return the name of node ``number``."""
    return f"node-{number:04d}"


REPLICAS, NODES, GROUPS, TICKS = "replicas", "nodes", "node groups", "ticks"
NAMES_MOST = 100
"""So many names are told of one occurrence; the count is always that of all."""

_MISSED = {
    REPLICAS: "befell no replica",
    NODES: "found no node",
    GROUPS: "found no node group that was to grow",
    TICKS: "was felt at no tick",
}
_TICKS = (PrometheusDown, DelayedScrapes, ScaleConflict, ScaleRefused, SlowApi, ControllerRestart, LeaderChange)
_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Befallen:
    """An occurrence, what it can befall (``of``), and the names of those whom it befell: none, if it found nobody."""

    occurrence: Occurrence
    of: str
    names: tuple[str, ...]

    @property
    def befalls_nodes(self) -> bool:
        """Whether it befalls nodes, which several pools may share."""
        return self.of in {NODES, GROUPS}

    @property
    def missed(self) -> str | None:
        """A sentence on one that found nobody; None for one that befell somebody."""
        if self.names:
            return None
        begins_s, ends_s = max(0.0, self.occurrence.begins_s), self.occurrence.ends_s
        when = f"from {begins_s:.0f} to {ends_s:.0f} s" if ends_s > begins_s else f"at {begins_s:.0f} s"
        return f"{self.occurrence.fault.fault.value} {when} {_MISSED[self.of]}"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; ticks have no names that would say anything."""
        named = {} if self.of == TICKS else {"names": list(self.names[:NAMES_MOST])}
        return {
            "fault": self.occurrence.fault.fault.value,
            "begins_s": max(0.0, self.occurrence.begins_s),
            "ends_s": self.occurrence.ends_s,
            "befell": {"of": self.of, "count": len(self.names), **named},
        }


class Victims:
    """Whom the faults of one run befell. With ``nodes``, a stockout befalls node groups."""

    def __init__(self, *, nodes: bool = False) -> None:
        self._nodes = nodes
        self._names: dict[_Key, dict[str, None]] = {}

    def note(self, one: Occurrence, name: str) -> None:
        """Take down that a fault befell a replica, a node, a group, or a tick; again is no news."""
        self._names.setdefault(_key(one), {})[name] = None

    def note_all(self, ones: Iterable[Occurrence], name: str) -> None:
        """Take down that each of these faults befell the same."""
        for one in ones:
            self.note(one, name)

    def told(self, occurrences: Sequence[Occurrence]) -> tuple[Befallen, ...]:
        """Return of each occurrence whom it befell, in the order in which they were met."""
        return tuple(
            Befallen(
                occurrence=one, of=_befalls(one.fault, nodes=self._nodes), names=tuple(self._names.get(_key(one), ()))
            )
            for one in occurrences
        )


def _key(one: Occurrence) -> _Key:
    return one.fault.fault.value, one.place, one.number


def _befalls(fault: Fault, *, nodes: bool) -> str:
    if isinstance(fault, _TICKS):
        return TICKS
    if isinstance(fault, (NodeLoss, SpotReclaim)):
        return NODES
    return GROUPS if nodes and isinstance(fault, Stockout) else REPLICAS


def with_shared_nodes(own: Iterable[Befallen], first: Iterable[Befallen]) -> tuple[Befallen, ...]:
    """Return what befell a pool and, by the ``first`` one's faults, the nodes that it shares with that, by beginning.

    Of the faults of nodes only those of the first pool happen.
    """
    told = [one for one in own if not one.befalls_nodes] + [one for one in first if one.befalls_nodes]
    return tuple(sorted(told, key=lambda one: one.occurrence.order))
