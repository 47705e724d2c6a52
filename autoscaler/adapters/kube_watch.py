"""The watch: kopf in a thread of its own, which tells what it hears, and is started anew when it exits.

Only ``on.event`` handlers without persistence are used, so kopf puts no finalizer and no annotation on anybody's
objects. kopf exits by design on anything that it does not expect (an ERROR event of the watch, a 403, garbage), and
on its way out it cancels every task of its event loop. So it gets a loop and a thread of its own, and a supervisor.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import kopf
from kubernetes import client

logger = logging.getLogger(__name__)

RESTART_AFTER_S = (1.0, 2.0, 5.0, 15.0, 30.0)
STOP_WITHIN_S = 2.0
# A watch that held this long was well: the next exit is a new trouble and not the old one's continuation.
WELL_AFTER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One kind to watch. ``heard(body, deleted)`` is called in the watch's thread with every event."""

    group: str
    version: str
    plural: str
    heard: Callable[[dict[str, Any], bool], None]


class Watch:
    """Watches kinds until it is stopped. ``namespaces`` None means the whole cluster.

    ``on_exit`` is called, in the watch's thread, each time that kopf exited and before it starts anew: what was
    deleted meanwhile is not going to be told, so a sweep is due.
    """

    def __init__(
        self,
        *,
        configuration: client.Configuration,
        watched: Sequence[Watched],
        namespaces: Sequence[str] | None,
        on_exit: Callable[[], None],
    ) -> None:
        self._configuration = configuration
        self._watched = tuple(watched)
        self._namespaces = namespaces
        self._on_exit = on_exit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="watch", daemon=True)
        self.exits = 0  # In a row.

    def start(self) -> None:
        """Start watching, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns within a few seconds whatever kopf does."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            reason = self._run_once()
            if self._stopping.is_set():
                return
            self._on_exit()
            if time.monotonic() - began > WELL_AFTER_S:
                self.exits = 0
            pause_s = RESTART_AFTER_S[min(self.exits, len(RESTART_AFTER_S) - 1)]
            self.exits += 1
            logger.warning("the watch ended (%s); it starts anew in %g s", reason, pause_s)
            self._stopping.wait(pause_s)

    def _run_once(self) -> str:
        loop = asyncio.new_event_loop()
        # kopf leaves tasks behind whose errors nobody asks for; what ended it is told below, in one sentence.
        loop.set_exception_handler(lambda _, context: logger.debug("left behind: %s", context.get("message")))
        try:
            kopf.run(
                loop=loop,
                registry=self._registry(),
                settings=settings(),
                standalone=True,
                clusterwide=self._namespaces is None,
                namespaces=tuple(self._namespaces or ()),
                stop_flag=self._stopping,
            )
        except Exception as error:  # Whatever ended kopf, the product goes on: that is what the supervisor is for.
            return told(error)
        else:
            return "kopf returned"
        finally:
            loop.close()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(self._login)
        for one in self._watched:
            kopf.on.event(one.group, one.version, one.plural, registry=registry, id=one.plural)(_handler(one))
        return registry

    async def _login(self, **_: object) -> kopf.ConnectionInfo:
        return connection(self._configuration)


def told(error: BaseException) -> str:
    """Return what ended kopf, in one line: its errors carry the server's whole answer beside the sentence in it."""
    sentence = next((one for one in error.args if isinstance(one, str)), str(error))
    return " ".join(f"{type(error).__name__}: {sentence}".split())


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings for a store that is fed by it: bounded streams, few retries, no scanning, no posting."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.inactivity_timeout = 70
    chosen.watching.connect_timeout = 10
    chosen.networking.request_timeout = 15
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = (1, 2, 4, 8)
    chosen.networking.enforce_retry_after = True
    chosen.execution.max_workers = 4
    chosen.queueing.worker_limit = 64
    return chosen


def connection(configuration: client.Configuration) -> kopf.ConnectionInfo:
    """Return what kopf needs to log in as the configuration's user; a token that rotates is read anew each time."""
    key = configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = key.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def _handler(watched: Watched) -> Callable[..., Any]:
    async def heard(event: dict[str, Any], **_: object) -> None:
        try:
            watched.heard(event["object"], event["type"] == "DELETED")
        except Exception:  # One odd object must not end the watch of all others; the next list brings it again.
            logger.exception("an event of %s could not be taken in", watched.plural)

    return heard
