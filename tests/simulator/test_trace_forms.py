"""Every form of trace: told from the file, read in pieces, and what is broken in it counted and named."""

import datetime
import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.traces import (
    Reading,
    Trace,
    TraceError,
    Traffic,
    azure_columns,
    in_memory,
    joined,
    load_trace,
    open_trace,
)
from simulator.traces.azure import AZURE_COLUMNS, azure_batches
from simulator.traces.lines import BrokenLineError, Request, WrongLineError, batches
from simulator.traces.native import native_writer
from simulator.traces.survey import surveyed, traffic_from
from simulator.traces.writing import write_traffic

SHARED = Path(__file__).resolve().parents[3] / "shared" / "traces"
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,7,9\n"
)
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def file_of(folder: Path, text: str, name: str = "trace.csv") -> Path:
    """Return a file with that text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def mooncake(*requests: tuple[float, int, int, list[int]]) -> str:
    """Return a text in Mooncake's form."""
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    return "".join(json.dumps(dict(zip(names, request, strict=True))) + "\n" for request in requests)


def test_azure_of_2024_writes_its_dates_otherwise(tmp_path: Path) -> None:
    """An offset at each time, and no fraction where it is 0."""
    source = open_trace(file_of(tmp_path, AZURE_2024))
    trace = in_memory(source.traffic)
    assert (source.form, source.requests, source.notes) == ("azure", 2, ())
    assert trace.arrival_s.tolist() == [0.0, 0.99007]
    assert trace.prompt_tokens.tolist() == [2162, 7]


def test_burstgpt_leaves_failures_out_and_says_how_many(tmp_path: Path) -> None:
    """A request without response tokens failed: nobody knows how long its answer would have been."""
    rows = "5,ChatGPT,472,18,490,Conversation log\n5,ChatGPT,472,18,490,Conversation log\n"
    rows += "6,GPT-4,90,0,90,API log\n118,GPT-4,417,276,693,Conversation log\n"
    source = open_trace(file_of(tmp_path, BURST + rows))
    trace = in_memory(source.traffic)
    assert (source.form, len(trace), source.broken) == ("burstgpt", 3, 0)
    assert any(note.startswith("1 failed requests") for note in source.notes)
    assert trace.output_tokens.tolist() == [18, 18, 276]


def test_burstgpt_with_sessions_is_the_same_form(tmp_path: Path) -> None:
    """Columns are found by name: newer files have more of them, in another order."""
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    trace = load_trace(file_of(tmp_path, header + "1,3,2.5,ChatGPT,10,20,30,API log\n3.25,,1,GPT-4,11,21,32,API log\n"))
    assert trace.prompt_tokens.tolist() == [10, 11]


@pytest.mark.parametrize("where", [0, 1, 1500, 3000])
def test_a_time_between_seconds_does_not_hide_that_the_others_are_cut(tmp_path: Path, where: int) -> None:
    """Of 3,001 requests all but one have whole seconds; replayed so, they would be bursts that never were."""
    seconds = np.sort(np.random.default_rng(5).integers(0, 1500, 3000)).tolist()
    between = seconds[min(where, 2999)] + 0.37
    stamps = sorted([*map(float, seconds), between])
    rows = "".join(f"{stamp:.2f},ChatGPT,100,{10 + number},110,API\n" for number, stamp in enumerate(stamps))
    source = open_trace(file_of(tmp_path, BURST + rows))
    assert any("times of all but 1 are cut to 1 s" in note for note in source.notes)
    spread = in_memory(source.traffic).arrival_s % 1.0
    assert 0.4 < float(np.mean(spread)) < 0.6


def test_times_with_fractions_are_kept_whatever_the_form(tmp_path: Path) -> None:
    """BurstGPT's files of 2023 count whole seconds; one that does not is taken as it stands."""
    stamps = (0.5, 4.25, 4.75, 9.5)
    rows = "".join(f"{stamp},ChatGPT,100,10,110,API\n" for stamp in stamps)
    source = open_trace(file_of(tmp_path, BURST + rows))
    assert not any("cut to" in note for note in source.notes)
    assert in_memory(source.traffic).arrival_s.tolist() == [stamp - 0.5 for stamp in stamps]


