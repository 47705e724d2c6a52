"""The nodes that replicas run on: placed, filled, grown and shrunk, lost and reclaimed, each at its exact time.

A replica's cold start here is not drawn as a whole, it comes about:

    ordered ─schedule─▶ may be placed ─pending, for room─▶ scheduled ─pull─▶ started ─load─▶ loaded ─warm-up─▶ ready

Of each phase a part is drawn by (seed, replica id), whatever the autoscaler (``startup.phases``); on top come waiting
for a node and its provisioning, and transfers (``starts``). A replica holds its accelerators from *scheduled* until
it is gone; the node sees its end at the next whole second, as a kubelet does.

Pending replicas are tried oldest order first (at one instant by pool and id); one that finds no room does not keep
those behind it from theirs. What happens to replicas is told as values (``Happening``), which ``SharedNodes`` hands to
their pools; so this module knows no pool.

For faults: ``schedule_fault`` takes a node away (loss) or announces that it will go (spot reclaim with notice), and
``close_group`` keeps a group from growing in a window: a stockout, or a cloud or quota that refuses.

Invariants (tested): accelerators held on a node never exceed what it has; the same orders give the same nodes, in
whatever order the pools were made; paid ≥ held.
"""

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil, inf

from simulator.nodes.costs import PaidNodes, paid_for
from simulator.nodes.events import Agenda, Due, Happening, NodeFault, What
from simulator.nodes.node import Key, Needs, Node, NodeGroup
from simulator.nodes.placedstarts import ImageCame, PlacedStart
from simulator.nodes.scaling import NodeScaling, Packing, choose_node, empty_until, growth, leaving, uncovered
from simulator.nodes.starts import Starts, next_transfer_s
from simulator.startup.distributions import uniforms
from simulator.startup.model import StartupTimes


