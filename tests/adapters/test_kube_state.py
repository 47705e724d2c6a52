"""The store of the cluster's objects, under watches that lose things."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.kube_state import ObjectStore


def body(uid: str, version: int = 1, namespace: str = "prod") -> dict[str, Any]:
    """Return an object with labels."""
    return {"metadata": {"uid": uid, "namespace": namespace, "labels": {"app": uid}, "resourceVersion": str(version)}}


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Return the hand's position."""
        return self.now


def store(clock: Clock) -> tuple[ObjectStore, list[str]]:
    """Return an empty store, and the list of uids that it reports as gone."""
    gone: list[str] = []
    made = ObjectStore(trim=lambda one: one, clock=clock, on_gone=lambda one: gone.append(one["metadata"]["uid"]))
    return made, gone


def test_a_list_sweeps_out_what_the_watch_lost() -> None:
    """An object that was deleted while the watch was down is gone with the next list, and is told of once."""
    clock = Clock()
    pods, gone = store(clock)
    pods.heard(body("a"), deleted=False)
    pods.heard(body("b"), deleted=False)
    clock.now = 10.0
    assert pods.resynced([body("a")], began_at=5.0, namespaces=None) == 1
    assert pods.resynced([body("a")], began_at=6.0, namespaces=None) == 0
    assert (gone, len(pods)) == (["b"], 1)


def test_what_the_watch_told_during_a_list_is_newer_than_the_list() -> None:
    """A list is a picture of the past: it neither removes, nor revives, nor reverts what was heard since it began."""
    clock = Clock()
    pods, gone = store(clock)
    pods.heard(body("old"), deleted=False)
    clock.now = 7.0
    pods.heard(body("born"), deleted=False)
    pods.heard(body("old", version=2), deleted=False)
    pods.heard(body("dead"), deleted=False)
    pods.heard(body("dead"), deleted=True)
    pods.resynced([body("old"), body("dead")], began_at=5.0, namespaces=None)
    assert sorted(one["metadata"]["uid"] for one in pods.all()) == ["born", "old"]
    revised = pods.get("old")
    assert revised is not None
    assert revised["metadata"]["resourceVersion"] == "2"
    assert gone == ["dead"]


def test_a_list_of_some_namespaces_leaves_the_others_alone() -> None:
    """Only what was listed can be swept."""
    clock = Clock()
    pods, _ = store(clock)
    pods.heard(body("a", namespace="prod"), deleted=False)
    pods.heard(body("b", namespace="test"), deleted=False)
    pods.resynced([], began_at=1.0, namespaces=frozenset({"test"}))
    assert [one["metadata"]["uid"] for one in pods.all()] == ["a"]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.booleans()), max_size=30),
    st.sets(st.sampled_from("abcde")),
)
def test_after_a_quiet_list_the_store_is_the_list(events: list[tuple[str, bool, bool]], listed: set[str]) -> None:
    """Whatever was heard or lost before: a list with nothing after it leaves what it lists, less what is known dead."""
    clock = Clock()
    pods, _ = store(clock)
    dead = set()
    for uid, deleted, lost in events:
        clock.now += 1.0
        if not lost:
            pods.heard(body(uid), deleted=deleted)
            dead |= {uid} if deleted else set()
    clock.now += 1.0
    pods.resynced([body(uid) for uid in listed], began_at=clock.now, namespaces=None)
    assert {str(one["metadata"]["uid"]) for one in pods.all()} == listed - dead
    for uid in "abcde":
        found = pods.in_namespace_with("prod", ("app", uid))
        assert len(found) == (uid in listed - dead)
