"""What the controller serves over HTTP: ``/healthz`` from the loop's last completed tick, and ``/metrics``.

A tick that saw nothing (Prometheus down, API server down) is a completed tick: restarting the controller would not
help it see. A loop that no longer turns is what a restart is for.
"""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

TICKS_MISSED_MAX = 4.0
AGE_FLOOR_S = 30.0


class Heartbeat:
    """When the loop last completed a tick. ``clock`` is monotonic, in seconds."""

    def __init__(self, tick_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limit_s = max(AGE_FLOOR_S, TICKS_MISSED_MAX * tick_s)
        self._at = clock()

    def beat(self) -> None:
        """Note a completed tick."""
        self._at = self._clock()

    @property
    def age_s(self) -> float:
        """Seconds since the last completed tick; since the start, before the first."""
        return self._clock() - self._at

    @property
    def alive(self) -> bool:
        """Whether the loop turns."""
        return self.age_s <= self._limit_s


def application(heartbeat: Heartbeat, registry: CollectorRegistry, leads: Callable[[], bool]) -> web.Application:
    """Return the HTTP application."""

    async def healthz(_: web.Request) -> web.Response:
        body = {"alive": heartbeat.alive, "last_tick_age_s": round(heartbeat.age_s, 3), "leader": leads()}
        return web.json_response(body, status=200 if heartbeat.alive else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    return app