def test_times_cut_to_seconds_are_spread_within_their_second(tmp_path: Path) -> None:
    """BurstGPT counts whole seconds: each request is somewhere in its own, and the order stays."""
    rows = "".join(f"{second},ChatGPT,{number},7,9,API log\n" for second in range(30) for number in range(1, 11))
    source = open_trace(file_of(tmp_path, BURST + rows), Reading(seed=3))
    trace = in_memory(source.traffic)
    assert any("cut to 1 s" in note and "seed 3" in note for note in source.notes)
    assert np.array_equal(np.floor(trace.arrival_s), np.repeat(np.arange(30), 10))
    assert np.unique(trace.arrival_s).size == 300
    assert np.array_equal(trace.prompt_tokens, np.tile(np.arange(1, 11), 30))
    assert source.traffic.span_s == trace.span_s


def test_mooncake_brings_its_prefix_blocks(tmp_path: Path) -> None:
    """Ids of blocks of 512 tokens, as many as the prompt has; a file without them has none."""
    text = mooncake((0, 1000, 5, [0, 1]), (1500.5, 600, 6, [0, 2]), (1600, 3, 7, []))
    source = open_trace(file_of(tmp_path, text, "t.jsonl"))
    trace = in_memory(source.traffic)
    assert (source.form, source.block_tokens) == ("mooncake", 512)
    assert trace.arrival_s.tolist() == [0.0, 1.5005, 1.6]
    assert trace.block_offsets is not None
    assert trace.block_ids is not None
    assert (trace.block_offsets.tolist(), trace.block_ids.tolist()) == ([0, 2, 4, 4], [0, 1, 0, 2])
    plain = file_of(tmp_path, '{"timestamp": 0, "input_length": 5, "output_length": 6}\n', "plain.jsonl")
    assert load_trace(plain).block_ids is None


def test_a_broken_first_line_hides_no_form(tmp_path: Path) -> None:
    """What the other lines are tells the form."""
    good = mooncake(*((1000.5 * number, 10, 5, []) for number in range(5)))
    source = open_trace(file_of(tmp_path, '{"timestamp": 0, "input_le\n' + good, "t.jsonl"))
    assert (source.form, source.requests, source.broken) == ("mooncake", 5, 1)
    assert "line 1:" in source.notes[0]


def test_broken_lines_are_counted_and_named_and_refused_if_strict(tmp_path: Path) -> None:
    """A run goes on without lines that cannot be read; whoever must have all of them says --strict."""
    good = "".join(f"2024-05-10 00:00:{second:02}.5+00:00,{second},1\n" for second in range(10))
    text = AZURE_2024.splitlines()[0] + "\n2024-05-10 00:00:00+00:00,x,1\n" + good + "yesterday,1,2\n1,2\n,,\n"
    path = file_of(tmp_path, text)
    source = open_trace(path)
    assert (source.broken, source.requests) == (4, 10)
    (note,) = source.notes
    for words in ("4 broken lines", 'line 2: ContextTokens "x"', "line 13: TIMESTAMP", "line 14: fewer", "and 1 more"):
        assert words in note
    with pytest.raises(TraceError, match=r'trace\.csv, line 2: ContextTokens "x" is no whole number; give'):
        open_trace(path, Reading(strict=True))


