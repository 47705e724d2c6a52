"""``autoscaler run`` with input that is wrong: one sentence with the remedy, a non-zero exit, no traceback."""

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
        pytest.param(["--prometheus=a=http://x", "--prometheus=a=http://y"], "a name of its own", 2, id="same-name"),
        pytest.param(["--prometheus=http://x", "--listen=nowhere"], "give e.g. :8080", 2, id="listen"),
        pytest.param(["--prometheus=http://x", "--tick-seconds=0"], "--tick-seconds", 2, id="tick"),
        pytest.param(["--prometheus=http://x", "--kubeconfig={tmp}/none"], "does not exist", 1, id="no-kubeconfig"),
        pytest.param(["--prometheus=http://x", "--kubeconfig={tmp}/broken"], "cannot be used", 1, id="broken"),
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
