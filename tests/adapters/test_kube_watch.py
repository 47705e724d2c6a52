"""The watch's supervisor: whatever ends kopf, the watch starts anew and a sweep is asked for."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from kubernetes import client

from autoscaler.adapters.kube_watch import Watch, Watched, connection, settings, told


class Garbage(http.server.BaseHTTPRequestHandler):
    """Answers everything with something that is no Kubernetes object, which ends kopf."""

    def do_GET(self) -> None:
        """Answer."""
        body = b"<html>"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def configuration() -> Iterator[client.Configuration]:
    """The configuration of a server that answers garbage."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Garbage)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made = client.Configuration()
    made.host = f"http://127.0.0.1:{server.server_address[1]}"
    yield made
    server.shutdown()
    server.server_close()


@pytest.mark.servers
def test_a_watch_that_ends_starts_anew(configuration: client.Configuration) -> None:
    """Each end asks for a sweep, since what is deleted meanwhile is never told."""
    ended = threading.Semaphore(0)
    watched = Watched(group="", version="v1", plural="pods", heard=lambda *_: None)
    watch = Watch(configuration=configuration, watched=[watched], namespaces=None, on_exit=ended.release)
    watch.start()
    assert ended.acquire(timeout=20), "the first end"
    assert ended.acquire(timeout=20), "the second end: it was started anew"
    watch.stop()
    assert watch.exits >= 1


def test_kopf_neither_marks_objects_nor_scans() -> None:
    """No Events by itself, no cluster-wide scanning, and streams that cannot be silent for ever."""
    chosen = settings()
    assert chosen.posting.enabled is False
    assert chosen.scanning.disabled is True
    assert chosen.watching.server_timeout == 300


def test_a_token_is_handed_over_with_its_scheme() -> None:
    """The watch logs in as the same user as all other requests, and with the token as it is at that instant."""
    made = client.Configuration()
    made.api_key["BearerToken"] = "Bearer abc"
    first = connection(made)
    made.api_key["BearerToken"] = "Bearer def"
    assert (first.scheme, first.token, connection(made).token) == ("Bearer", "abc", "def")


def test_what_ended_a_watch_is_told_in_one_sentence() -> None:
    """The API server's words alone, not its whole answer; and whatever else may end a thread."""
    answer = {"kind": "Status", "message": "pods is forbidden:\n no right to watch", "code": 403}
    forbidden = PermissionError(answer["message"], answer)
    assert told(forbidden) == "PermissionError: pods is forbidden: no right to watch"
    assert told(ValueError("odd")) == "ValueError: odd"
