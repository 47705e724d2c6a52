"""API servers that hang, on real sockets: a real one does not do so when it is asked to."""

import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client

from autoscaler.adapters.kube import REQUEST_TIMEOUT_S, KubeApi


class Server(http.server.BaseHTTPRequestHandler):
    """A small API server: it serves Deployments with a Scale of 3, and hangs while it is told to."""

    hangs = False
    hanging_writes: re.Pattern[str] | None = None
    slow_target = ""
    asked = 0

    def do_GET(self) -> None:
        """Answer, or keep the client waiting beyond its patience."""
        type(self).asked += 1
        if self.hangs or (self.slow_target and self.slow_target in self.path):
            time.sleep(REQUEST_TIMEOUT_S + 0.5)
            return
        self._answer(3)

    def do_PUT(self) -> None:
        """Answer with the count that was sent, or keep the client waiting as an admission webhook does that hangs."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.hanging_writes and self.hanging_writes.search(self.path):
            time.sleep(REQUEST_TIMEOUT_S + 0.5)
            return
        self._answer(sent["spec"]["replicas"])

    def _answer(self, replicas: int) -> None:
        kinds = [{"name": "deployments", "kind": "Deployment", "namespaced": True}]
        kinds.append({"name": "deployments/scale", "kind": "Scale", "namespaced": True})
        scale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": replicas}}
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
    try:
        yield api_at(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def accepting() -> Iterator[KubeApi]:
    """Yield the API of a socket on which every connection is accepted and none is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield api_at(listener.getsockname()[1])


def api_at(port: int) -> KubeApi:
    """Return the API of a server at a local port."""
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{port}"
    return KubeApi(configuration)
