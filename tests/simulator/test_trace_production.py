"""Traffic from production: counters of a Prometheus or of our own journal, drawn as requests that count up the same."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.adapters.store import Store
from autoscaler.journal import Entry
from deploy.localcluster.prometheus import LocalPrometheus
from simulator import journalfile
from simulator.telemetry import EPOCH_AT
from simulator.traces import Reading, Trace, TraceError, in_memory, open_trace
from simulator.traces.flows import Counted, Samples, flow_of, flow_traffic, without_resets
from tests.adapters.journal_stories import spec, story
from tests.adapters.metrics_pages import MetricsPages, Page
from tests.simulator.small_demo import MINUTES, policy, small_setup, told

STEP_S = 15.0
NAMES = ("vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")


def steady(requests: int, seconds: float, seed: int = 0) -> Trace:
    """Return requests at even chance with lengths of all kinds."""
    rng = np.random.default_rng(seed)
    return Trace(
        name="steady",
        arrival_s=np.sort(rng.uniform(0, seconds, requests)),
        prompt_tokens=rng.integers(1, 3000, requests).astype(np.int32),
        output_tokens=rng.integers(1, 500, requests).astype(np.int32),
    )


def counters(trace: Trace, at: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the three counters of one pod show at some instants."""
    came = np.searchsorted(trace.arrival_s, at, side="right")
    sums = (np.concatenate([[0], np.cumsum(each)]) for each in (trace.prompt_tokens, trace.output_tokens))
    return dict(zip(NAMES, (came, *(total[came] for total in sums)), strict=True))


def series(name: str, at: np.ndarray, values: np.ndarray, **labels: str) -> dict[str, object]:
    """Return one series as a range query answers it."""
    points = [[float(t), str(v)] for t, v in zip(at, values, strict=True)]
    return {"metric": {"__name__": name, "model_name": "m", "pod": "a", **labels}, "values": points}


def answer(*rows: dict[str, object]) -> dict[str, object]:
    """Return the answer of a range query."""
    return {"status": "success", "data": {"resultType": "matrix", "result": list(rows)}}


def export(folder: Path, *documents: object) -> Path:
    """Return a file with some answers, one after the other."""
    path = folder / "export.json"
    path.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    return path


def pod_rows(trace: Trace, at: np.ndarray, **labels: str) -> list[dict[str, object]]:
    """Return the three series of one pod."""
    return [series(name, at + 1.7e9, values, **labels) for name, values in counters(trace, at).items()]


def test_an_export_becomes_requests_that_count_up_the_same(tmp_path: Path) -> None:
    """All requests and tokens, in the quarter minutes in which they were counted."""
    trace, at = steady(3000, 3600.0), np.arange(0, 3601, STEP_S)
    source = open_trace(export(tmp_path, answer(*pod_rows(trace, at))))
    drawn = in_memory(source.traffic)
    assert (source.form, source.requests, len(drawn)) == ("prometheus", 3000, 3000)
    assert np.array_equal(np.histogram(drawn.arrival_s, bins=at)[0], np.histogram(trace.arrival_s, bins=at)[0])
    assert drawn.prompt_tokens.sum() == pytest.approx(trace.prompt_tokens.sum(), rel=0.08)
    assert drawn.output_tokens.sum() == pytest.approx(trace.output_tokens.sum(), rel=0.08)
    assert any("every 15 s" in note for note in source.notes)
    assert any("where they ended" in note for note in source.notes)


def test_a_reset_loses_nothing_and_pods_are_added_up(tmp_path: Path) -> None:
    """A counter that falls began anew; what two pods counted is one traffic."""
    at = np.arange(0, 3601, STEP_S)
    first, second = steady(2000, 3600.0, seed=1), steady(1000, 3600.0, seed=2)
    again = []
    for name, values in counters(second, at).items():
        again.append(series(name, at + 1.7e9, np.where(at > 1500, values - values[100], values), pod="b"))
    source = open_trace(export(tmp_path, answer(*pod_rows(first, at)), [answer(*again)]))
    assert source.requests == 3000


def test_what_two_servers_tell_is_counted_once(tmp_path: Path) -> None:
    """A pair of Prometheus servers, or a pod behind two Services, differ in the scraper's labels alone."""
    trace, at = steady(500, 900.0), np.arange(0, 901, STEP_S)
    rows = [*pod_rows(trace, at, prometheus="a"), *pod_rows(trace, at, prometheus="b")]
    assert open_trace(export(tmp_path, answer(*rows))).requests == 500


