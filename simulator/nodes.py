"""Nodes: what a group of them offers, what a replica needs, and what one node holds and has at hand.

Two things make a node slow or quick to start a replica on: whether it has the image, and how near it has the weights.
Transfers over one link of a node (image registry, object store, network file system, local disk, memory) share its
bandwidth equally. What came over the network stays on the local disk and in memory as far as there is room; what was
not used for longest goes first, unless a replica on the node uses it. One pull serves all replicas that wait for the
same image, as the container runtime has it; weights are read by each engine for itself.

A replica that is scaled away may fall asleep instead of ending (vLLM's sleep mode): its server stays on the node, in
host memory and without an accelerator, as llm-d's fast model actuation has it. The next replica of that kind which is
placed on the node is that server, and takes only as long as it takes to wake.

Gigabytes are 10⁹ bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from simulator.distributions import Distribution

Key = tuple[str, int]
"""A replica on shared nodes: the name of its pool, and its id there."""


class Tier(StrEnum):
    """Where bytes come from, farthest first."""

    REGISTRY = "registry"
    OBJECT_STORE = "objectStore"
    NETWORK_FILESYSTEM = "networkFilesystem"
    DISK = "disk"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An image or a model's weights: the same name is the same bytes."""

    name: str
    gigabytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """How replicas sleep: the host memory that each takes, and seconds from being placed again to Ready.

    ``keeps_weights`` is vLLM's level 1. At level 2 they are thrown away, and are read again before it wakes.
    """

    gigabytes: float
    wake: Distribution
    keeps_weights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one replica needs of a node. Without image or weights nothing is transferred for it."""

    accelerator: str
    accelerators: int
    image: Content | None = None
    weights: Content | None = None
    weights_from: Tier = Tier.OBJECT_STORE
    sleep: Sleep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes of one kind, that come and go: ``min_nodes`` are there from the beginning.

    ``gigabytes_per_s`` is the bandwidth of each link of one node; over a link that is not named, bytes take no time.
    ``usd_per_hour`` is a node's; None where it is not known. ``memory_gigabytes`` are those in which weights that were
    read stay, ``sleep_gigabytes`` those in which replicas may sleep.
    """

    name: str
    accelerator: str
    accelerators_per_node: int
    provisioning: Distribution
    min_nodes: int = 0
    max_nodes: int = 1000
    spot: bool = False
    usd_per_hour: float | None = None
    gigabytes_per_s: Mapping[Tier, float] = field(default_factory=dict)
    disk_gigabytes: float = inf
    memory_gigabytes: float = 0.0
    sleep_gigabytes: float = 0.0
    preloaded: tuple[Content, ...] = ()

    def could_hold(self, needs: Needs) -> bool:
        """Whether an empty node of the group has room for such a replica."""
        return self.accelerator == needs.accelerator and self.accelerators_per_node >= needs.accelerators


class Link:
    """A link whose bandwidth its transfers share equally."""

    def __init__(self, gigabytes_per_s: float) -> None:
        self._gigabytes_per_s = gigabytes_per_s
        self._left: dict[Key, float] = {}
        self._at_s = 0.0

    @property
    def next_end_s(self) -> float:
        """When the next transfer ends if none is added; infinity if there is none."""
        if not self._left:
            return inf
        return self._at_s + max(0.0, min(self._left.values())) * len(self._left) / self._gigabytes_per_s

    def begin(self, key: Key, gigabytes: float, at_s: float) -> None:
        """Begin a transfer for a replica, which has no other on this link."""
        self._progress(at_s)
        self._left[key] = gigabytes

    def cancel(self, key: Key, at_s: float) -> None:
        """Give up a transfer, if it is under way."""
        if key in self._left:
            self._progress(at_s)
            del self._left[key]

    def ended(self, at_s: float) -> list[Key]:
        """Take out and return the transfers that have ended by at_s, in the order of their keys."""
        if self.next_end_s > at_s:
            return []
        self._progress(at_s)
        # A kilobyte: what rounding may leave of a transfer at the very instant of its end.
        done = sorted(key for key, left in self._left.items() if left <= 1e-6)
        for key in done:
            del self._left[key]
        return done

    def _progress(self, at_s: float) -> None:
        if self._left:
            each = (at_s - self._at_s) * self._gigabytes_per_s / len(self._left)
            self._left = {key: left - each for key, left in self._left.items()}
        self._at_s = at_s


