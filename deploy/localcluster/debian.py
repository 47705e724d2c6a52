"""Prometheus: the one on PATH, else Debian's package, downloaded and unpacked into the cache folder.

`apt-get download` needs no root and installs nothing. It reads the system's package lists; where those are absent or
older than the mirror, lists of our own are fetched and thrown away afterwards. The system's sources, keys and proxies
are kept; its apt hooks are left out, because they would clean the system's own cache after our update.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from deploy.localcluster.cache import cached, progress
from deploy.localcluster.errors import LocalClusterError

OLDEST_PROMETHEUS: Final = (2, 40)
_REMEDY: Final = "prometheus not found: apt-get install prometheus"


def prometheus() -> Path:
    """The path of a Prometheus that runs.

    Raises:
        LocalClusterError: there is none on PATH, and Debian's package cannot be downloaded or does not run here.
    """
    on_path = shutil.which("prometheus")
    if on_path is not None and _runs(Path(on_path)):
        return Path(on_path)
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise LocalClusterError(_REMEDY)
    # The folder is named after the packaging, not after a version: the version is the distribution's choice.
    executable = cached("prometheus", "debian", _download) / "usr" / "bin" / "prometheus"
    if not _runs(executable):
        folder = executable.parents[2]
        raise LocalClusterError(f"the prometheus in {folder} does not run here: delete that folder, or {_REMEDY}")
    return executable


def _runs(executable: Path) -> bool:
    """Whether it says its version and that version is new enough."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=30, check=True)
        match = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
        return match is not None and (int(match[1]), int(match[2])) >= OLDEST_PROMETHEUS
    return False


def _download(folder: Path) -> None:
    progress("downloading Debian's prometheus package (about 30 s, once)")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        package = _fetch_package(Path(scratch))
        if package is None or not _run(["dpkg", "-x", str(package), str(folder)], dict(os.environ)):
            raise LocalClusterError(_REMEDY)
    # The package's links into /etc and its example pages are of no use here, and nothing else reads them.
    if not _runs(folder / "usr" / "bin" / "prometheus"):
        raise LocalClusterError(_REMEDY)


def _fetch_package(scratch: Path) -> Path | None:
    """The downloaded .deb: with the system's lists first, with fresh lists of our own where that fails."""
    for own_lists in (False, True):
        environment = dict(os.environ) | {"APT_CONFIG": str(_apt_configuration(scratch, own_lists=own_lists))}
        if own_lists:
            # One source of many that does not answer fails the update; whether the package can be had is what counts.
            _run(["apt-get", "update"], environment)
        downloaded = _run(["apt-get", "download", "prometheus"], environment, cwd=scratch)
        packages = sorted(scratch.glob("prometheus_*.deb"))
        if downloaded and packages:
            return packages[0]
    return None


def _apt_configuration(scratch: Path, *, own_lists: bool) -> Path:
    """An apt.conf in which everything that apt writes lies in the scratch folder."""
    state = scratch / "apt"
    for folder in (state / "lists" / "partial", state / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=30, check=False)
    kept = [line for line in dumped.stdout.splitlines() if line.startswith("Acquire::")]
    lines = [
        *kept,
        'Dir::Etc::main "/dev/null";',
        'Dir::Etc::parts "/dev/null";',
        f'Dir::Cache "{state}";',
        f'Dir::Cache::archives "{state}/archives";',
        # As root apt would drop to a user who cannot enter root's cache folder.
        'APT::Sandbox::User "root";',
    ]
    if own_lists:
        lines.append(f'Dir::State::lists "{state}/lists";')
    written = scratch / ("own.conf" if own_lists else "system.conf")
    written.write_text("\n".join(lines) + "\n")
    return written


def _run(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> bool:
    try:
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
