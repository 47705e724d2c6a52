"""The transport of one endpoint: bounds a query's time and size, and refuses what is no answer of a Prometheus.

A timeout of ``requests`` bounds the silence between two bytes, not the whole: a body that drips would hold a tick for
as long as it likes. So a flight knows its socket and a timer shuts it when the deadline has come. The body is read,
measured and parsed here, before prometheus_api_client sees it, since that reports an error answer as a KeyError and
drops the warnings of a partial one.
"""

import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from autoscaler.adapters.prometheus_endpoint import Endpoint, PrometheusError, is_link_local

_CHUNK = 64 * 1024
Timeout = float | tuple[float, float] | tuple[float, None] | None


class Flight:
    """One query on its way: its socket, to be shut when the deadline has come."""

    def __init__(self, timeout_s: float, max_bytes: int) -> None:
        self.ends_at = time.monotonic() + timeout_s
        self.max_bytes = max_bytes
        self.document: dict[str, Any] = {}
        self.aborted = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def attach(self, connected: socket.socket | None) -> None:
        """Take note of the socket in use; raises OSError if the deadline has passed."""
        with self._lock:
            self._socket = connected
            if self.aborted:
                raise OSError("the deadline has passed")

    def land(self) -> None:
        """Let go of the socket: from now on it may belong to another query."""
        with self._lock:
            self._socket = None

    def abort(self) -> None:
        """Shut the socket, whoever waits on it: that read or write then fails at once."""
        with self._lock:
            self.aborted = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


flight_now: ContextVar[Flight] = ContextVar("flight_now")


class LinkLocalError(HTTPError):
    """The endpoint's name leads to an address that is refused."""


class _Watched:
    """Mixed into urllib3's connections: says which socket a query uses, and refuses where it leads."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        peer = connected.getpeername()[0]
        if is_link_local(peer):
            connected.close()
            raise LinkLocalError(peer)
        flight_now.get().attach(connected)
        return connected

    def request(self, *args: object, **options: object) -> None:
        if self.sock is not None:
            flight_now.get().attach(self.sock)
        super().request(*args, **options)  # type: ignore[misc]


class _PlainConnection(_Watched, HTTPConnection):
    pass


class _TlsConnection(_Watched, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _JsonResponse(requests.Response):
    """A response whose body was read and parsed by the transport, so that nobody parses it twice."""

    document: dict[str, Any]

    @override
    def json(self, **_: object) -> dict[str, Any]:
        return self.document


class Transport(HTTPAdapter):
    """Carries one endpoint's requests: adds the token, bounds time and size, refuses what is no answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        super().__init__(pool_connections=1, pool_maxsize=16, max_retries=Retry(0, read=False))

    @override
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: object) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    @override
    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Timeout = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        flight = flight_now.get()
        if self._endpoint.bearer_token_file is not None:
            request.headers["Authorization"] = f"Bearer {self._token(self._endpoint.bearer_token_file)}"
        response = super().send(request, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        with response:
            body = self._body(response, flight)
        self._refuse_bad_status(response.status_code, body)
        flight.document = self._document(body)
        answer = _JsonResponse()
        answer.__dict__.update(response.__dict__)
        answer._content = body
        answer.document = flight.document
        return answer

    def _token(self, file: Path) -> str:
        try:
            # Read anew each time: projected tokens are replaced within the hour.
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._error("token", f"bearer token file {file} cannot be read ({error}); check the mount") from error
        if not token or not token.isascii() or not token.isprintable():
            raise self._error("token", f"bearer token file {file} holds no token; check the mount")
        return token

    def _body(self, response: requests.Response, flight: Flight) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > flight.max_bytes:
                limit = flight.max_bytes / 1024 / 1024
                raise self._error("too-large", f"an answer is larger than {limit:g} MiB; select fewer series")
            if time.monotonic() > flight.ends_at:
                raise TimeoutError
            chunks.append(chunk)
        return b"".join(chunks)

    def _refuse_bad_status(self, status: int, body: bytes) -> None:
        if status == requests.codes.ok:
            return
        if 300 <= status < 400:
            raise self._error("redirect", f"answers {status}, a redirect, which is not followed; give the final URL")
        if status in (401, 403):
            raise self._error("auth", f"answers {status}; check the bearer token and what it may read")
        said = _error_text(body)
        if said is not None and status in (400, 422):
            raise self._error("query", f"refuses a query: {said}; check the label mapping and custom queries")
        if status in (429, 503):
            told = f" ({said})" if said else ""
            raise self._error("overload", f"answers {status}{told}; overloaded or starting; asked again next tick")
        raise self._error("http", f"answers HTTP {status}; check that its URL leads to a Prometheus")

    def _document(self, body: bytes) -> dict[str, Any]:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._error(
                "not-prometheus", "answers something that is not JSON; check that its URL leads to a Prometheus"
            ) from error
        if not isinstance(document, dict) or "status" not in document:
            raise self._error(
                "not-prometheus", "answers JSON that is not Prometheus'; check that its URL leads to a Prometheus"
            )
        if document["status"] != "success":
            raise self._error("query", f"reports an error: {str(document.get('error', 'no reason given'))[:200]}")
        return document

    def _error(self, kind: str, reason: str) -> PrometheusError:
        return PrometheusError(self._endpoint.name, kind, reason)


def _error_text(body: bytes) -> str | None:
    """Return Prometheus' own words for an error, shortened, or None if the body is not its."""
    with suppress(ValueError, RecursionError):
        document = json.loads(body)
        if isinstance(document, dict) and "error" in document:
            return str(document["error"])[:200]
    return None
