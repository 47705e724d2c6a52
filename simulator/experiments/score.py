"""The score of a run, from its journal and from nothing else.

TTFT quantiles come from the engines' own histograms: the bucket in which one lies is measured, the place inside it is
not. ``histogram_quantile`` of Prometheus draws a straight line there, which in the wide buckets of a long tail can be
far off (1318 s in 640–2560 s, where 731 s was true), so the edges are kept. They are of the first tokens that came:
requests that still wait when the journal ends are in no bucket. In the attainment those count as late. What a replica
counted between its last scrape and its end is seen by nobody, here as in production: requests that finish in the last
seconds of a drain are missing from counts, quantiles and attainment alike.

A request *waited for a cold start* if its first token came later than the objective in a tick during which a replica
was starting: it would have been in time on capacity that was already paid for.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import PodSample, Presence, ReplicaState
from autoscaler.footprint.ledger import Line
from autoscaler.footprint.states import terms_of
from autoscaler.journal import Entry
from autoscaler.report import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile as a histogram knows it, in seconds: between two edges, ``high_s`` None beyond the last one.

    ``linear_s`` is the point on a straight line between the edges, None where there is no upper one.
    """

    low_s: float
    high_s: float | None
    linear_s: float | None

    @property
    def is_wide(self) -> bool:
        """Whether the upper edge is twice the lower one or more, so that a point between them would be a guess."""
        return self.high_s is None or self.high_s >= 2 * self.low_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a run came to.

    Latencies are ``None`` without requests. ``requests`` are first tokens
    and those that still waited for one; the attainments are ``None`` where there were none: a trace that is shorter
    than the opening has nothing after it. ``coldstarts`` came to their end: a replica that was taken away while it
    started is in the ledger's warming time and not among them.
    """

    name: str
    requests: float
    ttft_p50: Quantile | None
    ttft_p95: Quantile | None
    ttft_p99: Quantile | None
    attainment: float | None
    settled_attainment: float | None
    waited_for_coldstart: float
    coldstarts: int
    ledger: Line

    @property
    def accelerator_hours(self) -> float:
        """Accelerator-hours held, in whatever state."""
        return self.ledger.total_ms / 3_600_000

    @property
    def cost_usd(self) -> float | None:
        """Price of what was held, ``None`` if no price is known."""
        return None if self.ledger.cost_usd is None else float(self.ledger.cost_usd)


class FirstTokens:
    """First-token counts over every pod there ever was: ``counted`` in all, ``in_time`` within the objective.

    Where the objective is no edge of the histogram, the next lower edge is taken: never more than were in time.
    """

    def __init__(self, objective_s: float) -> None:
        self.objective_s = objective_s
        self.counted = 0.0
        self.in_time = 0.0
        self._newest: dict[str, PodSample] = {}
        self._ended: list[PodSample] = []
        """The last samples before counters began at 0 again: an engine that crashed has served what it has served."""

    def add(self, samples: Iterable[PodSample]) -> None:
        """Take the newest sample of each pod; one that is not present, or has no such count, tells nothing."""
        for sample in samples:
            before = self._newest.get(sample.pod)
            if sample is before or sample.presence is not Presence.PRESENT or sample.ttft_count is None:
                continue
            if before is not None and sample.ttft_count < (before.ttft_count or 0.0):
                self._ended.append(before)
                before = None
            # Counts are whole numbers far below 2^53, so running totals are exact.
            self.counted += sample.ttft_count - (before.ttft_count or 0.0 if before else 0.0)
            self.in_time += self._within(sample) - (self._within(before) if before else 0.0)
            self._newest[sample.pod] = sample

    def quantile(self, probability: float) -> Quantile | None:
        """Return a TTFT quantile of all that was counted; None of nothing."""
        edges: dict[float, float] = {}
        for sample in (*self._newest.values(), *self._ended):
            for edge_s, count in sample.ttft_within:
                edges[edge_s] = edges.get(edge_s, 0.0) + count
        rank = probability * self.counted
        for (low_s, below), (high_s, up_to) in pairwise([(0.0, 0.0), *sorted(edges.items())]):
            if up_to >= rank > below:
                linear_s = low_s + (high_s - low_s) * (rank - below) / (up_to - below)
                return Quantile(low_s=low_s, high_s=high_s, linear_s=linear_s)
        if self.counted <= 0:
            return None
        return Quantile(low_s=max(edges, default=0.0), high_s=None, linear_s=None)

    def _within(self, sample: PodSample) -> float:
        """Return the count of the highest edge at or below the objective; edges ascend, and counts with them."""
        at = bisect_right(sample.ttft_within, self.objective_s, key=itemgetter(0))
        return sample.ttft_within[at - 1][1] if at else 0.0


def score(
    name: str,
    entries: Iterable[Entry],
    spec: PolicySpec,
    price_usd_per_hour: float | None,
    *,
    settling_s: float = 0.0,
) -> Score:
    """Fold a journal into its score; ``settled_attainment`` leaves the first ``settling_s`` seconds out.

    Raises:
        ValueError: the journal is empty.
    """
    tally = Tally(terms=terms_of(spec, price_usd_per_hour), ttft_s=spec.objectives.ttft_seconds)
    tokens = FirstTokens(spec.objectives.ttft_seconds)
    late, waited, starting, last = 0.0, 0.0, False, None
    opening = (0.0, 0.0)
    settled_at: float | None = None
    for entry in entries:
        tally.add(entry)
        tokens.add(entry.signals.samples)
        now_late = tokens.counted - tokens.in_time
        starts = entry.signals.count(ReplicaState.STARTING) > 0
        if starts or starting:
            waited += now_late - late
        late, starting, last = now_late, starts, entry
        settled_at = entry.at + settling_s if settled_at is None else settled_at
        if entry.at <= settled_at:
            opening = (tokens.counted, tokens.in_time)
    unserved = 0.0 if last is None else sum(sample.waiting or 0.0 for sample in last.signals.samples)
    unserved += 0.0 if last is None else last.signals.held_requests or 0.0
    requests = tokens.counted + unserved
    report = tally.report()
    settled = last is not None and settled_at is not None and last.at > settled_at
    return Score(
        name=name,
        requests=requests,
        ttft_p50=tokens.quantile(0.5),
        ttft_p95=tokens.quantile(0.95),
        ttft_p99=tokens.quantile(0.99),
        attainment=_share(tokens.in_time, requests),
        settled_attainment=_share(tokens.in_time - opening[1], requests - opening[0]) if settled else None,
        waited_for_coldstart=waited,
        coldstarts=len(report.starts),
        ledger=report.ledger,
    )


def _share(part: float, whole: float) -> float | None:
    """Return a share, or None: of nothing at all there is none."""
    return part / whole if whole > 0 else None
