"""ServeGen's tables of clients: counts that are exact, distances of the named shape, lengths of the named quantiles."""

import csv
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.traces import Reading, TraceError, in_memory, open_trace
from simulator.traces.servegen import client_traffic, read_rates
from simulator.traces.servegen_lengths import read_lengths
from simulator.traces.summary import summarise

SHARED = Path(__file__).resolve().parents[3] / "shared" / "traces"
shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared folder with other traces is not beside this checkout"
)

COLUMNS = ("client", "start_s", "rate_rps", "is_weibull", "shape")
RATES = "client_id,window_start_s,rate_rps,iat_cv,iat_dist,dist_p1,dist_p2\n"
LENGTHS = (
    "client_id,window_start_s,input_mean,input_p10,input_p50,input_p90,input_p99,"
    "output_mean,output_p10,output_p50,output_p90,output_p99\n"
)
ONE_CLIENT = LENGTHS + "0,0,428,238,275,380,4826,147,57,73,196,1857\n"


def tables(folder: Path, rates: str, lengths: str = ONE_CLIENT) -> Path:
    """Return the table of rates of a pair of tables that lie beside each other."""
    path = folder / "x_rates.csv"
    path.write_text(RATES + rates, encoding="utf-8")
    (folder / "x_lengths.csv").write_text(lengths, encoding="utf-8")
    return path


def test_each_client_sends_as_many_requests_as_its_rate_says(tmp_path: Path) -> None:
    """Exactly, in each window; a gap in the collection stays empty and is told."""
    rows = "0,0,0.5,3,Gamma,0.1,9\n1,0,0.25,3,Weibull,0.5,9\n0,600,1.5,1,Gamma,1.0,1\n1,2400,0.1,2,Weibull,0.4,1\n"
    source = open_trace(tables(tmp_path, rows))
    trace = in_memory(source.traffic)
    counts = np.histogram(trace.arrival_s, bins=np.arange(6) * 600.0)[0]
    assert counts.tolist() == [300 + 150, 900, 0, 0, 60]
    assert (source.form, source.requests, source.traffic.span_s) == ("servegen", 1410, trace.span_s)
    assert any("2 windows without any client are gaps" in note for note in source.notes)


@pytest.mark.parametrize(
    ("distribution", "shape", "cv"), [("Gamma", 0.25, 2.0), ("Weibull", 0.5, np.sqrt(5.0)), ("Gamma", 4.0, 0.5)]
)
def test_distances_have_the_shape_of_the_named_distribution(
    tmp_path: Path, distribution: str, shape: float, cv: float
) -> None:
    """CV = 1/√k for Gamma, √(Γ(1+2/k)/Γ(1+1/k)² − 1) for Weibull, whatever the scale in the table."""
    trace = in_memory(open_trace(tables(tmp_path, f"0,0,500,1,{distribution},{shape},123\n")).traffic)
    distances = np.diff(trace.arrival_s)
    assert distances.std() / distances.mean() == pytest.approx(cv, rel=0.02)
    assert distances.mean() == pytest.approx(1 / 500, rel=1e-3)


