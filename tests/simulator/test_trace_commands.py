"""The ``simulator trace`` commands as users call them, and the figures that they print."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from simulator.cli import main
from simulator.pages.trace_report import sparkline
from simulator.traces import Trace, TraceError, Traffic, load_trace, open_trace
from simulator.traces.summary import summarise

SHARED = Path(__file__).resolve().parents[3] / "shared" / "traces"
shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared folder with other traces is not beside this checkout"
)


def call(*arguments: object) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(main, ["trace", *map(str, arguments)])


def refused(result: Result, *words: str) -> None:
    """Hold a refusal to one sentence on stderr that has these words."""
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def poisson(rate: float, seconds: float, seed: int = 1) -> Trace:
    """Return a Poisson process."""
    rng = np.random.default_rng(seed)
    arrival_s = np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
    ones = np.ones(arrival_s.size, dtype=np.int32)
    return Trace(name="poisson", arrival_s=arrival_s, prompt_tokens=ones, output_tokens=ones)


@pytest.mark.parametrize(
    ("name", "cv", "peaks", "prompt", "output"),
    [
        ("azure-conv-2023", 1.09, (2.89, 1.77, 1.53), (1155, 1020, 4142), (211, 129, 601)),
        ("azure-code-2023", 13.15, (26.1, 12.7, 4.10), (2048, 1469, 7436), (28, 13, 251)),
    ],
)
def test_the_figures_of_the_azure_traces_are_those_that_are_known(
    name: str, cv: float, peaks: tuple[float, ...], prompt: tuple[int, ...], output: tuple[int, ...]
) -> None:
    """Computed elsewhere by other code: burstiness, peaks over 1, 10 and 60 s, and lengths."""
    found = summarise(open_trace(name).traffic)
    assert found.interarrival_cv == pytest.approx(cv, abs=0.005)
    for window, peak in zip(found.windows, peaks, strict=False):
        assert window.peak_over_mean == pytest.approx(peak, rel=0.02)  # They count the last, unfinished window too.
    for lengths, (mean, p50, p99) in ((found.prompt, prompt), (found.output, output)):
        assert lengths.mean == pytest.approx(mean, abs=0.5)
        assert lengths.p50 == p50
        assert abs(lengths.p99 - p99) <= 1  # Theirs is interpolated.


@shared
def test_the_figures_of_mooncake_are_those_that_are_known() -> None:
    """Lengths and counts; the share of blocks seen before follows from the ids."""
    found = summarise(open_trace(SHARED / "mooncake_conversation_trace.jsonl.gz").traffic)
    assert found.requests == 12_031
    assert (round(found.prompt.mean), found.prompt.p50, found.output.p50) == (12_035, 6909, 350)
    assert found.reuse is not None
    assert found.reuse.reused_ratio == pytest.approx(1 - 182_790 / 288_500)


def test_a_poisson_process_has_a_dispersion_of_one() -> None:
    """The measure is 1 at every window where nothing is bursty, within what so many windows can tell."""
    found = summarise(Traffic.of(poisson(20.0, 200_000.0)))
    assert found.interarrival_cv == pytest.approx(1.0, abs=0.005)
    for window in found.windows:
        deviation = np.sqrt(2 * window.width_s / 200_000)
        assert window.dispersion == pytest.approx(1.0, abs=4 * deviation)


@pytest.mark.parametrize("piece_requests", [1, 7, 1000])
def test_figures_do_not_depend_on_the_pieces(piece_requests: int) -> None:
    """A window or a distance that lies across two pieces is counted once."""
    trace = load_trace("azure-code-2023").slice(0.0, 900.0)
    one, many = summarise(Traffic.of(trace)), summarise(Traffic.of(trace, piece_requests=piece_requests))
    assert one.windows == many.windows
    assert one.interarrival_cv == pytest.approx(many.interarrival_cv)
    assert np.allclose(one.curve.arrival_rps, many.curve.arrival_rps)
    assert one.prompt.p99 == many.prompt.p99


def test_counts_in_windows_are_what_counting_gives() -> None:
    """Against numpy's histogram of the whole windows."""
    trace = load_trace("azure-code-2023")
    counts = np.histogram(trace.arrival_s, bins=np.arange(0, int(trace.span_s / 10) + 1) * 10.0)[0]
    (window,) = (w for w in summarise(Traffic.of(trace)).windows if w.width_s == 10)
    assert window.dispersion == pytest.approx(counts.var(ddof=1) / counts.mean())
    assert window.peak_over_mean == pytest.approx(counts.max() / counts.mean())


def test_histogram_of_lengths_counts_every_request() -> None:
    """Classes of lengths, four to a doubling, from 0 to beyond the longest."""
    trace = load_trace("azure-conv-2023")
    found = summarise(Traffic.of(trace)).prompt
    assert np.array_equal(found.requests, np.histogram(trace.prompt_tokens, bins=found.edges)[0])
    assert found.requests.sum() == len(trace)


