"""Prometheus, the broken one: whatever an endpoint does, a tick gets one sentence within its deadline, and no number.

No real Prometheus can be made to misbehave in these ways, so a raw socket speaks here.
"""

import asyncio
import gzip
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from autoscaler.adapters.prometheus import Endpoint, PolicySeries, Prometheus, PrometheusError, Snapshot, query_plans
from autoscaler.adapters.prometheus_http import PrometheusClient

SERIES = PolicySeries(namespace="prod", model="tiny")
TIMEOUT_S = 0.4
TICK_S = 0.8
# What a loaded machine may add to a deadline: starting threads, not waiting for a server.
SLACK_S = 1.0

Talk = Callable[[socket.socket, str], None]


class RawServer:
    """Accepts connections and lets a function talk on each, after the request's head was read."""

    def __init__(self, talk: Talk, context: ssl.SSLContext | None) -> None:
        self.requests: list[str] = []
        self._context = context
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError), closing(accepted):
            connection = self._context.wrap_socket(accepted, server_side=True) if self._context else accepted
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head.decode())
            self._talk(connection, self.requests[-1])

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


@contextmanager
def serving(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Run a raw server for a while, behind TLS where a context is given."""
    server = RawServer(talk, context)
    try:
        yield server
    finally:
        server.close()


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return an HTTP response that closes its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode() + body


def says(response: bytes) -> Talk:
    """Return a talk that sends one response."""
    return lambda connection, _: connection.sendall(response)


def hangs(connection: socket.socket, _: str) -> None:
    """Say nothing for longer than any test takes."""
    time.sleep(20)


def drips(connection: socket.socket, _: str) -> None:
    """Begin well and send the body byte by byte, never silent for as long as a read may take."""
    connection.sendall(http("200 OK", b"", length=10_000))
    for _byte in range(200):
        connection.sendall(b" ")
        time.sleep(0.05)


def drips_headers(connection: socket.socket, _: str) -> None:
    """Never come to the end of the head."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        connection.sendall(f"X-{number}: 1\r\n".encode())
        time.sleep(0.05)


def resets(connection: socket.socket, _: str) -> None:
    """Close without a word."""


def vector(rows: Sequence[Mapping[str, object]], **more: object) -> bytes:
    """Return Prometheus' answer with an instant vector."""
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}, **more}).encode()


def snapshot_of(url: str, **options: object) -> tuple[Snapshot, float]:
    """Return what a tick makes of an endpoint, and how long it took."""
    endpoint = Endpoint(name="main", url=url, timeout_s=TIMEOUT_S, tick_timeout_s=TICK_S, **options)  # type: ignore[arg-type]
    reader = Prometheus(endpoint)
    try:
        began = time.monotonic()
        taken = asyncio.run(reader.snapshot(query_plans([SERIES]), time.time()))
        return taken, time.monotonic() - began
    finally:
        reader.close()


