"""Pages of metrics for a real Prometheus to scrape: one HTTP server, one path a pod, and the list of its targets."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

RECORDED = Path(__file__).parent / "recorded"


def recorded(state: str) -> str:
    """Return a recorded body of vLLM 0.32.0."""
    return (RECORDED / f"vllm-0.32.0-{state}.prom").read_text()


def without(body: str, *names: str) -> str:
    """Return a body without the series whose names begin with one of some names."""
    return "\n".join(line for line in body.splitlines() if not line.startswith(names)) + "\n"


def with_value(body: str, series: str, value: str) -> str:
    """Return a body in which the series that begins so has another value; fails if there is none."""
    lines = [f"{line.rsplit(' ', 1)[0]} {value}" if line.startswith(series) else line for line in body.splitlines()]
    assert lines != body.splitlines(), f"no series begins with {series}"
    return "\n".join(lines) + "\n"


def at_time(body: str, unix_s: float) -> str:
    """Return a body whose samples all carry a time of their own, as a frozen federation would."""
    stamp = f" {int(unix_s * 1000)}"
    return "\n".join(line if line.startswith("#") or not line else line + stamp for line in body.splitlines()) + "\n"


@dataclass
class Page:
    """One pod's page, and the labels that its target carries."""

    body: str
    labels: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


class MetricsPages:
    """Serves ``/metrics/KEY`` for each page and ``/targets`` for Prometheus' service discovery."""

    def __init__(self, pages: dict[str, Page]) -> None:
        self.pages = pages
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/targets":
                    self.answer(200, "application/json", json.dumps(served.targets()))
                    return
                page = served.pages[self.path.rsplit("/", 1)[1]]
                self.answer(page.status, "text/plain; version=0.0.4; charset=utf-8", page.body)

            def answer(self, status: int, kind: str, body: str) -> None:
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name is the library's)
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def targets(self) -> list[dict[str, object]]:
        """Return the target groups, one a page."""
        return [
            {"targets": [self.address], "labels": {"__metrics_path__": f"/metrics/{key}", **page.labels}}
            for key, page in self.pages.items()
        ]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