def test_lengths_have_the_quantiles_and_the_mean_of_the_table(tmp_path: Path) -> None:
    """p10, p50, p90 and p99 are kept, and the tail is as long as the mean needs."""
    found = in_memory(open_trace(tables(tmp_path, "0,0,500,1,Gamma,1,1\n")).traffic)
    for lengths, mean, quantiles in (
        (found.prompt_tokens, 428, (238, 275, 380, 4826)),
        (found.output_tokens, 147, (57, 73, 196, 1857)),
    ):
        assert np.quantile(lengths, (0.1, 0.5, 0.9, 0.99)) == pytest.approx(quantiles, rel=0.03)
        assert lengths.mean() == pytest.approx(mean, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(
    p10=st.integers(0, 500),
    more=st.tuples(st.integers(0, 500), st.integers(0, 5000), st.integers(0, 50_000)),
    mean=st.floats(0, 20_000),
)
def test_any_quantiles_give_lengths(
    tmp_path_factory: pytest.TempPathFactory, p10: int, more: tuple[int, int, int], mean: float
) -> None:
    """Zeros, equal quantiles, and a mean that they cannot have: lengths of 1 or more that never fall."""
    quantiles = np.cumsum([p10, *more])
    side = ",".join(map(str, (mean, *quantiles)))
    path = tmp_path_factory.mktemp("lengths") / "l.csv"
    path.write_text(f"{LENGTHS}0,0,{side},{side}\n")
    table = read_lengths(path)
    assert np.all(np.isfinite(table.log_lengths))
    assert np.all(np.diff(table.log_lengths, axis=2) >= -1e-12)
    prompt, _ = table.draw(np.random.default_rng(0), np.zeros(100, dtype=np.int64), 0)
    assert prompt.min() >= 1


def test_a_client_without_lengths_has_those_of_the_others_at_that_time(tmp_path: Path) -> None:
    """The published table lacks the busiest clients; a made up length would be worse than their neighbours'."""
    lengths = ONE_CLIENT + "5,0,9000,9000,9000,9000,9000,1,1,1,1,1\n"
    rates = "0,0,3,1,Gamma,1,1\n5,0,1,1,Gamma,1,1\n7,0,10,1,Gamma,1,1\n"
    trace = in_memory(open_trace(tables(tmp_path, rates, lengths)).traffic)
    assert np.mean(trace.prompt_tokens == 9000) == pytest.approx(0.25, abs=0.02)


def test_lengths_change_every_six_hours(tmp_path: Path) -> None:
    """A client's row holds from its start to its next one; before the first, the first."""
    lengths = LENGTHS + "0,21600,10,10,10,10,10,1,1,1,1,1\n0,43200,20,20,20,20,20,2,2,2,2,2\n"
    rates = "".join(f"0,{start},0.1,1,Gamma,1,1\n" for start in (0, 21600, 42600, 43200))
    trace = in_memory(open_trace(tables(tmp_path, rates, lengths)).traffic)
    assert trace.prompt_tokens.tolist() == [10] * 180 + [20] * 60


def test_a_window_is_the_same_whichever_came_before(tmp_path: Path) -> None:
    """Each window has its own stream of draws from (seed, start), so a part of a trace is a part of the whole."""
    first, second = "0,0,0.5,3,Gamma,0.1,9\n", "0,600,0.5,3,Gamma,0.1,9\n"
    path = tables(tmp_path, first + second)
    windows, lengths = read_rates("t", path), read_lengths(tmp_path / "x_lengths.csv")
    both = in_memory(client_traffic("t", windows, lengths, seed=4))
    again = in_memory(client_traffic("t", windows, lengths, seed=4))
    other = in_memory(client_traffic("t", windows, lengths, seed=5))
    path.write_text(RATES + second)
    alone = in_memory(client_traffic("t", read_rates("t", path), lengths, seed=4))
    assert np.array_equal(both.arrival_s, again.arrival_s)
    assert not np.array_equal(both.arrival_s, other.arrival_s)
    assert np.allclose(both.slice(600, 1300).arrival_s, alone.arrival_s)


def test_busier_clients_keep_their_shape(tmp_path: Path) -> None:
    """Thinning would make traffic smoother and copies would add clients: here each client sends more often."""
    source = open_trace(tables(tmp_path, "0,0,50,1,Gamma,0.25,1\n"))
    assert source.at_ratio is not None
    busier = source.at_ratio(10.0)
    distances = np.diff(in_memory(busier.traffic).arrival_s)
    assert busier.requests == 300_000
    assert distances.std() / distances.mean() == pytest.approx(2.0, rel=0.03)
    assert any("10 times as often" in note for note in busier.notes)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ("0,0,1,1,Poisson,1,1\n", 'line 2: iat_dist "Poisson" is not known; give Gamma or Weibull'),
        ("0,0,-1,1,Gamma,1,1\n", "line 2: a negative time or rate"),
        ("0,0,1,1,Gamma,0,1\n", "line 2: a negative time or rate, or a shape below"),
        ("0,0,1,1,Gamma,1,1\n0,0,1,1,Gamma,1,1\n", "line 3: client 0 is there twice"),
        ("0,0,one,1,Gamma,1,1\n", "line 2: no row of a table of rates"),
        ("0,0\n", "line 2: no row of a table of rates (fewer fields"),
        ("0,0,0,1,Gamma,1,1\n", "no window with a request"),
        ("", "no window with a request"),
    ],
)
def test_a_table_with_an_error_is_one_sentence(tmp_path: Path, rates: str, words: str) -> None:
    """File, line, remedy."""
    with pytest.raises(TraceError) as caught:
        open_trace(tables(tmp_path, rates))
    assert words in str(caught.value)
    assert ";" in str(caught.value)


