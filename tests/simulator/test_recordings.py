"""Recordings of starts: a CSV, a controller's store and the journal of a run give the phases that were seen."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.adapters.store import Store
from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Replica, ReplicaState, Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus
from simulator import journalfile
from simulator.startup.model import StartupTimes
from simulator.startup.recordings import RecordingError, read_csv, read_journal, recorded
from tests.simulator.small_demo import policy
from tests.simulator.test_clusterfile import NODES, of, told


def test_a_csv_gives_its_column_in_order(tmp_path: Path) -> None:
    """Other columns are of no matter."""
    path = tmp_path / "starts.csv"
    path.write_text("model,load_s,warmup_s\nm,12.5,3\nm,8,4\n", encoding="utf-8")
    assert read_csv(path, "load_s") == (12.5, 8.0)


@pytest.mark.parametrize(("text", "sentence"), [
    ("load_s\n1\n\nx\n", "starts.csv:4: load_s is 'x'; give seconds"),
    ("load_s\n-1\n", "starts.csv:2: load_s is '-1'"),
    ("load_s,pull_s\n1\n", "starts.csv:2: pull_s is None"),
    ("load\n1\n", "no column load_s; there are: load"),
    ("load_s\n", "no row below the heading"),
])  # fmt: skip
def test_a_csv_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    """One sentence with the place and what to do."""
    path = tmp_path / "starts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordingError, match=sentence):
        read_csv(path, "pull_s" if "pull_s" in text else "load_s")


def entry_of(*replicas: Replica) -> Entry:
    """An entry that shows these replicas."""
    return Entry(
        policy="m/x",
        policy_digest="",
        at=200.0,
        signals=Signals(at=200.0, spec_replicas=2, replicas=replicas, samples=(), held_requests=None),
        decision=Decision(at=200.0, target=2, spec_replicas=2, why=Why.SETTLED, detail="", next_at=215.0),
        outcome=Outcome(status=OutcomeStatus.UNCHANGED),
    )


READY = Replica(
    pod="a", uid="1", state=ReplicaState.READY, ordered_at=100.0, scheduled_at=101.0, started_at=111.0, ready_at=171.0
)
UNDER_WAY = Replica(pod="b", uid="2", state=ReplicaState.STARTING, ordered_at=100.0, scheduled_at=101.0)
FROM_THE_BEGINNING = Replica(pod="c", uid="3", state=ReplicaState.READY, ordered_at=0.0, scheduled_at=0.0, ready_at=0.0)
SEEN = StartupTimes(schedule_s=1.0, pull_s=10.0, load_s=60.0, warmup_s=0.0)


def stored(path: Path, *policies: str) -> None:
    """A controller's store that has seen the same start of every policy."""
    with Store.open(str(path)) as store:
        for name in policies:
            before = replace(entry_of(UNDER_WAY, FROM_THE_BEGINNING), at=110.0, policy=name)
            for entry in (before, replace(entry_of(READY, UNDER_WAY), policy=name)):
                store.record(entry, None, policy().spec)


def test_a_journal_gives_each_start_once_and_only_those_that_ended(tmp_path: Path) -> None:
    """What is not known between the container's start and Ready is load."""
    entries = [entry_of(UNDER_WAY, READY, FROM_THE_BEGINNING), entry_of(READY)]
    journalfile.write(tmp_path / "journal.jsonl.gz", entries)
    assert read_journal("journal.jsonl.gz", tmp_path) == (SEEN,)
    assert recorded([SEEN]).draw(seed=1, replica_id=5) == SEEN


def test_a_controllers_store_gives_what_it_has_seen(tmp_path: Path) -> None:
    """By path or URL; where it holds several policies one is chosen."""
    stored(tmp_path / "one.db", "prod/chat")
    assert read_journal("one.db", tmp_path) == read_journal(f"sqlite:///{tmp_path}/one.db", Path()) == (SEEN,)
    stored(tmp_path / "two.db", "prod/chat", "prod/code")
    assert read_journal("two.db", tmp_path, "prod/code") == (SEEN,)
    with pytest.raises(RecordingError, match=r"two\.db: entries of 2 .*; choose one by policy beside journal"):
        read_journal("two.db", tmp_path)
    with pytest.raises(RecordingError, match="no entry of policy prod/none; there are: prod/chat"):
        read_journal("one.db", tmp_path, "prod/none")


def test_a_cluster_file_draws_starts_from_a_store(tmp_path: Path) -> None:
    """What production took is what the simulation takes; a store does not know how long nodes were provisioned."""
    stored(tmp_path / "journal.db", "prod/chat", "prod/code")
    source = "{journal: journal.db, policy: prod/chat}"
    startup = of(NODES + f"startup: {{pullSeconds: {source}, loadSeconds: {source}}}\n", tmp_path).startup
    assert startup is not None
    assert startup.draw(seed=1, replica_id=0) == replace(SEEN, schedule_s=0.0)
    (sentence,) = told(NODES.replace("Seconds: 90", f"Seconds: {source}"), tmp_path)
    assert sentence.endswith(
        "a journal does not tell provisioning_s; give a number, median and sigma, samples or a csv"
    )
    twice = NODES + f"replica: {{image: {{name: vllm, gigabytes: 10}}}}\nstartup: {{pullSeconds: {source}}}\n"
    assert told(twice, tmp_path) == [":1:1: a journal's starts have the transfer in them; leave replica.image out"]
    (sentence,) = told(NODES.replace("Seconds: 90", "Seconds: {median: 3, policy: prod/chat}"))
    assert sentence.endswith("policy chooses among those of a journal, and there is none; leave it out")


def test_a_journal_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """Nowhere, no journal, or none that has seen a whole start; the password of a URL is not told."""
    (tmp_path / "notes.txt").write_text("hello")
    journalfile.write(tmp_path / "short.gz", [entry_of(UNDER_WAY)])
    for name, sentence in (
        ("nowhere.gz", "cannot read the journal .*nowhere.gz; give the journal.jsonl.gz of a run, or a controller's"),
        ("notes.txt", "cannot read the journal .*notes.txt"),
        ("short.gz", "no replica came to Ready with all its phases seen in .*short.gz; give a longer journal"),
    ):
        with pytest.raises(RecordingError, match=sentence):
            read_journal(name, tmp_path)
    with pytest.raises(RecordingError) as error:
        read_journal("postgresql://me:secret@localhost:1/journal", tmp_path)
    assert "secret" not in str(error.value)
