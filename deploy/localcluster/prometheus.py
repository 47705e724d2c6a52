"""A real Prometheus that finds its targets by HTTP service discovery, and that can crash, hang and come back."""

import http.client
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Final, Self

from deploy.localcluster import binaries
from deploy.localcluster.processes import Component, free_ports, wait_until

_CONFIGURATION: Final = Path(__file__).with_name("prometheus.yml")


class LocalPrometheus:
    """One Prometheus on a free port of 127.0.0.1. A context manager, or `start()` and `stop()`.

    Port and data outlive `kill()`, so that a restart is the same Prometheus to its users, with a gap in its series.

    Args:
        http_sd_url: answers with target groups; their labels (namespace, pod, `__metrics_path__`) go onto the series.
        scrape_interval: in Prometheus' duration form, "500ms", "15s".
        refresh_interval: how often the targets are asked for.
        lookback_delta: how long a sample stays current where nothing newer came (Prometheus' own default is "5m").
        folder: where data and log are kept and stay; without it a temporary folder that goes with `stop()`.

    Attributes:
        url: base URL, `http://127.0.0.1:PORT`.
    """

    def __init__(
        self,
        *,
        http_sd_url: str,
        scrape_interval: str = "15s",
        refresh_interval: str = "5s",
        lookback_delta: str = "5m",
        folder: Path | None = None,
    ) -> None:
        self._given_folder = folder
        self.folder = folder or Path(tempfile.mkdtemp(prefix="inference-autoscaler-prometheus-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self._port}"
        self._lookback_delta = lookback_delta
        self._component: Component | None = None
        configuration = Template(_CONFIGURATION.read_text()).substitute(
            http_sd_url=http_sd_url, scrape_interval=scrape_interval, refresh_interval=refresh_interval
        )
        (self.folder / "prometheus.yml").write_text(configuration)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._component.pid if self._component is not None and self._component.running() else None

    def start(self) -> str:
        """Start it, or start it again after `kill()`; returns the base URL once it answers queries.

        Raises:
            LocalClusterError: there is no Prometheus, or it died; with its last log lines.
        """
        if self.pid is not None:
            return self.url
        self._component = Component("prometheus", self._command(), self.folder)
        try:
            wait_until(self._ready, what="the start of Prometheus", watching=[self._component], timeout_s=30)
        except BaseException:
            self._component.kill()
            raise
        return self.url

    def kill(self) -> None:
        """End it at once, as a crash would; `start()` brings it back on the same port with the same data."""
        if self._component is not None:
            self._component.kill()

    def pause(self) -> None:
        """Let it hang: connections are accepted by the kernel and never answered."""
        if self._component is not None:
            self._component.pause()

    def resume(self) -> None:
        """End a `pause()`."""
        if self._component is not None:
            self._component.resume()

    def stop(self) -> None:
        """End it in an orderly way and remove its temporary folder. May be called twice."""
        if self._component is not None:
            self._component.stop()
        if self._given_folder is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self) -> Sequence[str | Path]:
        return (
            binaries.prometheus(),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            f"--query.lookback-delta={self._lookback_delta}",
            "--log.level=warn",
        )

    def _ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
        except (OSError, http.client.HTTPException):
            return False
