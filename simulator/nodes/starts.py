"""Replicas on their way to Ready on nodes: what of each phase is drawn, and what comes of the node's links.

    scheduled ─pull─▶ started ─load─▶ loaded ─warm-up─▶ ready

A pull is the transfer of the image, unless the node has it, and then the drawn part (unpacking, the container's start).
A load is the transfer of the weights from the nearest tier that has them, and then the drawn part (the engine's own
work). The warm-up is drawn.

Where a server of its kind sleeps on the node, a replica is that server: nothing is pulled, weights are read only if it
sleeps without them, and in place of all that is drawn else it takes the time to wake.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from simulator.nodes.events import Agenda, Due
from simulator.nodes.node import Key, Needs, Node, Tier
from simulator.nodes.placedstarts import ImageCame, PlacedStart, Room
from simulator.startup.distributions import uniforms
from simulator.startup.model import StartupTimes

_PULL = -1
"""Stands for the replica's id in the key of an image's transfer, which serves all replicas of its name."""


@dataclass(slots=True, kw_only=True)
class Start:
    """A replica on its way: the node once it is placed; ``told`` once it is known that none has room."""

    needs: Needs
    times: StartupTimes
    ordered_s: float
    node: Node | None = None
    told: bool = False
    wake_s: float | None = None
    """Seconds to wake, drawn; None for one that is started from nothing."""
    scheduled_s: float = inf
    started_s: float = inf
    loaded_s: float = inf
    image: ImageCame | None = None
    weights: Tier | None = None

    def placed(self, key: Key, node: Node, ready_s: float) -> PlacedStart:
        """Return what the start came to."""
        pool, replica_id = key
        return PlacedStart(
            pool=pool,
            replica_id=replica_id,
            node=node.number,
            group=node.group.name,
            ordered_s=self.ordered_s,
            scheduled_s=self.scheduled_s,
            started_s=self.started_s,
            loaded_s=self.loaded_s,
            ready_s=ready_s,
            room=self._room(node),
            image=self.image,
            weights=self.weights,
            woken=self.wake_s is not None,
        )

    def _room(self, node: Node) -> Room:
        placeable_s = self.ordered_s + self.times.schedule_s
        if self.scheduled_s <= placeable_s:
            return Room.FOUND
        return Room.PROVISIONED if node.ready_s > placeable_s else Room.FREED


class Starts:
    """All replicas that are not Ready yet, by key."""

    def __init__(self, agenda: Agenda, seed: int) -> None:
        self._agenda = agenda
        self._seed = seed
        self._starts: dict[Key, Start] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether the replica is still on its way."""
        return key in self._starts

    def __getitem__(self, key: Key) -> Start:
        """Return a replica on its way."""
        return self._starts[key]

    def order(self, key: Key, needs: Needs, times: StartupTimes, at_s: float) -> None:
        """Order a replica: it may be placed once the scheduling phase is over."""
        self._starts[key] = Start(needs=needs, times=times, ordered_s=at_s)
        self._agenda.enter(at_s + times.schedule_s, Due.PLACEABLE, key)

    def forget(self, key: Key, at_s: float) -> Start | None:
        """Give a replica up and return it, if it was on its way; an image that is pulled for it comes all the same."""
        start = self._starts.pop(key, None)
        if start is not None and start.node is not None:
            for link in start.node.links.values():
                link.cancel(key, at_s)
        return start

    def finish(self, key: Key, at_s: float) -> PlacedStart:
        """The replica is Ready: return what its start came to."""
        start = self._starts.pop(key)
        if start.node is None:
            raise AssertionError(f"{key} is ready on no node")
        return start.placed(key, start.node, at_s)

    def place(self, key: Key, node: Node, at_s: float) -> None:
        """Begin the start on a node: wake what sleeps there, or pull, after the tries that fail."""
        start = self._starts[key]
        start.node, start.scheduled_s = node, at_s
        sleep = start.needs.sleep
        if sleep is not None and node.asleep.take_up(start.needs, at_s):
            (u,) = uniforms(self._seed, "wake", *key)
            start.wake_s = sleep.wake.at(u)
            self._agenda.enter(at_s, Due.STARTED, key)
            return
        cached = start.needs.image is not None and start.needs.image.name in node.disk
        if start.needs.image is not None:
            start.image = ImageCame.CACHED if cached else ImageCame.PULLED
        fails_s = start.times.until_pull_s(cached=cached)
        if fails_s > 0:
            # For ever, if it fails for ever.
            self._agenda.enter(at_s + fails_s, Due.PULL, key)
        else:
            self.pull(key, at_s)

    def pull(self, key: Key, at_s: float) -> None:
        """Begin the pull that succeeds; where the image is there, the start."""
        start = self._starts[key]
        node = start.node
        if node is None:
            raise AssertionError(f"{key} pulls on no node")
        image, link = start.needs.image, node.links.get(Tier.REGISTRY)
        if image is None or link is None or image.name in node.disk:
            self._agenda.enter(at_s + start.times.pull_s, Due.STARTED, key)
            return
        if image.name not in node.pulling:
            node.pulling[image.name] = (image, [])
            link.begin((image.name, _PULL), image.gigabytes, at_s)
        node.pulling[image.name][1].append(key)

    def load(self, key: Key, at_s: float) -> None:
        """The container has started: begin to read the weights."""
        start = self._starts[key]
        node, needs = start.node, start.needs
        if node is None:
            raise AssertionError(f"{key} started on no node")
        node.keep_image(needs.image)
        start.started_s = at_s
        has_weights = start.wake_s is not None and needs.sleep is not None and needs.sleep.keeps_weights
        start.weights = None if needs.weights is None or has_weights else node.tier_of(needs)
        link = None if start.weights is None else node.links.get(start.weights)
        if needs.weights is None or link is None:
            self._loaded_at(start, key, at_s)
        else:
            link.begin(key, needs.weights.gigabytes, at_s)

    def warm_up(self, key: Key, at_s: float) -> None:
        """The weights are loaded: what is left is drawn."""
        start = self._starts[key]
        start.loaded_s = at_s
        left_s = start.times.warmup_s if start.wake_s is None else start.wake_s
        self._agenda.enter(at_s + left_s, Due.READY, key)

    def end_transfers(self, nodes: Iterable[Node], at_s: float) -> None:
        """Let transfers that have ended by at_s be followed by what is drawn."""
        for node in nodes:
            for link in node.links.values():
                for name, number in link.ended(at_s) if link.next_end_s <= at_s else ():
                    if number == _PULL:
                        self._pulled(node, name, at_s)
                    else:
                        self._loaded_at(self._starts[name, number], (name, number), at_s)

    def _pulled(self, node: Node, image: str, at_s: float) -> None:
        content, waiting = node.pulling.pop(image)
        node.keep_image(content)
        for key in waiting:
            if key in self._starts:
                self._agenda.enter(at_s + self._starts[key].times.pull_s, Due.STARTED, key)

    def _loaded_at(self, start: Start, key: Key, transferred_s: float) -> None:
        if start.node is not None:
            start.node.keep_weights(start.needs.weights)
        left_s = start.times.load_s if start.wake_s is None else 0.0
        self._agenda.enter(transferred_s + left_s, Due.LOADED, key)


def next_transfer_s(nodes: Iterable[Node]) -> float:
    """Return when the next transfer on any node ends; infinity if none is under way."""
    return min((link.next_end_s for node in nodes for link in node.links.values()), default=inf)
