"""When users are told by an Event: of each change, and of what comes and goes once in a while."""

from typing import Any

from kubernetes import client

from autoscaler.adapters.kube import KubeApi
from autoscaler.controller.announcer import REPEAT_S, Announcer, Identity
from autoscaler.status import PolicyStatus, refused_status

WHO = Identity(namespace="prod", name="chat", uid="uid-1")
WELL = PolicyStatus()
ILL = refused_status(["spec.model: missing"], at=0.0)


class Clocked:
    """An announcer with a clock that the test sets; ``told`` are the Events that wait to be written."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.announcer = Announcer(KubeApi(client.Configuration()), may_write=lambda: True, clock=lambda: self.now)

    @property
    def told(self) -> list[Any]:
        """The Events that wait."""
        return [(one.reason, one.message) for one in self.announcer._events]

    def flaps(self) -> None:
        """Let a trouble come and go."""
        self.announcer.status(WHO, ILL, previous=WELL)
        self.announcer.status(WHO, WELL, previous=ILL)


def test_a_trouble_that_comes_and_goes_with_every_tick_is_told_once_in_ten_minutes() -> None:
    """A Prometheus that fails every other time must not fill the cluster with Events: the status tells how it is."""
    clocked = Clocked()
    for _ in range(40):
        clocked.flaps()
        clocked.now += 15.0
    first = clocked.told
    assert len(first) == len(set(first))
    clocked.now += REPEAT_S
    clocked.flaps()
    assert clocked.told == first * 2


def test_each_trouble_is_told_and_each_policys() -> None:
    """One trouble does not hide another, nor another policy's, nor that of a policy made anew under its name."""
    clocked = Clocked()
    clocked.flaps()
    once = clocked.told
    clocked.announcer.status(Identity(namespace="prod", name="mail", uid="uid-2"), ILL, previous=WELL)
    assert clocked.told == once * 2
    clocked.announcer.forget(WHO.uid)
    clocked.flaps()
    assert clocked.told == once * 3