def test_a_file_of_broken_lines_is_no_trace(tmp_path: Path) -> None:
    """With more broken lines than whole ones the form was told wrongly."""
    lines = "".join(f"line {number}\n" for number in range(9)) + "2024-05-10 00:00:00+00:00,1,1\n"
    with pytest.raises(TraceError, match="line 2: fewer fields"):
        open_trace(file_of(tmp_path, AZURE_2024.splitlines()[0] + "\n" + lines))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BURST + "5,m,-1,2,1,a\n", "line 2: Request tokens is -1; give"),
        (BURST + "-5,m,1,2,3,a\n", "line 2: Timestamp is -5; give"),
        (BURST + "9,m,1,2,3,a\n8,m,1,2,3,a\n", "line 3: earlier than the line before; sort"),
        (BURST + "9,m,1,0,1,a\n", "no request after the header; give"),
        ("Timestamp,Model\n1,m\n", "line 1: no column Request tokens and Response tokens"),
        (mooncake((5, 1, -2, [])), "line 1: output_length is -2; give"),
        (mooncake((-5, 1, 2, [])), "line 1: timestamp is -5; give"),
        (mooncake((5, 1, 2, []), (4, 1, 2, [])), "line 2: earlier"),
        (mooncake((5, 513, 2, [3, 4]), (5, 513, 2, [3, 4])), "line 2: a request that is there twice; remove"),
        (mooncake((5, 512, 2, [3, 4])), "line 1: 2 hash_ids for 512 tokens; give"),
        ("a,b,c\n1,2,3\n", 'line 1: "a,b,c" begins no trace of a known form; give'),
        ('{"a": 1}\n', "begins no trace of a known form"),
        ("\n \n", "the file is empty; give"),
    ],
)
def test_what_cannot_be_is_one_sentence_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    """Negative lengths, falling times and the like make a whole file suspect, strict or not."""
    path = file_of(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        open_trace(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_form_that_is_named_is_not_told_from_the_file(tmp_path: Path) -> None:
    """Whoever knows better says so, and is told what that form wants."""
    with pytest.raises(TraceError, match="no column Timestamp"):
        open_trace(file_of(tmp_path, AZURE_2024), Reading(form="burstgpt"))
    with pytest.raises(TraceError, match="no form csv; there are: azure, burstgpt, mooncake"):
        open_trace(file_of(tmp_path, AZURE_2024), Reading(form="csv"))


def parse(line: tuple[int, int]) -> Request:
    """Return a request of a line that holds a time in ms and a length."""
    if line[1] == 13:
        raise BrokenLineError("thirteen; give another")
    if line[1] < 0:
        raise WrongLineError("negative; give another")
    return line[0] * 1_000_000, line[1], 1, (line[1],)


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=120),
    step_ms=st.sampled_from([1, 500, 1000, 3000]),
    batch_lines=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_how_a_file_is_cut_into_batches_changes_nothing(
    gaps: list[int], step_ms: int, batch_lines: int, seed: int
) -> None:
    """Requests, times and blocks are the same whether the file is read in one batch or in many."""
    lines = [(number, (int(at), number)) for number, at in enumerate(np.cumsum(gaps) * step_ms, start=14)]
    results = []
    for size in (batch_lines, 10_000):
        read = partial(batches, "t", lines, parse, batch_lines=size)
        found = surveyed("t", read)
        traffic = traffic_from("t", read, found, seed=seed, block_tokens=1)
        results.append((found, traffic.span_s, in_memory(traffic)))
    (found, span_s, one), (same, same_span_s, other) = results
    assert (found, span_s) == (same, same_span_s)
    assert span_s == one.span_s
    assert np.array_equal(one.arrival_s, other.arrival_s)
    assert np.array_equal(one.prompt_tokens, other.prompt_tokens)
    assert one.block_ids is not None
    assert other.block_ids is not None
    assert np.array_equal(one.block_ids, other.block_ids)


@settings(max_examples=30, deadline=None)
@given(
    arrival_s=st.lists(st.floats(0, 1e7, allow_nan=False), min_size=1, max_size=40).map(sorted),
    blocks=st.booleans(),
    piece=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_our_own_form_is_without_loss(
    tmp_path_factory: pytest.TempPathFactory, arrival_s: list[float], blocks: bool, piece: int, seed: int
) -> None:
    """What is written comes back to the last bit, whatever the pieces, blocks and notes included."""
    rng, size = np.random.default_rng(seed), len(arrival_s)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, size))])
    trace = Trace(
        name="gröẞe",
        arrival_s=np.array(arrival_s),
        prompt_tokens=rng.integers(0, 2**31 - 1, size, dtype=np.int32),
        output_tokens=rng.integers(0, 2**31 - 1, size, dtype=np.int32),
        block_offsets=offsets if blocks else None,
        block_ids=rng.integers(0, 2**62, offsets[-1]) if blocks else None,
        block_tokens=16 if blocks else 0,
    )
    path = tmp_path_factory.mktemp("native") / "t.parquet"
    with native_writer(path, name=trace.name, notes=("said", "so"), block_tokens=trace.block_tokens) as append:
        for part in trace.pieces(piece):
            append(part)
    source = open_trace(path)
    back = in_memory(source.traffic)
    assert (source.form, source.requests, source.notes) == ("native", size, ("said", "so"))
    assert (back.name, source.traffic.span_s, back.block_tokens) == (trace.name, trace.span_s, trace.block_tokens)
    for column in ("arrival_s", "prompt_tokens", "output_tokens", "block_offsets", "block_ids"):
        want, got = getattr(trace, column), getattr(back, column)
        assert want is got is None or np.array_equal(want, got), column


