"""Reading /scale of a server that hangs: a tick over many policies still ends in time."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kubernetes import client

from autoscaler.adapters.kube import REQUEST_TIMEOUT_S, KubeApi, KubeError
from autoscaler.adapters.kube_scale import REST_S, SILENT_MAX, Scales, Target

POLICIES = 200
THREADS = 8


class Server(http.server.BaseHTTPRequestHandler):
    """A small API server: it serves Deployments with a Scale, and hangs while it is told to."""

    hangs = False
    slow_target = ""
    asked = 0

    def do_GET(self) -> None:
        """Answer, or keep the client waiting beyond its patience."""
        type(self).asked += 1
        if self.hangs or (self.slow_target and self.slow_target in self.path):
            time.sleep(REQUEST_TIMEOUT_S + 0.5)
            return
        kinds = [{"name": "deployments", "kind": "Deployment", "namespaced": True}]
        kinds.append({"name": "deployments/scale", "kind": "Scale", "namespaced": True})
        scale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}}
        body = json.dumps(scale if self.path.endswith("/scale") else {"resources": kinds}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[Server]) -> Iterator[KubeApi]:
    """Yield the API of a server with this handler."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield KubeApi(configuration)
    finally:
        server.shutdown()
        server.server_close()


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
