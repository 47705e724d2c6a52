"""What a kubeconfig says, or one sentence that says why it cannot be used.

The official loader follows contexts, credentials, exec plug-ins and files beside the kubeconfig. What it lets pass in
silence is looked at here first: a file that is no kubeconfig, a cluster without a server, a plug-in that failed.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from kubernetes import client, config

DEFAULT = Path("~/.kube/config")
REMEDY = "name a working one with --kubeconfig"


class KubeconfigError(Exception):
    """A kubeconfig that cannot be used; the message is one sentence with the place and the remedy."""


def load(kubeconfig: Path | None, context: str | None) -> client.Configuration:
    """Return server and credentials of a context of ``kubeconfig``; if None, of the files that kubectl would read.

    Raises:
        KubeconfigError: there is none, or it is broken.
    """
    where, files = _files(kubeconfig)
    configuration = client.Configuration()
    with _told_by_the_loader() as told:
        try:
            config.load_kube_config(
                config_file=os.pathsep.join(map(str, files)), context=context, client_configuration=configuration
            )
        except Exception as error:  # The loader lets errors of YAML, base64, files and plug-ins through as they come.
            raise _unusable(where, str(error)) from error
    if told:
        raise _unusable(where, f"its plug-in for credentials failed: {told[0]}")
    if not configuration.host:
        raise _unusable(where, "the cluster of its context has no server address")
    return configuration


def _files(kubeconfig: Path | None) -> tuple[str, list[Path]]:
    """Return how to call the kubeconfig in a sentence, and its files: ``$KUBECONFIG`` may name several."""
    if kubeconfig is not None:
        where, named = f"kubeconfig {kubeconfig}", [kubeconfig]
    elif os.environ.get("KUBECONFIG"):
        where = f"kubeconfig $KUBECONFIG={os.environ['KUBECONFIG']}"
        named = [Path(name) for name in os.environ["KUBECONFIG"].split(os.pathsep) if name]
    else:
        where, named = f"kubeconfig {DEFAULT}", [DEFAULT]
    found = [path.expanduser() for path in named if path.expanduser().exists()]
    if not found:
        raise KubeconfigError(f"{where} does not exist; {REMEDY}")
    for path in found:
        _look_at(where, path)
    return where, found


def _look_at(where: str, path: Path) -> None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unusable(where, (error.strerror or str(error)).lower()) from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise _unusable(where, f"it is not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unusable(where, "it is not text") from error
    if not isinstance(content, dict) or not isinstance(content.get("clusters"), list):
        raise _unusable(where, "it holds no list of clusters, so it is no kubeconfig")


def _unusable(where: str, reason: str) -> KubeconfigError:
    return KubeconfigError(f"{where} cannot be used: {' '.join(reason.split())}; {REMEDY}")


@contextmanager
def _told_by_the_loader() -> Iterator[list[str]]:
    """Yield what the loader logs: it tells of a failed plug-in by the root logger alone, and goes on as nobody."""
    told: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield told
    finally:
        root.removeFilter(keep)