def test_the_table_of_lengths_is_found_or_asked_for(tmp_path: Path) -> None:
    """Beside the table of rates, or where --lengths says."""
    path = tables(tmp_path, "0,0,1,1,Gamma,1,1\n")
    moved = (tmp_path / "x_lengths.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(TraceError, match=r"no table of lengths at .*x_lengths\.csv; put it there, or .* --lengths"):
        open_trace(path)
    assert open_trace(path, Reading(lengths=moved)).requests == 600
    moved.write_text(LENGTHS + "0,0,-1,1,1,1,1,1,1,1,1,1\n")
    with pytest.raises(TraceError, match="line 2: a negative or endless number"):
        open_trace(path, Reading(lengths=moved))


@shared
@pytest.mark.parametrize(
    ("model", "millions", "mean_rps", "gaps"), [("m-large", 236.9, 195.8, 0), ("m-mid", 2165, 1790, 84)]
)
def test_the_published_tables_are_read_whole(model: str, millions: float, mean_rps: float, gaps: int) -> None:
    """Requests, mean rate and gaps as they are known of the two tables."""
    source = open_trace(SHARED / f"servegen_{model}_rates.csv.gz")
    assert source.requests is not None
    assert source.requests / 1e6 == pytest.approx(millions, rel=1e-3)
    assert source.requests / (14 * 86_400) == pytest.approx(mean_rps, rel=1e-3)
    assert any(f"{gaps} windows" in note for note in source.notes) == (gaps > 0)


@shared
def test_two_weeks_at_a_fraction_have_the_known_lengths_and_are_bursty() -> None:
    """Small clients keep their share by chance, the mean lengths are the weighted ones, and nothing is Poisson."""
    whole = open_trace(SHARED / "servegen_m-large_rates.csv.gz")
    assert whole.at_ratio is not None
    source = whole.at_ratio(0.01)
    found = summarise(source.traffic)
    assert found.requests == source.requests
    assert found.requests == pytest.approx(2_368_928, rel=2e-3)
    assert found.prompt.mean == pytest.approx(914, rel=0.05)
    assert found.output.mean == pytest.approx(155, rel=0.10)
    assert found.interarrival_cv is not None
    assert found.interarrival_cv > 1.2
    assert all(window.dispersion is not None and window.dispersion > 1.3 for window in found.windows)
    assert found.windows[-1].peak_over_mean == pytest.approx(2.98, rel=0.03)


@shared
def test_the_clients_distances_are_as_bursty_as_the_table_says() -> None:
    """The median of the windows' CV is 1.17, and the named distributions have it too."""
    path = SHARED / "servegen_m-large_rates.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        told = {
            (int(row["window_start_s"]), int(row["client_id"])): float(row["iat_cv"]) for row in csv.DictReader(file)
        }
    windows = read_rates("m-large", path)
    lengths = read_lengths(SHARED / "servegen_m-large_lengths.csv.gz")
    assert np.median(list(told.values())) == pytest.approx(1.17, abs=0.005)
    drawn, measured = [], []
    for row in np.random.default_rng(0).choice(np.flatnonzero(windows.requests(0) > 1000), 300, replace=False):
        one = slice(row, row + 1)
        alone = replace(windows, **{name: getattr(windows, name)[one] for name in COLUMNS})
        distances = np.diff(in_memory(client_traffic("one", alone, lengths, seed=0)).arrival_s)
        drawn.append(distances.std() / distances.mean())
        measured.append(told[int(windows.start_s[row]), int(windows.client[row])])
    # The fitted distributions have a little less of the longest distances than was measured.
    assert np.median(np.array(drawn) / measured) == pytest.approx(1.0, abs=0.03)