def test_missing_samples_are_no_silence(tmp_path: Path) -> None:
    """What came in a gap is spread over it and told; NaN is no value."""
    trace, at = steady(3000, 3600.0), np.arange(0, 3601, STEP_S)
    kept = at[(at <= 1200) | (at >= 1800)]
    rows = pod_rows(trace, kept)
    rows[0]["values"][50][1] = "NaN"  # type: ignore[index]
    source = open_trace(export(tmp_path, answer(*rows)))
    gap = np.histogram(in_memory(source.traffic).arrival_s, bins=np.arange(1200, 1801, 60.0))[0]
    assert source.requests == 3000
    assert gap.min() > 0.8 * gap.max()
    assert any("600 s apart" in note and "spread evenly" in note for note in source.notes)


def test_requests_in_flight_place_arrivals_where_they_came(tmp_path: Path) -> None:
    """A minute in which nothing ended and ten requests began is a minute with ten arrivals."""
    at = np.arange(0, 301, STEP_S)
    running = np.where(at < 60, 0, np.where(at < 240, 10, 0))
    finished = np.where(at < 240, 0, 10)
    rows = [series(NAMES[0], at, finished), series(NAMES[1], at, finished * 100), series(NAMES[2], at, finished * 9)]
    rows.append(series("vllm:num_requests_running", at, running))
    drawn = in_memory(open_trace(export(tmp_path, answer(*rows))).traffic)
    assert len(drawn) == 10
    assert drawn.arrival_s.max() <= 60.0


@settings(max_examples=60, deadline=None)
@given(
    gained=st.lists(st.integers(0, 40), min_size=2, max_size=40), tokens=st.integers(1, 4000), seed=st.integers(0, 5)
)
def test_no_request_is_lost_in_rounding(gained: list[int], tokens: int, seed: int) -> None:
    """Whatever the counters gained at uneven times, so many requests are drawn, in order and within the span."""
    at = np.cumsum(np.linspace(5, 40, len(gained) + 1))
    total = np.concatenate([[0], np.cumsum(gained)]).astype(float)
    counted = Counted(
        finished=((at, total),), prompt_tokens=((at, total * tokens),), output_tokens=((at, total * 2.0),),
        step_s=STEP_S, longest_s=40.0,
    )  # fmt: skip
    if not sum(gained):
        with pytest.raises(TraceError, match="no request was counted"):
            flow_traffic("t", flow_of("t", counted), seed=seed)
        return
    drawn = in_memory(flow_traffic("t", flow_of("t", counted), seed=seed))
    assert len(drawn) == sum(gained)
    assert drawn.prompt_tokens.min() >= 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_a_counter_without_resets_never_falls(values: list[float]) -> None:
    """It starts at 0 and gains what the raw one gained, or shows, after a reset."""
    samples: Samples = (np.arange(len(values), dtype=np.float64), np.array(values))
    _, whole = without_resets(samples)
    assert whole[0] == 0
    assert np.all(np.diff(whole) >= 0)


def test_one_model_of_several_is_chosen(tmp_path: Path) -> None:
    """The sum of two models' traffic is nobody's traffic."""
    at = np.arange(0, 601, STEP_S)
    rows = [*pod_rows(steady(300, 600.0), at), *pod_rows(steady(200, 600.0), at, model_name="other")]
    path = export(tmp_path, answer(*rows))
    with pytest.raises(TraceError, match=r"series of 2 models \(m, other\); choose one by .* --model"):
        open_trace(path)
    assert open_trace(path, Reading(model="other")).requests == 200
    with pytest.raises(TraceError, match=r"no series vllm:request_success_total and .* of model third; export"):
        open_trace(path, Reading(model="third"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "too long"}, "an error (too long); export"),
        ({"data": {"resultType": "vector", "result": []}}, "is a vector, no range query's; export"),
        (answer(), "no series vllm:request_success_total and vllm:prompt_tokens_total"),
        ({"data": {"resultType": "matrix", "result": [{"metric": {}}]}}, "not the answer of a range query"),
        (answer(*(series(name, np.array([0.0]), np.array([1])) for name in NAMES)), "fewer than two samples; export"),
    ],
)  # fmt: skip
def test_an_export_that_cannot_be_used_says_what_to_export(tmp_path: Path, document: object, words: str) -> None:
    """One sentence with the file and the remedy."""
    with pytest.raises(TraceError) as caught:
        open_trace(export(tmp_path, document))
    assert words in str(caught.value)
    assert "export.json" in str(caught.value)


def test_a_prometheus_that_does_not_answer_is_one_sentence() -> None:
    """Nobody listens there."""
    with pytest.raises(TraceError, match=r"no complete answer from http://127\.0\.0\.1:9.*; check that it runs"):
        open_trace("http://127.0.0.1:9")
    with pytest.raises(TraceError, match="link-local"):
        open_trace("http://169.254.169.254")


