"""Compiled building blocks of the discrete-event engine: heap, hash, closed-form runs of steps.

Everything that runs once a request is compiled with numba and cached on disk. numba decides whether a cached
function is still good by the time stamp of *its own* file, so a caller compiled against an older version of a
function in another file would be used without a word. The cache therefore lives in a folder named after the
content of all compiled modules: any edit of any of them compiles afresh, and an unchanged product never
compiles twice on one machine.

A run of decode steps. While the batch is constant, step i (from 0) of a decode run takes f + g·i seconds:
every step adds one token per sequence to the KV cache, so its price grows by g = d·B. The first k steps take

    k·f + g·k(k − 1)/2          (run_s)

and the number of steps that end within a span t is the integer part of the positive root of g/2·k² + (f −
g/2)·k = t, in the form 2t / (h + √(h² + 2gt)), h = f − g/2, which is stable as g → 0 (steps_within).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

COMPILED_MODULES = (
    *("des.py", "records.py", "cache_entries.py", "prefix.py", "cache_storage.py"),
    *("paging.py", "batching.py", "replica.py", "routing.py"),
)


def compile_cache_dir() -> Path:
    """The folder of compiled functions: in the user's cache, named after the content of the compiled modules."""
    digest = hashlib.sha256()
    for name in COMPILED_MODULES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "inference-autoscaler" / "numba" / digest.hexdigest()[:16]


def _use_cache() -> bool:
    """Point numba at the folder; False where it cannot be written (a read-only container)."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return True
    try:
        folder = compile_cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    numba.config.CACHE_DIR = str(folder)
    return os.access(folder, os.W_OK)


CACHED = _use_cache()


def compiled(function: Function) -> Function:
    """Compile a function with numba, cached on disk where possible; its Python type stays what mypy read.

    It must not make arrays: references are not counted, since whoever calls it from Python holds them all. Counting
    them, atomically at every call, took half of the engine's time.
    """
    return cast("Function", numba.njit(cache=CACHED, error_model="numpy", _nrt=False)(function))


def compiled_owning(function: Function) -> Function:
    """Compile a function that makes arrays, which `compiled` cannot."""
    return cast("Function", numba.njit(cache=CACHED, error_model="numpy")(function))


@compiled
def heap_push(heap: np.ndarray[Any, Any], size: int, key: int) -> None:
    """Push a key onto a binary min-heap of `size` keys held in the front of `heap`."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if heap[parent] <= key:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = key


@compiled
def heap_sink(heap: np.ndarray[Any, Any], size: int, start: int, key: int) -> None:
    """Place a key at `start` or below, in a heap of `size` keys, where its children allow it."""
    i = start
    child = 2 * i + 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[i] = heap[child]
        i = child
        child = 2 * i + 1
    heap[i] = key


@compiled
def heap_pop(heap: np.ndarray[Any, Any], size: int) -> None:
    """Drop the smallest of `size` keys; the heap then holds size − 1."""
    heap_sink(heap, size - 1, 0, heap[size - 1])


@compiled
def heap_remove(heap: np.ndarray[Any, Any], size: int, index: int) -> None:
    """Drop the key at `index`; the heap then holds size − 1."""
    last = heap[size - 1]
    if index == size - 1:
        return
    if index > 0 and last < heap[(index - 1) >> 1]:
        heap_push(heap, index, last)
    else:
        heap_sink(heap, size - 1, index, last)


@compiled
def unit_hash(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on (seed, index) alone: the finaliser of splitmix64 (Steele et al. 2014)."""
    z = np.uint64(seed) + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def run_s(first_s: float, growth_s: float, steps: int) -> float:
    """Seconds of `steps` decode steps of which the first takes first_s and each next one growth_s more."""
    return steps * first_s + growth_s * (0.5 * steps * (steps - 1))


@compiled
def steps_within(first_s: float, growth_s: float, span_s: float) -> int:
    """How many steps of such a run end within span_s (an end exactly at span_s counts)."""
    if span_s < first_s:
        return 0
    half = first_s - 0.5 * growth_s
    steps = int(2.0 * span_s / (half + np.sqrt(half * half + 2.0 * growth_s * span_s)))
    while steps > 0 and run_s(first_s, growth_s, steps) > span_s:
        steps -= 1
    while run_s(first_s, growth_s, steps + 1) <= span_s:
        steps += 1
    return steps


@compiled
def bucket_of(edges: np.ndarray[Any, Any], value: float) -> int:
    """The index of the first edge that is at least `value` (Prometheus' "le"); len(edges) stands for +Inf."""
    i = 0
    while i < edges.size and value > edges[i]:
        i += 1
    return i


@compiled
def observe_run(
    counts: np.ndarray[Any, Any], edges: np.ndarray[Any, Any], run: tuple[float, float, int], weight: int
) -> None:
    """Count the step times of a run (first_s, growth_s, steps), `weight` times each, in non-cumulative buckets."""
    first_s, growth_s, steps = run
    low = bucket_of(edges, first_s)
    high = bucket_of(edges, first_s + growth_s * (steps - 1))
    below = 0
    for i in range(low, high):
        upto = min(steps, int((edges[i] - first_s) / growth_s) + 1)
        counts[i] += weight * (upto - below)
        below = upto
    counts[high] += weight * (steps - below)