def test_a_foreign_damaged_or_newer_file_is_refused(tmp_path: Path) -> None:
    """Parquet of somebody else, a cut-off copy, and a version to come each get a sentence."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    foreign, newer, cut = (tmp_path / name for name in ("foreign.parquet", "newer.parquet", "cut.parquet"))
    table = pa.table({"arrival_s": [0.0], "prompt_tokens": [1], "output_tokens": [1]})
    pq.write_table(table, foreign)
    header = json.dumps({"version": 2, "name": "t"})
    pq.write_table(table.replace_schema_metadata({"inference-autoscaler.trace": header}), newer)
    cut.write_bytes(foreign.read_bytes()[:-20])
    for path, words in ((foreign, "without a trace's header"), (newer, "version 2 of the form"), (cut, "damaged")):
        with pytest.raises(TraceError, match=words):
            open_trace(path)


def test_the_forms_of_others_can_be_written(tmp_path: Path) -> None:
    """To the nanosecond: for tools that read Azure's or Mooncake's form."""
    trace = load_trace("azure-conv-2023").slice(0.0, 60.0)
    for name in ("t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"):
        assert write_traffic(tmp_path / name, Traffic.of(trace, piece_requests=50), name=name) == len(trace)
        back = load_trace(tmp_path / name)
        assert np.allclose(back.arrival_s, trace.arrival_s - trace.arrival_s[0], atol=2e-9, rtol=0)
        assert np.array_equal(back.prompt_tokens, trace.prompt_tokens)
        assert np.array_equal(back.output_tokens, trace.output_tokens)
    assert (tmp_path / "t.csv.gz").read_bytes()[:2] == gzip.compress(b"")[:2]


def test_blocks_survive_mooncakes_form(tmp_path: Path) -> None:
    """Written and read again, the same blocks belong to the same requests."""
    text = mooncake(*((1000 * number + 1, 1000, 5, [0, number]) for number in range(1, 40)))
    trace = load_trace(file_of(tmp_path, text, "a.jsonl"))
    write_traffic(tmp_path / "b.jsonl", Traffic.of(trace, piece_requests=7), name="b.jsonl", block_tokens=512)
    back = load_trace(tmp_path / "b.jsonl")
    assert back.block_ids is not None
    assert trace.block_ids is not None
    assert np.array_equal(back.block_ids, trace.block_ids)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2199, 12, 30)),
            st.integers(0, 2**31 - 1),
            st.integers(0, 5000),
        ),
        min_size=1,
        max_size=30,
    ),
    stamp=st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f7"]),
    zone=st.sampled_from(["", "+00:00", "Z", "-0530", "+02:00"]),
)
def test_columns_are_read_as_lines_are(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[datetime.datetime, int, int]], stamp: str, zone: str
) -> None:
    """The quick reader of large files and the one that names lines give the same, to the nanosecond."""
    text = "".join(f"{at:{stamp}}{zone},{prompt},{output}\n" for at, prompt, output in sorted(rows))
    path = file_of(tmp_path_factory.mktemp("columns"), ",".join(AZURE_COLUMNS) + "\n" + text)
    (lines,), (columns,) = azure_batches("t", path), azure_columns.azure_columns("t", path)
    for name in ("lines", "at_ns", "prompt_tokens", "output_tokens", "block_offsets"):
        assert np.array_equal(getattr(lines, name), getattr(columns, name)), name


@pytest.mark.parametrize(
    "row",
    ["1900-01-01 00:00:00,1,2", "2024-05-10,1,2", "2024-05-10 18,1,2", "now,1,2", "2024-05-10 00:00:00,,2", "x,1,2",
     "2024-05-10 00:00:00,-1,2", "2024-05-10 00:00:00,1.5,2", "2024-05-10 00:00:00,1", "2024-13-10 00:00:00,1,2",
     "2024-05-10 00:00:00+02:00,1,2", "2024-05-10 00:00:00,1,99999999999", '2024-05-10 00:00:00,1,"2'],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_reader_of_lines(tmp_path: Path, row: str) -> None:
    """Everything that it would call broken or wrong, and what only it understands."""
    path = file_of(tmp_path, ",".join(AZURE_COLUMNS) + "\n2024-05-10 00:00:00,7,7\n" + row + "\n")
    with pytest.raises(azure_columns.NotPlainError):
        list(azure_columns.azure_columns("t", path))


def test_a_large_file_is_read_by_columns_and_its_mistakes_are_named_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same requests either way; one broken line, and the file is read by lines."""
    path = tmp_path / "t.csv"
    write_traffic(path, Traffic.of(load_trace("azure-code-2023")), name="t.csv")
    by_lines = open_trace(path)
    monkeypatch.setattr(azure_columns, "LEAST_BYTES", 0)
    by_columns = open_trace(path)
    assert by_columns.requests == by_lines.requests
    assert np.array_equal(in_memory(by_columns.traffic).arrival_s, in_memory(by_lines.traffic).arrival_s)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n", "\nbroken,1,2\n", 1), encoding="utf-8")
    source = open_trace(path)
    assert (source.broken, source.requests) == (1, by_lines.requests)
    assert "line 2: TIMESTAMP" in source.notes[0]
    path.write_text(text + text.splitlines()[-1] + "\n", encoding="utf-8")
    with pytest.raises(TraceError, match="line 8821: a request that is there twice"):
        open_trace(path)


def test_pieces_join_to_what_they_were_cut_from() -> None:
    """Cutting and joining is nothing."""
    trace = load_trace("azure-code-2023")
    assert np.array_equal(joined(list(trace.pieces(1000))).arrival_s, trace.arrival_s)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with other traces is not beside this checkout")
def test_mooncakes_conversations_are_read_whole_and_spread() -> None:
    """12,031 requests at 3.401 a second; stamped every 3 s, they are no bursts of ten."""
    source = open_trace(SHARED / "mooncake_conversation_trace.jsonl.gz")
    trace = in_memory(source.traffic)
    assert (source.form, source.requests, source.broken) == ("mooncake", 12_031, 0)
    assert trace.mean_rps == pytest.approx(3.401, rel=1e-3)
    assert any("cut to 3 s" in note for note in source.notes)
    assert np.unique(trace.arrival_s).size == len(trace)
    assert trace.block_ids is not None
    assert (trace.block_ids.size, np.unique(trace.block_ids).size) == (288_500, 182_790)
