"""Traces made up, scaled and cut: the numbers that were asked for, and the same requests whatever the pieces."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cli import main
from simulator.traces import Source, Trace, TraceError, Traffic, in_memory, load_trace, open_trace
from simulator.traces.pieces import recut, taken
from simulator.traces.scaling import Scaling, copied, scaled, sliced
from simulator.traces.summary import summarise
from simulator.traces.synthetic import Change, LogNormal, Recipe, synthetic_traffic

PROMPT, ANSWER = LogNormal(p50=1000, p99=8000, longest=32_768), LogNormal(p50=100, p99=400, longest=1000)
CONVERSATIONS, CODE = load_trace("azure-conv-2023"), load_trace("azure-code-2023").slice(0.0, 900.0)


def recipe(**fields: object) -> Recipe:
    """Return a recipe for an hour at ten requests a second, with changes."""
    known: dict[str, object] = {"span_s": 3600.0, "rate_rps": 10.0, "prompt": PROMPT, "output": ANSWER}
    return Recipe(**{**known, **fields})  # type: ignore[arg-type]


def made(**fields: object) -> Trace:
    """Return a trace that was made up."""
    return in_memory(synthetic_traffic("t", recipe(**fields)))


def counts(trace: Trace, width_s: float) -> np.ndarray:
    """Return how many requests came in each whole window."""
    edges = np.arange(0, trace.span_s, width_s)
    return np.histogram(trace.arrival_s, bins=edges)[0]


def call(*arguments: object) -> Result:
    """Call a trace command in this process."""
    return CliRunner().invoke(main, ["trace", *map(str, arguments)])


@pytest.mark.parametrize("rate_rps", [2.0, 40.0])
@pytest.mark.parametrize("dispersion", [1.0, 5.0, 50.0])
def test_bursts_have_the_dispersion_that_was_asked_for(dispersion: float, rate_rps: float) -> None:
    """At the length of a burst it is D; at half of it about 1 + (D - 1) / 2."""
    trace = made(span_s=120_000.0, rate_rps=rate_rps, dispersion=dispersion, burst_s=60.0, seed=1)
    for width_s, want in ((60.0, dispersion), (30.0, 1 + (dispersion - 1) / 2)):
        n = counts(trace, width_s)
        assert n.var(ddof=1) / n.mean() == pytest.approx(want, rel=0.15)
        assert n.mean() == pytest.approx(rate_rps * width_s, rel=0.05)


def test_day_and_week_have_the_shape_that_was_asked_for() -> None:
    """Highest at 15:00, four times the lowest at 3:00; a quarter of it at the weekend."""
    trace = made(span_s=14 * 86_400.0, rate_rps=2.0, daily_ratio=4.0, weekend_ratio=0.25)
    hours = counts(trace, 3600.0)[: 14 * 24 - 1]
    hours = np.append(hours, hours[-24]).reshape(14, 24)
    weekdays, weekends = hours[[0, 1, 2, 3, 4, 7, 8, 9, 10, 11]], hours[[5, 6, 12, 13]]
    noon, night = weekdays[:, 14:16].mean(), weekdays[:, 2:4].mean()
    assert noon / night == pytest.approx(4.0, rel=0.05)
    assert weekends.mean() / weekdays.mean() == pytest.approx(0.25, rel=0.05)
    assert weekdays.mean() / 3600 == pytest.approx(2.0, rel=0.02)


def test_ramps_stay_and_jumps_end() -> None:
    """Three times as many after the ramp, half of that during the jump, exactly from and to its seconds."""
    trace = made(
        rate_rps=200.0,
        ramps=(Change(start_s=600, end_s=1200, ratio=3.0),),
        jumps=(Change(start_s=1830, end_s=2430, ratio=0.5),),
    )
    minutes = counts(trace, 30.0) / 30.0
    assert minutes[:20].mean() == pytest.approx(200, rel=0.03)
    assert minutes[29:31].mean() == pytest.approx(400, rel=0.05)
    assert minutes[41:61].mean() == pytest.approx(600, rel=0.03)
    assert minutes[61:81].mean() == pytest.approx(300, rel=0.03)
    assert minutes[81:].mean() == pytest.approx(600, rel=0.03)


def test_lengths_are_log_normal_with_the_given_quantiles() -> None:
    """Median and 99th percentile as asked for, none longer than the longest."""
    trace = made(rate_rps=100.0)
    assert np.median(trace.prompt_tokens) == pytest.approx(1000, rel=0.02)
    assert np.quantile(trace.prompt_tokens, 0.99) == pytest.approx(8000, rel=0.04)
    assert trace.output_tokens.max() == 1000


def test_a_seed_gives_the_same_requests_and_another_one_others() -> None:
    """And a longer trace begins with the shorter one's whole pieces."""
    one, same, other = (made(dispersion=3.0, seed=seed) for seed in (7, 7, 8))
    assert one.arrival_s.tobytes() == same.arrival_s.tobytes()
    assert one.prompt_tokens.tobytes() == same.prompt_tokens.tobytes()
    assert one.arrival_s.tobytes() != other.arrival_s.tobytes()
    longer = made(dispersion=3.0, seed=7, span_s=9000.0)
    assert np.array_equal(longer.arrival_s[: len(one)], one.arrival_s)


