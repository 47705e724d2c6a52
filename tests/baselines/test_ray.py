"""Stories of the Ray Serve baseline: a mean that lags, and a delay that any doubt begins anew."""

from collections.abc import Iterable

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Signals
from simulator.baselines.ray_serve import RayMemory, RaySpec, decide
from simulator.baselines.sight import Bounds
from tests.baselines.pools_seen import T0, pool, replica

# A look-back of one loop and a push at each: what is ongoing now counts.
SPEC = RaySpec(target_ongoing=10.0, bounds=Bounds(least=1, most=50), look_back_s=2.0, push_s=2.0)


def after(spec: RaySpec, loads: Iterable[tuple[int, float]]) -> Decision:
    """Return the last decision over two replicas with so many requests from each second on, every two seconds."""
    memory, decision = RayMemory(), None
    for second, load in loads:
        memory, decision = decide(spec, memory, pool(second, [load, load]))
    assert decision is not None
    return decision


def test_it_acts_after_thirty_seconds_of_one_mind() -> None:
    """Forty requests against ten a replica: two more, when every decision of thirty seconds said so."""
    assert after(SPEC, ((second, 20.0) for second in range(0, 30, 2))).target == 2
    assert after(SPEC, ((second, 20.0) for second in range(0, 32, 2))).target == 4


def test_one_decision_the_other_way_begins_the_delay_anew() -> None:
    """Trap (g): a lull of one loop at second 28, and the replicas come thirty seconds after it."""
    loads = [(second, 8.0 if second == 28 else 20.0) for second in range(0, 62, 2)]
    assert after(SPEC, loads[:30]).target == 2
    assert after(SPEC, loads).target == 4


def test_the_pushed_mean_of_thirty_seconds_sees_a_burst_late() -> None:
    """With upstream's look-back and push, ten seconds after a burst began a third of it is known, and not yet all."""
    spec = RaySpec(target_ongoing=10.0, bounds=Bounds(least=1, most=50))
    loads = [(second, 10.0 if second < 30 else 40.0) for second in range(0, 42, 2)]
    assert 30.0 < after(spec, loads).numbers["ongoing"] < 50.0


def test_from_zero_a_held_request_starts_one_at_once() -> None:
    """No delay where nothing runs."""
    spec = RaySpec(target_ongoing=10.0, bounds=Bounds(least=0, most=50))
    _, decision = decide(spec, RayMemory(), pool(0, held=30.0, spec=0))
    assert decision.target == 1


def test_it_holds_until_something_was_pushed() -> None:
    """No handle and no replica has reported."""
    dark = Signals(at=T0, spec_replicas=3, replicas=tuple(map(replica, range(3))))
    _, decision = decide(SPEC, RayMemory(), dark)
    assert (decision.target, decision.why) == (3, Why.BLIND)
