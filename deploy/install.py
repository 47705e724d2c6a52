"""Everything that an installation needs in one file: ``python -m deploy.install`` writes ``deploy/install.yaml``."""

from pathlib import Path

FOLDER = Path(__file__).parent
INSTALL = FOLDER / "install.yaml"


def install_yaml() -> str:
    """Return the definition of ScalingPolicy, then the controller."""
    parts = [(FOLDER / name).read_text() for name in ("crd.yaml", "controller.yaml")]
    return "---\n".join(parts)


if __name__ == "__main__":
    INSTALL.write_text(install_yaml())
