"""What is installed: one manifest, generated and never behind its parts, and an image recipe."""

from deploy.install import INSTALL, install_yaml


def test_install_yaml_is_the_definition_and_the_controller() -> None:
    """One file to apply; it is generated, and never behind its parts."""
    assert INSTALL.read_text() == install_yaml(), "run: python -m deploy.install"


def test_the_image_installs_by_hash_and_runs_without_root() -> None:
    """The recipe of the image keeps what the manifests promise."""
    recipe = (INSTALL.parent / "Dockerfile").read_text()
    assert "--require-hashes" in recipe
    assert "USER 65532:65532" in recipe
