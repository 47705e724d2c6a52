"""Leader election: who may write now, by one Lease and by nobody's wall clock.

The leader renews the Lease every 2 s. It *is* the leader while

    start of its last successful renewal + 10 s > now        (CLOCK_BOOTTIME, which runs on while a host is suspended)

and this is asked immediately before each write. A follower takes over when it has seen the same renewal for 15 s on
its own clock. So a leader that was frozen, or cannot reach the API server, stops five seconds before another one may
begin, and one that wakes up finds its time over before it can write. What remains is a write that was on the wire
when its sender froze; it carries the resourceVersion of what it was decided on, and is refused if anything moved.
Times inside the Lease are for people: they are compared for being equal, never subtracted.

A Lease that somebody deletes is made anew by its leader; who saw another one hold it waits as if it were still there.
A process that starts in the very seconds after the deletion cannot know of a leader, and may lead beside it for at most
10 s; the resourceVersion then decides which of two writes stands.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger(__name__)

LEASE_S = 15.0
LEAD_S = 10.0
RETRY_S = 2.0
REQUEST_TIMEOUT_S = 3.0


def boottime_s() -> float:
    """Return seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseElector:
    """Tries to be, and to stay, the leader; in a thread of its own, so that no slow tick delays a renewal.

    ``request(method, path, body=..., timeout_s=...)`` talks to the API server; it raises on failure, with the HTTP
    status as ``status``. ``identity`` is unique to this process.
    """

    def __init__(
        self,
        *,
        request: Callable[..., dict[str, Any]],
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._request = request
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self.identity = identity
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._led_until: float | None = None
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self.holder: str | None = None
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to elect, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop electing, and release the Lease if it is held, so that another one need not wait for its end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(REQUEST_TIMEOUT_S)
        if self.is_leader():
            self._led_until = None
            self._release()

    def is_leader(self) -> bool:
        """Whether this process may write at this instant. Ask immediately before each write."""
        return self._led_until is not None and self._clock() < self._led_until

    def attempt(self) -> bool:
        """Try once to take or to renew the Lease; return whether this process leads."""
        began_at = self._clock()
        try:
            held = self._take(began_at)
        except Exception as error:  # An elector that dies leads for ever or never; it tries again instead.
            self._report(None if getattr(error, "status", None) == 409 else str(error))
        else:
            self._report(None)
            self._led_until = began_at + LEAD_S if held else None
        return self.is_leader()

    def _run(self) -> None:
        led = False
        while not self._stopping.is_set():
            leads = self.attempt()
            if leads is not led:
                logger.info("%s the leader (%s)", "this is" if leads else "this is not", self.identity)
                led = leads
            self._stopping.wait(RETRY_S)

    def _take(self, now: float) -> bool:
        """Take, renew or leave the Lease; return whether it is ours. Raises whatever the request raises."""
        try:
            lease = self._call("GET", f"{self._collection}/{self._name}")
        except Exception as error:
            if getattr(error, "status", None) != 404:
                raise
            if self._another_may_lead(now):
                return False
            self._call("POST", self._collection, self._body({}, None, 0))
            self.holder = self.identity
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        seen = (holder, str(spec.get("renewTime")))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        self.holder = holder or None
        if holder not in {"", self.identity} and now < self._seen_at + LEASE_S:
            return False
        version = lease["metadata"]["resourceVersion"]
        changes = int(spec.get("leaseTransitions") or 0) + (holder != self.identity)
        self._call("PUT", f"{self._collection}/{self._name}", self._body(spec, version, changes))
        self.holder = self.identity
        return True

    def _another_may_lead(self, now: float) -> bool:
        """Whether the holder last seen may still lead, though the Lease itself was deleted."""
        if self._seen is None or self._seen[0] in {"", self.identity}:
            return False
        return now < self._seen_at + LEASE_S

    def _release(self) -> None:
        try:
            lease = self._call("GET", f"{self._collection}/{self._name}")
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                body = {**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
                self._call("PUT", f"{self._collection}/{self._name}", body)
        except Exception as error:  # Not released is no harm: the others wait until it runs out.
            logger.warning("the lease was not released (%s); another controller waits %g s", error, LEASE_S)

    def _body(self, spec: dict[str, Any], version: str | None, transitions: int) -> dict[str, Any]:
        now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        renewed = spec.get("holderIdentity") == self.identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, **({"resourceVersion": version} if version else {})},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(LEASE_S),
                "acquireTime": spec.get("acquireTime") if renewed else now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._request(method, path, body=body, timeout_s=REQUEST_TIMEOUT_S)

    def _report(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            logger.warning("the lease cannot be renewed: %s", trouble)
        self.trouble = trouble
