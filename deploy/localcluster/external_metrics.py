"""The external metrics API for the real HPA: how many requests wait at a Deployment's emulated engines.

The HPA controller asks kube-apiserver, which asks us over TLS; on a real cluster an adapter asks Prometheus instead.
"""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

GROUP: Final = "external.metrics.k8s.io/v1beta1"
PREFIX: Final = "waiting-"


@contextmanager
def external_metrics(port: int, certificate: Path, waiting: Callable[[str], int]) -> Iterator[None]:
    """Serve ``waiting-NAME`` on a port of this machine while the block runs; ``waiting`` tells a Deployment's queue."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body = answer(self.path.split("?", maxsplit=1)[0], waiting)
            except (OSError, KeyError):
                body = None
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body or {}).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def answer(path: str, waiting: Callable[[str], int]) -> dict[str, object] | None:
    """Return the answer to a path of the API, None if there is nothing.

    Raises:
        KeyError: no such Deployment.
    """
    if path == f"/apis/{GROUP}":
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": []}
    metric = path.rpartition("/")[2]
    if not path.startswith(f"/apis/{GROUP}/namespaces/") or not metric.startswith(PREFIX):
        return None
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    value = str(waiting(metric.removeprefix(PREFIX)))
    item = {"metricName": metric, "metricLabels": {}, "timestamp": stamp, "value": value}
    return {"kind": "ExternalMetricValueList", "apiVersion": GROUP, "metadata": {}, "items": [item]}
