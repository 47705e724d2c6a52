"""Memory is flat in the length of a trace, held by processes that read one of either length."""

from pathlib import Path

import pytest

from benchmarks.trace_memory import GROWTH_MOST, growth, measured


@pytest.mark.parametrize(("suffix", "requests"), [(".parquet", 300_000), (".csv", 100_000)])
def test_ten_times_the_requests_take_no_more_memory(tmp_path: Path, suffix: str, requests: int) -> None:
    """A file is read in pieces: what is held are sums and one piece, whatever comes after."""
    few, many = (measured(tmp_path, number, suffix) for number in (requests, 10 * requests))
    assert many.requests > 9 * few.requests
    assert growth(few, many) <= GROWTH_MOST
