"""Reading /scale of a server that hangs: a tick over many policies still ends in time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from autoscaler.adapters.kube import REQUEST_TIMEOUT_S, KubeError
from autoscaler.adapters.kube_scale import REST_S, SILENT_MAX, NotAskedError, Scales, Target
from tests.adapters.kube_servers import Server, serving

POLICIES = 200
THREADS = 8


def target(name: str) -> Target:
    """Return a Deployment of that name."""
    return Target(namespace="p", api_version="apps/v1", kind="Deployment", name=name)


def read_all(scales: Scales, names: list[str]) -> list[int | None]:
    """Read the Scales as a tick does, in threads; None where one could not be read."""

    def read(name: str) -> int | None:
        try:
            return scales.read(target(name)).replicas
        except KubeError:
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, names))


@pytest.mark.servers
def test_a_server_that_hangs_costs_a_tick_seconds_and_not_minutes() -> None:
    """Two hundred reads of three seconds each would take 75 s: the probe would restart a healthy controller."""

    class Hanging(Server):
        pass

    now_s = 0.0
    with serving(Hanging) as api:
        scales = Scales(api, lambda: now_s)
        scales.read(target("warm"))
        Hanging.hangs = True
        Hanging.asked = 0
        began = time.monotonic()
        found = read_all(scales, [f"m{i}" for i in range(POLICIES)])
        assert set(found) == {None}
        assert time.monotonic() - began < 3 * REQUEST_TIMEOUT_S
        assert Hanging.asked <= SILENT_MAX + THREADS

        Hanging.hangs = False
        with pytest.raises(KubeError, match="no answer"):
            scales.read(target("m0"))
        now_s += REST_S
        assert scales.read(target("m0")).replicas == 3


@pytest.mark.servers
def test_one_target_that_hangs_does_not_take_the_others_along() -> None:
    """A conversion webhook that hangs is one target's trouble; between its reads the others are answered."""

    class OneSlow(Server):
        slow_target = "/slow"

    with serving(OneSlow) as api:
        scales = Scales(api, time.monotonic)
        for _ in range(2):
            found = read_all(scales, ["slow", *[f"m{i}" for i in range(40)]])
            assert found == [None] + [3] * 40


@pytest.mark.servers
def test_a_tick_that_is_over_its_time_sends_nothing_more() -> None:
    """What is not reached says why and what to look at; the next tick begins anew."""
    now_s = 0.0
    with serving(Server) as api:
        scales = Scales(api, lambda: now_s)
        scales.begin_tick(10.0)
        read = scales.read(target("m0"))
        now_s = 10.0
        with pytest.raises(NotAskedError, match="the 10 s that a tick has for its requests; check its load"):
            scales.read(target("m0"))
        with pytest.raises(NotAskedError):
            scales.write(target("m0"), read, 4)
        scales.begin_tick(10.0)
        assert scales.write(target("m0"), read, 4).replicas == 4