@pytest.mark.parametrize(
    "fields",
    [
        {"span_s": 0.0}, {"rate_rps": -1.0}, {"rate_rps": float("nan")}, {"daily_ratio": 0.5}, {"dispersion": 0.5},
        {"burst_s": 0.0}, {"weekend_ratio": -1.0}, {"jumps": (Change(start_s=5, end_s=5, ratio=1),)},
        {"ramps": (Change(start_s=1, end_s=5, ratio=-1),)}, {"prompt": LogNormal(p50=10, p99=5, longest=100)},
    ],
)  # fmt: skip
def test_a_recipe_without_sense_is_refused(fields: dict[str, object]) -> None:
    """In one sentence that says what must hold."""
    with pytest.raises(TraceError, match=r"must|smoother|need"):
        recipe(**fields)


def test_a_rate_of_almost_nothing_makes_no_trace() -> None:
    """An empty trace would be found out only by whoever replays it."""
    with pytest.raises(TraceError, match="no request comes of so low a rate"):
        synthetic_traffic("t", recipe(rate_rps=1e-9))


def source_of(trace: Trace, *, piece_requests: int = 1000) -> Source:
    """Return a trace as a source."""
    return Source(
        traffic=Traffic.of(trace, piece_requests=piece_requests),
        form="azure",
        requests=len(trace),
        block_tokens=trace.block_tokens,
    )


def with_blocks(trace: Trace) -> Trace:
    """Return the trace with two prefix blocks a request, the first one shared by all."""
    ids = np.stack([np.zeros(len(trace)), np.arange(1, len(trace) + 1)], axis=1).astype(np.int64).ravel()
    return replace(trace, block_offsets=np.arange(len(trace) + 1) * 2, block_ids=ids, block_tokens=16)


@settings(max_examples=40, deadline=None)
@given(
    copies=st.integers(1, 4), jitter_s=st.sampled_from([0.0, 5.0, 30.0, 400.0]), seed=st.integers(0, 9),
    piece=st.sampled_from([7, 100, 100_000]),
)  # fmt: skip
def test_copies_laid_over_one_another_are_so_many_times_the_requests(
    copies: int, jitter_s: float, seed: int, piece: int
) -> None:
    """In order, within the span, with pairs of lengths that exist, and the same however the trace is cut."""
    trace = CODE
    scaling = Scaling(ratio=float(copies), jitter_s=jitter_s, seed=seed)
    laid = in_memory(scaled(source_of(trace, piece_requests=piece), scaling).traffic)
    again = in_memory(scaled(source_of(trace), scaling).traffic)
    assert len(laid) == copies * len(trace)
    assert laid.span_s <= trace.span_s
    assert np.array_equal(laid.arrival_s, again.arrival_s)
    pairs = set(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))
    assert set(zip(laid.prompt_tokens.tolist(), laid.output_tokens.tolist(), strict=True)) <= pairs


