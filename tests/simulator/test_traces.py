"""Traces: what a good file becomes, and the sentence that a bad one gets."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.traces import Reading, Trace, TraceError, chain, load_trace, superpose

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = HEADER + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"


TWO_MINUTES = load_trace("azure-code-2023").slice(0.0, 120.0)


def read_azure_csv(path: Path | str) -> Trace:
    """Return the trace of a file that is said to be in Azure's form, which must be without fault."""
    return load_trace(path, Reading(form="azure", strict=True))


def write(folder: Path, text: str) -> Path:
    """A trace file with that text."""
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "requests", "span_s", "output_tokens"),
    [("azure-conv-2023", 19_366, 3_501.72, 4_088_665), ("azure-code-2023", 8_819, 3_435.95, 245_896)],
)
def test_the_shipped_traces_are_whole(name: str, requests: int, span_s: float, output_tokens: int) -> None:
    """Counts, span and tokens of the shipped files are those that were published."""
    trace = load_trace(name)
    assert (requests, output_tokens) == (len(trace), int(trace.output_tokens.sum()))
    assert span_s == pytest.approx(trace.span_s, abs=0.01)


def test_times_count_from_the_first_row(tmp_path: Path) -> None:
    """The first request arrives at 0; 100 ns ticks survive."""
    trace = read_azure_csv(write(tmp_path, GOOD))
    assert trace.arrival_s.tolist() == [0.0, 4.314579]
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([374, 396], [44, 109])
    assert (trace.name, len(trace)) == ("trace", 2)


def test_a_compressed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    """Compression is recognised by content, not by name."""
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert read_azure_csv(path).arrival_s.tolist() == read_azure_csv(write(tmp_path, GOOD)).arrival_s.tolist()


