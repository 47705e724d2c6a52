"""docs/peers.md says what the vectors say."""

from docs.peers import ADMITTED, BOUNDS, PAGE, page
from simulator.baselines.peers import PEERS
from tests.baselines.admission import PEERS as WITH_VECTORS
from tests.baselines.admission import admission


def test_the_page_is_current() -> None:
    """After a change of vectors, essays or settings: python -m docs.peers."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_page_has_every_peer_but_ours() -> None:
    """Each under the name that the command line knows."""
    named = {name for names, _ in ADMITTED.values() for name in names} | set(BOUNDS)
    assert named == set(PEERS) - {"ours"}
    assert tuple(ADMITTED) == WITH_VECTORS


def test_every_peer_says_what_it_leaves_out_or_where_it_differs() -> None:
    """And names its upstream."""
    for _, module in ADMITTED.values():
        essay = module.__doc__ or ""
        assert "Upstream:" in essay
        assert "What is reproduced" in essay
        assert "Left out:" in essay or "Where it differs" in essay


def test_a_dozen_vectors_admit_a_peer_that_claims_to_be_one() -> None:
    """The Dynamo-like planner does not claim to be Dynamo: six are all that its project's tests give as numbers."""
    for peer in WITH_VECTORS:
        assert len(admission(peer).cases) >= 12 or peer == "dynamo"