def test_copies_keep_the_shape_over_minutes() -> None:
    """Three times as much in every five minutes, within what the jitter moves."""
    source = open_trace("azure-conv-2023")
    one, three = (counts(in_memory(each.traffic), 300.0) for each in (source, scaled(source, Scaling(ratio=3.0))))
    assert three / one == pytest.approx(np.full(one.size, 3.0), rel=0.05)


def test_every_copy_has_blocks_of_its_own() -> None:
    """Copies of one conversation are other conversations: reuse stays what it was."""
    trace = with_blocks(CODE)
    one, three = (summarise(each.traffic) for each in (source_of(trace), scaled(source_of(trace), Scaling(ratio=3.0))))
    assert one.reuse is not None
    assert three.reuse is not None
    assert (three.reuse.blocks, three.reuse.distinct) == (3 * one.reuse.blocks, 3 * one.reuse.distinct)
    laid = in_memory(scaled(source_of(trace), Scaling(ratio=3.0)).traffic)
    assert laid.block_ids is not None
    request = laid.block_ids.reshape(-1, 2)[:, 1] // 3 - 1
    assert np.array_equal(laid.prompt_tokens, trace.prompt_tokens[request])


@pytest.mark.parametrize("in_pieces", [False, True])
def test_copies_for_a_run_keep_blocks_and_lengths_together(in_pieces: bool) -> None:
    """What `--copies` lays over one another, in memory or in pieces: a prompt's blocks are its own."""
    trace = with_blocks(load_trace("azure-code-2023").slice(0.0, 600.0))
    laid = copied(Traffic.of(trace) if in_pieces else trace, 3, 5)
    laid = in_memory(laid) if isinstance(laid, Traffic) else laid
    assert laid.block_ids is not None
    assert laid.block_tokens == trace.block_tokens
    copies, request = laid.block_ids.reshape(-1, 2)[:, 1] % 3, laid.block_ids.reshape(-1, 2)[:, 1] // 3 - 1
    assert np.bincount(copies).tolist() == [len(trace)] * 3
    assert np.array_equal(laid.prompt_tokens, trace.prompt_tokens[request])
    assert np.unique(laid.block_ids).size == 3 * np.unique(trace.block_ids).size  # type: ignore[arg-type]


def test_a_fraction_thins_and_says_so() -> None:
    """About so many are kept, and what is kept is less bursty: D becomes 1 + p (D - 1)."""
    trace = made(span_s=200_000.0, dispersion=20.0)
    thin = scaled(source_of(trace), Scaling(ratio=0.25))
    assert any("kept with probability 0.25" in note for note in thin.notes)
    kept = in_memory(thin.traffic)
    assert len(kept) / len(trace) == pytest.approx(0.25, rel=0.01)
    n = counts(kept, 60.0)
    assert n.var() / n.mean() == pytest.approx(1 + 0.25 * 19, rel=0.15)
    assert set(kept.arrival_s) <= set(trace.arrival_s)


def test_a_factor_between_is_copies_thinned() -> None:
    """2.5 is three copies of which five sixths are kept."""
    other = scaled(open_trace("azure-conv-2023"), Scaling(ratio=2.5))
    assert [note.split(",")[0] for note in other.notes] == [
        "3 copies laid over one another",
        "thinned: each request kept with probability 0.8333 (seed 0)",
    ]
    assert len(in_memory(other.traffic)) == pytest.approx(2.5 * 19_366, rel=0.01)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), 1e9])
def test_a_senseless_factor_is_refused(ratio: float) -> None:
    """Nothing, less than nothing, or beyond what fits anywhere."""
    with pytest.raises(TraceError, match="cannot scale by"):
        scaled(open_trace("azure-code-2023"), Scaling(ratio=ratio))


@settings(max_examples=20, deadline=None)
@given(start_s=st.floats(0, 3000), length_s=st.floats(30, 2000), piece=st.sampled_from([50, 1000, 100_000]))
def test_a_part_is_what_slicing_the_whole_gives(start_s: float, length_s: float, piece: int) -> None:
    """The same requests, moved to the part's start."""
    trace = CONVERSATIONS
    part = in_memory(sliced(source_of(trace, piece_requests=piece), start_s, start_s + length_s).traffic)
    whole = trace.slice(start_s, start_s + length_s)
    assert np.array_equal(part.arrival_s, whole.arrival_s)
    assert np.array_equal(part.output_tokens, whole.output_tokens)


