"""An endpoint as the administrator names it, and the one error that it can give.

Policies name an endpoint and never a URL. Link-local addresses are refused, by name here and by the address that the
name leads to in the transport: there the metadata services of the clouds hand out credentials.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

# Some 25,000 rows, where a thousand pods take a few thousand. All queries of a tick are read side by side, and fourteen
# answers of 20 MB took 1.3 GB of memory: at this bound they stay within what the Deployment has.
MAX_BODY_BYTES = 8 * 1024 * 1024
_METADATA_HOSTS = {"metadata.google.internal", "metadata", "instance-data"}


class PrometheusError(Exception):
    """Why a Prometheus gave no answer: a sentence with the endpoint's name and a remedy, and a kind to count by."""

    def __init__(self, endpoint: str, kind: str, reason: str) -> None:
        super().__init__(f'Prometheus "{endpoint}": {reason}')
        self.endpoint = endpoint
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A Prometheus as the administrator names it. Raises PrometheusError where it cannot be one.

    ``timeout_s`` bounds one query in all, connection and last byte included; ``tick_timeout_s`` all queries of a
    tick. Queries are evaluated ``settle_s`` before the instant asked for, so that a scrape which is being written
    is not seen by half of them.
    """

    name: str
    url: str
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 5.0
    tick_timeout_s: float = 10.0
    settle_s: float = 0.25
    max_body_bytes: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.strip().rstrip("/"))
        wrong = _what_is_wrong(self.url)
        if wrong is not None:
            raise PrometheusError(self.name, "configuration", f"{wrong}; give a URL like http://prometheus:9090")
        for file, what in ((self.bearer_token_file, "bearer token file"), (self.ca_file, "CA file")):
            if file is not None and not file.is_file():
                raise PrometheusError(self.name, "configuration", f"{what} {file} does not exist; check the path")


def _what_is_wrong(url: str) -> str | None:
    """Return what keeps a URL from being a Prometheus' address, or None. Never repeats a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"its URL cannot be read ({error})"
    if parts.scheme not in {"http", "https"}:
        return "its URL must begin with http:// or https://"
    if not host:
        return "its URL has no host"
    if parts.username is not None or parts.query or parts.fragment:
        return "its URL must be without password, query and fragment (a token comes from a file)"
    if host.lower().rstrip(".") in _METADATA_HOSTS or is_link_local(host):
        return f"{host} is a link-local or metadata address, which is refused"
    return None


def is_link_local(host: str) -> bool:
    """Return whether a host is written as an address at which clouds serve their instances' credentials."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local or str(address) == "fd00:ec2::254"
