"""Samples of simulated pods, whose histograms are made when somebody reads them.

Our core reads none, a journal all. Made at every scrape, their pairs of edge and count took a fifth of a long run.
"""

from dataclasses import fields
from typing import Any, TypeAlias

from autoscaler.core.signals import PodSample
from simulator.engine.records import TPOT_EDGES_S, TTFT_EDGES_S, Records, cumulative

Within: TypeAlias = tuple[tuple[float, float], ...]

_HISTOGRAMS = {"ttft_within": ("ttft_buckets", TTFT_EDGES_S), "tpot_within": ("tpot_buckets", TPOT_EDGES_S)}
"""By field of the sample: the engine's field, and its edges."""


class Histograms:
    """The histograms of the engines of one scrape: those of all are made when the first is asked for."""

    def __init__(self, engines: Records) -> None:
        """Keep REPLICA records that nobody writes to any more."""
        self._engines = engines
        self._made: dict[str, list[Within]] = {}

    def within(self, name: str, row: int) -> Within:
        """Return (edge, cumulative count) pairs of a row, without the last bucket: +Inf is the count itself."""
        if name not in self._made:
            field, edges_s = _HISTOGRAMS[name]
            counts = cumulative(self._engines[field])[:, :-1].astype(float).tolist()
            self._made[name] = [tuple(zip(edges_s, each, strict=True)) for each in counts]
        return self._made[name][row]


class ScrapedSample(PodSample):
    """A ``PodSample`` in all that is seen of it: it equals one, and is written and copied as one."""

    __slots__ = ("_histograms", "_row")
    _histograms: Histograms
    _row: int

    @classmethod
    def of(cls, histograms: Histograms, row: int, known: dict[str, Any]) -> "ScrapedSample":
        """Return the sample of a row; ``known`` holds all its fields but the histograms."""
        sample = cls(**known)
        object.__setattr__(sample, "_histograms", histograms)
        object.__setattr__(sample, "_row", row)
        for name in _HISTOGRAMS:
            # Without a value: who asks for it first comes to __getattr__.
            object.__delattr__(sample, name)
        return sample

    def __getattr__(self, name: str) -> Within:
        if name not in _HISTOGRAMS:
            raise AttributeError(name)
        within = self._histograms.within(name, self._row)
        object.__setattr__(self, name, within)
        return within

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PodSample) and _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))


def _values(sample: PodSample) -> tuple[object, ...]:
    return tuple(getattr(sample, field.name) for field in fields(PodSample))
