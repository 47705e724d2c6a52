"""``simulator tune``: one result for one command, however it was stopped and gone on with."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as some

from simulator.cli import main
from simulator.commands.inputs import policy_of
from simulator.commands.tuned_policy import rewritten
from simulator.experiments import search
from simulator.experiments.outcomes import Promise
from simulator.experiments.policy_settings import Settings, point_at, settings_at, space, tuned
from simulator.experiments.provenance import write_json
from simulator.experiments.search import Figures, Found, Tried, best
from simulator.experiments.sweep import Case
from simulator.pages.tune_report import Outcome
from tests.simulator.small_demo import bursty_trace, policy, write_csv
from tests.simulator.test_cli import demo_policy

SETTINGS = Settings(quantile=0.95, hold_s=30, pool=2)
KEPT = ("policy.yaml", "evidence.json", "trials.jsonl", "task.json")


def call(*arguments: str | Path) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(main, ["tune", *map(str, arguments)])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trace, a policy, and a search of twelve settings that nothing has stopped."""
    folder = tmp_path_factory.mktemp("tune")
    write_csv(folder / "mine.csv", bursty_trace())
    (folder / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    done = call(*given_to(folder), "--trials", "12", "--jobs", "1", "--out", folder / "whole")
    assert done.exit_code == 0, done.output
    return folder


def given_to(folder: Path) -> tuple[str | Path, ...]:
    """Return what every search here is given."""
    return (folder / "mine.yaml", "--trace", folder / "mine.csv", "--seeds", "1")


def kept(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all that a search keeps."""
    return {name: (folder / name).read_bytes() for name in KEPT}


def evidence(folder: Path) -> dict[str, Any]:
    """Return the evidence of a search."""
    found: dict[str, Any] = json.loads((folder / "evidence.json").read_text())
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "steps", [((12, 2),), ((5, 1), (12, 2)), ((3, 2), (8, 1), (12, 1)), ((8, 2), (11, 2), (12, 2))]
)
def test_a_search_in_steps_finds_what_one_at_once_finds(inputs: Path, steps: Sequence[tuple[int, int]]) -> None:
    """Wherever it is stopped, within a batch too, and on any number of cores: the same bytes of all that is kept."""
    out = inputs / "-".join(f"{trials}on{jobs}" for trials, jobs in steps)
    for number, (trials, jobs) in enumerate(steps):
        resume = ["--resume"] if number else []
        done = call(*given_to(inputs), "--trials", str(trials), "--jobs", str(jobs), *resume, "--out", out)
        assert done.exit_code == 0, done.output
    assert kept(out) == kept(inputs / "whole")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_search_that_was_killed_within_a_batch_goes_on_as_if_it_had_not_been(inputs: Path, jobs: str) -> None:
    """The process ends without a word, its last line half written: what was tried is not tried again."""
    out = inputs / f"killed-on-{jobs}"
    command = [sys.executable, "-m", "simulator", "tune", *map(str, given_to(inputs)), "--trials", "12"]
    command += ["--jobs", jobs, "--out", str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    trials = out / "trials.jsonl"
    while not trials.exists() or trials.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= trials.read_bytes().count(b"\n") < 12
    with trials.open("ab") as file:
        file.write(b'{"number": ')
    done = call(*given_to(inputs), "--trials", "12", "--jobs", jobs, "--resume", "--out", out)
    assert done.exit_code == 0, done.output
    assert kept(out) == kept(inputs / "whole")


@pytest.mark.timeout(300)
def test_an_interrupted_search_tells_the_best_so_far_and_how_to_go_on(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C what was tried is evidence of its own; gone on with, it is that of a search that was not stopped."""
    out, run, calls = inputs / "interrupted", search._run, iter(range(100))

    def until_interrupted(*these: Any) -> Any:
        if next(calls) == 10:
            raise KeyboardInterrupt
        return run(*these)

    monkeypatch.setattr(search, "_run", until_interrupted)
    stopped = call(*given_to(inputs), "--trials", "12", "--jobs", "1", "--out", out)
    assert stopped.exit_code == 0, stopped.output
    assert f"go on: the same command with --resume --out {out}" in stopped.stdout
    assert evidence(out)["tried"] == 10
    again = call(*given_to(inputs), "--trials", "12", "--jobs", "1", "--resume", "--out", out)
    assert again.exit_code == 0, again.output
    assert kept(out) == kept(inputs / "whole")


@pytest.mark.timeout(120)
def test_ctrl_c_in_a_terminal_is_one_sentence_however_many_processes_run(inputs: Path) -> None:
    """A terminal interrupts them all, as they start too; none but the command itself has a word to say."""
    out = inputs / "ctrl-c"
    # As from a terminal: who runs the tests in the background of a shell has Ctrl-C ignored by all that they start.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from simulator.cli import main; main(sys.argv[1:])"
    )
    given = [*map(str, given_to(inputs)), "--trials", "40", "--jobs", "2", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "tune", *given],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "trials.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.4)
    os.killpg(process.pid, signal.SIGINT)
    told, complained = process.communicate()
    if (out / "trials.jsonl").read_bytes():  # On a machine that held up this process, not those of the search.
        assert f"go on: the same command with --resume --out {out}" in told
        assert (complained.strip(), process.returncode) == ("", 0)
    else:
        assert complained.strip() == f"Error: interrupted before anything was tried; go on with --resume --out {out}"
        assert process.returncode == 1


def test_the_policy_as_it_is_comes_first_wherever_its_settings_lie(inputs: Path) -> None:
    """Outside of what is usually searched it is tried as itself, and the ranges are as wide as it needs."""
    odd = (
        demo_policy().rstrip() + "\n  prewarm: {quantile: 0.999, min: 6}\n  scaleDown: {stabilizationSeconds: 4000.5}\n"
    )
    (inputs / "odd.yaml").write_text(odd, encoding="utf-8")
    out = inputs / "odd"
    done = call(inputs / "odd.yaml", *given_to(inputs)[1:], "--trials", "3", "--jobs", "1", "--out", out)
    assert done.exit_code == 0, done.output
    first = json.loads((out / "trials.jsonl").read_text().splitlines()[0])
    told = evidence(out)
    assert first["settings"] is None
    assert told["before"]["settings"] == {
        "prewarm.quantile": 0.999, "prewarm.min": 6, "scaleDown.stabilizationSeconds": 4000.5,
    }  # fmt: skip
    assert told["before"]["train"]["by_seed"]["accelerator_hours"] == first["hours_by_seed"]
    assert told["searched"] == {
        "prewarm.quantile": [0.5, 0.999], "prewarm.min": [0, 6], "scaleDown.stabilizationSeconds": [0, 4000],
    }  # fmt: skip


def test_where_nothing_is_better_the_policy_stays_as_it_was(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the user's own file below the evidence, and number 0 has won."""

    def the_first_is_best(_case: Any, these: Sequence[Settings | None], *_: Any, **__: Any) -> Iterator[Figures]:
        for one in these:
            yield figures(1.0, 1.0 if one is None else 2.0)

    monkeypatch.setattr(search, "evaluated", the_first_is_best)
    out = inputs / "unchanged"
    done = call(*given_to(inputs), "--trials", "20", "--out", out)
    assert done.exit_code == 0, done.output
    assert "nothing that was tried was better, so the policy is as it was" in done.stdout
    assert (out / "policy.yaml").read_text().endswith(demo_policy())
    assert evidence(out)["won"] == {"number": 0, "policy_as_it_was": True}
    assert evidence(out)["before"] == evidence(out)["after"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([(1.0, 2), (1.0, 2)], [(1.0, 1), (1.0, 1)], "the tuned policy keeps the promise on the held-out part"),
        ([(1.0, 2), (1.0, 1)], [(1.0, 1), (1.0, 1)], "keeps the promise on both parts"),
        ([(0.9, 2), (1.0, 1)], [(1.0, 1), (1.0, 2)], "the parts disagree"),
        ([(1.0, 2), (1.0, 2)], [(1.0, 1), (0.9, 1)], "use the policy as it was"),
        ([(1.0, 2), (0.9, 2)], [(1.0, 1), (0.9, 1)], "before you use it, search on more traffic"),
    ],
)
def test_what_the_held_out_part_says_is_one_sentence(
    before: list[tuple[float, float]], after: list[tuple[float, float]], told: str
) -> None:
    """The tuned policy is recommended only where it does better on traffic that nobody has tuned for."""
    was, now = (dict(zip(("train", "test"), (figures(*one) for one in each), strict=True)) for each in (before, after))
    case = Case(
        policy=policy(), trace=bursty_trace(), copies=1, coldstart_s=60.0,
        promise=Promise(ttft_s=2.5), price_usd_per_hour=None,
    )  # fmt: skip
    found = Found(number=1, best=Tried(settings=SETTINGS, figures=now["train"]), reached=True, tried=2)
    assert told in Outcome(case=case, found=found, before=was, after=now).held_out()


def figures(attainment: float, hours: float) -> Figures:
    """Return the figures of one seed."""
    return Figures(attainments=(attainment,), hours_by_seed=(hours,), requests=100)


@given(came=some.lists(some.tuples(some.floats(0.9, 1), some.floats(0.1, 10)), min_size=1, max_size=20))
def test_what_is_found_is_never_worse_than_the_first(came: list[tuple[float, float]]) -> None:
    """It reaches what is wanted if the first does, then for no more hours; else it has no lower attainment."""
    tried = [Tried(settings=None, figures=figures(*one)) for one in came]
    first, found = tried[0].figures, best(tried, 0.99)
    if first.attainment >= 0.99:
        assert found.reached
        assert found.best.figures.hours <= first.hours
    else:
        assert found.best.figures.attainment >= first.attainment


@given(
    quantile=some.none() | some.floats(0.5, 0.999),
    hold_s=some.none() | some.floats(0, 86_400),
    pool=some.integers(0, 40),
    coldstart_s=some.floats(1, 1200),
)
@settings(deadline=None)
def test_the_policys_own_settings_lie_in_what_is_searched(
    quantile: float | None, hold_s: float | None, pool: int, coldstart_s: float
) -> None:
    """So the sampler can be told of the policy as it is, whatever it is; and what is proposed is found again."""
    spec = policy().spec
    spec = spec.model_copy(
        update={
            "prewarm": spec.prewarm.model_copy(update={"quantile": quantile, "min": pool}),
            "scale_down": spec.scale_down.model_copy(update={"stabilization_seconds": hold_s}),
        }
    )
    searched, own = space(spec, coldstart_s), point_at(None, spec, coldstart_s)
    assert all(searched[name].low <= own[name] <= searched[name].high for name in own)
    proposed = settings_at(own)
    assert settings_at(point_at(proposed, spec, coldstart_s)) == proposed


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (["--seed", "7"], "another --seed (7, not 1)"),
        (["--seeds", "2"], "another --seeds (2, not 1)"),
        (["--cold-start", "60"], "another cold start"),
        (["--routing", "random", "--copies", "2"], "another --copies (2, not 1) and another --routing"),
        (["--trace", "azure-code-2023"], "another trace"),
    ],
)
def test_a_search_is_resumed_for_the_same_task_alone(inputs: Path, other: list[str], told: str) -> None:
    """Settings that were tried on other input say nothing here; it is named what is not the same."""
    before = kept(inputs / "whole")
    done = call(*given_to(inputs), *other, "--trials", "12", "--resume", "--out", inputs / "whole")
    assert done.exit_code == 1
    assert told in done.stderr
    assert kept(inputs / "whole") == before


