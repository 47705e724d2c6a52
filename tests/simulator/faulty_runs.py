"""Runs in which something goes wrong, for the tests: steady traffic on a small fleet, faults from a text."""

from collections.abc import Sequence
from functools import cache
from textwrap import dedent

import numpy as np

from autoscaler.core.policy import PolicySpec
from autoscaler.journal import Entry, encode
from simulator.baselines.peers import PEERS, Style
from simulator.experiments.outcomes import Promise
from simulator.experiments.sweep import Case, scenario_of
from simulator.faults import faultfile
from simulator.nodes.modelled_cluster import ModelledCluster
from simulator.run import run
from simulator.telemetry import EPOCH_AT
from simulator.traces import Trace
from simulator.world import Scenario, SimulatedWorld
from tests.simulator.small_demo import policy

MINUTES = 40
QUANTILE = 0.9


def steady_trace(
    *, falls_at_minute: float = MINUTES, rises_at_minute: float = 0.0, rate: float = 40.0, seed: int = 3
) -> Trace:
    """Return forty minutes at a steady rate: only a third of it before some minute, a fifth of it from another on."""
    rng = np.random.default_rng(seed)
    arrival_s = np.sort(rng.uniform(0, 60 * MINUTES, int(rate * 60 * MINUTES)))
    luck = rng.random(arrival_s.size)
    kept = ((arrival_s < 60 * falls_at_minute) | (luck < 0.2)) & ((arrival_s >= 60 * rises_at_minute) | (luck < 0.33))
    arrival_s = np.concatenate([[0.0], arrival_s[kept], [60.0 * MINUTES]])
    return Trace(
        name="steady",
        arrival_s=arrival_s,
        prompt_tokens=rng.integers(200, 2000, arrival_s.size).astype(np.int32),
        output_tokens=rng.integers(50, 300, arrival_s.size).astype(np.int32),
    )


def faulty_scenario(
    faults: str, *, trace: Trace | None = None, seed: int = 1, cluster: ModelledCluster | None = None
) -> Scenario:
    """Return the scenario with the faults of a text, which may be indented; an empty one has none."""
    trace = trace or steady_trace()
    groups = None if cluster is None else [group.name for group in cluster.groups]
    plan = None
    if faults.strip():
        plan = faultfile.parse(dedent(faults), "faults.yaml", span_s=trace.span_s, groups=groups)
    case = Case(
        policy=policy(), trace=trace, copies=1, coldstart_s=60.0, promise=Promise(ttft_s=2.5),
        price_usd_per_hour=None, faults=plan, cluster=cluster,
    )  # fmt: skip
    return scenario_of(case, seed)


def entries_of(scenario: Scenario, *, peer: str = "ours", knob: float = QUANTILE) -> tuple[Entry, ...]:
    """Return the journal of a peer's run."""
    contender = PEERS[peer].contender(scenario, policy().spec, knob, Style.DEFAULT)
    return tuple(entry for entry, _ in run(scenario, contender, SimulatedWorld(scenario)))


@cache
def journal(faults: str = "", *, falls_at_minute: float = MINUTES, seed: int = 1) -> tuple[Entry, ...]:
    """Return our journal of a run with the faults of a text."""
    return entries_of(faulty_scenario(faults, trace=steady_trace(falls_at_minute=falls_at_minute), seed=seed))


def between(entries: Sequence[Entry], begin_s: float, end_s: float) -> list[Entry]:
    """Return the entries of a stretch of the run, its end included."""
    return [entry for entry in entries if begin_s <= entry.at - EPOCH_AT <= end_s]


def as_bytes(entries: Sequence[Entry]) -> bytes:
    """Return a journal as it is written."""
    return b"\n".join(encode(entry) for entry in entries)


def spec() -> PolicySpec:
    """Return the policy that all of these runs follow."""
    return policy().spec
