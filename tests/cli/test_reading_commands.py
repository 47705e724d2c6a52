"""explain, coldstart and footprint: they read a real store, print what it holds, and tell what is missing."""

import dataclasses
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoscaler.adapters.store import Retention, Store, Tick
from autoscaler.cli import main
from autoscaler.cli.number_words import said
from autoscaler.cli.reading import seconds_of
from autoscaler.cli.tables import bins, number, show, table
from autoscaler.core.decide import decide, initial
from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Replica, ReplicaState
from autoscaler.journal import Entry
from tests.adapters.journal_stories import BEGIN, spec, story

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a priced policy, one without a price, and one whose newest start hangs."""
    path = tmp_path_factory.mktemp("store") / "autoscaler.db"
    unpriced = spec(accelerator={"class": "L4-24GB"}, model={"name": "bge-m3"})
    with Store.open(str(path)) as opened:
        opened.record_all([Tick(entry=entry, memory=None, spec=spec()) for entry in story("prod/chat")])
        opened.record_all([Tick(entry=entry, memory=None, spec=unpriced) for entry in story("prod/embed", 40)])
        opened.record_all([Tick(entry=e, memory=None, spec=spec()) for e in map(hanging, story("dev/chat", 16))])
    return path


def hanging(entry: Entry) -> Entry:
    """Return an entry with one more replica, which cannot pull its image."""
    pod = Replica(
        pod="chat-z",
        uid="uid-z",
        state=ReplicaState.FAILED,
        ordered_at=BEGIN - 3600,
        scheduled_at=BEGIN - 3599,
        reason="ImagePullBackOff",
    )
    replicas = (*entry.signals.replicas, pod)
    return dataclasses.replace(entry, signals=dataclasses.replace(entry.signals, replicas=replicas))


@pytest.fixture
def run(store: Path) -> Run:
    """Return what calls the command line on the store, 120 columns wide, in the minute after the story."""

    def call(*arguments: str, at: str | None = None, columns: int = 120) -> Result:
        environment = {"INFERENCE_AUTOSCALER_STORE": str(at or store), "COLUMNS": str(columns)}
        return CliRunner().invoke(main, list(arguments), env=environment)

    return call


@pytest.fixture
def just_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands run in the minute after the story."""
    monkeypatch.setattr(time, "time", lambda: BEGIN + 1800.0)


def json_of(result: Result) -> Any:
    """Return a command's answer as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_explain_tells_the_newest_decision_whole(run: Run) -> None:
    """Sentence, reason, marked candidate, inputs with units, replicas, conditions and the last changes."""
    output = run("explain", "prod/chat").output
    assert "llama-3.1-8b on Deployment/chat, 2 × H100-80GB a replica" in output
    assert "Nothing came for two cold starts; the policy holds one." in output
    assert re.search(r"▶\s+min-replicas\s+1\.00\s+bound", output)
    assert re.search(r"arrivals\s+2 requests/s", output)
    assert re.search(r"ready\s+1", output)
    assert "CapacityFromPrior" in output
    assert re.search(r"1 → 2\s+utilization\s+scaled\s+Demand one cold start ahead is 1\.62 replicas", output)
    assert re.search(r"2 → 1\s+min-replicas\s+scaled", output)


def test_explain_at_a_time_tells_the_decision_in_force_then(run: Run) -> None:
    """The decision at or before that time; changes that came later are not shown."""
    noon = datetime.fromtimestamp(BEGIN + 137, UTC).isoformat()
    told = json_of(run("explain", "prod/chat", "--at", noon, "-o", "json"))
    assert told["at"] == datetime.fromtimestamp(BEGIN + 135, UTC).isoformat().replace("+00:00", "Z")
    assert (told["target"], told["why"]) == (2, "utilization")
    assert [(move["before"], move["after"]) for move in told["moves"]] == [(1, 2)]
    assert told["replicas"]["starting"] == 1


def test_a_guard_that_bound_is_told_beside_the_largest_candidate(tmp_path: Path, run: Run) -> None:
    """Where no candidate has the reason's name, the largest is marked with what bound the target instead."""
    (entry,) = story(ticks=1)
    held = dataclasses.replace(entry.decision, why=Why.STABILIZATION, target=3, want=1, spec_replicas=3)
    path = str(tmp_path / "a.db")
    with Store.open(path) as opened:
        opened.record(dataclasses.replace(entry, decision=held), None, spec())
    output = run("explain", "prod/chat", at=path).output
    assert re.search(r"▶\s+burst\s+1\.21\s+what demand asks for, but stabilization bound the target", output)


