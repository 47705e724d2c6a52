"""A controller as the tests of one tick need it: policies that are simply there, no Prometheus, no election."""

from collections.abc import Sequence
from typing import Any

from autoscaler.adapters.kube import KubeApi
from autoscaler.controller.book import Book
from autoscaler.controller.handlers import Controller, Eyes, Options
from autoscaler.controller.world import Sight
from autoscaler.core.policy import ScalingPolicy


def policy(number: int) -> dict[str, Any]:
    """Return a policy as the watch hands it over. It wants at least 4 replicas, where 3 stand: an order to write."""
    name = f"chat-{number:03}"
    spec = {
        "targetRef": {"name": name},
        "mode": "Enforce",
        "model": {"name": "m"},
        "accelerator": {"class": "L4"},
        "replicas": {"min": 4, "max": 9},
    }
    return {"metadata": {"namespace": "prod", "name": name, "uid": f"uid-{number}", "generation": 1}, "spec": spec}


async def seen_nothing(_at: float, _policies: Sequence[ScalingPolicy]) -> dict[str, int]:
    """Take no snapshot: there is no Prometheus here."""
    return {}


def controller(api: KubeApi, policies: int, book: Book | None = None) -> Controller:
    """Return a controller with so many policies, and without election and Prometheus."""
    eyes = Eyes(refresh=seen_nothing, pick=lambda *_: Sight())
    made = Controller(api, Options(), eyes=eyes, book=book or Book(None))
    for number in range(policies):
        made.feed.policies.heard(policy(number), deleted=False)
    return made
