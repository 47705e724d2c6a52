"""The picture: one HTML file that works offline, with every decision's reason, and drawn by a real browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autoscaler.core.signals import ReplicaState
from autoscaler.journal import OutcomeStatus
from simulator.pages import picture
from simulator.pages.picture import Column, Track
from tests.simulator.small_demo import told

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def column(title: str = "chat") -> Column:
    """Return the small demo as a column of the picture."""
    tracks = tuple(Track(name=told(number).name, entries=told(number).entries) for number in range(3))
    return Column(title=title, objective_s=2.5, tracks=tracks)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a picture of two models."""
    path = tmp_path_factory.mktemp("picture") / "report.html"
    picture.write(path, [column("chat"), column("code")], title="A test")
    return path


class _Sources(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep every address that is fetched while the page loads."""
        self.loaded += [str(value) for name, value in attrs if name == "src" or (tag == "link" and name == "href")]


def test_the_page_loads_nothing_from_anywhere(html: Path) -> None:
    """One file: no script, style or picture comes from another address, and it is the only file written."""
    parser = _Sources()
    parser.feed(html.read_text(encoding="utf-8"))
    assert [address for address in parser.loaded if not address.startswith("data:")] == []
    assert list(html.parent.iterdir()) == [html]


def test_every_change_of_the_target_is_marked_with_its_reason() -> None:
    """A mark for each decision that was carried out, where it went to, with the sentence in its hover text."""
    drawn = picture.figure([column()], title="A test")
    marks = next(trace for trace in drawn.data if trace.name == "decisions")
    moved = [entry for entry in told(0).entries if entry.outcome.status is OutcomeStatus.SCALED]
    assert len(moved) > 5
    assert list(marks.y) == [entry.decision.target for entry in moved]
    for text, entry in zip(marks.text, moved, strict=True):
        assert entry.decision.why.value in text
        plain = re.sub(r"<[^>]+>", " ", text)
        assert " ".join(entry.decision.detail.split()) in " ".join(plain.split())


def test_requests_that_the_gateway_holds_wait_too() -> None:
    """Nobody takes them, so no engine tells of them; an empty queue lies at the bottom of the axis."""
    entries = tuple(
        replace(entry, signals=replace(entry.signals, samples=(), held_requests=held))
        for entry, held in zip(told(0).entries, (0.0, 999.0, None), strict=False)
    )
    drawn = picture.figure(
        [Column(title="x", objective_s=2.5, tracks=(Track(name="ours", entries=entries),))], title=""
    )
    waiting = next(trace for trace in drawn.data if "waiting" in str(trace.text))
    assert list(waiting.text) == ["0 waiting", "999 waiting", "0 waiting"]
    assert list(waiting.y) == [0.0, 3.0, 0.0]


def test_little_that_was_late_is_to_be_seen() -> None:
    """The axis of what was in time begins near the lowest share, not at nothing."""
    drawn = picture.figure([column()], title="A test")
    shares = [share for trace in drawn.data[-2 * 3 :] for share in trace.y if trace.text is None and share is not None]
    low, high = drawn.layout.yaxis4.range
    assert low < min(shares) < low + 0.2 * (1 - low)
    assert high > 1.0


def test_the_last_attainment_is_the_scores(html: Path) -> None:
    """The curve of ours ends where the count of first tokens in time ends."""
    drawn = picture.figure([column()], title="A test")
    last = [trace for trace in drawn.data if trace.name == "ours"][-1]
    samples = {sample.pod: sample for entry in told(0).entries for sample in entry.signals.samples}
    counted = sum(sample.ttft_count or 0.0 for sample in samples.values())
    in_time = sum(dict(sample.ttft_within)[2.5] for sample in samples.values())
    assert last.y[-1] == in_time / counted


def test_axes_begin_at_nothing_and_mark_whole_replicas() -> None:
    """Half a replica is no mark, and a rate that halves is drawn half as high."""
    layout = picture.figure([column("chat")], title="A test").layout
    assert layout.yaxis.rangemode == "tozero"
    most = max(len(entry.signals.replicas) for number in range(3) for entry in told(number).entries)
    assert layout.yaxis2.dtick == int(layout.yaxis2.dtick) >= 1
    assert most / layout.yaxis2.dtick <= 10


def test_each_name_is_in_the_legend_once() -> None:
    """Two models share one legend; ours, the others, requests taken and decisions are each in it."""
    drawn = picture.figure([column("chat"), column("code")], title="A test")
    names = [trace.name for trace in drawn.data if trace.showlegend]
    assert len(names) == len(set(names))
    states = {f"ours: {state}" for state in ("ready", "ready, pre-warm", "warming", "draining")}
    assert {"ours", "HPA queue 5", "HPA conc. 40", "requests taken", "decisions", *states} == set(names)


def test_the_areas_sum_to_every_replica_that_there_is() -> None:
    """Ready, the pre-warm pool among them, warming and draining: no replica twice, none left out."""
    drawn = picture.figure([column()], title="A test")
    areas = [trace for trace in drawn.data if trace.stackgroup]
    gone = {ReplicaState.GONE, ReplicaState.FAILED}
    for number, entry in enumerate(told(0).entries):
        there = sum(replica.state not in gone for replica in entry.signals.replicas)
        assert sum(area.y[number] for area in areas) == there
    pool = next(area for area in areas if "pre-warm" in area.name)
    assert max(pool.y) > 0


def test_the_objective_is_a_line_and_names_are_no_markup() -> None:
    """The share that shall be in time is drawn where the shares are; what a user named is shown as it is."""
    odd = replace(column("<b>chat"), attainment=0.99)
    drawn = picture.figure([odd], title="<i>mine")
    assert [shape.y0 for shape in drawn.layout.shapes] == [0.99]
    assert drawn.layout.title.text == "&lt;i&gt;mine"
    texts = [note.text for note in drawn.layout.annotations]
    assert any("&lt;b&gt;chat" in text for text in texts)
    assert "objective 99%" in texts


def test_the_same_journals_give_the_same_bytes(html: Path, tmp_path: Path) -> None:
    """No random id and no time gets into the page."""
    again = tmp_path / "again.html"
    picture.write(again, [column("chat"), column("code")], title="A test")
    assert again.read_bytes() == html.read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")
def test_a_browser_draws_it(html: Path, tmp_path: Path) -> None:
    """Headless Chromium, which has no network here, draws a curve for each trace and a mark for each decision."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=10000",
            "--dump-dom",
            html.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    traces = len(picture.figure([column("chat"), column("code")], title="A test").data)
    moved = sum(entry.outcome.status is OutcomeStatus.SCALED for entry in told(0).entries)
    assert len(re.findall(r'class="trace scatter', done.stdout)) >= traces - 2
    assert len(re.findall(r'<path class="point"', done.stdout)) == 2 * moved
    assert len(re.findall(r'class="js-line"[^>]* d="M', done.stdout)) >= 10
    for title in picture.ROWS:
        assert title in done.stdout