def test_what_cannot_be_begun_or_gone_on_with_is_said(inputs: Path) -> None:
    """One sentence with the remedy each; nothing is overwritten."""
    given = given_to(inputs)
    assert "holds no search to resume" in call(*given, "--resume", "--out", inputs / "nowhere").stderr
    assert "go on with it by --resume" in call(*given, "--out", inputs / "whole").stderr
    fewer = call(*given, "--resume", "--trials", "5", "--out", inputs / "whole")
    assert "holds 12 settings tried already; give --trials 12 or more" in fewer.stderr
    (inputs / "damaged").mkdir()
    for name in KEPT:
        (inputs / "damaged" / name).write_bytes((inputs / "whole" / name).read_bytes())
    (inputs / "damaged" / "trials.jsonl").write_text('{"number": 0}\n')
    assert "trials.jsonl:1: the search is damaged here" in call(*given, "--resume", "--out", inputs / "damaged").stderr


def test_traffic_of_which_a_part_has_nothing_to_score_is_refused(inputs: Path) -> None:
    """Of no request at all none is late: such a part would call every policy perfect."""
    rows = (inputs / "mine.csv").read_text().splitlines()
    (inputs / "late.csv").write_text("\n".join([*rows[:2], *rows[-300:]]) + "\n")
    done = call(inputs / "mine.yaml", "--trace", inputs / "late.csv", "--out", inputs / "late")
    assert done.exit_code == 1
    assert "in the first 60% of its time requests come for 0 s alone" in done.stderr
    assert not (inputs / "late").exists()


