"""The score of a run, from its journal and from nothing else.

TTFT quantiles come from the engines' own histograms, read as Prometheus' ``histogram_quantile`` does: linear inside a
bucket. Where a bucket begins at 40 s or later it is so wide that the line would tell of minutes that nobody waited: its
lower edge is told instead, and that it was more. They are of the first tokens that came: requests that still wait when
the journal ends are in no bucket. In the attainment those count as late. What a replica counted between its last scrape
and its end is seen by nobody, here as in production: requests that finish in the last seconds of a drain are missing
from counts, quantiles and attainment alike.

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

COARSE_FROM_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A latency in seconds; ``or_more`` says that it was longer, and a histogram does not tell how much."""

    seconds: float
    or_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a run came to.

    Latencies are quantiles, ``None`` without requests; shares are ``None`` where there was nothing to count.
    ``requests`` are first tokens and those that still waited for one. ``coldstarts`` came to their end: a replica that
    was taken away while it started is in the ledger's warming time and not among them.
    """

    name: str
    requests: float
    ttft_p50: "Latency | None"
    ttft_p95: "Latency | None"
    ttft_p99: "Latency | None"
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

    def add(self, samples: Iterable[PodSample]) -> None:
        """Take the newest sample of each pod; one that is not present tells nothing."""
        for sample in samples:
            before = self._newest.get(sample.pod)
            if sample is before or sample.presence is not Presence.PRESENT:
                continue
            # Counts are whole numbers far below 2^53, so running totals are exact.
            self.counted += (sample.ttft_count or 0.0) - (before.ttft_count or 0.0 if before else 0.0)
            self.in_time += self._within(sample) - (self._within(before) if before else 0.0)
            self._newest[sample.pod] = sample

    def quantile(self, probability: float) -> "Latency | None":
        """Return a TTFT quantile, linear inside its bucket; the lower edge where that is too wide; None of nothing."""
        edges: dict[float, float] = {}
        for sample in self._newest.values():
            for edge_s, count in sample.ttft_within:
                edges[edge_s] = edges.get(edge_s, 0.0) + count
        rank = probability * self.counted
        for (low_s, below), (high_s, up_to) in pairwise([(0.0, 0.0), *sorted(edges.items())]):
            if up_to >= rank > below:
                if low_s >= COARSE_FROM_S:
                    return Latency(seconds=low_s, or_more=True)
                return Latency(seconds=low_s + (high_s - low_s) * (rank - below) / (up_to - below))
        return Latency(seconds=max(edges), or_more=True) if edges and self.counted > 0 else None

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
    settled = False
    for entry in entries:
        tally.add(entry)
        tokens.add(entry.signals.samples)
        now_late = tokens.counted - tokens.in_time
        starts = entry.signals.count(ReplicaState.STARTING) > 0
        if starts or starting:
            waited += now_late - late
        late, starting, last = now_late, starts, entry
        settled_at = entry.at + settling_s if settled_at is None else settled_at
        settled = entry.at > settled_at
        if not settled:
            opening = (tokens.counted, tokens.in_time)
    unserved = 0.0 if last is None else sum(sample.waiting or 0.0 for sample in last.signals.samples)
    unserved += 0.0 if last is None else last.signals.held_requests or 0.0
    requests = tokens.counted + unserved
    report = tally.report()
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
    """Return a share; of nothing there is none."""
    return part / whole if whole > 0 else None
