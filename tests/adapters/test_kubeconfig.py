"""A kubeconfig that cannot be used is one sentence that names it; the official client would go on as nobody."""

from pathlib import Path

import pytest

from autoscaler.adapters.kubeconfig import KubeconfigError, load

WHOLE = """\
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {}}]
"""


def plug_in(command: str) -> str:
    """A user whose credentials come from a command."""
    return (
        f'user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: "{command}", interactiveMode: Never}}}}'
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A kubeconfig that can be used."""
    file = tmp_path / "config"
    file.write_text(WHOLE)
    return file


def test_a_whole_kubeconfig_gives_its_server(file: Path) -> None:
    """The counterpart of the faults below."""
    assert load(file, None).host == "http://127.0.0.1:9"
    assert load(file, "here").host == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (WHOLE, "42\n", "it holds no list of clusters"),
        (WHOLE, "", "it holds no list of clusters"),
        ("kind: Config", "kind: [Config", "it is not YAML: line 3: expected ',' or ']'"),
        ('{server: "http://127.0.0.1:9"}', "{}", "the cluster of its context has no server address"),
        ("current-context: here", "current-context: moon", "name moon"),
        ("user: {}", plug_in("no-such-plug-in"), "No such file or directory"),
        ("user: {}", plug_in("false"), "its plug-in for credentials failed: exec: pro"),
    ],
    ids=["scalar", "empty", "broken", "no-server", "no-context", "no-plug-in", "failing-plug-in"],
)
def test_what_is_wrong_is_said_with_the_files_name(
    old: str, new: str, words: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The place, the reason and the remedy; and nothing is logged beside it."""
    assert old in WHOLE
    file.write_text(WHOLE.replace(old, new))
    with pytest.raises(KubeconfigError) as told:
        load(file, None)
    assert str(told.value).startswith(f"kubeconfig {file} cannot be used: ")
    assert words in str(told.value)
    assert str(told.value).endswith("; name a working one with --kubeconfig")
    assert caplog.records == []


def test_bytes_and_folders_are_no_kubeconfig(tmp_path: Path, file: Path) -> None:
    """A mistyped path does not end in a traceback."""
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KubeconfigError, match="it is not text"):
        load(file, None)
    with pytest.raises(KubeconfigError, match="is a directory"):
        load(tmp_path, None)


def test_the_environments_files_are_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kubectl does: of several files those that exist are read; if none does, it says which were named."""
    monkeypatch.setenv("KUBECONFIG", f"/nowhere:{file}")
    assert load(None, None).host == "http://127.0.0.1:9"
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(KubeconfigError, match=r"kubeconfig \$KUBECONFIG=/nowhere does not exist"):
        load(None, None)