def test_explain_last_gives_a_line_for_each_decision(run: Run) -> None:
    """The newest N, oldest first, at any width."""
    assert len(json_of(run("explain", "prod/chat", "--last", "7", "-o", "json"))) == 7
    for columns in (80, 140):
        output = run("explain", "prod/chat", "--last", "7", columns=columns).output
        assert len(re.findall(r"\d\d:\d\d:\d\d +1 ", output)) == 7


def test_coldstart_tells_samples_phases_and_the_model(run: Run) -> None:
    """One start of 95 s in three phases, and what is believed of the next one."""
    told = json_of(run("coldstart", "prod/chat", "-o", "json"))
    assert [sample["coldstart_s"] for sample in told["samples"]] == [95.0]
    phases = {phase["phase"]: (phase["p50_s"], phase["p95_s"], phase["samples"]) for phase in told["phases"]}
    assert phases == {
        "ordered-to-scheduled": (2.0, 2.0, 1),
        "scheduled-to-started": (18.0, 18.0, 1),
        "started-to-ready": (75.0, 75.0, 1),
        "ordered-to-ready": (95.0, 95.0, 1),
    }
    believed = told["next_start"]
    assert believed["samples"] == 1
    assert 60 < believed["p50_s"] <= believed["p75_s"] <= believed["p90_s"]
    output = run("coldstart", "prod/chat").output
    assert "1 cold start in the store" in output
    assert re.search(r"started → ready\s+75\.0 s", output)


def test_a_start_that_hangs_is_named_with_kubernetes_own_reason(run: Run) -> None:
    """What is stuck stands out, with its age and why."""
    output = run("coldstart", "dev/chat").output
    assert re.search(r"chat-z\s+64 min\s+failed\s+STUCK ImagePullBackOff", output)
    (first,) = [pod for pod in json_of(run("coldstart", "dev/chat", "-o", "json"))["under_way"] if pod["stuck"]]
    assert first["pod"] == "chat-z"


@pytest.mark.usefixtures("just_after")
def test_footprint_adds_up(run: Run) -> None:
    """States sum to each line's total, lines to the last line, and the cost is hours times price, exactly."""
    told = json_of(run("footprint", "--since", "2h", "-o", "json"))
    assert {line["key"] for line in told["lines"]} == {"prod/chat", "prod/embed", "dev/chat"}
    for line in [*told["lines"], told["total"]]:
        assert sum(line["accelerator_ms"].values()) == line["total_accelerator_ms"]
    total = told["total"]
    assert total["total_accelerator_ms"] == sum(line["total_accelerator_ms"] for line in told["lines"])
    priced_ms = total["total_accelerator_ms"] - total["unpriced_accelerator_ms"]
    assert Decimal(total["cost_usd"]) == pytest.approx(Decimal(3 * priced_ms) / 3_600_000, abs=Decimal("0.000001"))


@pytest.mark.usefixtures("just_after")
@pytest.mark.parametrize("columns", [80, 120])
def test_printed_columns_add_up_to_their_totals(run: Run, columns: int) -> None:
    """What a reader adds up by hand is what stands below, to the last digit, at any width."""
    output = run("footprint", "--since", "2h", columns=columns).output
    rows = [
        re.findall(r"\d+\.\d\d(?! %)\b", line) for line in output.splitlines() if re.match(r"(prod|dev|total)", line)
    ]
    hours = [Decimal(row[0 if columns == 80 else -2]) for row in rows if len(row) > 1 or columns == 80]
    assert len(rows) == 4
    if columns == 80:
        assert sum(hours[:-1]) == hours[-1]
    busy = [Decimal(row[0]) for row in rows]
    assert sum(busy[:-1]) == busy[-1]


