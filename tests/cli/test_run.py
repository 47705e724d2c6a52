"""``autoscaler run`` with input that is wrong: one sentence with the remedy, a non-zero exit, no traceback."""

import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoscaler.adapters.store import Retention, Store, Tick
from autoscaler.cli.run import _book, run
from autoscaler.controller.book import REOPEN_EVERY_S
from tests.adapters.journal_stories import spec, story

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


def test_a_store_that_cannot_be_written_at_the_start_is_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that restarts onto a store in trouble scales, knows what it had learnt, and writes when it can."""
    monkeypatch.setattr("autoscaler.adapters.store_engine.BUSY_TIMEOUT_S", 0.1)
    path = str(tmp_path / "journal.db")
    entries = story(ticks=4)
    with Store.open(path) as store:
        store.record(entries[0], None, spec())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    book = _book(path, Retention())
    book.append([Tick(entry=entries[1], memory=None, spec=spec())])
    assert "scaling goes on without them" in book.trouble
    assert "is locked by another process" in book.trouble
    found = book.recollect("prod/chat")
    assert found is not None
    assert found.replicas == entries[0].signals.replicas
    holder.execute("ROLLBACK")
    holder.close()
    book.append([Tick(entry=entries[2], memory=None, spec=spec())])
    assert book.waiting == 2, "it is not tried with every tick"
    now = time.time() + REOPEN_EVERY_S
    monkeypatch.setattr(book, "_wall", lambda: now)
    book.append([Tick(entry=entries[3], memory=None, spec=spec())])
    assert (book.waiting, book.trouble) == (0, "")
    book.close()
    with Store.open(path, read_only=True) as store:
        assert store.entries("prod/chat") == tuple(entries)
