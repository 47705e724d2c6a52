"""What Kubernetes' vectors (``vectors/hpa.yaml``) do not say in so many words, and its code does."""

import pytest

from simulator.baselines.hpa_metrics import Pods, of_pods
from simulator.baselines.hpa_rules import Tolerances


@pytest.mark.parametrize(
    ("ratio", "within"), [(1.0, True), (1.1, True), (0.9, True), (1.101, False), (0.899, False), (0.0, False)]
)
def test_both_edges_of_the_tolerance_are_inside(ratio: float, *, within: bool) -> None:
    """A ratio of exactly 0.9 or 1.1 is not acted on."""
    assert Tolerances().within(ratio) is within


def test_the_mean_is_cut_off_at_thousandths() -> None:
    """Values are milli-quantities and their mean is an integer division."""
    # 1.1001 counts as 1.101, and the mean of 1.10033 as 1.100: still within the tolerance.
    assert of_pods(Pods(values=(1.1001, 1.1, 1.1)), 1.0, 3, Tolerances()) == 3
    # The mean of 3.0005 counts as 3.000: no seventh pod.
    assert of_pods(Pods(values=(3.0, 3.001)), 1.0, 2, Tolerances()) == 6
