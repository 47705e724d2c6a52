"""Start-up by phase: distributions, and the same luck under every autoscaler."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.startup.distributions import Distribution, Empirical, Fixed, LogNormal, uniforms
from simulator.startup.phases import PhasedStartup
from tests.simulator.simulated_pools import engine

WARMUP = LogNormal(median_s=30.0, sigma=0.4)


def test_the_third_replica_takes_the_same_under_every_autoscaler() -> None:
    """One scales up at 0 s by three, the other one by one, later: replica 2 takes the same for each phase."""
    startup = PhasedStartup(schedule=Fixed(seconds=2.0), load=LogNormal(median_s=60.0, sigma=0.3), warmup=WARMUP)
    eager = Cluster(profile=engine(), startup=startup, seed=3)
    eager.set_replicas(3)
    slow = Cluster(profile=engine(), startup=startup, seed=3)
    for count in (1, 2, 3):
        slow.advance(40.0 * count)
        slow.set_replicas(count)
    for cluster in (eager, slow):
        cluster.advance(2000.0)
    lives = [cluster.history()[2] for cluster in (eager, slow)]
    phases = [(life["loaded_s"] - life["ordered_s"], life["ready_s"] - life["loaded_s"]) for life in lives]
    assert phases[0] == pytest.approx(phases[1], abs=1e-9)


def test_changing_one_phase_leaves_the_luck_of_the_others() -> None:
    """With another load the warm-up of each replica stays as it was, and a slow load stays slow."""
    one, two = (PhasedStartup(load=LogNormal(median_s=median, sigma=0.3), warmup=WARMUP) for median in (60.0, 120.0))
    for replica_id in range(20):
        before, after = (startup.draw(seed=1, replica_id=replica_id) for startup in (one, two))
        assert after.warmup_s == before.warmup_s
        assert after.load_s == pytest.approx(2 * before.load_s)


def test_phases_of_a_recording_come_from_one_and_the_same_start() -> None:
    """No draw mixes the slow load of one start with the quick pull of another."""
    rows = [(1.0, 10.0, 20.0, 30.0), (2.0, 90.0, 80.0, 70.0), (3.0, 5.0, 6.0, 7.0)]
    columns = [Empirical(samples_s=column) for column in zip(*rows, strict=True)]
    startup = PhasedStartup(schedule=columns[0], pull=columns[1], load=columns[2], warmup=columns[3])
    draws = [startup.draw(seed=0, replica_id=replica_id) for replica_id in range(60)]
    found = {(times.schedule_s, times.pull_s, times.load_s, times.warmup_s) for times in draws}
    assert found == set(rows)


@given(
    distribution=st.one_of(
        st.builds(Fixed, seconds=st.floats(0, 1e4)),
        st.builds(LogNormal, median_s=st.floats(0, 1e4), sigma=st.floats(0, 2)),
        st.builds(Empirical, samples_s=st.lists(st.floats(0, 1e4), min_size=1).map(tuple)),
    ),
    u=st.floats(0, 1, exclude_max=True),
)
def test_a_duration_is_never_negative_and_never_endless(distribution: Distribution, u: float) -> None:
    """Also at the very ends of [0, 1)."""
    assert 0 <= distribution.at(u) < np.inf


def test_a_log_normal_has_its_median_and_its_spread() -> None:
    """Of 4,000 draws, by different keys, the median and the deviation of the logarithm are as given."""
    logs = np.log([WARMUP.at(*uniforms("test", number)) for number in range(4000)])
    assert np.median(logs) == pytest.approx(np.log(30.0), abs=0.02)
    assert np.std(logs) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("make", [
    lambda: Fixed(seconds=-1.0), lambda: LogNormal(median_s=float("nan"), sigma=0.1), lambda: Empirical(samples_s=()),
    lambda: Empirical(samples_s=(1.0, -2.0)),
])  # fmt: skip
def test_a_duration_that_cannot_be_is_refused(make: object) -> None:
    """Negative, not a number, or nothing recorded."""
    assert callable(make)
    with pytest.raises(ValueError, match=r"give 0 or more|nothing was recorded"):
        make()