@pytest.mark.servers
def test_a_live_prometheus_is_asked() -> None:
    """The real one scrapes a page whose counters grow: so many requests are drawn as it saw."""

    def page(count: int) -> Page:
        body = f'{NAMES[0]}{{model_name="m"}} {count}\n{NAMES[1]}{{model_name="m"}} {count * 100}\n'
        body += f'{NAMES[2]}{{model_name="m"}} {count * 10}\nvllm:num_requests_running{{model_name="m"}} 0\n'
        return Page(body=body, labels={"pod": "a"})

    with (
        MetricsPages({"a": page(0)}) as pages,
        LocalPrometheus(
            http_sd_url=f"http://{pages.address}/targets", scrape_interval="500ms", refresh_interval="1s"
        ) as prometheus,
    ):
        ends_at = time.monotonic() + 40
        while time.monotonic() < ends_at:
            pages.pages["a"] = page(int((40 - (ends_at - time.monotonic())) * 20))
            time.sleep(0.25)
            try:
                source = open_trace(prometheus.url, Reading(since_s=60.0, step_s=1.0))
            except TraceError:
                continue  # Not yet two samples.
            if (source.requests or 0) > 60:
                break
        drawn = in_memory(source.traffic)
    assert source.form == "prometheus"
    assert len(drawn) == source.requests
    assert len(drawn) > 60
    assert drawn.prompt_tokens.mean() == pytest.approx(100, rel=0.4)


def entries_of_run() -> tuple[Entry, ...]:
    """Return the journal of a run on twenty minutes of bursty traffic."""
    return told(0).entries


def laid() -> Trace:
    """Return the traffic of that run."""
    trace = small_setup().scenario.trace
    assert isinstance(trace, Trace)
    return trace


def test_a_runs_journal_gives_back_its_traffic(tmp_path: Path) -> None:
    """What was simulated can be simulated again from what its controller saw: rate by minute, and tokens."""
    path = tmp_path / "journal.jsonl.gz"
    entries = entries_of_run()
    journalfile.write(path, entries)
    source = open_trace(path)
    drawn, trace = in_memory(source.traffic), laid()
    # The first replicas were ready at 0, so what they had counted at their first sample came since.
    seen = trace.slice(0.0, entries[-1].at - EPOCH_AT)
    assert source.form == "journal"
    assert len(drawn) == pytest.approx(len(seen), rel=0.05)
    minutes = np.arange(0.0, 60 * (MINUTES - 1), 120.0)
    there, back = (np.histogram(each.arrival_s, bins=minutes)[0] for each in (seen, drawn))
    assert back == pytest.approx(there, rel=0.1)
    assert drawn.output_tokens.mean() == pytest.approx(seen.output_tokens.mean(), rel=0.1)


def test_a_store_is_read_like_a_file_and_by_policy(tmp_path: Path) -> None:
    """The controller's store: pages of entries, the policy that is named, and so far back as is asked for."""
    store, path = tmp_path / "journal.db", tmp_path / "journal.jsonl.gz"
    entries = [replace(entry, policy="prod/chat") for entry in entries_of_run()]
    journalfile.write(path, entries)
    with Store.open(str(store)) as opened:
        for entry in entries:
            opened.record(entry, None, policy().spec)
    one, other = open_trace(store), open_trace(path)
    assert (one.form, one.requests, one.notes) == ("journal", other.requests, other.notes)
    assert np.array_equal(in_memory(one.traffic).arrival_s, in_memory(other.traffic).arrival_s)
    by_url = open_trace(f"sqlite:///{store}", Reading(whose="prod/chat", since_s=300.0))
    assert by_url.traffic.span_s <= 330.0
    assert by_url.requests is not None
    assert one.requests is not None
    assert 0 < by_url.requests < one.requests
    with pytest.raises(TraceError, match="no entry of policy prod/none; there are: prod/chat"):
        open_trace(store, Reading(whose="prod/none"))


def test_a_store_that_tells_no_tokens_says_so(tmp_path: Path) -> None:
    """An engine that does not count prompt tokens leaves nothing to draw lengths from."""
    store = tmp_path / "journal.db"
    with Store.open(str(store)) as opened:
        for name in ("prod/a", "prod/b"):
            for entry in story(name):
                opened.record(entry, None, spec())
    with pytest.raises(TraceError, match=r"entries of 2 policies \(prod/a, prod/b\); choose one by --journal-policy"):
        open_trace(store)
    with pytest.raises(TraceError, match="no two samples of prompt tokens; export a counter"):
        open_trace(store, Reading(whose="prod/a"))


def test_a_damaged_journal_is_one_sentence(tmp_path: Path) -> None:
    """Cut off, or of another version."""
    path = tmp_path / "journal.jsonl.gz"
    journalfile.write(path, entries_of_run()[:5])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TraceError, match=r"journal\.jsonl\.gz"):
        open_trace(path)
    path.write_text('{"policy_digest": 1, "signals": 2}\n')
    with pytest.raises(TraceError, match=r"cannot be read|cannot read"):
        open_trace(path)
