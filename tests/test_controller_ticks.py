"""Ticks of a whole controller before a small API server: who is stepped, who may write, and what is left behind."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest

from autoscaler.adapters.kube import KubeApi
from autoscaler.controller.handlers import Controller
from autoscaler.core.policy import ScalingPolicy
from tests.adapters.kube_servers import Server, serving
from tests.small_controller import controller, policy

pytestmark = pytest.mark.servers


def played(story: Callable[[KubeApi], Awaitable[None]]) -> None:
    """Play a story before an API server that answers at once."""

    async def awaited(api: KubeApi) -> None:
        await story(api)

    with serving(Server) as api:
        asyncio.run(awaited(api))


def decisions(made: Controller) -> int:
    """Return how many decisions the controller's own metrics tell."""
    page = generate_latest(made.metrics.registry).decode()
    return sum(
        int(float(value)) for value in re.findall(r"^inference_autoscaler_decisions_total{.*} (\S+)$", page, re.M)
    )


def test_a_clock_that_is_set_back_stops_no_policy() -> None:
    """NTP sets the clock back by an hour: the next tick decides, and does not wait until the hour is over."""

    async def story(api: KubeApi) -> None:
        made = controller(api, 1)
        await made.tick(10_000.0)
        await made.tick(10_015.0)
        await made.tick(6_430.0)
        await made.tick(6_445.0)
        assert decisions(made) == 4

    played(story)


def test_a_policy_that_has_a_longer_tick_waits_for_it() -> None:
    """The loop turns more often than the policy wants to be decided."""

    async def story(api: KubeApi) -> None:
        made = controller(api, 0)
        patient = policy(0)
        patient["spec"]["timing"] = {"tickSeconds": 60.0}
        made.feed.policies.heard(patient, deleted=False)
        for tick in range(8):
            await made.tick(10_000.0 + 15 * tick)
        assert decisions(made) == 2

    played(story)


def test_who_takes_hold_of_a_target_while_prometheus_is_asked_is_respected() -> None:
    """A snapshot may take seconds, and an HPA that is made meanwhile is known before anything is written."""

    async def story(api: KubeApi) -> None:
        made = controller(api, 1)

        async def an_hpa_comes(_at: float, _policies: Sequence[ScalingPolicy]) -> dict[str, int]:
            made.feed.autoscalers.heard(_hpa("chat-000"), deleted=False)
            return {}

        made._eyes = replace(made._eyes, refresh=an_hpa_comes)
        await made.tick(10_000.0)
        [member] = made._fleet.members
        held = member.status.condition("AbleToScale")
        assert held is not None
        assert held.reason == "TargetHeld"

    played(story)


def test_a_deleted_policy_leaves_no_series_behind() -> None:
    """Names come and go for as long as the controller runs: its own metrics must not grow with them."""

    async def story(api: KubeApi) -> None:
        made = controller(api, 2)
        await made.tick(10_000.0)
        assert b'policy="chat-000"' in generate_latest(made.metrics.registry)
        made.feed.policies.heard(policy(0), deleted=True)
        await made.tick(10_015.0)
        page = generate_latest(made.metrics.registry)
        assert b'policy="chat-000"' not in page
        assert b'policy="chat-001"' in page

    played(story)


def _hpa(target: str) -> dict[str, Any]:
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}
    return {"metadata": {"namespace": "prod", "name": "theirs", "uid": "uid-hpa"}, "spec": spec}
