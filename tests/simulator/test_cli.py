"""The ``simulator`` command as users call it: from files to files, one sentence for what is wrong, a quiet Ctrl-C."""

import gzip
import os
import re
import signal
import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulator import compiled
from simulator.cli import main
from simulator.commands import demo as replay
from tests.simulator.small_demo import bursty_trace, write_csv

# Whole demos and a compiler in processes of their own: on a busy machine each takes its time.
pytestmark = pytest.mark.timeout(400)

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ENVIRONMENT = {**os.environ, "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}


def demo_policy() -> str:
    """Return the text of the shipped policy."""
    return resources.files("simulator").joinpath("data/demo-chat.yaml").read_text(encoding="utf-8")


def call(*arguments: str | Path) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(main, ["demo", *map(str, arguments)])


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Call the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "simulator", "demo", *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small trace and a policy."""
    folder = tmp_path_factory.mktemp("inputs")
    write_csv(folder / "mine.csv", bursty_trace().slice(300.0, 800.0))
    (folder / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def twice(inputs: Path) -> tuple[Path, Path, Path]:
    """Return the folders of two runs with one seed, the second in another process, and of a third with another seed."""
    for name, seed in (("one", "1"), ("two", "1"), ("other", "2")):
        arguments = ("--trace", inputs / "mine.csv", "--seed", seed, "--out", inputs / name)
        printed = run(*arguments).stdout if name == "two" else call(*arguments).stdout
        tables = re.sub(r"^(picture|journal): .*$", "", printed, flags=re.MULTILINE)
        assert "footprint" in tables
        (inputs / name / "tables.txt").write_text(tables, encoding="utf-8")
    return inputs / "one", inputs / "two", inputs / "other"


def test_a_trace_and_a_policy_of_ones_own_give_tables_and_a_picture(inputs: Path) -> None:
    """The whole command on a small CSV: three rows, the footprint, the cold start, and files where it says."""
    out = inputs / "own"
    done = call("--trace", inputs / "mine.csv", "--policy", inputs / "mine.yaml", "--out", out)
    assert done.exit_code == 0, done.output
    for words in ("chat: mine×", "HPA queue 5", "HPA conc. 40", "footprint in accelerator-seconds", "cold start"):
        assert words in done.output
    assert all(str(path) in done.output for path in out.iterdir())
    assert sorted(path.name for path in out.iterdir()) == [
        "journal-chat-hpa-conc-40.jsonl.gz",
        "journal-chat-hpa-queue-5.jsonl.gz",
        "journal-chat-ours.jsonl.gz",
        "report.html",
    ]


def test_one_seed_gives_the_same_bytes_in_every_process(twice: tuple[Path, Path, Path]) -> None:
    """Journals, tables and picture of two processes are the same, byte for byte."""
    one, two, _ = twice
    names = sorted(path.name for path in one.iterdir())
    assert len(names) == 5
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_another_seed_gives_another_run(twice: tuple[Path, Path, Path]) -> None:
    """Jitter and cold starts differ, and with them every journal and the tables."""
    one, _, other = twice
    for path in one.iterdir():
        assert path.read_bytes() != (other / path.name).read_bytes(), path.name


def refused(result: Result, *words: str) -> None:
    """Hold a refusal to one sentence on stderr that has these words, and to an exit code that is not 0."""
    assert result.exit_code in {1, 2}
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("empty", "give")),
        (b"\x00\x01\xff\xfe\x80" * 40, ("not a text file", "forms azure")),
        (b"just some words\nand more\n", ("no trace of a known form", "--form")),
        (b"TIMESTAMP,Prompt,Output\n2023-11-16 18:15:46.1,3,4\n", ("no column ContextTokens", "header must name")),
        (HEADER.encode(), ("no request", "give")),
        (HEADER.encode() + b"2023-11-16 18:15:46.1,3,4\n", ("1 request in 0 s", "two minutes")),
        (
            HEADER.encode() + b"2023-11-16 18:15:46,3,4\n2023-11-16 18:16:46,3,4\n",
            ("2 requests in 60 s", "two minutes"),
        ),
        (HEADER.encode() + b"2023-11-16 18:15:46,many,4\n", ("line 2", "whole number")),
        (gzip.compress(HEADER.encode())[:-4], ("damaged", "again")),
    ],
    ids=["empty", "binary", "no CSV", "wrong columns", "no row", "one row", "a minute", "a word", "cut gzip"],
)
def test_a_broken_trace_is_refused_in_one_sentence(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    """Whatever is wrong with the file: its name, the place, the remedy; and nothing is written."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    refused(call("--trace", path, "--out", tmp_path / "out"), "mine.csv", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["missing", "a folder"])
def test_a_trace_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Neither a missing file nor a folder is a trace."""
    path = tmp_path if kind == "a folder" else tmp_path / "none.csv"
    refused(call("--trace", path, "--out", tmp_path / "out"), str(path), "give a")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, ("No such file", "give a YAML file")),
        (("spec:", "spec: ["), ("mine.yaml:",)),
        (("preset: vllm", "preset: sglang"), ("simulated engine is vLLM", "set spec.engine.preset")),
        (("ttftSeconds: 2.5", "ttftSeconds: -1"), ("mine.yaml:", "ttftSeconds")),
        (("kind: ScalingPolicy", "kind: Deployment"), ("mine.yaml",)),
    ],
    ids=["missing", "broken YAML", "not vLLM", "a negative objective", "another kind"],
)
def test_a_broken_policy_is_refused_in_one_sentence(
    tmp_path: Path, change: tuple[str, str] | None, words: tuple[str, ...]
) -> None:
    """Missing, no YAML, another engine, a value out of range, no policy at all."""
    path = tmp_path / "mine.yaml"
    if change is not None:
        assert change[0] in demo_policy()
        path.write_text(demo_policy().replace(*change, 1), encoding="utf-8")
    refused(call("--policy", path, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("kvTokens: 400000", "kvTokens: 1000"),
            ("requests of mine need more than spec.engine.kvTokens 1,000", "raise"),
        ),
        (("kvTokens: 400000", "kvTokens: 1"), ("spec.engine.kvTokens 1 ", "at least 16")),
        (("maxSequences: 256", "maxSequences: 4096"), ("2,048 sequences", "lower spec.engine.maxSequences 4,096")),
    ],
    ids=["shorter than a request", "less than a block", "more slots than the simulator has"],
)
def test_an_engine_that_cannot_serve_the_trace_is_refused(
    inputs: Path, tmp_path: Path, change: tuple[str, str], words: tuple[str, ...]
) -> None:
    """Requests that the engine would refuse vanish from no table: nothing runs, and a limit is never moved silently."""
    path = tmp_path / "mine.yaml"
    assert change[0] in demo_policy()
    path.write_text(demo_policy().replace(*change, 1), encoding="utf-8")
    done = call("--trace", inputs / "mine.csv", "--policy", path, "--out", tmp_path / "out")
    refused(done, "mine.yaml", *words)
    assert not (tmp_path / "out").exists()


def test_every_error_of_a_policy_is_told_at_once_each_on_a_line(tmp_path: Path) -> None:
    """Two wrong values: two lines, each with file, line and path."""
    path = tmp_path / "mine.yaml"
    text = demo_policy().replace("ttftSeconds: 2.5", "ttftSeconds: -1").replace("priorSeconds: 150", "priorSeconds: no")
    path.write_text(text, encoding="utf-8")
    done = call("--policy", path, "--out", tmp_path / "out")
    lines = done.stderr.strip().splitlines()
    assert done.exit_code == 1
    assert len(lines) == 2
    assert all(re.search(r"mine\.yaml:\d+:\d+: spec\.", line) for line in lines)


def test_two_policies_in_a_file_are_one_too_many(tmp_path: Path) -> None:
    """The simulator scales one model with one's own policy; it does not silently take the first."""
    path = tmp_path / "mine.yaml"
    path.write_text(demo_policy() + "---\n" + demo_policy(), encoding="utf-8")
    refused(call("--policy", path, "--out", tmp_path / "out"), "2 policies", "give a file with one")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "-1"), ("--seed", "-1 is not in the range 0<=x<=4294967295")),
        (("--seed", "three"), ("--seed", "not a valid integer")),
        (("--cold-start", "0"), ("--cold-start", "not in the range 1<=x<=1200")),
        (("--cold-start", "nan"), ("--cold-start", "not in the range 1<=x<=1200")),
        (("--cold-start", "1201"), ("not in the range 1<=x<=1200", "at most 20 minutes ahead")),
        (("--cold-start", "inf"), ("--cold-start", "not in the range 1<=x<=1200")),
        (("--trace", ""), ("--trace", "empty", "name a file")),
        (("--policy", " "), ("--policy", "empty", "name a file")),
        (("--out", ""), ("--out", "empty", "folder")),
        (("--out", "x" * 300 + "/" + "y" * 300), ("--out", "too long", "name another folder")),
        (("--trace", "x" * 5000), ("too long", "give a readable file")),
        (("--sed", "1"), ("--sed", "--seed")),
        (("surplus",), ("surplus",)),
    ],
)
def test_a_bad_option_is_refused_in_one_sentence(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    """The option, its value, and what it may be."""
    refused(call(*arguments), *words)


def test_a_file_is_no_folder_and_is_left_alone(tmp_path: Path) -> None:
    """--out on a file, or below one, is refused before anything runs, and the file stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("mine", encoding="utf-8")
    refused(call("--out", path), "notes.txt is a file", "name a folder")
    refused(call("--out", path / "deep" / "er"), "below the file", "name a folder")
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a /proc, where nobody may write")
def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(inputs: Path) -> None:
    """Where even root may not write, it is said before the work of a minute is lost, in one sentence."""
    for out in ("/proc/1/out", "/proc/out"):
        refused(call("--trace", inputs / "mine.csv", "--out", out), "/proc", "name another folder")


def test_a_report_of_somebody_elses_is_left_alone(inputs: Path, twice: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A file that is not the simulator's own is not overwritten; its own may be."""
    theirs = tmp_path / "report.html"
    theirs.write_text("<html>my notes</html>", encoding="utf-8")
    refused(call("--trace", inputs / "mine.csv", "--out", tmp_path), "report.html", "would be lost", "--out")
    assert theirs.read_text(encoding="utf-8") == "<html>my notes</html>"
    theirs.write_bytes((twice[0] / "report.html").read_bytes())
    replay.refuse_folder(tmp_path)


def test_more_than_two_days_are_refused(tmp_path: Path) -> None:
    """The demo holds every tick in memory and draws it."""
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "2023-11-16 18:15:46,3,4\n2023-11-19 18:15:46,3,4\n", encoding="utf-8")
    refused(call("--trace", path, "--out", tmp_path / "out"), "mine.csv", "3.0 days", "two at most", "give a part")


