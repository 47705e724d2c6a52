"""What the prefix cache and routing do to an hour of real conversations: ``python -m benchmarks.prefix_cache TRACE``.

TRACE names prefix blocks: Mooncake's ``conversation_trace.jsonl`` (kvcache-ai/Mooncake, FAST 2025) does. A fixed fleet
serves it, without a cache and with one, under each routing. Three things are told of each run: the hit ratio, cached
tokens over prompt tokens, as vLLM counts them; how much of the ideal that is, which a single cache without end would
reach; and the time to first token.

The hit ratio depends on memory first of all, so that the runs are repeated with more of it on each replica. What that
memory would be (a larger GPU, the host's), and how fast, is not modelled: it counts as the GPU's own.

The last line is one JSON object: the ideal, and all runs with seed, versions and machine.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.machine import machine, versions
from simulator.cluster import ROUTINGS, Cluster, Routing
from simulator.engine.cache_storage import new_caches, with_blocks_of
from simulator.engine.profiles import EngineProfile, load_profile
from simulator.engine.records import BLOCK_TOKENS, RequestStatus
from simulator.startup.model import StartupModel
from simulator.traces import Trace, in_memory, open_trace

STEP_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one fleet made of the trace. ``hit_ratio`` is cached over all prompt tokens; times in seconds."""

    routing: str
    memory: float
    hit_ratio: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p95_s: float
    ttft_p99_s: float


def ideal_hit_ratio(trace: Trace) -> float:
    """Return the cached share of prompt tokens if every block of every prompt stayed cached for ever, in one place."""
    caches = with_blocks_of(new_caches(1, len(trace), 1), 0, trace)
    seen: set[int] = set()
    saved = 0
    for prompt, tokens in zip(caches.prompts, np.maximum(trace.prompt_tokens, 1).tolist(), strict=True):
        keys = caches.keys[prompt["begin"] : prompt["begin"] + prompt["count"]].tolist()
        known = next((place for place, key in enumerate(keys) if key not in seen), len(keys))
        blocks = min(known * int(prompt["blocks_each"]), (tokens - 1) // BLOCK_TOKENS)
        saved += blocks * BLOCK_TOKENS
        seen.update(keys)
    return saved / int(np.maximum(trace.prompt_tokens, 1).sum())


def served(trace: Trace, profile: EngineProfile, *, replicas: int, routing: Routing, memory: float) -> Served:
    """Serve a trace to its end on a fixed fleet with ``memory`` times the profile's KV cache."""
    cluster = Cluster(
        profile=replace(profile, kv_tokens=int(profile.kv_tokens * memory)),
        startup=StartupModel.of_total(1.0),
        seed=0,
        trace=trace,
        initial_replicas=replicas,
        routing=routing,
    )
    while np.isin(cluster.requests().status, (RequestStatus.FINISHED, RequestStatus.REJECTED)).sum() < len(trace):
        cluster.advance(cluster.now_s + STEP_S)
    engines = cluster.snapshot().engine
    ttft_s = cluster.requests().ttft_s
    p50, p95, p99 = np.nanpercentile(ttft_s, (50, 95, 99)).tolist()
    return Served(
        routing=routing,
        memory=memory,
        hit_ratio=float(engines["prefix_hits"].sum() / max(1, engines["prompt_tokens"].sum())),
        ttft_mean_s=float(np.nanmean(ttft_s)),
        ttft_p50_s=p50,
        ttft_p95_s=p95,
        ttft_p99_s=p99,
    )


def without_blocks(trace: Trace) -> Trace:
    """Return the same requests without names of their blocks: engines then cache nothing."""
    return replace(trace, block_offsets=None, block_ids=None, block_tokens=0)


def figures(trace: Trace, profile: EngineProfile, replicas: int, memories: tuple[float, ...]) -> dict[str, Any]:
    """Return what the benchmark tells."""
    plain = without_blocks(trace)
    runs = [served(plain, profile, replicas=replicas, routing="least_outstanding", memory=1.0)]
    runs += [
        served(trace, profile, replicas=replicas, routing=routing, memory=memory)
        for memory in memories
        for routing in ROUTINGS
    ]
    return {
        "ideal_hit_ratio": ideal_hit_ratio(trace),
        "runs": [asdict(run) for run in runs],
        "profile": profile.name,
        "replicas": replicas,
        "seed": 0,
        **machine(),
        "versions": versions("numpy", "numba"),
    }


@click.command(help=__doc__)
@click.argument("trace", type=click.Path(path_type=Path, exists=True))
@click.option("--profile", default="h100/llama-3.1-8b-fit", show_default=True)
@click.option("--replicas", default=8, show_default=True, type=click.IntRange(1))
@click.option("--memory", default=(1.0, 4.0, 16.0), show_default=True, multiple=True, type=click.FloatRange(1.0))
def main(trace: Path, profile: str, replicas: int, memory: tuple[float, ...]) -> None:
    """Print a table and the figures."""
    requests = in_memory(open_trace(str(trace)).traffic)
    if requests.block_ids is None:
        raise click.ClickException(f"{trace} names no prefix blocks; give a trace that does, as Mooncake's")
    found = figures(requests, load_profile(profile), replicas, memory)
    ideal = found["ideal_hit_ratio"]
    click.echo(f"{len(requests):,} requests, {replicas} x {profile}; ideal hit ratio {ideal:.1%}")
    click.echo("memory routing            hit ratio  of ideal  TTFT mean     p50     p95     p99")
    for run in found["runs"]:
        name = run["routing"] if run is not found["runs"][0] else "no cache"
        click.echo(
            f"{run['memory']:5.0f}x {name:17} {run['hit_ratio']:9.1%} {run['hit_ratio'] / ideal:9.1%}"
            f" {run['ttft_mean_s']:9.2f}s {run['ttft_p50_s']:6.2f}s {run['ttft_p95_s']:6.2f}s {run['ttft_p99_s']:6.2f}s"
        )
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
