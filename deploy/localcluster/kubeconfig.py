"""Who may come to the API server, and with which kubeconfig."""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user that the API server knows by a token; what it may do is the business of RBAC.

    Attributes:
        name: as RBAC's subjects name it.
        groups: the groups it belongs to.
        token: what it shows; a fresh secret unless given.
    """

    name: str
    groups: tuple[str, ...]
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)


def service_account(namespace: str, name: str) -> User:
    """A user that is to RBAC the service account of this name, whether or not that object exists."""
    return User(
        name=f"system:serviceaccount:{namespace}:{name}",
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
    )


ADMIN: Final = "admin"
CONTROLLER: Final = "system:serviceaccount:inference-autoscaler:inference-autoscaler"


def administrator() -> User:
    """A user who may do everything."""
    return User(name=ADMIN, groups=("system:masters",))


def write_tokens(users: Sequence[User], path: Path) -> None:
    """The file of the API server's `--token-auth-file`."""
    lines = [f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in users]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def write_kubeconfig(path: Path, *, server: str, certificate: Path, user: User) -> Path:
    """A kubeconfig (JSON is YAML) that trusts this server's certificate and acts as this user."""
    authority = base64.b64encode(certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": user.name, "user": {"token": user.token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user.name, "namespace": "default"}}],
        "current-context": "local",
    }
    path.write_text(json.dumps(config, indent=2))
    path.chmod(0o600)
    return path
