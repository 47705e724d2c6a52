"""What a published figure was measured with: versions and machine, for the JSON line at the end of every benchmark."""

import platform
import sys
from importlib.metadata import version


def machine() -> dict[str, str]:
    """Return processor type, system and Python."""
    return {"machine": platform.machine(), "system": platform.platform(), "python": sys.version.split()[0]}


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, ours included."""
    return {name: version(name) for name in (*packages, "inference-autoscaler")}
