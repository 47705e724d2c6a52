"""``autoscaler run`` with input that is wrong: one sentence with the remedy, a non-zero exit, no traceback."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoscaler.cli.run import run

BROKEN = "apiVersion: v1\nkind: Config\nclusters: {{{\n"
UNREACHABLE = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {token: secret}}]
"""


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        pytest.param([], "Missing option '--prometheus'", 2, id="no-prometheus"),
        pytest.param(["--prometheus=ftp://x"], "must begin with http:// or https://", 2, id="prometheus-scheme"),
        pytest.param(["--prometheus=a=http://x", "--prometheus=a=http://y"], "needs one of its own", 2, id="same-name"),
        pytest.param(["--prometheus=http://x", "--listen=nowhere"], "give e.g. :8080", 2, id="listen"),
        pytest.param(["--prometheus=http://x", "--tick-seconds=0"], "--tick-seconds", 2, id="tick"),
        pytest.param(
            ["--prometheus=http://x", "--kubeconfig={tmp}/unreachable", "--keep-journal-days=500"],
            "--keep-ledger-days 400 is less than --keep-journal-days 500",
            2,
            id="ledger-days",
        ),
        pytest.param(["--prometheus=http://x", "--keep-journal-days=0"], "--keep-journal-days", 2, id="journal-days"),
        pytest.param(["--prometheus=http://x", "--tick-seconds=nan"], "nan is no number", 2, id="tick-nan"),
        pytest.param(["--prometheus=http://x", "--kubeconfig={tmp}/none"], "does not exist", 1, id="no-kubeconfig"),
        pytest.param(["--prometheus=http://x", "--kubeconfig={tmp}/broken"], "cannot be used", 1, id="broken"),
        pytest.param(["--prometheus=http://x", "--namespace=No Such"], "cannot be a namespace's name", 2, id="ns"),
        pytest.param(
            ["--prometheus=http://x", "--kubeconfig={tmp}/unreachable", "--context=moon"], "moon", 1, id="no-context"
        ),
        pytest.param(
            ["--prometheus=http://x", "--kubeconfig={tmp}/unreachable", "--store={tmp}/no/folder/journal.db"],
            "store",
            1,
            id="store",
        ),
        pytest.param(
            ["--prometheus=http://127.0.0.1:9", "--kubeconfig={tmp}/unreachable", "--listen=127.0.0.1:0"],
            "the API server at http://127.0.0.1:9 gave no answer",
            1,
            id="no-api-server",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: list[str], sentence: str, code: int, tmp_path: Path) -> None:
    """Every wrong input has its sentence, and ends before anything was done."""
    (tmp_path / "broken").write_text(BROKEN)
    (tmp_path / "unreachable").write_text(UNREACHABLE)
    result = CliRunner().invoke(run, [one.format(tmp=tmp_path) for one in arguments])
    assert result.exit_code == code, result.output
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_password_in_a_url_is_not_repeated() -> None:
    """What is wrong with an endpoint is told by its name."""
    result = CliRunner().invoke(run, ["--prometheus=default=http://u:hunter2@h:x"])
    assert result.exit_code == 2
    assert "hunter2" not in result.output


def test_what_answers_and_is_no_prometheus_ends_the_start(tmp_path: Path) -> None:
    """A wrong address is told at once; one where nothing answers may answer in a minute, and is waited for."""
    (tmp_path / "config").write_text(UNREACHABLE)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments = [f"--prometheus=http://127.0.0.1:{server.server_port}", f"--kubeconfig={tmp_path / 'config'}"]
        result = CliRunner().invoke(run, arguments)
        server.shutdown()
    assert result.exit_code == 1
    assert "check that its URL leads to a Prometheus" in result.output
