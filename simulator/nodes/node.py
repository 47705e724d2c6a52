"""Nodes: what a group of them offers, what a replica needs, and what one node holds and has at hand.

Two things make a node slow or quick to start a replica on: whether it has the image, and how near it has the weights.
Transfers over one link of a node (image registry, object store, network file system, local disk, memory) share its
bandwidth equally. What came over the network stays on the local disk and in memory as far as there is room; what was
not used for longest goes first, unless a replica on the node uses it. One pull serves all replicas that wait for the
same image, as the container runtime has it; weights are read by each engine for itself.

A replica that is scaled away may fall asleep instead of ending (vLLM's sleep mode): its server stays on the node, in
host memory, and without an accelerator, as llm-d's fast model actuation has it, or with those that Kubernetes gave it
(``keeps_accelerators``). The next replica of that kind which is placed on the node is that server, and takes only as
long as it takes to wake.

Gigabytes are 10⁹ bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from simulator.startup.distributions import Distribution

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

    ``keeps_weights`` is vLLM's level 1. At level 2 they are thrown away, and are read again before it wakes. One that
    ``keeps_accelerators`` is a pod that is paid for as before. One that nobody has woken after ``most_s`` ends.
    """

    gigabytes: float
    wake: Distribution
    keeps_weights: bool = True
    keeps_accelerators: bool = False
    most_s: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one replica needs of a node. Without image or weights nothing is transferred for it.

    ``owner`` is the pool that it belongs to: a replica that sleeps is woken for its own pool alone.
    """

    accelerator: str
    accelerators: int
    image: Content | None = None
    weights: Content | None = None
    weights_from: Tier = Tier.OBJECT_STORE
    sleep: Sleep | None = None
    owner: str = ""


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


class Sleepers:
    """The replicas that sleep on one node, by kind, each with the instant since when; and how long others slept."""

    def __init__(self, gigabytes: float) -> None:
        self._gigabytes = gigabytes
        self._since_s: dict[Needs, list[float]] = {}
        self._slept_s: dict[Needs, float] = {}

    def count(self, needs: Needs) -> int:
        """How many of a kind sleep."""
        return len(self._since_s.get(needs, ()))

    @property
    def accelerators(self) -> int:
        """How many accelerators those that sleep hold."""
        return sum(_kept(needs) * len(since_s) for needs, since_s in self._since_s.items())

    def lay_down(self, needs: Needs, at_s: float) -> float:
        """Let one fall asleep, unless its kind does not, or there is no memory left for it.

        Returns when it ends if nobody wakes it, infinity where that is never.
        """
        used = sum(kind.sleep.gigabytes * len(since_s) for kind, since_s in self._since_s.items() if kind.sleep)
        if needs.sleep is None or used + needs.sleep.gigabytes > self._gigabytes:
            return inf
        self._since_s.setdefault(needs, []).append(at_s)
        return at_s + needs.sleep.most_s

    def take_up(self, needs: Needs, at_s: float) -> bool:
        """Take the one of a kind that fell asleep last; False if there is none."""
        if not self.count(needs):
            return False
        self._end(needs, -1, at_s)
        return True

    def expire(self, at_s: float) -> None:
        """Let those end that have slept for as long as they may."""
        for needs, since_s in self._since_s.items():
            while since_s and needs.sleep is not None and since_s[0] + needs.sleep.most_s <= at_s:
                self._end(needs, 0, at_s)

    def slept_s(self, until_s: float, owner: str | None = None) -> tuple[float, float]:
        """Return for how long replicas have slept by until_s, and accelerators with them: seconds of each one.

        With an ``owner`` those of others are left out.
        """
        by_kind = dict(self._slept_s)
        for needs, since_s in self._since_s.items():
            by_kind[needs] = by_kind.get(needs, 0.0) + sum(until_s - one_s for one_s in since_s)
        by_kind = {needs: slept_s for needs, slept_s in by_kind.items() if owner in (None, needs.owner)}
        return sum(by_kind.values()), sum(_kept(needs) * slept_s for needs, slept_s in by_kind.items())

    def _end(self, needs: Needs, index: int, at_s: float) -> None:
        since_s = self._since_s[needs].pop(index)
        self._slept_s[needs] = self._slept_s.get(needs, 0.0) + at_s - since_s


def _kept(needs: Needs) -> int:
    return needs.accelerators if needs.sleep is not None and needs.sleep.keeps_accelerators else 0


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
        self.asleep = Sleepers(group.sleep_gigabytes)
        self.disk, self.memory = Cache(group.disk_gigabytes), Cache(group.memory_gigabytes)
        for content in group.preloaded:
            self.disk.use(content, frozenset())

    @property
    def free(self) -> int:
        """Accelerators that no replica holds, be it one that sleeps."""
        held = sum(needs.accelerators for needs in self.replicas.values())
        return self.group.accelerators_per_node - held - self.asleep.accelerators

    @property
    def empty(self) -> bool:
        """Whether nothing is here that would keep a node autoscaler from removing it."""
        return not (self.replicas or self.asleep.accelerators or self.cordoned)

    def has_room(self, needs: Needs) -> bool:
        """Whether such a replica may be placed here; one that sleeps with its accelerators makes room for itself."""
        kept = _kept(needs) if self.asleep.count(needs) else 0
        return not self.cordoned and self.group.could_hold(needs) and self.free + kept >= needs.accelerators

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
