"""Every peer is admitted by vectors of its upstream project."""

import pytest

from tests.baselines.admission import PEERS, Case, admission

CASES = [case for peer in PEERS for case in admission(peer).cases]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.peer}-{case.name}" for case in CASES])
def test_a_peer_gives_what_its_upstream_expects(case: Case) -> None:
    """Input and expected outcome are the upstream project's own; see the peer's file in vectors/."""
    assert case.found() == case.vector["expect"]