class NodePool:
    """All nodes, and the replicas on them, up to ``now_s``."""

    def __init__(
        self,
        groups: Sequence[NodeGroup],
        *,
        seed: int,
        packing: Packing = Packing.FIRST_FIT,
        scaling: NodeScaling | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.now_s = 0.0
        self.nodes: dict[int, Node] = {}
        """The nodes that exist, those on their way included, by number: oldest first."""
        self.gone: list[Node] = []
        self.starts: list[PlacedStart] = []
        """What starts came to, in the order in which they were Ready."""
        self._seed = seed
        self._packing = packing
        self._scaling = scaling or NodeScaling()
        self._agenda = Agenda()
        self._starts = Starts(self._agenda, seed)
        self._sleepy: set[Key] = set()
        self._where: dict[Key, Node] = {}
        self._pending: list[tuple[float, Key]] = []
        self._asked = {group.name: 0 for group in groups}
        self._closed: dict[str, list[tuple[float, float, Callable[[], object]]]] = {g.name: [] for g in groups}
        self._refused_until_s = {group.name: 0.0 for group in groups}
        self._faults: list[tuple[NodeFault, Callable[[int], object]]] = []
        self._scan_s = inf
        self._room_changed = False
        self._happen: dict[Due, Callable[[Key], Iterator[Happening]]] = {
            Due.RELEASE: self._release,
            Due.SLEPT: self._slept,
            Due.FAULT: self._fault,
            Due.LOSE: self._lose,
            Due.RESTORE: self._restore,
            Due.NODE_READY: self._node_ready,
            Due.PULL: self._pull,
            Due.STARTED: self._started,
            Due.LOADED: self._loaded,
            Due.READY: self._ready,
            Due.PLACEABLE: self._placeable,
        }
        for group in self.groups:
            for _ in range(group.min_nodes):
                self._add(group, ready_s=0.0)

    def occupy(self, key: Key, needs: Needs) -> int:
        """Place a replica that runs from the beginning on a node that is there for it, with its image and weights.

        Such replicas come in the order in which they are made, and so do their nodes.

        Returns the node's number, -1 if there is no room.
        """
        node = choose_node(self.nodes.values(), needs, self._packing, self.now_s)
        if node is None:
            for group in growth([needs], self.groups, self._counts(), frozenset(self._asked)):
                node = self._add(group, ready_s=self.now_s)
        if node is None:
            return -1
        self._put(key, needs, node)
        node.keep_image(needs.image)
        node.keep_weights(needs.weights)
        return node.number

    def order(self, key: Key, needs: Needs, times: StartupTimes, at_s: float) -> None:
        """Order a replica; what becomes of it is told by ``advance``."""
        self._starts.order(key, needs, times, at_s)

    def release(self, key: Key, at_s: float, *, in_order: bool = False) -> None:
        """A replica is gone since at_s: its accelerators are free from the next whole second on.

        One that left ``in_order``, having finished what it had, may sleep on the node.
        """
        if in_order and key in self._where:
            self._sleepy.add(key)
        start = self._starts.forget(key, self.now_s)
        if key in self._where:
            self._agenda.enter(max(self.now_s, float(ceil(at_s))), Due.RELEASE, key)
        elif start is not None and (start.ordered_s, key) in self._pending:
            self._pending.remove((start.ordered_s, key))

    def schedule_fault(self, fault: NodeFault, on_hit: Callable[[int], object] = lambda _: None) -> None:
        """Let a node go at an instant that is still to come; ``on_hit`` is told its number, if there is one then."""
        self._faults.append((fault, on_hit))
        self._agenda.enter(fault.at_s, Due.FAULT, ("", len(self._faults) - 1))

    def close_group(
        self, group: str, *, begins_s: float, ends_s: float, on_refused: Callable[[], object] = lambda: None
    ) -> None:
        """Keep a group from growing in a window: it has no stock, or the cloud refuses. Nodes on their way still come.

        ``on_refused`` is called whenever it refuses.

        Raises:
            KeyError: no such group.
        """
        self._closed[group].append((begins_s, ends_s, on_refused))

    @property
    def next_event_s(self) -> float:
        """Nothing happens before this instant unless something is asked for."""
        return min(self._agenda.next_s, self._scan_s, next_transfer_s(self.nodes.values()))

    def advance(self, at_s: float) -> list[Happening]:
        """Let what is due at at_s happen, and return it in its order. at_s is not beyond the next event."""
        self.now_s = at_s
        told: list[Happening] = []
        while self._room_changed or self.next_event_s <= at_s:
            while self._agenda.next_s <= at_s:
                due, key = self._agenda.take()
                told.extend(self._happen[due](key))
            self._starts.end_transfers(self.nodes.values(), at_s)
            told.extend(self._place())
            if self._scan_s <= at_s:
                self._scan()
            self._plan_scan()
        return told

    def paid(self, owner: str | None = None) -> PaidNodes:
        """Return what the nodes came to by now, and how long the replicas of an ``owner``, or all, slept on them."""
        return paid_for((*self.gone, *self.nodes.values()), self.now_s, owner)

    def _counts(self) -> dict[str, int]:
        counts = {group.name: 0 for group in self.groups}
        for node in self.nodes.values():
            counts[node.group.name] += 1
        return counts

    def _add(self, group: NodeGroup, *, ready_s: float) -> Node:
        number = len(self.gone) + len(self.nodes)
        node = Node(number=number, group=group, asked_s=self.now_s, ready_s=ready_s)
        self.nodes[number] = node
        self._asked[group.name] += 1
        self._agenda.enter(ready_s, Due.NODE_READY, (group.name, number))
        return node

    def _ask(self, group: NodeGroup) -> None:
        """Ask the cloud for a node; where it refuses, leave the group alone for a while."""
        closed = [told for begins_s, ends_s, told in self._closed[group.name] if begins_s <= self.now_s < ends_s]
        for on_refused in closed:
            on_refused()
        if closed:
            self._refused_until_s[group.name] = self.now_s + self._scaling.backoff_s
            return
        (u,) = uniforms(self._seed, group.name, self._asked[group.name])
        self._add(group, ready_s=self.now_s + group.provisioning.at(u))

    def _remove(self, node: Node) -> None:
        node.gone_s = self.now_s
        self.gone.append(self.nodes.pop(node.number))
        self._room_changed = True

    def _put(self, key: Key, needs: Needs, node: Node) -> None:
        node.replicas[key] = needs
        self._where[key] = node

    def _place(self) -> Iterator[Happening]:
        """Place what is pending and fits, oldest order first."""
        self._room_changed = False
        refused: set[Needs] = set()
        for ordered_s, key in list(self._pending):
            start = self._starts[key]
            full = start.needs in refused
            node = None if full else choose_node(self.nodes.values(), start.needs, self._packing, self.now_s)
            if node is not None:
                self._pending.remove((ordered_s, key))
                self._put(key, start.needs, node)
                self._starts.place(key, node, self.now_s)
                told = self._told(What.SCHEDULED, key, node=node.number)
                yield replace(told, cached=start.image is ImageCame.CACHED, woken=start.wake_s is not None)
                continue
            refused.add(start.needs)
            if not start.told:
                start.told = True
                yield self._told(What.UNSCHEDULABLE, key)

    def _scan(self) -> None:
        """Shrink and grow, as ``scaling`` has it."""
        for node in leaving(self.nodes.values(), self._scaling, self._counts(), self.now_s):
            self._remove(node)
        counts = self._counts()
        for group in self.groups:
            for _ in range(group.min_nodes - counts[group.name]):
                if self._refused_until_s[group.name] <= self.now_s:
                    self._ask(group)
        for group in growth(self._uncovered(), self.groups, self._counts(), self._open_groups()):
            # After a refusal the nodes that were meant to come from the same group are not tried one by one.
            if self._refused_until_s[group.name] <= self.now_s:
                self._ask(group)

    def _open_groups(self) -> frozenset[str]:
        return frozenset(name for name, until_s in self._refused_until_s.items() if until_s <= self.now_s)

    def _uncovered(self) -> list[Needs]:
        return uncovered((self._starts[key].needs for _, key in self._pending), self.nodes.values(), self.now_s)

    def _plan_scan(self) -> None:
        """Scan when a scan could change something: on the grid of scans, after now."""
        counts = self._counts()
        waiting = set(self._uncovered()) if self._pending else set()
        earliest_s = [
            self._refused_until_s[group.name]
            for group in self.groups
            if counts[group.name] < group.min_nodes
            or (counts[group.name] < group.max_nodes and any(group.could_hold(needs) for needs in waiting))
        ]
        earliest_s += [
            empty_until(node, self._scaling)
            for node in self.nodes.values()
            if counts[node.group.name] > node.group.min_nodes
        ]
        due_s = min(earliest_s, default=inf)
        self._scan_s = max(self._scaling.scan_after(self.now_s), self._scaling.scan_at_or_after(due_s))

    def _told(self, what: What, key: Key, *, node: int = -1, grace_s: float = 0.0) -> Happening:
        return Happening(at_s=self.now_s, pool=key[0], replica_id=key[1], what=what, node=node, grace_s=grace_s)

    def _placeable(self, key: Key) -> Iterator[Happening]:
        if key in self._starts:
            insort(self._pending, (self._starts[key].ordered_s, key))
            self._room_changed = True
        yield from ()

    def _pull(self, key: Key) -> Iterator[Happening]:
        if key in self._starts:
            self._starts.pull(key, self.now_s)
        yield from ()

    def _started(self, key: Key) -> Iterator[Happening]:
        if key in self._starts:
            self._starts.load(key, self.now_s)
            yield self._told(What.STARTED, key)

    def _loaded(self, key: Key) -> Iterator[Happening]:
        if key in self._starts:
            self._starts.warm_up(key, self.now_s)
            yield self._told(What.LOADED, key)

    def _ready(self, key: Key) -> Iterator[Happening]:
        if key in self._starts:
            self.starts.append(self._starts.finish(key, self.now_s))
            yield self._told(What.READY, key)

    def _release(self, key: Key) -> Iterator[Happening]:
        node, sleepy = self._where.pop(key, None), key in self._sleepy
        self._sleepy.discard(key)
        if node is not None:
            needs = node.replicas.pop(key)
            if sleepy and not node.cordoned and (until_s := node.asleep.lay_down(needs, self.now_s)) < inf:
                self._agenda.enter(until_s, Due.SLEPT, (node.group.name, node.number))
            self._made_room(node)
        yield from ()

    def _slept(self, key: Key) -> Iterator[Happening]:
        node = self.nodes.get(key[1])
        if node is not None:
            was_empty = node.empty
            node.asleep.expire(self.now_s)
            if not was_empty:
                self._made_room(node)
        yield from ()

    def _made_room(self, node: Node) -> None:
        self._room_changed = True
        if node.empty:
            node.empty_since_s = self.now_s

    def _node_ready(self, _: Key) -> Iterator[Happening]:
        self._room_changed = True
        yield from ()

    def _fault(self, key: Key) -> Iterator[Happening]:
        """A node is lost, or told to go."""
        fault, on_hit = self._faults[key[1]]
        spot_only = fault.notice_s > 0 and fault.group is None
        there = [
            node
            for node in self.nodes.values()
            if node.ready_s <= self.now_s
            and not node.cordoned
            and fault.group in {None, node.group.name}
            and (node.group.spot or not spot_only)
        ]
        if not there:
            return
        node = there[int(fault.pick * len(there))]
        node.cordoned = True
        on_hit(node.number)
        if fault.notice_s > 0:
            for held in sorted(node.replicas):
                yield self._told(What.DRAIN, held, grace_s=fault.notice_s)
        self._enter_restoring(node, self.now_s + (0.0 if fault.notice_s > 0 else fault.replaced_after_s))
        self._agenda.enter(self.now_s + fault.notice_s, Due.LOSE, (node.group.name, node.number))

    def _enter_restoring(self, node: Node, at_s: float) -> None:
        for pool in sorted({pool for pool, _ in node.replicas}):
            self._agenda.enter(at_s, Due.RESTORE, (pool, -1))

    def _lose(self, key: Key) -> Iterator[Happening]:
        node = self.nodes.get(key[1])
        if node is None:
            return
        for held in sorted(node.replicas):
            del self._where[held]
            self._starts.forget(held, self.now_s)
            yield self._told(What.LOST, held)
        self._remove(node)

    def _restore(self, key: Key) -> Iterator[Happening]:
        yield self._told(What.RESTORE, key)
