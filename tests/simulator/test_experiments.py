"""Run, report and compare, as users call them: the same bytes for the same seed, and nothing is overwritten."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoscaler.journal import OutcomeStatus
from simulator import journalfile
from simulator.baselines.peers import PEERS, Style
from simulator.cli import main
from simulator.experiments.outcomes import Promise
from simulator.experiments.sweep import Case, evaluator, swept
from simulator.pages import run_report
from tests.simulator.small_demo import bursty_trace, policy, write_csv
from tests.simulator.test_cli import demo_policy


def call(*arguments: str | Path) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trace, a policy, and a run of them."""
    folder = tmp_path_factory.mktemp("experiments")
    write_csv(folder / "mine.csv", bursty_trace())
    (folder / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    (folder / "small.yaml").write_text(demo_policy().replace("kvTokens: 400000", "kvTokens: 100", 1))
    assert call("run", folder / "mine.yaml", folder / "mine.csv", "--out", folder / "one").exit_code == 0
    return folder


def test_the_same_seed_gives_the_same_bytes(inputs: Path) -> None:
    """Everything that a run keeps follows from trace, policy, seed and versions, in another process too."""
    command = [sys.executable, "-m", "simulator", "run", str(inputs / "mine.yaml"), str(inputs / "mine.csv")]
    subprocess.run([*command, "--out", str(inputs / "two")], check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    for name in ("run.json", "journal.jsonl.gz", "policy.yaml"):
        assert (inputs / "one" / name).read_bytes() == (inputs / "two" / name).read_bytes()


@pytest.mark.timeout(300)
def test_a_comparison_is_the_same_bytes_in_every_process(inputs: Path) -> None:
    """Sweep, table and picture do not follow from the order of a set, nor from which process drew them."""
    given = ["compare", str(inputs / "mine.yaml"), "--trace", str(inputs / "mine.csv"), "--with", "static,oracle"]
    given += ["--seeds", "1", "--jobs", "1", "--out"]
    here = call(*given, inputs / "here")
    assert here.exit_code == 0, here.output
    command = [sys.executable, "-m", "simulator", *given, str(inputs / "elsewhere")]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "2"})
    for name in ("comparison.json", "comparison.html"):
        assert (inputs / "here" / name).read_bytes() == (inputs / "elsewhere" / name).read_bytes()


