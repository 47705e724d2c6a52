"""The pre-warm pool: what is ordered above present need, and the policy's bounds on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core import prewarm
from autoscaler.core.capacity import Need
from autoscaler.core.decision import Why
from autoscaler.core.policy_parts import Prewarm


def need(replicas: float, why: Why = Why.BURST) -> Need:
    """Return a need of so many replicas."""
    return Need(replicas=replicas, why=why, terms=())


def test_without_bounds_the_order_is_the_need_ahead() -> None:
    """There is no pool to size: it is what need(D_q) is above need(level)."""
    pool = prewarm.size(Prewarm(), need(2.2), need(5.0))
    assert (pool.order, pool.why, pool.terms) == (5.0, Why.BURST, ())
    assert pool.pool == pytest.approx(2.8)


@pytest.mark.parametrize(
    ("bounds", "ahead", "order", "why"),
    [
        pytest.param(Prewarm(min=3), 3.0, 5.0, Why.PREWARM_MIN, id="too few"),
        pytest.param(Prewarm(min=1, max=2), 9.0, 4.0, Why.PREWARM_MAX, id="too many"),
        pytest.param(Prewarm(max=0), 2.5, 2.0, Why.PREWARM_MAX, id="no pool at all"),
        pytest.param(Prewarm(min=1, max=2), 3.5, 3.5, Why.BURST, id="within"),
        pytest.param(Prewarm(min=1, max=2), 3.0, 3.0, Why.BURST, id="exactly the least binds nothing"),
        pytest.param(Prewarm(min=1, max=2), 4.0, 4.0, Why.BURST, id="exactly the most binds nothing"),
        pytest.param(Prewarm(), 1.2, 1.2, Why.BURST, id="fewer than now may be forecast where no least is asked"),
    ],
)
def test_bounds_clamp_the_pool_and_the_one_that_bound_is_named(
    bounds: Prewarm, ahead: float, order: float, why: Why
) -> None:
    """Two replicas are needed now; the pool is held between min and max above them."""
    pool = prewarm.size(bounds, need(2.0), need(ahead))
    assert (pool.order, pool.why) == (order, why)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 50), st.integers(0, 50))
def test_the_pool_stays_within_its_bounds(present: float, ahead: float, low: int, more: int) -> None:
    """Whatever the forecast says: min ≤ pool ≤ max."""
    pool = prewarm.size(Prewarm(min=low, max=low + more), need(present), need(ahead)).pool
    assert low - 1e-6 <= pool <= low + more + 1e-6


@pytest.mark.parametrize(("replicas", "whole"), [(0.0, 0), (0.05, 0), (0.06, 1), (3.05, 3), (3.06, 4), (-1.0, 0)])
def test_a_twentieth_of_a_replica_is_forgiven(replicas: float, whole: int) -> None:
    """Rounded up, but not for the sake of 0.05 of a replica."""
    assert prewarm.whole(replicas) == whole


def test_held_is_what_the_target_is_above_present_need() -> None:
    """Of six replicas three serve the need of 2.4, and three are held."""
    assert prewarm.held(6, need(2.4)) == 3
    assert prewarm.held(2, need(2.4)) == 0
