"""Who may write, under frozen leaders, lost connections and clocks that jump.

Time is moved by hand and the Lease is a dictionary with a resourceVersion: that stands in for the API server, since a
real one cannot be made slow at a chosen instant. tests/cluster has two real controllers at a real one.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.adapters.lease import LEAD_S, LEASE_S, LeaseElector


class ApiError(Exception):
    """An answer of the API server that is no success."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class Shared:
    """A clock, and one Lease with optimistic locking."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.reachable = True

    def request(self, method: str, _path: str, *, body: dict[str, Any] | None, **_: object) -> dict[str, Any]:
        """Answer as an API server would."""
        if not self.reachable:
            raise ApiError(None)
        if method == "GET":
            if self.lease is None:
                raise ApiError(404)
            return self.lease
        assert body is not None
        if method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409)
        if method == "POST" and self.lease is not None:
            raise ApiError(409)
        self.version += 1
        self.lease = {**body, "metadata": {"resourceVersion": str(self.version)}}
        # Two renewals within one tick of the test's clock are two renewals.
        self.lease["spec"] = {**body["spec"], "renewTime": f"{self.now}/{self.version}"}
        return self.lease

    def elector(self, name: str) -> LeaseElector:
        """Return an elector on this clock and Lease."""
        return LeaseElector(request=self.request, namespace="ns", name="lease", identity=name, clock=lambda: self.now)


def test_one_leads_and_the_other_waits() -> None:
    """The first to come leads; the other takes over when it has seen no renewal for 15 s."""
    shared = Shared()
    first, second = shared.elector("a"), shared.elector("b")
    assert first.attempt()
    assert not second.attempt()
    shared.now += LEASE_S - 0.1
    assert not second.attempt()
    shared.now += 0.2
    assert second.attempt()
    assert not first.attempt()


def test_a_frozen_leader_wakes_up_without_its_lead() -> None:
    """A leader that stood still finds its time over before anybody else began."""
    shared = Shared()
    first = shared.elector("a")
    first.attempt()
    shared.now += LEAD_S - 0.01
    assert first.is_leader()
    shared.now += 0.02
    assert not first.is_leader()


def test_a_leader_that_cannot_renew_stops_before_another_may_begin() -> None:
    """What counts is the last renewal that succeeded, by the instant at which it began."""
    shared = Shared()
    first = shared.elector("a")
    first.attempt()
    shared.reachable = False
    shared.now += LEAD_S / 2
    assert first.attempt(), "one failed renewal is no reason to stop"
    shared.now += LEAD_S / 2
    assert not first.attempt()
    assert first.trouble


def test_a_stopped_leader_releases_the_lease() -> None:
    """The next one need not wait."""
    shared = Shared()
    first, second = shared.elector("a"), shared.elector("b")
    first.attempt()
    first.stop()
    assert not first.is_leader()
    assert second.attempt()


def test_a_deleted_lease_is_made_anew_by_its_leader_and_by_nobody_else_before_its_time() -> None:
    """Who saw another one hold it waits as if it were still there: the leader may lead on for ten seconds."""
    shared = Shared()
    first, second = shared.elector("a"), shared.elector("b")
    assert first.attempt()
    assert not second.attempt()
    shared.lease = None
    assert not second.attempt()
    assert first.attempt()
    shared.lease = None
    shared.now += LEASE_S + 0.1
    assert second.attempt(), "its time is over"
    assert not first.is_leader()


STEPS = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.sampled_from("abc"), st.booleans()),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
def test_there_are_never_two_leaders(steps: list[tuple[float, str, bool]]) -> None:
    """Whoever is frozen for however long, and whoever cannot reach the API server: at most one leads."""
    shared = Shared()
    electors = {name: shared.elector(name) for name in "abc"}
    for passed_s, name, reachable in steps:
        shared.now += passed_s
        shared.reachable = reachable
        electors[name].attempt()
        assert sum(one.is_leader() for one in electors.values()) <= 1