def test_a_trace_too_long_for_memory_gives_the_same(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read piece by piece in every run, it is the same trace to every command: same digest, same result."""
    monkeypatch.setattr("simulator.commands.inputs.IN_MEMORY_MOST", 100)
    given = (inputs / "mine.yaml", "--trace", inputs / "mine.csv", "--seeds", "1", "--jobs", "1")
    assert call("run", inputs / "mine.yaml", inputs / "mine.csv", "--out", inputs / "long").exit_code == 0
    assert (inputs / "one" / "run.json").read_bytes() == (inputs / "long" / "run.json").read_bytes()
    compared = call("compare", *given, "--copies", "2", "--with", "static,oracle", "--out", inputs / "long-compared")
    assert compared.exit_code == 0, compared.output
    tuned = call("tune", *given, "--trials", "1", "--out", inputs / "long-tuned")
    assert tuned.exit_code == 0, tuned.output


def test_a_run_names_what_it_follows_from(inputs: Path) -> None:
    """The result holds digests, seed and versions, and a requests' count that is the trace's after the opening."""
    facts = json.loads((inputs / "one" / "run.json").read_text())
    assert {"trace", "policy_digest", "seed", "versions", "peer", "result"} <= facts.keys()
    assert facts["result"]["outcomes"]["requests"] == int((bursty_trace().arrival_s >= 300).sum())


def test_an_interrupted_comparison_leaves_nothing_in_the_way(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a sweep is nobody's best; the same command can be given again."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.commands.compare._rows", interrupted)
    call("compare", inputs / "mine.yaml", "--trace", inputs / "mine.csv", "--out", inputs / "half")
    assert not (inputs / "half").exists()


def test_a_comparison_that_cannot_be_kept_is_printed_all_the_same(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table stands on the terminal, one sentence says why there is no more, and no folder is in the way."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("simulator.commands.compare.write_json", full)
    out = inputs / "full"
    given = (inputs / "mine.yaml", "--trace", inputs / "mine.csv", "--with", "static", "--seeds", "1", "--out", out)
    done = call("compare", *given)
    assert done.exit_code == 1
    assert "static" in done.stdout
    assert f"Error: cannot write {out}: No space left on device; make room there" in done.stderr
    assert not out.exists()


def test_a_folder_that_is_there_is_never_overwritten(inputs: Path) -> None:
    """One sentence, exit 1, and the folder as it was."""
    before = (inputs / "one" / "run.json").read_bytes()
    for command in (
        ("run", inputs / "mine.yaml", inputs / "mine.csv"),
        ("compare", inputs / "mine.yaml", "--trace", inputs / "mine.csv"),
    ):
        refused = call(*command, "--out", inputs / "one")
        assert refused.exit_code == 1
        assert "is there already, nothing was overwritten" in refused.stderr
    assert (inputs / "one" / "run.json").read_bytes() == before


def test_a_report_is_one_file_with_every_decision_explained(inputs: Path) -> None:
    """It loads nothing from elsewhere, and a second one needs another name."""
    page = inputs / "page.html"
    assert call("report", inputs / "one", "--out", page).exit_code == 0
    text = page.read_text()
    assert "const decisions = [{" in text
    assert 'src="http' not in text
    assert call("report", inputs / "one", "--out", page).exit_code == 1


def test_a_page_of_a_long_run_can_still_be_sent(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more ticks than a page holds it shows every move and some of the others, and says so."""
    monkeypatch.setattr("simulator.pages.run_report.TICKS_SHOWN", 20)
    entries = list(journalfile.read(inputs / "one" / "journal.jsonl.gz"))
    kept = run_report.shown(entries)
    moves = [entry for entry in entries if entry.outcome.status is OutcomeStatus.SCALED]
    assert moves
    assert len(moves) < len(kept) <= 20 + len(moves) + 1
    assert all(entry in kept for entry in moves)
    assert (kept[0], kept[-1]) == (entries[0], entries[-1])
    assert call("report", inputs / "one", "--out", inputs / "thin.html").exit_code == 0
    assert f"{len(kept)} of {len(entries)} ticks are shown" in (inputs / "thin.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "none.yaml", "azure-conv-2023"), "cannot read the policy none.yaml"),
        (("run", "mine.yaml", "none.csv"), "no such trace"),
        (("run", "mine.yaml", "mine.csv", "--peer", "hpaa"), "there are: ours"),
        (("run", "mine.yaml", "mine.csv", "--cold-start", "nan"), "--cold-start nan is no number"),
        (("run", "mine.yaml", "mine.csv", "--peer", "hpa", "--knob", "nan"), "--knob nan cannot be hpa's in flight a"),
        (("run", "mine.yaml", "mine.csv", "--peer", "hpa", "--knob", "-3"), "give 0.05 to 2048"),
        (("run", "/dev/null", "mine.csv"), "/dev/null is no file, and a run keeps its inputs; write it to a file"),
        (("run", "mine.yaml", "mine.csv", "--faults", "/dev/null"), "/dev/null is no file"),
        (("run", "small.yaml", "mine.csv"), "are longer than the KV cache of a replica, 100 tokens; give spec.engine"),
        (("report", "nowhere"), "holds no run"),
        (("compare", "mine.yaml", "--trace", "mine.csv", "--with", "ours,nobody"), "no peer nobody; there are: ours, "),
        (("run", "mine.yaml", "mine.csv", "--style", "expert"), "ours has no --style expert; it has: default"),
        (("run", "mine.yaml", "mine.csv", "--peer", "static", "--knob", "2.5"), "replicas come in whole numbers"),
        (("run", "mine.yaml", "mine.csv", "--peer", "static", "--knob", "101"), "mine.yaml allows 1 to 60 replicas"),
    ],
)
def test_a_wrong_input_is_one_sentence(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    """With what is wrong and what there is instead; nothing is made."""
    monkeypatch.chdir(inputs)
    found = call(*arguments, *(() if arguments[0] == "report" else ("--out", "never")))
    assert found.exit_code == 1
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert not (inputs / "never").exists()


def test_a_fixed_number_is_by_default_one_that_the_policy_allows(inputs: Path) -> None:
    """The middle of the grid is 11: a policy with at most 3 has 3 run, and the run is called so."""
    few = (inputs / "mine.yaml").read_text().replace("max: 60", "max: 3")
    (inputs / "few.yaml").write_text(few, encoding="utf-8")
    done = call("run", inputs / "few.yaml", inputs / "mine.csv", "--peer", "static", "--out", inputs / "fixed")
    assert done.exit_code == 0, done.output
    assert json.loads((inputs / "fixed" / "run.json").read_text())["peer"]["knob"] == 3
    assert "static 3" in done.output


def test_a_sweep_goes_on_until_the_best_lies_inside() -> None:
    """From a grid that begins far too high, the HPA's target goes down to where it reaches what is wanted."""
    case = Case(
        policy=policy(), trace=bursty_trace(), copies=8, coldstart_s=60.0,
        promise=Promise(ttft_s=2.5), price_usd_per_hour=None,
    )  # fmt: skip
    evaluate = evaluator(case, "hpa", Style.DEFAULT, (1,), jobs=1)
    few = PEERS["hpa"].knob.__class__(name="in flight", grid=(100.0, 200.0), least=1.0, most=400.0)
    *_, results = swept(few, evaluate, wanted=(0.9999,))
    knobs = sorted(results)
    assert knobs[0] < 100.0
    points = [each for knob in knobs for each in results[knob]]
    assert all(each.outcomes.requests == points[0].outcomes.requests for each in points)


def test_one_core_and_two_give_the_same() -> None:
    """Results are put in order before anything is made of them."""
    case = Case(
        policy=policy(), trace=bursty_trace(), copies=1, coldstart_s=60.0,
        promise=Promise(ttft_s=2.5), price_usd_per_hour=None,
    )  # fmt: skip
    alone, together = (evaluator(case, "ours", Style.DEFAULT, (1, 2), jobs=jobs)((0.9,)) for jobs in (1, 2))
    assert alone == together
