"""What became of the requests is counted as their senders see it, in whatever pieces it is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine.records import RequestStatus
from simulator.engine.results import RequestTable
from simulator.experiments.outcomes import LogHistogram, Promise, RequestTally
from tests.simulator.small_demo import told


def table(**columns: list[float]) -> RequestTable:
    """Return a table of requests that arrived at 0 and that it is second 100 of now."""
    size = len(columns["first_token_s"])
    return RequestTable(
        at_s=100.0,
        arrival_s=np.array(columns.get("arrival_s", [0.0] * size)),
        prompt_tokens=np.full(size, 10, dtype=np.int32),
        output_tokens=np.array(columns.get("output_tokens", [11] * size), dtype=np.int32),
        replica=np.zeros(size, dtype=np.int32),
        status=np.array(columns.get("status", [RequestStatus.FINISHED] * size), dtype=np.int8),
        first_token_s=np.array(columns["first_token_s"]),
        finish_s=np.array(columns["finish_s"]),
        preemptions=np.zeros(size, dtype=np.int16),
        retries=np.zeros(size, dtype=np.int8),
    )


def test_a_request_is_in_time_if_it_kept_both_promises() -> None:
    """First token within 2 s, and 10 more tokens within 0.5 s each: of these four, one kept both."""
    tally = RequestTally(Promise(ttft_s=2.0, tpot_s=0.5))
    tally.add(table(first_token_s=[1.0, 1.0, 3.0, 3.0], finish_s=[5.0, 9.0, 5.0, 20.0]))
    outcomes = tally.outcomes()
    assert (outcomes.requests, outcomes.ttft_in_time, outcomes.in_time) == (4, 2, 1)
    assert outcomes.attainment == 0.25


def test_a_refused_request_is_late_and_an_unfinished_one_counts_with_its_time_so_far() -> None:
    """One was refused, one waits for a second so far, one has waited for 100: only the second is still in time."""
    nan = float("nan")
    tally = RequestTally(Promise(ttft_s=2.0))
    tally.add(
        table(
            arrival_s=[0.0, 99.0, 0.0],
            status=[RequestStatus.REJECTED, RequestStatus.WAITING, RequestStatus.HELD],
            first_token_s=[nan, nan, nan],
            finish_s=[nan, nan, nan],
        )
    )
    outcomes = tally.outcomes()
    assert (outcomes.requests, outcomes.in_time, outcomes.refused, outcomes.unfinished) == (3, 1, 1, 2)


def test_the_opening_is_not_scored() -> None:
    """What arrived before the scored time is left out, however late it was."""
    tally = RequestTally(Promise(ttft_s=2.0), since_s=50.0)
    tally.add(table(arrival_s=[0.0, 60.0], first_token_s=[90.0, 61.0], finish_s=[95.0, 70.0]))
    assert (tally.outcomes().requests, tally.outcomes().attainment) == (1, 1.0)


def test_of_nothing_there_are_no_quantiles() -> None:
    """Missing is None and not 0."""
    assert RequestTally(Promise(ttft_s=2.0)).outcomes().ttft_p99_s is None


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_within_half_a_percent(values: list[float], probability: float) -> None:
    """The nearest rank of the values themselves, as exactly as the bins are wide."""
    histogram = LogHistogram()
    histogram.add(np.array(values))
    rank = max(1, int(np.ceil(probability * len(values))))
    assert histogram.quantile(probability) == pytest.approx(sorted(values)[rank - 1], rel=0.006)


def test_pieces_of_any_size_give_the_same() -> None:
    """A run's requests folded at once, and one by one in another order."""
    whole, parts = RequestTally(Promise(ttft_s=2.5, tpot_s=0.05)), RequestTally(Promise(ttft_s=2.5, tpot_s=0.05))
    requests = told(0).requests
    whole.add(requests)
    for part in (slice(1000, None), slice(0, 1000)):
        parts.add(rows(requests, part))
    assert whole.outcomes() == parts.outcomes()
    assert whole.outcomes().requests == len(requests)


def rows(requests: RequestTable, part: slice) -> RequestTable:
    """Return some of the rows."""
    names = [name for name in RequestTable.__slots__ if name != "at_s"]
    return RequestTable(at_s=requests.at_s, **{name: getattr(requests, name)[part] for name in names})
