"""Stories of fault files: what may stand in one, what is told of one that is wrong, and that the seed decides alone."""

import re
from importlib import resources
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cli import main
from simulator.faults import faultfile
from simulator.faults.kinds import MODELS, Kind
from simulator.faults.plan import FaultPlan
from simulator.inputfile import InputFileError
from tests.simulator.small_demo import bursty_trace, write_csv
from tests.simulator.test_cli import demo_policy

HOUR_S = 3600.0
EXAMPLES = ("faults-example.yaml", "faults-nodes-example.yaml")


def read(text: str, *, span_s: float = HOUR_S) -> FaultPlan:
    """Return the plan of a text that may be indented."""
    return faultfile.parse(dedent(text), "f.yaml", span_s=span_s)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{fault: targetDwon, startSeconds: 1}",
         r'f\.yaml:2:6: faults\[0\]\.fault: "targetDwon" is not known here; .*did you mean targetDown\?'),
        ("{startSeconds: 1}", r"f\.yaml:2:5: faults\[0\]\.fault: required, and missing"),
        ("{fault: targetDown, startSeconds: 1, durationSeconds: 2, shares: 1}",
         r"there is no field 'shares' here; did you mean 'share'\?"),
        ("{fault: targetDown, startSeconds: 1, durationSeconds: -5}",
         r"f\.yaml:2:42: faults\[0\]\.durationSeconds: -5 is too small; it must be greater than 0"),
        ("{fault: nanMetrics, startSeconds: 1, durationSeconds: 2, series: []}",
         r"series: it has 0 items; give at least 1"),
        ("{fault: targetDown, startSeconds: -1, durationSeconds: 5}",
         r"startSeconds: -1 is too small; it must be at least 0"),
        ("{fault: targetDown, startSeconds: 3600, durationSeconds: 5}",
         r"startSeconds: 3600 s is after the trace's end; it lasts 3600 s, so begin before that"),
        ("{fault: targetDown, durationSeconds: 5}", r"give startSeconds, .* or perHour"),
        ("{fault: targetDown, startSeconds: 1, perHour: 2, durationSeconds: 5}", r"one of the two"),
        ("{fault: targetDown, startSeconds: 1, durationSeconds: 5, share: 1.5}",
         r"share: 1\.5 is too large; it must be at most 1"),
        ("{fault: targetDown, startSeconds: '1', durationSeconds: 5}", r"is not a number; write it without quotes"),
        ("{fault: nodeLoss, startSeconds: 5}", r"faults\[0\]\.fault: nodeLoss befalls nodes.*by --cluster"),
        ("{fault: stockout, startSeconds: 5, durationSeconds: 5, group: a}",
         r"group: there is no node group a; .*--cluster"),
        ("7", r"f\.yaml:2:5: faults\[0\]: 7 is not a block of fields"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence_at_its_line(line: str, told: str) -> None:
    """File, line, column, path, what is wrong and what to do: never pydantic's own words."""
    with pytest.raises(InputFileError) as raised:
        read(f"faults:\n  - {line}\n")
    assert re.search(told, str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "nothing in this file; give one list of faults"),
        ("faults: []\n", "faults: "),
        ("fault: targetDown\n", "did you mean 'faults'"),
        ("- {fault: targetDown}\n", "is not a block of fields"),
        ("faults: [\n", "not valid YAML"),
        ("faults: []\n---\nfaults: []\n", "2 documents in this file"),
    ],
)
def test_a_file_that_is_no_list_of_faults_is_told_as_such(text: str, told: str) -> None:
    """Also what is wrong with the whole of it has a place and a remedy."""
    with pytest.raises(InputFileError, match=told):
        read(text)


def test_all_mistakes_are_told_at_once() -> None:
    """A person mends a file once."""
    with pytest.raises(InputFileError) as raised:
        read("""\
            faults:
              - {fault: nothing, startSeconds: 1}
              - {fault: counterReset, startSeconds: 9999}
              - {fault: prometheusDown, startSeconds: 1, durationSeconds: 0}
        """)
    assert [line.split(":")[1] for line in str(raised.value).splitlines()] == ["2", "3", "4"]


def test_every_kind_has_a_model() -> None:
    """What a file may name can be read."""
    assert set(MODELS) == set(Kind)