HUGE = vector([{"metric": {"pod": "x" * 1000}, "value": [0, "1"]}] * 3000)
FAULTS: dict[str, tuple[Talk, str, str]] = {
    "500": (says(http("500 Internal Server Error", b"oops")), "http", "answers HTTP 500"),
    "404": (says(http("404 Not Found", b"")), "http", "answers HTTP 404"),
    "503": (says(http("503 Service Unavailable", b"")), "overload", "answers 503"),
    "429": (says(http("429 Too Many Requests", b"", "Retry-After: 1")), "overload", "answers 429"),
    "401": (says(http("401 Unauthorized", b"")), "auth", "bearer token"),
    "bad query": (
        says(http("400 Bad Request", b'{"status":"error","errorType":"bad_data","error":"parse error"}')),
        "query",
        "parse error",
    ),
    "HTML": (says(http("200 OK", b"<html>Sign in</html>", "Content-Type: text/html")), "not-prometheus", "not JSON"),
    "empty": (says(http("200 OK", b"")), "not-prometheus", "not JSON"),
    "other JSON": (says(http("200 OK", b'{"hello": 1}')), "not-prometheus", "not Prometheus'"),
    "list": (says(http("200 OK", b"[]")), "not-prometheus", "not Prometheus'"),
    "deep": (says(http("200 OK", b"[" * 100_000)), "not-prometheus", "not JSON"),
    "error in 200": (says(http("200 OK", b'{"status":"error","error":"no store"}')), "query", "no store"),
    "no data": (says(http("200 OK", b'{"status":"success"}')), "not-prometheus", "cannot be read"),
    "matrix": (
        says(http("200 OK", b'{"status":"success","data":{"resultType":"matrix","result":[]}}')),
        "query",
        "gives a matrix",
    ),
    "malformed row": (says(http("200 OK", vector([{"metric": {}}]))), "not-prometheus", "cannot be read"),
    "truncated": (says(http("200 OK", b'{"status":"succ', length=5000)), "connect", "no complete answer"),
    "reset": (resets, "connect", "no complete answer"),
    "not HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "connect", "no complete answer"),
    "hang": (hangs, "timeout", "did not answer within 0.4 s"),
    "drip": (drips, "timeout", "did not answer within 0.4 s"),
    "drip of headers": (drips_headers, "timeout", "did not answer within 0.4 s"),
    "huge": (says(http("200 OK", HUGE)), "too-large", "larger than 1 MiB"),
    "zip bomb": (
        says(http("200 OK", gzip.compress(b" " * 50_000_000, 1), "Content-Encoding: gzip")),
        "too-large",
        "larger than 1 MiB",
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_broken_endpoint_gives_a_sentence_in_time_and_no_sample(fault: str) -> None:
    """Each fault is one kind of error, told once with the endpoint's name, and never a sample or a zero."""
    talk, kind, words = FAULTS[fault]
    with serving(talk) as server:
        taken, took_s = snapshot_of(server.url, max_body_bytes=1024 * 1024)
    assert took_s < TICK_S + SLACK_S
    assert taken.samples(SERIES, ["pod-1"], 90.0) == ()
    first = next(warning for warning in taken.warnings(SERIES, ["pod-1"]) if words in warning)
    assert first.startswith('Prometheus "main": ')
    assert {run.error_kind for run in taken.runs} <= {kind, "timeout"}
    assert kind in {run.error_kind for run in taken.runs}


def test_no_request_is_made_twice() -> None:
    """Retry is the next tick: fourteen queries are fourteen requests, also where every one fails."""
    with serving(FAULTS["503"][0]) as server:
        taken, _ = snapshot_of(server.url)
    assert len(server.requests) == len(taken.runs) == 14


def test_nobody_listening_is_said() -> None:
    """A refused connection is an error like any other."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    taken, _ = snapshot_of(f"http://127.0.0.1:{port}")
    assert taken.samples(SERIES, ["pod-1"], 90.0) == ()
    assert "check that it runs there" in taken.warnings(SERIES, [])[0]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_refused_and_its_goal_is_never_asked(status: str, tmp_path: Path) -> None:
    """An endpoint cannot lead the controller, and its token, to another host."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    with (
        serving(says(http("200 OK", vector([])))) as elsewhere,
        serving(says(http(status, b"", f"Location: {elsewhere.url}/api/v1/query"))) as server,
    ):
        taken, _ = snapshot_of(server.url, bearer_token_file=token)
    assert elsewhere.requests == []
    assert {run.error_kind for run in taken.runs} == {"redirect"}
    assert "give the final URL" in taken.warnings(SERIES, [])[0]


def test_a_partial_answer_is_told_in_the_servers_words() -> None:
    """Thanos answers 200 and warns that a store is missing: that warning reaches the policy, which then holds."""
    body = vector(
        [{"metric": {"namespace": "prod", "pod": "pod-1", "model_name": "tiny"}, "value": [0, str(time.time())]}],
        warnings=["store 10.0.0.7:10901 unavailable"],
    )
    with serving(says(http("200 OK", body))) as server:
        taken, _ = snapshot_of(server.url)
    assert [sample.pod for sample in taken.samples(SERIES, ["pod-1"], 90.0)] == ["pod-1"]
    (warning,) = taken.warnings(SERIES, ["pod-1"])
    assert 'Prometheus "main" warns: store 10.0.0.7:10901 unavailable' in warning


def test_one_query_that_fails_costs_its_own_signal_alone() -> None:
    """Where only the waiting requests cannot be read, the rest of the sample stands and a warning names them."""
    row = {"metric": {"namespace": "prod", "pod": "pod-1", "model_name": "tiny"}, "value": [0, str(time.time())]}

    def talk(connection: socket.socket, head: str) -> None:
        broken = "num_requests_waiting" in head
        connection.sendall(http("500 Oops", b"") if broken else http("200 OK", vector([row])))

    with serving(talk) as server:
        taken, _ = snapshot_of(server.url)
    (sample,) = taken.samples(SERIES, ["pod-1"], 90.0)
    assert sample.waiting is None
    assert sample.running is not None
    (warning,) = taken.warnings(SERIES, ["pod-1"])
    assert "answers HTTP 500" in warning
    assert warning.endswith("(asked for waiting)")
    assert [run.signal for run in taken.runs if run.error_kind] == ["waiting"]


def test_without_the_samples_time_nothing_is_believed() -> None:
    """A number whose age is unknown is no sample."""
    row = {"metric": {"namespace": "prod", "pod": "pod-1", "model_name": "tiny"}, "value": [0, "5"]}

    def talk(connection: socket.socket, head: str) -> None:
        connection.sendall(http("500 Oops", b"") if "timestamp" in head else http("200 OK", vector([row])))

    with serving(talk) as server:
        taken, _ = snapshot_of(server.url)
    assert taken.samples(SERIES, ["pod-1"], 90.0) == ()
    assert taken.warnings(SERIES, ["pod-1"])


def test_an_endpoint_that_hangs_leaves_no_threads_behind() -> None:
    """The socket is shut at the deadline, so a slow server cannot collect a thread for each query of each tick."""
    before = threading.active_count()
    with serving(drips_headers) as server:
        snapshot_of(server.url)
        ends_at = time.monotonic() + 5
        while any(thread.name.startswith("prometheus-main") for thread in threading.enumerate()):
            assert time.monotonic() < ends_at, f"{threading.active_count() - before} threads are left"
            time.sleep(0.05)


def test_the_token_is_read_anew_for_each_query(tmp_path: Path) -> None:
    """A projected token is replaced within the hour, and the next query carries the new one."""
    token = tmp_path / "token"
    token.write_text("first\n")
    with serving(says(http("200 OK", vector([])))) as server:
        client = PrometheusClient(Endpoint(name="main", url=server.url, bearer_token_file=token))
        client.query("up", at=0.0)
        token.write_text("second\n")
        client.query("up", at=0.0)
        token.unlink()
        with pytest.raises(PrometheusError, match="cannot be read"):
            client.query("up", at=0.0)
        client.close()
    sent = [found[1] for head in server.requests if (found := re.search(r"(?im)^authorization: (.*?)\r?$", head))]
    assert sent == ["Bearer first", "Bearer second"]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked goes where the administrator said, whatever the pod's environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(says(http("200 OK", vector([])))) as server:
        client = PrometheusClient(Endpoint(name="main", url=server.url))
        assert client.query("up", at=0.0).rows == ()
        client.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://prometheus:9090", "must begin with http"),
        ("prometheus:9090", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("http://", "has no host"),
        ("http://user:secret@prometheus", "without password"),
        ("http://prometheus/?query=up", "without password, query"),
        ("http://prometheus:99999", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://169.254.169.254/", "link-local or metadata"),
        ("http://[::ffff:169.254.169.254]/", "link-local or metadata"),
        ("http://[fe80::1%25eth0]/", "link-local or metadata"),
        ("http://metadata.google.internal./", "link-local or metadata"),
    ],
)
def test_a_url_that_is_no_prometheus_is_refused_with_a_remedy(url: str, words: str) -> None:
    """The administrator is told at the start what is wrong with a URL, and no password is repeated."""
    with pytest.raises(PrometheusError, match=words) as raised:
        Endpoint(name="main", url=url)
    assert "http://prometheus:9090" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_name_that_leads_to_a_metadata_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is looked at again where the connection is made: a harmless name may lead anywhere.

    A connection to the metadata service cannot be had here, so the answer of ``getpeername`` is replaced.
    """
    monkeypatch.setattr("autoscaler.adapters.prometheus_transport.is_link_local", lambda host: host == "127.0.0.1")
    with serving(says(http("200 OK", vector([])))) as server:
        client = PrometheusClient(Endpoint(name="main", url=server.url))
        with pytest.raises(PrometheusError, match="leads to a link-local address"):
            client.query("up", at=0.0)
        client.close()
    assert server.requests == []


@pytest.mark.parametrize("field", ["bearer_token_file", "ca_file"])
def test_a_file_that_is_not_there_is_named_at_the_start(field: str, tmp_path: Path) -> None:
    """A missing token or CA file is found before the first tick."""
    with pytest.raises(PrometheusError, match="does not exist"):
        Endpoint(name="main", url="http://prometheus:9090", **{field: tmp_path / "missing"})  # type: ignore[arg-type]


def test_check_says_whether_a_prometheus_is_there() -> None:
    """The check at the start raises the same sentence that a tick would warn with."""
    with serving(FAULTS["HTML"][0]) as server:
        reader = Prometheus(Endpoint(name="main", url=server.url))
        with pytest.raises(PrometheusError, match="not JSON"):
            asyncio.run(reader.check())
        reader.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that nobody trusts, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with: apt-get install openssl")
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run([openssl, "req", *kind, *subject, *files], check=True, capture_output=True)
    return paths


def test_tls_is_checked_against_the_ca_file_and_bounded_too(certificate: tuple[Path, Path]) -> None:
    """An unknown certificate is refused and the CA file named; a server that drips through TLS is cut off as well."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def drips_later(connection: socket.socket, head: str) -> None:
        drips(connection, head) if "slow" in head else connection.sendall(http("200 OK", vector([])))

    with serving(drips_later, context) as server:
        url = server.url.replace("http://", "https://")
        stranger = PrometheusClient(Endpoint(name="main", url=url))
        with pytest.raises(PrometheusError, match="give its CA file"):
            stranger.query("up", at=0.0)
        friend = PrometheusClient(Endpoint(name="main", url=url, ca_file=certificate[0]))
        assert friend.query("up", at=0.0).rows == ()
        began = time.monotonic()
        with pytest.raises(PrometheusError, match="did not answer within"):
            friend.query("slow", at=0.0, timeout_s=TIMEOUT_S)
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S
        stranger.close()
        friend.close()