def test_a_stream_of_plain_ascii_gets_plain_characters() -> None:
    """What an old terminal cannot show is written with what it has, and is no error."""
    call("--help")
    assert "a→b×2–3é".encode("ascii", "plain") == b"a->bx2-3?"
    script = "from simulator.cli import main; import sys\ntry: main(['--help'])\nexcept SystemExit: print('→')"
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
    assert done.stdout.endswith(b"->\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file without room")
def test_where_there_is_no_room_to_print_it_is_one_sentence() -> None:
    """No traceback from the command, and none from the interpreter's end."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "simulator", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: cannot print or write: No space left on device; do so where there is room"
    ]


def test_control_c_leaves_quietly_and_without_files(tmp_path: Path) -> None:
    """Interrupted in the middle of the run: exit 130, not a word on stderr, no folder, no file."""
    out = tmp_path / "out"
    # A process that was started in the background ignores Ctrl-C, and so would its children: it is listened to again.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from simulator.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "demo", "--trace", "azure-code-2023", "--out", str(out)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("chat: time 0:01:00")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        assert process.stderr.read().strip() == ""
    assert not out.exists()


def test_help_is_quick_and_names_the_command() -> None:
    """What a newcomer calls first answers without the compiler and the plots."""
    script = "import sys; from simulator.cli import main; print(sorted({'numba', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
    assert "demo" in CliRunner().invoke(main, ["--help"]).output


@cache
def compiled_line() -> str:
    """Return what compiling ahead prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "simulator.compiled"], capture_output=True, text=True, timeout=200, check=True
    )
    return done.stdout


def test_compiling_ahead_prints_one_line() -> None:
    """The set-up calls it and shows its line."""
    assert re.fullmatch(r"the simulator's engine is compiled \(\d+\.\d s\)\n", compiled_line())


def test_after_it_a_demo_compiles_nothing(inputs: Path) -> None:
    """All kernels that a run calls come from the cache: numba counts no miss."""
    compiled_line()
    script = (
        "import gc, sys\n"
        "from numba.core.dispatcher import Dispatcher\n"
        "from simulator.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as done:\n    assert done.code in (0, None), done.code\n"
        "kernels = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]\n"
        "print('misses', sum(sum(one.stats.cache_misses.values()) for one in kernels))\n"
        "print('hits', sum(sum(one.stats.cache_hits.values()) for one in kernels))\n"
    )
    arguments = ["demo", "--trace", str(inputs / "mine.csv"), "--out", str(inputs / "cached")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert "misses 0\n" in done.stdout
    assert "hits 0\n" not in done.stdout
    assert callable(compiled.main)