def test_requests_of_one_instant_are_kept_if_they_differ(tmp_path: Path) -> None:
    """Two requests may arrive together; only a whole row that is there twice is an error."""
    row = "2023-11-16 18:15:46,1,{}\n"
    assert len(read_azure_csv(write(tmp_path, HEADER + row.format(1) + row.format(2)))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param(HEADER, "no request after the header", id="no row"),
        pytest.param("time,in,out\n1,2,3\n", "line 1: no column TIMESTAMP and ContextTokens", id="columns"),
        pytest.param(HEADER + "2023-11-16 18:15:46,1\n", "line 2: fewer fields", id="short row"),
        pytest.param(HEADER + "yesterday,1,2\n", 'line 2: TIMESTAMP "yesterday" is no time', id="time"),
        pytest.param(HEADER + "1900,1,2\n", 'line 2: TIMESTAMP "1900" is no time', id="a-number"),
        pytest.param(HEADER + "1700000000,1,2\n", 'TIMESTAMP "1700000000" is no time', id="unix-seconds"),
        pytest.param(HEADER + "now,1,2\n", 'TIMESTAMP "now" is no time', id="now"),
        pytest.param(HEADER + "0001-01-01 00:00:00,1,2\n", "is no time between 1970 and 2199", id="long-ago"),
        pytest.param(HEADER + f"2023-11-16 18:15:46,{'9' * 140_000},2\n", "field larger than", id="a-huge-field"),
        pytest.param(HEADER + ",1,2\n", "line 2: TIMESTAMP", id="no time"),
        pytest.param(HEADER + "2023-11-16 18:15:46,-1,2\n", "line 2: ContextTokens is -1", id="negative"),
        pytest.param(HEADER + "2023-11-16 18:15:46,1,1.5\n", 'line 2: GeneratedTokens "1.5"', id="fraction"),
        pytest.param(HEADER + "2023-11-16 18:15:46,1,99999999999\n", "line 2: GeneratedTokens is 9", id="huge"),
        pytest.param(GOOD + "2023-11-16 18:15:49,1,2\n", "line 4: earlier than the line before", id="unordered"),
        pytest.param(GOOD + GOOD.splitlines()[-1] + "\n", "line 4: a request that is there twice", id="duplicate"),
        pytest.param(
            HEADER + "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:46,1,3\n2023-11-16 18:15:46,1,2\n",
            "line 4: a request that is there twice",
            id="duplicate, not adjacent",
        ),
    ],
)
def test_a_broken_file_gets_one_sentence_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    """The error names file and line and says what to do, in one line."""
    path = write(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        read_azure_csv(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert words in message
    assert ";" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "stamp",
    [
        *("1700000000", "1700000000.5", "20231116", "2023", "0", "now", "today", "NaT", "18:15:46", "2023-11-16"),
        *("1969-12-31 23:59:59", "2200-01-01 00:00:00", "9999-01-01 00:00:00", "2023-13-01 00:00:00"),
        *("2023-02-30 00:00:00", "2023-11-16 24:00:01", "2023-11-16 18:15:46+25:00", "2023-11-16 18:15:46 CET"),
        *("２０２３-11-16 18:15:46", "2023-11-16 18:15:46.0000000001"),
    ],
)
def test_what_is_no_time_is_refused_and_not_judged_as_one(tmp_path: Path, stamp: str) -> None:
    """Unix seconds are no year, "now" is not in a trace, and what would overflow is told."""
    path = write(tmp_path, HEADER + f"{stamp},1,2\n{stamp},3,4\n")
    with pytest.raises(TraceError, match=r"line 2: TIMESTAMP .* is no time between 1970 and 2199; write UTC"):
        read_azure_csv(path)


@pytest.mark.filterwarnings("error")
def test_an_offset_is_taken_into_account_without_a_warning(tmp_path: Path) -> None:
    """Times in several zones are one order of instants; the same instant is the same time."""
    stamps = (
        *("2023-11-16T18:00:00Z", "2023-11-16 20:00:30+02:00", "2023-11-16 13:01:00.5-0500"),
        *("2023-11-16 18:02:00+00:00", "2023-11-16 18:03"),
    )
    path = write(tmp_path, HEADER + "".join(f"{stamp},1,2\n" for stamp in stamps))
    assert read_azure_csv(path).arrival_s.tolist() == [0.0, 30.0, 60.5, 120.0, 180.0]


def test_what_csv_itself_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    """A field beyond the reader's limit, as in a file of one endless line."""
    path = write(tmp_path, HEADER + '"' + "x" * 200_000 + "\n")
    with pytest.raises(TraceError, match=r"line \d+: no CSV \(.*\); give one request per line"):
        read_azure_csv(path)


def test_a_name_that_no_file_can_have_is_one_sentence() -> None:
    """Too long, or with a NUL in it: told in a line that can still be read."""
    with pytest.raises(TraceError, match="cannot be read") as caught:
        read_azure_csv("x" * 5000)
    assert len(str(caught.value)) < 400
    with pytest.raises(TraceError, match="NUL"):
        read_azure_csv("a\0b")


def test_a_missing_file_names_the_traces_that_exist(tmp_path: Path) -> None:
    """A typing error in a name is answered with the names."""
    with pytest.raises(TraceError, match=r"no such trace.*azure-conv-2023"):
        load_trace(tmp_path / "absent.csv")


@pytest.mark.parametrize("content", [b"\x1f\x8bdamaged", gzip.compress(GOOD.encode())[:-9], b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    """Damaged compression and binary data are told, not raised as they come."""
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"damaged|not a text file"):
        read_azure_csv(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """What the operating system says is passed on in a sentence."""
    with pytest.raises(TraceError, match="cannot be read"):
        read_azure_csv(tmp_path)


def test_a_trace_cannot_be_changed() -> None:
    """Values are immutable: two runs of one trace see the same requests."""
    trace = load_trace("azure-code-2023")
    with pytest.raises(ValueError, match="read-only"):
        trace.arrival_s[0] = 1.0


@pytest.mark.parametrize("arrival", [[1.0, 0.5], [-1.0, 0.0], [0.0, float("nan")], [0.0]])
def test_a_trace_refuses_impossible_times(arrival: list[float]) -> None:
    """The invariant holds for traces that no file was read for, too."""
    lengths = np.array([1, 1], dtype=np.int32)
    with pytest.raises(TraceError):
        Trace(name="t", arrival_s=np.array(arrival), prompt_tokens=lengths, output_tokens=lengths)


def test_a_slice_counts_from_its_start() -> None:
    """[100, 200) holds the arrivals of that window, moved to 0."""
    trace = load_trace("azure-conv-2023")
    part = trace.slice(100.0, 200.0)
    inside = (trace.arrival_s >= 100) & (trace.arrival_s < 200)
    assert len(part) == np.count_nonzero(inside)
    assert np.allclose(part.arrival_s, trace.arrival_s[inside] - 100.0)


def test_a_slice_of_nothing_says_what_there_is() -> None:
    """The error tells the span of the trace."""
    with pytest.raises(TraceError, match="no request between 9000 and 9100 s; the trace spans 0 to 3501"):
        load_trace("azure-conv-2023").slice(9000.0, 9100.0)


@settings(max_examples=50, deadline=None)
@given(copies=st.integers(1, 5), jitter_s=st.floats(0, 60), window=st.integers(0, 200), seed=st.integers(0, 99))
def test_superposed_copies_keep_the_kind_of_traffic(copies: int, jitter_s: float, window: int, seed: int) -> None:
    """Any superposition has `copies` times the requests, inside the same span, with pairs of lengths that exist."""
    trace = TWO_MINUTES
    result = superpose(trace, copies=copies, jitter_s=jitter_s, length_resample_window=window, seed=seed)
    assert len(result) == copies * len(trace)
    assert np.all(np.diff(result.arrival_s) >= 0)
    assert result.span_s <= trace.span_s
    pairs = set(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))
    assert set(zip(result.prompt_tokens.tolist(), result.output_tokens.tolist(), strict=True)) <= pairs


def test_one_copy_without_jitter_is_the_trace() -> None:
    """Nothing moves unless it is asked for."""
    trace = load_trace("azure-conv-2023")
    same = superpose(trace, copies=1, jitter_s=0.0, length_resample_window=0)
    assert np.array_equal(trace.arrival_s, same.arrival_s)
    assert np.array_equal(trace.output_tokens, same.output_tokens)


def test_superposition_moves_no_request_further_than_asked() -> None:
    """With the lengths kept, the k-th arrival of one jittered copy is within the jitter of the k-th of the trace."""
    trace = load_trace("azure-conv-2023")
    moved = superpose(trace, copies=1, jitter_s=30.0, length_resample_window=0, seed=3)
    # Sorting does not enlarge the largest displacement.
    assert np.abs(moved.arrival_s - trace.arrival_s).max() <= 30.0
    assert not np.array_equal(moved.arrival_s, trace.arrival_s)


def test_superposition_repeats_from_its_seed() -> None:
    """The same seed gives the same bytes, another seed other ones."""
    trace = load_trace("azure-code-2023")
    first, again, other = (superpose(trace, copies=2, seed=seed) for seed in (5, 5, 6))
    assert first.arrival_s.tobytes() == again.arrival_s.tobytes()
    assert first.prompt_tokens.tobytes() == again.prompt_tokens.tobytes()
    assert first.arrival_s.tobytes() != other.arrival_s.tobytes()


@pytest.mark.parametrize(("copies", "jitter_s", "window"), [(0, 1.0, 1), (1, -1.0, 1), (1, 1.0, -1)])
def test_superposition_refuses_senseless_numbers(copies: int, jitter_s: float, window: int) -> None:
    """Zero copies or a negative spread are refused with the trace's name."""
    with pytest.raises(TraceError, match="azure-code-2023"):
        superpose(load_trace("azure-code-2023"), copies=copies, jitter_s=jitter_s, length_resample_window=window)


def test_chained_traces_follow_one_another() -> None:
    """Hour after hour: each starts a period later, and a period shorter than a trace is refused."""
    hour = load_trace("azure-conv-2023")
    day = chain([hour, hour], period_s=3600.0)
    assert len(day) == 2 * len(hour)
    assert day.arrival_s[len(hour)] == 3600.0
    with pytest.raises(TraceError, match="no longer than the period"):
        chain([hour], period_s=10.0)
