"""One query to one Prometheus through prometheus_api_client: an answer, or one error, within a total deadline.

The library's own behaviour under faults is not what a control loop can live with: it retries for 14 s where the
server hangs, waits without end for a body that drips, follows redirects to other hosts, drops warnings, and raises
five kinds of exceptions. So it makes the request, and a transport of ours carries it: mounted *after* the library's
construction, because its constructor mounts its own.
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from autoscaler.adapters.prometheus_endpoint import Endpoint, PrometheusError
from autoscaler.adapters.prometheus_transport import Flight, LinkLocalError, Transport, flight_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The rows of an instant vector, each its labels and its value, and the server's warnings that it is partial."""

    rows: tuple[tuple[Mapping[str, str], float], ...]
    warnings: tuple[str, ...] = ()


Series = tuple[Mapping[str, str], tuple[tuple[float, float], ...]]
"""A series of a range query: its labels, and the instants (unix seconds) with their values."""


class PrometheusClient:
    """Asks one endpoint. Thread-safe; every failure is a PrometheusError within the deadline."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        session = requests.Session()
        # No proxies, no .netrc: what is asked and with which credentials is what the administrator wrote down.
        session.trust_env = False
        session.max_redirects = 0
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.verify = str(endpoint.ca_file) if endpoint.ca_file is not None else True
        session.headers["User-Agent"] = "inference-autoscaler"
        self._connect = PrometheusConnect(endpoint.url, session=session, retry=Retry(0))
        session.mount(endpoint.url, Transport(endpoint))

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connect.close()

    def query(self, promql: str, *, at: float, timeout_s: float | None = None) -> Answer:
        """Return the instant vector of a query at an instant (unix seconds), or raise PrometheusError."""
        timeout_s = self.endpoint.timeout_s if timeout_s is None else timeout_s
        params = {"time": f"{at:.3f}", "timeout": f"{math.ceil(timeout_s * 1000)}ms"}
        with self._flying(timeout_s) as flight:
            self._connect.custom_query(promql, params=params, timeout=(timeout_s, timeout_s))
            return self._answer(flight.document)

    def query_range(self, promql: str, *, start_at: float, end_at: float, step_s: float) -> tuple[Series, ...]:
        """Return the series of a query from one instant to another (unix seconds), or raise PrometheusError."""
        timeout_s = self.endpoint.timeout_s
        start, end = (datetime.fromtimestamp(at, tz=UTC) for at in (start_at, end_at))
        params = {"timeout": f"{math.ceil(timeout_s * 1000)}ms"}
        with self._flying(timeout_s) as flight:
            self._connect.custom_query_range(
                promql, start, end, f"{step_s:g}", params=params, timeout=(timeout_s, timeout_s)
            )
            rows = flight.document["data"]["result"]
            return tuple((row["metric"], tuple((float(at), float(text)) for at, text in row["values"])) for row in rows)

    @contextmanager
    def _flying(self, timeout_s: float) -> Iterator[Flight]:
        """Bound a query's time in all and turn whatever goes wrong into a PrometheusError."""
        flight = Flight(timeout_s, self.endpoint.max_body_bytes)
        token = flight_now.set(flight)
        timer = threading.Timer(timeout_s, flight.abort)
        timer.daemon = True
        timer.start()
        try:
            yield flight
        except Exception as error:
            # A head cut off by the deadline reads like a complete one without a body, so lateness is looked at first.
            if isinstance(error, PrometheusError) and not flight.aborted:
                raise
            raise self._translated(error, flight, timeout_s) from error
        finally:
            timer.cancel()
            flight.land()
            flight_now.reset(token)

    def _translated(self, error: Exception, flight: Flight, timeout_s: float) -> PrometheusError:
        name, url = self.endpoint.name, self.endpoint.url
        late = flight.aborted or isinstance(error, requests.Timeout | TimeoutError) or time.monotonic() > flight.ends_at
        if late:
            return PrometheusError(
                name, "timeout", f"did not answer within {timeout_s:g} s at {url}; check its load and the network"
            )
        if isinstance(error, LinkLocalError):
            return PrometheusError(
                name, "configuration", f"{url} leads to a link-local address, which is refused; give another URL"
            )
        if isinstance(error, requests.exceptions.SSLError):
            return PrometheusError(name, "tls", f"its certificate at {url} is not trusted; give its CA file ({error})")
        if isinstance(error, requests.RequestException | HTTPError | OSError):
            return PrometheusError(
                name, "connect", f"no complete answer from {url} ({type(error).__name__}); check that it runs there"
            )
        return PrometheusError(
            name, "not-prometheus", f"an answer from {url} cannot be read ({type(error).__name__}: {error})"
        )

    def _answer(self, document: dict[str, Any]) -> Answer:
        data = document.get("data")
        kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        elif kind != "vector":
            raise PrometheusError(
                self.endpoint.name, "query", f"a query gives a {kind} where an instant vector is needed; change it"
            )
        rows = tuple((row["metric"], float(row["value"][1])) for row in result or ())
        return Answer(rows=rows, warnings=tuple(str(text) for text in document.get("warnings") or ()))
