"""What the cluster looks like: a store of our own, fed by watch events and corrected by whole lists.

A watch tells what changed and can lose a deletion: an object that went while the watch was down is never mentioned
again. So every list of all objects is also a sweep: what is in the store, is not in the list, and was not heard of
since the list began, is gone. The other way round, a list is a picture of the past by the time it is read: what a
watch event told meanwhile is newer than the list, and a deletion that it told is final, since uids are never reused.

Everything here is called from several threads (the watch's, the tick's) and takes one lock for a short time.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

KubeObject = Mapping[str, Any]

# Deletions are remembered for longer than any list may take.
TOMBSTONE_S = 600.0


class ObjectStore:
    """All objects of one kind, by uid.

    ``trim`` keeps of an object what is needed, so that memory holds no environment variables or managed fields.
    ``clock`` is monotonic, in seconds. ``on_change`` hears every object (trimmed) as it comes; ``on_gone`` hears each
    object once, when it is deleted, as it was last known.
    """

    def __init__(
        self,
        *,
        trim: Callable[[KubeObject], KubeObject],
        clock: Callable[[], float],
        on_change: Callable[[KubeObject], None] | None = None,
        on_gone: Callable[[KubeObject], None] | None = None,
    ) -> None:
        self._trim = trim
        self._clock = clock
        self._on_change = on_change or (lambda _: None)
        self._on_gone = on_gone or (lambda _: None)
        self._lock = threading.RLock()
        self._objects: dict[str, KubeObject] = {}
        self._heard_at: dict[str, float] = {}
        self._buried_at: dict[str, float] = {}
        self._by_label: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        self.synced_at: float | None = None

    def heard(self, body: KubeObject, *, deleted: bool) -> None:
        """Take in one watch event."""
        with self._lock:
            uid = str(body["metadata"]["uid"])
            if deleted:
                self._remove(uid, last=self._trim(body))
            elif uid not in self._buried_at:
                self._put(uid, self._trim(body))

    def resynced(self, bodies: Iterable[KubeObject], *, began_at: float, namespaces: frozenset[str] | None) -> int:
        """Take in a whole list that was begun at an instant of the clock; return how many ghosts it swept out.

        ``namespaces`` are those that were listed; None means all.
        """
        with self._lock:
            listed = set()
            for body in bodies:
                uid = str(body["metadata"]["uid"])
                listed.add(uid)
                if uid not in self._buried_at and self._heard_at.get(uid, began_at) <= began_at:
                    self._put(uid, self._trim(body))
            ghosts = [
                uid
                for uid, heard_at in self._heard_at.items()
                if uid not in listed
                and heard_at <= began_at
                and (namespaces is None or self._objects[uid]["metadata"]["namespace"] in namespaces)
            ]
            for uid in ghosts:
                self._remove(uid, last=self._objects[uid])
            self._forget_tombstones()
            self.synced_at = began_at
            return len(ghosts)

    def all(self) -> list[KubeObject]:
        """Return every object, in no order that means anything."""
        with self._lock:
            return list(self._objects.values())

    def get(self, uid: str) -> KubeObject | None:
        """Return the object with a uid, or None if there is none."""
        with self._lock:
            return self._objects.get(uid)

    def in_namespace_with(self, namespace: str, label: tuple[str, str] | None) -> list[KubeObject]:
        """Return the objects of a namespace, those with a label's value alone if one is given."""
        with self._lock:
            if label is not None:
                return [self._objects[uid] for uid in self._by_label.get((namespace, *label), ())]
            return [body for body in self._objects.values() if body["metadata"]["namespace"] == namespace]

    def __contains__(self, uid: object) -> bool:
        return uid in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def _put(self, uid: str, body: KubeObject) -> None:
        self._unlabel(uid)
        self._objects[uid] = body
        self._heard_at[uid] = self._clock()
        for label in _labels(body):
            self._by_label[label].add(uid)
        self._on_change(body)

    def _remove(self, uid: str, *, last: KubeObject) -> None:
        self._buried_at[uid] = self._clock()
        if uid in self._objects:
            self._unlabel(uid)
            del self._objects[uid]
            del self._heard_at[uid]
            self._on_gone(last)

    def _unlabel(self, uid: str) -> None:
        for label in _labels(self._objects.get(uid)):
            uids = self._by_label[label]
            uids.discard(uid)
            if not uids:
                del self._by_label[label]

    def _forget_tombstones(self) -> None:
        oldest = self._clock() - TOMBSTONE_S
        self._buried_at = {uid: at for uid, at in self._buried_at.items() if at > oldest}


def _labels(body: KubeObject | None) -> list[tuple[str, str, str]]:
    if body is None:
        return []
    metadata = body["metadata"]
    namespace = str(metadata.get("namespace", ""))
    return [(namespace, str(key), str(value)) for key, value in (metadata.get("labels") or {}).items()]
