"""A controller of 300 policies before an API server that hangs: the loop goes on turning, and says what it lacks."""

import asyncio
import re
import time

import pytest
from aiohttp.test_utils import TestClient, TestServer

from autoscaler.adapters.kube import REQUEST_TIMEOUT_S, KubeApi
from autoscaler.controller import handlers
from autoscaler.controller.handlers import MOST_BUDGET_S, Controller
from autoscaler.controller.health import application
from tests.adapters.kube_servers import Server, accepting, serving
from tests.small_controller import controller

POLICIES = 300
# A write whose read came just in time may still wait for its own deadline, as may the read before it.
OVERTIME_S = 2 * REQUEST_TIMEOUT_S + 2.0


async def healthz(made: Controller) -> int:
    """Return what the probe gets."""
    web = application(made.heartbeat, made.metrics.registry, made.leads)
    async with TestClient(TestServer(web)) as probe, probe.get("/healthz") as answer:
        return answer.status


async def ticked(made: Controller, at: float) -> float:
    """Take one tick at an instant; return how many seconds it took."""
    began = time.monotonic()
    await made.tick(at)
    return time.monotonic() - began


@pytest.mark.servers
def test_a_server_that_accepts_and_never_answers_leaves_the_loop_alive() -> None:
    """Every connection is taken and nothing comes: each policy is told so, none waits for itself, the probe passes."""

    async def story(api: KubeApi) -> None:
        made = controller(api, POLICIES)
        assert await ticked(made, time.time()) < MOST_BUDGET_S
        assert await healthz(made) == 200
        told = [member.status.condition("TargetFound") for member in made._fleet.members]
        assert len(told) == POLICIES
        assert {one.status.value for one in told if one} == {"False"}
        lines = [one.message for one in told if one]
        assert all("no answer" in line for line in lines), set(lines)

    with accepting() as api:
        asyncio.run(story(api))


@pytest.mark.servers
def test_a_webhook_that_hangs_on_every_second_write_does_not_stop_the_loop_and_all_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers come between the waits: that server is not silent. One tick waits no minute, and policies take turns."""
    monkeypatch.setattr(handlers, "MOST_BUDGET_S", 4.0)

    class Webhook(Server):
        hanging_writes = re.compile("chat-[0-9]*[02468]/scale")

    async def story(api: KubeApi) -> None:
        made = controller(api, POLICIES)
        turns: list[set[str]] = []
        for _ in range(2):
            began_at = time.time()
            assert await ticked(made, began_at + 15.0 * len(turns)) < 4.0 + OVERTIME_S
            worlds = {member.key: member.world for member in made._fleet.members if member.world}
            turns.append({key for key, world in worlds.items() if world.asked_at >= began_at})
        assert await healthz(made) == 200
        first, second = turns
        assert 0 < len(first) < POLICIES
        assert not first & second, "who was not reached in the first tick goes first in the second"
        told = [member.status.condition("AbleToScale") for member in made._fleet.members]
        refused = [one.message for one in told if one and one.reason == "WriteFailed"]
        assert any("no answer" in line for line in refused)

    with serving(Webhook) as api:
        asyncio.run(story(api))