@pytest.mark.usefixtures("just_after")
def test_an_unknown_price_is_printed_as_unknown(run: Run) -> None:
    """A line without a price costs "unknown", never $0; the total says that something is left out."""
    output = run("footprint", "--since", "2h", "--by", "accelerator").output
    (line,) = [line for line in output.splitlines() if line.startswith("L4-24GB")]
    assert line.split()[-1] == "unknown"
    assert "$0.00" not in output
    assert re.search(r"total .*\$\d+\.\d\d \+ unknown", output)
    assert "have no known price and are in no dollar figure" in output


def test_an_empty_window_is_said_in_a_sentence(run: Run) -> None:
    """Nothing recorded is an answer: no table of zeros, no error."""
    result = run("footprint", "--since", "1m")
    assert result.exit_code == 0
    assert "No accelerator time was recorded since" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["explain", "prod/chart"], "did you mean prod/chat?"),
        (["explain", "chat"], "policy 'chat' is ambiguous; write dev/chat or prod/chat"),
        (["coldstart", "x"], "it knows dev/chat, prod/chat, prod/embed"),
        (["explain", "prod/chat", "--at", "2020-01-01"], "has no decision at or before 2020-01-01 00:00:00 UTC"),
        (["explain", "prod/chat", "--at", "noon"], "'noon' is no time; write e.g. 2026-12-01T08:00:00Z"),
        (["footprint", "--since", "yesterday"], "'yesterday' is no duration; write e.g. 30m, 24h or 7d"),
        (["footprint", "--since", "-1h"], "is no duration"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_answered_is_told_in_one_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    """Place and remedy, a non-zero exit, and no traceback."""
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert sentence in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["explain", "prod/chat"], ["coldstart", "prod/chat"], ["footprint"]])
def test_a_store_that_cannot_be_read_is_told_and_left_alone(tmp_path: Path, run: Run, command: list[str]) -> None:
    """A missing store is not made, a damaged one not moved: exit 1 and one sentence with the remedy."""
    missing = run(*command, at=str(tmp_path / "none.db"))
    assert missing.exit_code == 1
    assert "name the controller's store with --store or INFERENCE_AUTOSCALER_STORE" in missing.output
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database " * 1000)
    told = run(*command, at=str(broken))
    assert (told.exit_code, told.output) == (
        1,
        f"Error: store {broken} is not a database; name another file, or move this one away\n",
    )
    assert [child.name for child in tmp_path.iterdir()] == ["broken.db"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604_800), ("2w", 1_209_600), ("PT1H30M", 5400)]
    + [(text, None) for text in ("", "h", "1", "1x", "--1h", "1.2.3h", "P", "soon")],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float | None) -> None:
    """A number and a unit, or ISO 8601; anything else is none."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-16, "0"),
        (2.0, "2"),
        (105.17, "105.2"),
        (0.03743, "0.03743"),
        (2.3e-05, "2.3e-05"),
        (400_000.0, "400000"),
        (-190.06, "-190.1"),
        (9999.6, "10000"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    """Enough to see a difference, and no exponent where one can do without."""
    assert number(value) == text


def test_bins_hold_every_value_once() -> None:
    """Round edges, equal widths, nothing lost at either end."""
    values = [95.0, 100.0, 130.0, 199.9, 240.0]
    found = bins(values)
    assert sum(n for _, _, n in found) == len(values)
    assert found[0][0] <= 95.0
    assert found[-1][1] > 240.0
    assert len({high - low for low, high, _ in found}) == 1
    assert bins([]) == []
    assert [n for _, _, n in bins([5.0, 5.0])] == [2]


def decided(policy: PolicySpec) -> list[Decision]:
    """Return what the decision core makes of the story's signals under a policy."""
    memory, decisions = initial(policy), []
    for entry in story():
        memory, decision = decide(policy, memory, entry.signals)
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize("preset", ["vllm", "tgi"])
def test_every_number_of_a_decision_has_words(preset: str) -> None:
    """Nobody has to guess at night what a name of the code means."""
    policy = spec(engine={"preset": preset}, objectives={"ttftSeconds": 2.5, "itlSeconds": 0.05})
    assert [said(decision.numbers).get("Other") for decision in decided(policy)] == [None] * 120