class Cache:
    """What lies on a disk or in memory, the longest unused first."""

    def __init__(self, gigabytes: float) -> None:
        self._gigabytes = gigabytes
        self._kept: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        """Whether it is there."""
        return name in self._kept

    @property
    def used_gigabytes(self) -> float:
        """What is there, in all."""
        return sum(self._kept.values())

    def use(self, content: Content, in_use: frozenset[str]) -> None:
        """Keep a content as the one used last, unless what is not ``in_use`` cannot make room for it."""
        if content.name in self._kept:
            self._kept[content.name] = self._kept.pop(content.name)
            return
        victims = [name for name in self._kept if name not in in_use]
        over = self.used_gigabytes + content.gigabytes - self._gigabytes
        if over > sum(self._kept[name] for name in victims):
            return
        for name in victims:
            if over <= 0:
                break
            over -= self._kept.pop(name)
        self._kept[content.name] = content.gigabytes


class Node:
    """One node: paid from ``asked_s`` to ``gone_s``, usable from ``ready_s`` on."""

    def __init__(self, *, number: int, group: NodeGroup, asked_s: float, ready_s: float) -> None:
        self.number = number
        self.group = group
        self.asked_s = asked_s
        self.ready_s = ready_s
        self.gone_s = inf
        self.empty_since_s = ready_s
        self.cordoned = False
        self.replicas: dict[Key, Needs] = {}
        self.links = {tier: Link(rate) for tier, rate in group.gigabytes_per_s.items()}
        self.pulling: dict[str, tuple[Content, list[Key]]] = {}
        self.asleep: dict[Needs, int] = {}
        self.disk, self.memory = Cache(group.disk_gigabytes), Cache(group.memory_gigabytes)
        for content in group.preloaded:
            self.disk.use(content, frozenset())

    @property
    def free(self) -> int:
        """Accelerators that no replica holds."""
        return self.group.accelerators_per_node - sum(needs.accelerators for needs in self.replicas.values())

    def has_room(self, needs: Needs) -> bool:
        """Whether such a replica may be placed here."""
        return not self.cordoned and self.group.could_hold(needs) and self.free >= needs.accelerators

    def lay_down(self, needs: Needs) -> bool:
        """Let a replica that leaves fall asleep here; False if it cannot, or there is no memory left for it."""
        if needs.sleep is None or self.cordoned:
            return False
        used = sum(count * (kind.sleep.gigabytes if kind.sleep else 0.0) for kind, count in self.asleep.items())
        if used + needs.sleep.gigabytes > self.group.sleep_gigabytes:
            return False
        self.asleep[needs] = self.asleep.get(needs, 0) + 1
        return True

    def take_up(self, needs: Needs) -> bool:
        """Take one of the kind that sleeps here; False if there is none."""
        if not self.asleep.get(needs):
            return False
        self.asleep[needs] -= 1
        return True

    def tier_of(self, needs: Needs) -> Tier:
        """Return where the node would read the weights from: the nearest tier that has them."""
        name = needs.weights.name if needs.weights else ""
        if name in self.memory:
            return Tier.MEMORY
        return Tier.DISK if name in self.disk else needs.weights_from

    def keep_image(self, image: Content | None) -> None:
        """Keep an image as just used."""
        if image is not None:
            self.disk.use(image, self._in_use())

    def keep_weights(self, weights: Content | None) -> None:
        """Keep weights that were read as just used."""
        if weights is not None:
            self.disk.use(weights, self._in_use())
            self.memory.use(weights, frozenset())

    def _in_use(self) -> frozenset[str]:
        contents = [(held.image, held.weights) for held in self.replicas.values()]
        return frozenset(content.name for pair in contents for content in pair if content is not None)
