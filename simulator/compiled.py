"""``python -m simulator.compiled``: compile the engine ahead, so that a first demo need not wait for the compiler.

A kernel is compiled when it is called first, and kept on disk (``des.compile_cache_dir``). So a small pool lives
through everything that can happen to one here, once without a prefix cache and once with one.
"""

import time
from dataclasses import replace

import numpy as np

from simulator.cluster import Cluster
from simulator.engine.profiles import load_profile
from simulator.startup.model import StartupModel
from simulator.traces import Trace


def exercise() -> None:
    """Call every kernel that a simulation can call, with the types with which it calls them."""
    requests = 64
    trace = Trace(
        name="compile",
        arrival_s=np.linspace(0.0, 2.0, requests),
        prompt_tokens=np.full(requests, 3000, dtype=np.int32),
        output_tokens=np.full(requests, 200, dtype=np.int32),
    )
    for prompts in (trace, replace(trace, block_ids=np.arange(6), block_offsets=_ALL_TO_THE_FIRST, block_tokens=512)):
        _live_through(prompts)


# One request names prefix blocks, the others none.
_ALL_TO_THE_FIRST = np.array([0] + [6] * 64)


def _live_through(trace: Trace) -> None:
    startup = StartupModel.of_total(1.0)
    pool = Cluster(
        profile=load_profile("l4/llama-3.1-8b"), startup=startup, seed=1, trace=trace, initial_replicas=2, grace_s=1.0
    )
    pool.advance(1.0)
    pool.remove_replica(0)
    pool.set_replicas(3)
    pool.advance(10.0)
    pool.set_replicas(1)
    pool.advance(30.0)
    pool.set_replicas(0)
    pool.advance(60.0)
    pool.snapshot()
    pool.requests()


def main() -> None:
    """Compile, and print one line."""
    begun_s = time.perf_counter()
    exercise()
    print(f"the simulator's engine is compiled ({time.perf_counter() - begun_s:.1f} s)")


if __name__ == "__main__":
    main()
