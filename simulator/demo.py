"""The demo: an hour of real traffic for two models, ours beside the HPA as people configure it.

Each scenario is run once for each contender, on the same trace, cluster and cold starts. The runs step side by side, so
that a viewer sees what each of them does at the same simulated minute, however often each of them decides. Their
journals are written to files, and every figure that is shown at the end is read back from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.core import capacity
from autoscaler.core import decide as core
from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.footprint.prices import PriceList, price_of
from autoscaler.journal import Entry, digest
from simulator import journalfile
from simulator.baselines import hpa
from simulator.profiles import EngineProfile, load_profile
from simulator.run import Contender, Scenario, run
from simulator.score import Score, score
from simulator.startup import StartupModel
from simulator.telemetry import EPOCH_AT, Scraping
from simulator.traces import Trace, superpose

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
# What people run today: five waiting requests a pod is the threshold of vLLM's own KEDA and HPA examples. The target in
# flight has no such default: each traffic wants another. These are the best of a sweep on the very trace that follows,
# which no one has in advance; for a trace of the user's own it is that of the conversations.
HPA_WAITING_PER_POD = 5.0
CHAT_CONCURRENCY_PER_POD = 40.0
CODE_CONCURRENCY_PER_POD = 2.0
_SHORT = {hpa.PodsMetric.WAITING: "queue", hpa.PodsMetric.CONCURRENCY: "conc."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One model of the demo: its policy, its scenario, and the price of one of its accelerators for an hour.

    ``concurrency_per_pod`` is what the HPA on requests in flight is given as its target.
    """

    policy: ScalingPolicy
    scenario: Scenario
    price_usd_per_hour: float | None
    concurrency_per_pod: float = CHAT_CONCURRENCY_PER_POD


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One instant of every run of one model.

    ``entries`` are the newest of each run, ours first; ``new`` those of this instant; ``share`` of the trace is done.
    """

    setup: Setup
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    share: float


def work_replicas(trace: Trace, profile: EngineProfile, span_s: float | None = None) -> float:
    """Return the mean need of a trace in replicas: work a second, and the slots that running requests take.

    Work of a request as in the core: w = b·p + (c + d·k)·o with k = p + o/2 tokens of KV cache. The mean is over
    ``span_s`` seconds, the trace's own span if None.
    """
    span_s = trace.span_s if span_s is None else span_s
    # As in the engine: at least one token is computed and one is yielded.
    prompt, output = np.maximum(trace.prompt_tokens, 1.0), np.maximum(trace.output_tokens, 1.0)
    work_s = profile.b_s * prompt + (profile.c_s + profile.d_s * (prompt + output / 2)) * output
    demand = float(work_s.sum()) / span_s
    in_flight = float(output.sum()) / span_s * profile.a_s
    return demand + in_flight / (0.9 * profile.max_num_seqs)


def copies_for(trace: Trace, profile: EngineProfile, need_replicas: float) -> int:
    """Return how many copies of a trace need about so many replicas in the mean, as far as memory allows."""
    copies = round(need_replicas / work_replicas(trace, profile))
    return max(1, min(copies, MOST_REQUESTS // len(trace)))


def first_replicas(trace: Trace, profile: EngineProfile, least: int, most: int) -> int:
    """Return the replicas to begin with: what the first five minutes need at a utilization of 0.6."""
    need = work_replicas(trace.slice(0.0, OPENING_S), profile, OPENING_S)
    return int(np.clip(ceil(need / START_UTILIZATION + 0.5), max(1, least), most))


def profile_of(policy: ScalingPolicy) -> EngineProfile:
    """Return the engine that a policy describes: its step time, slots and KV cache; what it leaves out, as shipped."""
    shipped, spec = load_profile(PROFILE), policy.spec
    steps = capacity.known(spec)
    slots = spec.engine.max_sequences or shipped.max_num_seqs
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
    concurrency_per_pod: float = CHAT_CONCURRENCY_PER_POD,
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
    return Setup(policy=policy, scenario=scenario, price_usd_per_hour=price, concurrency_per_pod=concurrency_per_pod)


def contenders(
    spec: PolicySpec, concurrency_per_pod: float = CHAT_CONCURRENCY_PER_POD
) -> tuple[Contender[Any, Any], ...]:
    """Return ours and the HPA on its two usual metrics, with the bounds of the policy."""
    ours = Contender(name=OURS, decide=core.decide, policy=spec, memory=core.initial(spec), digest=digest(spec))
    return (
        ours,
        _hpa(spec, hpa.PodsMetric.WAITING, HPA_WAITING_PER_POD),
        _hpa(spec, hpa.PodsMetric.CONCURRENCY, concurrency_per_pod),
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
        _ticks(number, setup, one)
        for number, one in enumerate(contenders(setup.policy.spec, setup.concurrency_per_pod))
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
    return f"journal-{model}-{contender.replace(' ', '-').replace('.', '').lower()}.jsonl.gz"


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