@pytest.mark.parametrize(("full_at", "left"), [("task.json", False), ("evidence.json", True)])
def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_tried(
    full_at: str, left: bool, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tried is there to go on with; where nothing was, no folder is in the way."""

    def full(path: Path, value: Any) -> None:
        if path.name == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(path, value)

    monkeypatch.setattr("simulator.commands.tune.write_json", full)
    monkeypatch.setattr("simulator.commands.tune_folder.write_json", full)
    out = inputs / f"full-at-{full_at}"
    done = call(*given_to(inputs), "--trials", "2", "--jobs", "1", "--out", out)
    assert done.exit_code == 1
    assert f"Error: cannot write {out / full_at}: No space left on device" in done.stderr
    assert (out / "trials.jsonl").exists() is left
    assert out.exists() is left


@pytest.mark.parametrize(
    "text",
    [
        demo_policy(),
        demo_policy().rstrip() + "\n  prewarm:\n  scaleDown: {}\n",
        "kind: Deployment\napiVersion: apps/v1\n---\n" + demo_policy(),
        "kind: List\napiVersion: v1\nitems:\n- " + demo_policy().strip().replace("\n", "\n  ") + "\n",
    ],
    ids=["alone", "empty parts", "beside a Deployment", "in a list"],
)
def test_the_users_own_file_is_kept_around_the_settings(text: str) -> None:
    """What is written is the tuned policy; every comment is still there."""
    written = rewritten(text, SETTINGS, "mine.yaml")
    assert policy_of(written, "mine.yaml").spec == tuned(policy_of(text, "mine.yaml"), SETTINGS).spec
    comments = [[line.partition("#")[2] for line in each.splitlines()] for each in (text, written)]
    assert list(filter(None, comments[0])) == list(filter(None, comments[1]))