def test_the_shipped_examples_have_every_kind_and_the_page_explains_every_kind_and_field() -> None:
    """What can be written is shown, and what is shown can be read."""
    shipped = resources.files("simulator").joinpath("data")
    texts = [shipped.joinpath(name).read_text(encoding="utf-8") for name in EXAMPLES]
    plans = [faultfile.parse(text, "example", span_s=HOUR_S, groups=["spot"]) for text in texts]
    assert {fault.fault for plan in plans for fault in plan.faults} == set(Kind)
    page = (Path(__file__).parents[2] / "docs/faults.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    assert set(rows) == {kind.value for kind in Kind}
    for kind, model in MODELS.items():
        own = {field.alias or name for name, field in model.model_fields.items()} - {"fault", "startSeconds", "perHour"}
        assert [name for name in sorted(own) if f"`{name}`" not in rows[kind.value]] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small trace and a policy."""
    made = tmp_path_factory.mktemp("faults")
    write_csv(made / "mine.csv", bursty_trace().slice(0.0, 700.0))
    (made / "mine.yaml").write_text(demo_policy(), encoding="utf-8")
    return made


def command(name: str, folder: Path, faults: Path, out: str) -> Result:
    """Call one of the commands with a fault file."""
    trace = [str(folder / "mine.csv")] if name == "run" else ["--trace", str(folder / "mine.csv")]
    arguments = [name, str(folder / "mine.yaml"), *trace, "--faults", str(faults), "--out", str(folder / out)]
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("name", ["run", "compare", "tune"])
def test_each_command_refuses_a_wrong_file_with_one_sentence_and_writes_nothing(folder: Path, name: str) -> None:
    """Exit 1, and no folder."""
    wrong = folder / "wrong.yaml"
    wrong.write_text("faults:\n  - {fault: targetDown, startSeconds: 5, durationSeconds: -1}\n", encoding="utf-8")
    result = command(name, folder, wrong, f"out-{name}")
    assert result.exit_code == 1
    assert f"{wrong}:2:42: faults[0].durationSeconds: -1 is too small" in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (folder / f"out-{name}").exists()
    assert command(name, folder, folder / "none.yaml", "never").exit_code == 1


def test_a_run_keeps_its_faults_beside_it_and_its_page_marks_them(folder: Path) -> None:
    """The result says which faults it follows from, and when they were; the picture has a span and a point for each."""
    good = folder / "good.yaml"
    good.write_text("faults:\n  - {fault: prometheusDown, startSeconds: 300, durationSeconds: 60}\n", encoding="utf-8")
    result = command("run", folder, good, "kept")
    assert result.exit_code == 0, result.output
    assert (folder / "kept" / "faults.yaml").read_text(encoding="utf-8") == good.read_text(encoding="utf-8")
    assert '"fault": "prometheusDown"' in (folder / "kept" / "run.json").read_text(encoding="utf-8")
    assert CliRunner().invoke(main, ["report", str(folder / "kept")]).exit_code == 0
    page = (folder / "kept" / "report.html").read_text(encoding="utf-8")
    assert "prometheusDown: minute 5.0 to 6.0" in page
    assert '"x0":5.0' in page
    assert '"x1":6.0' in page


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), other=st.integers(0, 10_000), share=st.floats(0.01, 1.0))
def test_occurrences_follow_from_the_seed_alone(seed: int, other: int, share: float) -> None:
    """The same seed gives the same times and the same replicas; a line of another kind before it changes nothing."""
    line = f"{{fault: targetDown, perHour: 4, durationSeconds: 60, share: {share}}}"
    alone = read(f"faults:\n  - {line}\n").occurrences(seed=seed, span_s=HOUR_S)
    beside = read(f"faults:\n  - {{fault: counterReset, perHour: 9}}\n  - {line}\n").occurrences(
        seed=seed, span_s=HOUR_S
    )
    assert [one for one in beside if one.fault.fault is Kind.TARGET_DOWN] == list(alone)
    assert all(one.hits(other) == twin.hits(other) for one, twin in zip(alone, alone, strict=True))
    assert all(0 <= one.begins_s < HOUR_S and one.ends_s <= HOUR_S for one in alone)


def test_a_rate_is_a_rate_and_a_share_is_a_share() -> None:
    """Over a thousand hours: 4 an hour within four standard deviations, and a share of the replicas likewise."""
    plan = read("faults:\n  - {fault: targetDown, perHour: 4, durationSeconds: 60, share: 0.3}\n")
    found = plan.occurrences(seed=7, span_s=1000 * HOUR_S)
    assert abs(len(found) - 4000) < 4 * 4000**0.5
    hit = sum(found[0].hits(number) for number in range(4000))
    assert abs(hit - 1200) < 4 * (4000 * 0.3 * 0.7) ** 0.5


def test_the_second_part_of_a_trace_meets_the_second_part_of_the_faults() -> None:
    """A search is told on the rest of the traffic, which has the rest of the faults: one that goes on is there too."""
    plan = read("""\
        faults:
          - {fault: targetDown, startSeconds: 100, durationSeconds: 60}
          - {fault: prometheusDown, startSeconds: 590, durationSeconds: 60}
          - {fault: counterReset, startSeconds: 900}
          - {fault: staleMetrics, perHour: 30, durationSeconds: 5}
    """)
    whole = plan.occurrences(seed=1, span_s=1000.0)
    later = plan.after(600.0).occurrences(seed=1, span_s=400.0)
    rest = [one for one in whole if one.ends_s > 600.0 or one.begins_s >= 600.0]
    assert [(one.fault.fault, one.number) for one in later] == [(one.fault.fault, one.number) for one in rest]
    assert [one.begins_s + 600.0 for one in later] == pytest.approx([one.begins_s for one in rest])
    assert Kind.PROMETHEUS_DOWN in {one.fault.fault for one in later}
