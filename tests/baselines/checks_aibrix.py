"""Checks for the vectors of AIBrix' PodAutoscaler."""

from collections.abc import Mapping

from simulator.baselines.aibrix import AibrixSpec, Strategy, apa, kpa, stabilized
from simulator.baselines.sight import Bounds, PodsMetric
from tests.baselines.admission import Check, Vector

NOW = 1_700_000_000.0


def spec_of(vector: Vector, *, strategy: Strategy = Strategy.APA, intended: bool = False) -> AibrixSpec:
    """Return the autoscaler of a vector, with upstream's defaults where it says nothing."""
    return AibrixSpec(
        strategy=strategy,
        metric=PodsMetric.WAITING,
        target=vector.get("target", 1.0),
        bounds=Bounds(least=0, most=100),
        intended=intended,
        up_rate=vector.get("up_rate", 2.0),
        down_rate=vector.get("down_rate", 2.0),
        activation_scale=vector.get("activation", 1),
        up_cooldown_s=vector.get("up_s", 0.0),
        down_cooldown_s=vector.get("down_s", 300.0),
    )


def check_apa(vector: Vector) -> int:
    """Return APA's replicas."""
    return apa(spec_of(vector), vector["current"], vector["mean"])


def check_kpa(vector: Vector) -> int:
    """Return KPA's pods."""
    return kpa(
        spec_of(vector, strategy=Strategy.KPA),
        vector["current"],
        stable=vector["stable"],
        panic=vector["panic"],
        panicking=vector["panicking"],
        most=vector["most"],
    )


def bounds(vector: Vector) -> int:
    """Return replicas put within bounds."""
    return Bounds(least=vector["least"], most=vector["most"]).within(vector["replicas"])


def cooldown(vector: Vector) -> int:
    """Return what the cooldowns leave of a wish, as they were meant."""
    past = tuple((NOW - seconds, replicas) for replicas, seconds in vector["past"])
    spec = spec_of(vector, intended=True)
    return stabilized(spec, past, at=NOW, current=vector["current"], wished=vector["wished"])


CHECKS: Mapping[str, Check] = {"apa": check_apa, "kpa": check_kpa, "bounds": bounds, "intended-cooldown": cooldown}