def test_parts_follow_one_another_without_loss() -> None:
    """Cut in two, every request is in one of them, the last one too."""
    source = open_trace("azure-code-2023")
    first, second = sliced(source, 0.0, 1000.0), sliced(source, 1000.0, None)
    assert len(in_memory(first.traffic)) + len(in_memory(second.traffic)) == 8819


def test_requests_are_taken_with_their_blocks() -> None:
    """Any rows in any order: times are given, lengths and blocks come along."""
    trace = with_blocks(load_trace("azure-code-2023").slice(0.0, 300.0))
    rows = np.array([5, 2, 2, 9])
    some = taken(trace, rows, np.arange(4.0))
    assert some.block_ids is not None
    assert some.block_ids.reshape(-1, 2)[:, 1].tolist() == (rows + 1).tolist()
    assert some.prompt_tokens.tolist() == trace.prompt_tokens[rows].tolist()


@settings(max_examples=30, deadline=None)
@given(before=st.integers(1, 400), after=st.integers(1, 400))
def test_pieces_can_be_cut_anew(before: int, after: int) -> None:
    """The same requests in pieces of exactly so many."""
    trace = CODE
    pieces = list(recut(trace.pieces(before), after))
    assert all(len(piece) == after for piece in pieces[:-1])
    assert np.array_equal(np.concatenate([piece.arrival_s for piece in pieces]), trace.arrival_s)


def test_the_commands_write_what_they_say(tmp_path: Path) -> None:
    """Make, scale to a rate, take a part: each a new file of our own form with notes on how it came about."""
    made_up, busier, part = (tmp_path / f"{name}.parquet" for name in ("made", "busier", "part"))
    steps = (
        ("make", made_up, "--for", "1h", "--rate", 4, "--dispersion", 3, "--jump", "10m:20m:2"),
        ("scale", made_up, busier, "--rate", "20", "--seed", 3),
        ("slice", busier, part, "--from", "10m", "--to", "0.5h"),
    )
    for step in steps:
        done = call(*step)
        assert done.exit_code == 0, done.output
    source = open_trace(part)
    assert len(source.notes) == 4
    assert "made up: span_s 3600, rate_rps 4, dispersion 3, jumps × 2 from 600 to 1200 s" in source.notes[0]
    found = summarise(open_trace(busier).traffic)
    assert found.mean_rps == pytest.approx(20.0, rel=0.03)
    assert source.traffic.span_s == pytest.approx(1200.0, abs=1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("make", "OUT", "--for", "soon"), "soon is no time; give"),
        (("make", "OUT", "--jump", "1h:2h"), "1h:2h is no change; give"),
        (("make", "OUT", "--rate", "0"), "the rate (--rate) must be above 0"),
        (("make", "OUT.txt"), "its ending says no form; end it"),
        (("scale", "azure-code-2023", "OUT"), "give one of --factor and --rate"),
        (("scale", "azure-code-2023", "OUT", "--factor", "1", "--rate", "1"), "give one of --factor and --rate"),
        (("scale", "azure-code-2023", "OUT", "--factor", "0"), "cannot scale by 0; give"),
        (("slice", "azure-code-2023", "OUT", "--from", "2h"), "no request between"),
        (("slice", "azure-code-2023", "OUT", "--from", "20m", "--to", "10m"), "no request between"),
        (("slice", "azure-code-2023", "OUT", "--from", "60", "--to", "61"), "no request in it; nothing was written"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 1 or 2, one line, and no file."""
    done = call(*(str(tmp_path / f"x.parquet{each[3:]}") if each.startswith("OUT") else each for each in arguments))
    assert done.exit_code in {1, 2}, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["make", "scale", "slice"])
def test_help_teaches_by_example(command: str) -> None:
    """Each command's help has a line to copy."""
    assert f"simulator trace {command} " in call(command, "--help").output
