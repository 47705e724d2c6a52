"""The demo: an hour of real traffic for two models, ours beside the HPA as people configure it.

Each scenario is run once for each contender, on the same trace, cluster and cold starts. The runs step side by side, so
that a viewer sees what each of them does at the same simulated minute, however often each of them decides. Their
journals are written to files, and every figure that is shown at the end is read back from there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.core import capacity
from autoscaler.core import decide as core
from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.core.policy_parts import Mode
from autoscaler.footprint.prices import PriceList, price_of
from autoscaler.journal import Entry, digest
from simulator import journalfile
from simulator.baselines import hpa
from simulator.engine.profiles import EngineProfile, ProfileError, load_profile
from simulator.engine.records import BLOCK_TOKENS, MAX_SEQS
from simulator.experiments.score import Score, score
from simulator.run import Contender, run
from simulator.startup.model import StartupModel
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.traces import Trace, Traffic, superpose, traffic_of
from simulator.world import Scenario

OURS = "ours"
PROFILE = "a100-80gb/llama-3.1-8b"
CHAT_NEED_REPLICAS = 10.0
"""The mean need that copies of the first trace are laid up to: a fleet large enough to show something."""
CODE_NEED_REPLICAS = 5.0
"""The same for the second trace, whose peak minute is four times its mean."""
SETTLING_S = 600.0
"""The opening in which every contender meets the traffic for the first time; attainment is told with and without it."""
START_UTILIZATION = 0.6
OPENING_S = 300.0
MOST_REQUESTS = 1_000_000
"""A trace of few small requests would need more copies than memory holds to fill a fleet."""
HPA_WAITING_PER_POD = 5.0
"""The threshold of vLLM's own KEDA and HPA examples."""
CHAT_IN_FLIGHT_PER_POD = 40.0
"""What a careful person would find for the first trace: of 30 to 80 the target with 99 % in time and fewest hours."""
CODE_IN_FLIGHT_PER_POD = 2.0
"""The same for the second trace: of 1 to 5, where none comes to 99 %, near the most in time and the fewest hours."""
_SHORT = {hpa.PodsMetric.WAITING: "queue", hpa.PodsMetric.CONCURRENCY: "conc."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One model of the demo: its policy, its scenario, and the price of one of its accelerators for an hour."""

    policy: ScalingPolicy
    scenario: Scenario
    price_usd_per_hour: float | None
    in_flight_per_pod: float = CHAT_IN_FLIGHT_PER_POD
    """The concurrency target of the HPA beside ours."""
    in_flight_is_swept: bool = False
    """Whether that target was found by a sweep on this very trace and policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One instant of every run of one model.

    ``entries`` are the newest of each run, ours first; ``new`` those of this instant; ``share`` of the trace is done.
    """

    setup: Setup
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    share: float


def too_long(trace: Trace, profile: EngineProfile) -> NDArray[np.bool_]:
    """Return which requests (N,) one replica's KV cache cannot hold: an engine refuses them as they come."""
    tokens = np.maximum(trace.prompt_tokens, 1.0) + np.maximum(trace.output_tokens, 1.0)
    return np.asarray(np.ceil(tokens / BLOCK_TOKENS) > profile.kv_blocks, dtype=np.bool_)


def work_replicas(trace: Trace, profile: EngineProfile, span_s: float | None = None) -> float:
    """Return the mean need of a trace in replicas: work a second, and the slots that running requests take.

    Work of a request as in the core: w = b·p + (c + d·k)·o with k = p + o/2 tokens of KV cache. The mean is over
    ``span_s`` seconds, the trace's own span if None. Requests that no replica can hold are no work.
    """
    span_s = trace.span_s if span_s is None else span_s
    served = ~too_long(trace, profile)
    # As in the engine: at least one token is computed and one is yielded.
    prompt = np.maximum(trace.prompt_tokens[served], 1.0)
    output = np.maximum(trace.output_tokens[served], 1.0)
    work_s = profile.b_s * prompt + (profile.c_s + profile.d_s * (prompt + output / 2)) * output
    demand = float(work_s.sum()) / span_s
    in_flight = float(output.sum()) / span_s * profile.a_s
    return demand + in_flight / (0.9 * profile.max_num_seqs)


def copies_for(trace: Trace, profile: EngineProfile, need_replicas: float) -> int:
    """Return how many copies of a trace need about so many replicas in the mean, as far as memory allows."""
    need = work_replicas(trace, profile)
    copies = round(need_replicas / need) if need > 0 else 1
    return max(1, min(copies, MOST_REQUESTS // len(trace)))


def first_replicas(trace: Trace | Traffic, profile: EngineProfile, least: int, most: int) -> int:
    """Return the replicas to begin with: what the first five minutes need at a utilization of 0.6."""
    need = sum(work_replicas(piece, profile, OPENING_S) for piece in _until(trace, OPENING_S))
    return int(np.clip(ceil(need / START_UTILIZATION + 0.5), max(1, least), most))


def _until(trace: Trace | Traffic, end_s: float) -> Iterator[Trace]:
    for piece in traffic_of(trace).pieces():
        arrived = int(np.searchsorted(piece.arrival_s, end_s))
        yield piece.rows(0, arrived)
        if arrived < len(piece):
            return


def profile_of(policy: ScalingPolicy) -> EngineProfile:
    """Return the engine that a policy describes: its step time, slots and KV cache; what it leaves out, as shipped.

    Raises:
        ProfileError: such an engine cannot serve, or has more slots than the simulator holds.
    """
    shipped, spec = load_profile(PROFILE), policy.spec
    steps = capacity.known(spec)
    slots = spec.engine.max_sequences or shipped.max_num_seqs
    if slots > MAX_SEQS:
        raise ProfileError(f"the simulator holds {MAX_SEQS:,} sequences; lower spec.engine.maxSequences {slots:,}")
    if spec.engine.kv_tokens is not None and spec.engine.kv_tokens < BLOCK_TOKENS:
        raise ProfileError(
            f"spec.engine.kvTokens {spec.engine.kv_tokens} is less than a block of the KV cache;"
            f" give what the engine reports, at least {BLOCK_TOKENS}"
        )
    return replace(
        shipped,
        name=f"{spec.model.name} on {spec.accelerator.count_per_replica} × {spec.accelerator.class_}",
        model=spec.model.name,
        accelerator=spec.accelerator.class_,
        accelerators_per_replica=spec.accelerator.count_per_replica,
        a_s=steps.a_s,
        b_s=steps.b_s,
        c_s=steps.c_s,
        d_s=steps.d_s,
        max_num_seqs=slots,
        kv_tokens=spec.engine.kv_tokens or shipped.kv_tokens,
        max_num_batched_tokens=max(shipped.max_num_batched_tokens, slots),
        source=steps.source,
    )


def setup(
    policy: ScalingPolicy,
    trace: Trace,
    *,
    need_replicas: float,
    seed: int,
    coldstart_s: float,
    prices: PriceList,
) -> Setup:
    """Return one model of the demo, with as many copies of its trace as need about ``need_replicas`` in the mean."""
    profile = profile_of(policy)
    traffic = superpose(trace, copies=copies_for(trace, profile, need_replicas), seed=seed)
    spec = policy.spec
    scenario = Scenario(
        name=policy.metadata.name,
        trace=traffic,
        profile=profile,
        startup=StartupModel.of_total(coldstart_s),
        initial_replicas=first_replicas(traffic, profile, spec.replicas.min, spec.replicas.max),
        seed=seed,
        scraping=Scraping(scrape_s=spec.timing.scrape_seconds, lag_s=spec.timing.scrape_seconds),
        grace_s=spec.scale_down.drain_grace_seconds,
    )
    price = price_of(spec.accelerator, prices).usd_per_hour
    return Setup(policy=policy, scenario=scenario, price_usd_per_hour=price)


def contenders(spec: PolicySpec, in_flight_per_pod: float = CHAT_IN_FLIGHT_PER_POD) -> tuple[Contender[Any, Any], ...]:
    """Return ours and the HPA on its two usual metrics, with the bounds of the policy."""
    # Whoever simulates a policy that only recommends, or is paused, asks what it would do.
    spec = spec.model_copy(update={"mode": Mode.ENFORCE, "paused": False})
    ours = Contender(name=OURS, decide=core.decide, policy=spec, memory=core.initial(spec), digest=digest(spec))
    return (
        ours,
        _hpa(spec, hpa.PodsMetric.WAITING, HPA_WAITING_PER_POD),
        _hpa(spec, hpa.PodsMetric.CONCURRENCY, in_flight_per_pod),
    )


def _hpa(spec: PolicySpec, metric: hpa.PodsMetric, target: float) -> Contender[hpa.HpaSpec, hpa.HpaMemory]:
    # An HPA on a Pods metric has no zero: its minimum is one replica.
    least = max(1, spec.replicas.min)
    settings = hpa.of_one(metric, target, min_replicas=least, max_replicas=spec.replicas.max)
    name = f"HPA {_SHORT[metric]} {target:g}"
    return Contender(name=name, decide=hpa.decide, policy=settings, memory=hpa.HpaMemory(), digest=name)


def frames(setups: Sequence[Setup]) -> Iterator[Frame]:
    """Yield every instant of every model at which somebody decides, all runs side by side."""
    streams = [_frames(setup) for setup in setups]
    while streams:
        for stream in tuple(streams):
            frame = next(stream, None)
            if frame is None:
                streams.remove(stream)
            else:
                yield frame


def _frames(setup: Setup) -> Iterator[Frame]:
    runs = [
        _ticks(number, setup, one) for number, one in enumerate(contenders(setup.policy.spec, setup.in_flight_per_pod))
    ]
    newest: dict[int, Entry] = {}
    # All begin at the same instant, so every frame has an entry of each.
    for at, ticks in groupby(merge(*runs, key=_instant), key=_instant):
        new = dict(ticks)
        newest |= new
        yield Frame(
            setup=setup,
            entries=tuple(newest[number] for number in sorted(newest)),
            new=tuple(new.values()),
            share=min(1.0, (at - EPOCH_AT) / setup.scenario.trace.span_s),
        )


def _ticks(number: int, setup: Setup, contender: Contender[Any, Any]) -> Iterator[tuple[int, Entry]]:
    return ((number, entry) for entry, _ in run(setup.scenario, contender))


def _instant(tick: tuple[int, Entry]) -> float:
    return tick[1].at


Journals = dict[tuple[str, str], tuple[Entry, ...]]
"""Journals by (model, contender), ours first."""


def keep(out: Path, journals: Mapping[tuple[str, str], Sequence[Entry]]) -> dict[tuple[str, str], Path]:
    """Write each run's journal to a file of its own, all or none, and return the paths by (model, contender).

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = {key: out / _file_name(*key) for key in journals}
    journalfile.write_all({paths[key]: entries for key, entries in journals.items()})
    return paths


def _file_name(model: str, contender: str) -> str:
    # A name may be 253 characters long, and whoever makes a policy in code may name it as he likes.
    model, contender = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (model[:100], contender))
    return f"journal-{model}-{contender}.jsonl.gz"


def read(paths: dict[tuple[str, str], Path]) -> Journals:
    """Return the journals that ``keep`` wrote.

    Raises:
        OSError: a file is gone or damaged.
    """
    return {key: tuple(journalfile.read(path)) for key, path in paths.items()}


def scores(setup: Setup, journals: Journals) -> tuple[Score, ...]:
    """Return the scores of one model's runs, from their journals."""
    spec, price = setup.policy.spec, setup.price_usd_per_hour
    return tuple(
        score(contender, entries, spec, price, settling_s=SETTLING_S)
        for (model, contender), entries in journals.items()
        if model == setup.policy.metadata.name
    )