def test_the_windows_are_those_of_the_policy_and_not_the_usual_ones(tmp_path: Path, run: Run) -> None:
    """A level smoothed over 30 s is called so, in the whole answer and in the list."""
    quick = spec(timing={"levelSeconds": 30, "peakHoldSeconds": 120, "tickSeconds": 15})
    path = str(tmp_path / "a.db")
    with Store.open(path) as opened:
        for entry, decision in zip(story(), decided(quick), strict=True):
            opened.record(dataclasses.replace(entry, decision=decision), None, quick)
    output = run("explain", "prod/chat", at=path).output
    assert re.search(r"smoothed over 30 s +[\d.]+ replicas? of work", output)
    assert "highest of that in 120 s" in output
    assert re.search(r"replicas, at least +1 replica\b(?!s)", output)
    assert re.search(r"paused +no", output)
    assert "smoothed over 30 s, and " in run("explain", "prod/chat", "--last", "3", at=path).output


def test_a_time_before_the_oldest_entry_that_is_kept_is_said_to_be_so(tmp_path: Path, run: Run) -> None:
    """What was forgotten is not what never was: the oldest is named, and the options that decide how long it is."""
    path = str(tmp_path / "a.db")
    with Store.open(path) as opened:
        opened.record_all([Tick(entry=entry, memory=None, spec=spec()) for entry in story()])
        opened.prune(BEGIN + 3600, Retention(entries_s=3600 - 1700))
    early = run("explain", "prod/chat", "--at", datetime.fromtimestamp(BEGIN + 600, UTC).isoformat(), at=path)
    assert early.exit_code == 1
    oldest = datetime.fromtimestamp(BEGIN + 1710, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert f"the oldest that is kept is of {oldest} UTC" in early.output
    assert "--keep-journal-days" in early.output
    listed = run("explain", "prod/chat", "--last", "50", at=path, columns=200).output
    assert f"all 6 decisions that are kept, from {oldest} on" in listed


def test_a_silence_of_the_controller_stands_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old decision is not shown as if it were in force: at night the first question is whether anything runs."""
    monkeypatch.setattr(time, "time", lambda: BEGIN + 119 * 15 + 45)
    assert "Nothing was recorded" not in run("explain", "prod/chat").output
    monkeypatch.setattr(time, "time", lambda: BEGIN + 119 * 15 + 3 * 86_400)
    assert (
        "Nothing was recorded for 3.0 days since then: is the controller running" in run("explain", "prod/chat").output
    )
    later = datetime.fromtimestamp(BEGIN + 119 * 15 + 7200, UTC)
    asked = run("explain", "prod/chat", "--at", later.isoformat(), "--last", "2").output
    assert f"Nothing was recorded for 2.0 h until {later:%Y-%m-%d %H:%M:%S} UTC" in asked


@pytest.mark.usefixtures("just_after")
def test_a_footprint_of_more_than_is_kept_says_where_the_ledger_begins(run: Run) -> None:
    """Sums of a month of which a day is kept are not the month's."""
    begins = datetime.fromtimestamp(BEGIN, UTC)
    told = run("footprint", "--since", "30d").output
    assert f"The ledger begins at {begins:%Y-%m-%d %H:%M:%S} UTC: of the time before nothing is kept." in told
    assert json_of(run("footprint", "--since", "30d", "-o", "json"))["ledger_from"] == f"{begins:%Y-%m-%dT%H:%M:%SZ}"
    assert "The ledger begins" not in run("footprint", "--since", "20m").output
    for state in ("busy", "warming", "draining"):
        assert re.search(rf"^{state} = ", told, flags=re.MULTILINE)


def test_coldstart_counts_in_the_right_number_and_heads_its_columns(run: Run) -> None:
    """One start, none under way; every column says what it is."""
    output = run("coldstart", "prod/chat").output
    assert "Learnt from 1 start measured and none under way" in output
    for words in ("from order to Ready", "what for", "p50, share of the whole", "how often"):
        assert words in output


def test_what_somebody_else_named_is_printed_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """A name in a table keeps its line breaks, and sends nothing to the terminal."""
    made = table("Ledger", "model")
    made.add_row("m\x1b[2J\x07\u202e\nand a second line")
    show(made, "prod\x1b]0;owned\x07")
    shown = capsys.readouterr().out
    assert not re.search(r"[\x1b\x07\u202e]", shown)
    assert "m�[2J�" in shown
    assert "and a second line" in shown
    assert "prod�]0;owned" in shown