def test_info_prints_figures_and_draws_a_page(tmp_path: Path) -> None:
    """A table for people, JSON for programs, a page that works offline; nothing is overwritten."""
    page = tmp_path / "code.html"
    done = call("info", "azure-code-2023", "--html", page)
    assert done.exit_code == 0, done.output
    for words in ("8,819 in 3,436 s", "2.567 a second", "13.15", "p99 7,43"):
        assert words in done.output
    text = page.read_text(encoding="utf-8")
    assert "plotly" in text.lower()
    assert 'src="http' not in text
    refused(call("info", "azure-code-2023", "--html", page), "is there already", "nothing was overwritten")
    figures = json.loads(call("info", "azure-code-2023", "-o", "json").stdout)
    assert (figures["requests"], figures["form"], figures["broken_lines"]) == (8819, "azure", 0)
    curve = figures["curve"]
    assert sum(curve["arrival_rps"][:-1]) * curve["width_s"] <= 8819


def test_rate_over_time_is_drawn_in_the_terminal_too() -> None:
    """Bars from nothing to the highest stretch; a terminal of old gets marks that it has."""
    assert sparkline(np.array([0.0, 1.0, 2.0, 4.0])) == "▁▃▅█"
    assert sparkline(np.zeros(3)) == "▁▁▁"
    assert len(sparkline(np.arange(1000.0))) == 40
    assert "▁" in call("info", "azure-code-2023").output


def test_more_requests_than_memory_should_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs all requests at once is told how to have fewer."""
    monkeypatch.setattr("simulator.traces.pieces.MOST_IN_MEMORY", 8000)
    with pytest.raises(TraceError, match="more than 8,000 requests, too many to hold at once; take a part"):
        load_trace("azure-code-2023")


def test_convert_writes_a_new_file_or_nothing(tmp_path: Path) -> None:
    """An existing file is refused, an unknown ending too, and a trace with an error leaves nothing behind."""
    out = tmp_path / "conv.parquet"
    done = call("convert", "azure-conv-2023", out)
    assert (done.exit_code, "19,366 requests" in done.output) == (0, True), done.output
    before = out.read_bytes()
    refused(call("convert", "azure-code-2023", out), "is there already", "name another OUT")
    assert out.read_bytes() == before
    refused(call("convert", "azure-code-2023", tmp_path / "x.xlsx"), "its ending says no form")
    refused(call("convert", tmp_path / "absent.csv", tmp_path / "y.parquet"), "no such trace")
    refused(call("convert", "azure-code-2023", tmp_path / "no" / "z.parquet"), "cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["conv.parquet"]


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    """No time and no name of a file is written into it."""
    for suffix in (".parquet", ".csv.gz", ".jsonl.gz"):
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        for out in (one, two):
            assert call("convert", "azure-code-2023", out).exit_code == 0
        assert one.read_bytes() == two.read_bytes(), suffix


def test_strict_refuses_what_is_otherwise_told(tmp_path: Path) -> None:
    """Exit 1 with the line, or a note with the line."""
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,1\nnever,1,1\n")
    refused(call("info", path, "--strict"), "line 3: TIMESTAMP", "write UTC")
    assert "1 broken line is" in " ".join(call("info", path).output.split())


@pytest.mark.parametrize(
    ("option", "value"),
    [("--lengths", "t.csv"), ("--model", "llama"), ("--since", "1h"), ("--step", "5"), ("--token-file", "t"),
     ("--journal-policy", "prod/chat")],
)  # fmt: skip
def test_an_option_that_says_nothing_of_a_form_is_told_as_unused(option: str, value: str) -> None:
    """In one sentence beside the figures: somebody believes that it matters."""
    done = call("info", "azure-code-2023", option, value)
    assert done.exit_code == 0
    assert done.stderr.strip() == f"azure-code-2023: {option} says nothing of the form azure and was not used"
    assert "--" not in call("info", "azure-code-2023").stderr


def test_whatever_takes_a_trace_takes_every_form(tmp_path: Path) -> None:
    """A run on our own form, which `convert` has written, is the run on the trace that it was made from."""
    policy = resources.files("simulator").joinpath("data/demo-chat.yaml").read_text(encoding="utf-8")
    (tmp_path / "chat.yaml").write_text(policy, encoding="utf-8")
    converted = tmp_path / "code.parquet"
    assert call("convert", "azure-code-2023", converted).exit_code == 0
    results = []
    for number, trace in enumerate(("azure-code-2023", converted)):
        out = tmp_path / f"run{number}"
        done = CliRunner().invoke(main, ["run", str(tmp_path / "chat.yaml"), str(trace), "--out", str(out)])
        assert done.exit_code == 0, done.output
        results.append(json.loads((out / "run.json").read_text(encoding="utf-8")))
    assert results[0]["trace"] == results[1]["trace"]
    assert results[0]["result"] == results[1]["result"]


def test_what_stands_in_a_file_is_no_markup(tmp_path: Path) -> None:
    """Brackets in a name or in a broken line are shown, and end nothing."""
    path = tmp_path / "[red]t[bold].csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00,1,1\n2024-05-10 00:00:01,[/bold],1\n")
    done = call("info", path)
    assert done.exit_code == 0, done.output
    assert "[red]t[bold]" in done.output
    assert '"[/bold]"' in done.output


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of writing: no file, no part of one, exit code 130 or an abort."""

    def interrupted(path: Path, *_: object, **__: object) -> int:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.commands.trace.write_traffic", interrupted)
    done = call("convert", "azure-code-2023", tmp_path / "t.parquet")
    assert done.exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "convert"])
def test_help_teaches_by_example(command: str) -> None:
    """Each command's help has a line to copy."""
    assert f"simulator trace {command} " in call(command, "--help").output
