"""Trials on all cores: each task in a process of its own, the results in the tasks' order.

Ctrl-C is for this process alone, which then ends the others. A terminal sends it to all of them, and each would print
where it was.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar, cast

from joblib import Parallel, cpu_count, delayed

R = TypeVar("R")


def on_cores(run: Callable[..., R], tasks: Iterable[tuple[object, ...]], *, jobs: int | None) -> Iterator[R]:
    """Yield what ``run`` returns for the arguments of each task, in order, each as soon as it and all before it are.

    ``jobs`` processes work at a time; with None, one for each core that this process may use.
    """
    with _processes_without_interrupts():
        results = Parallel(n_jobs=jobs or cpu_count(), return_as="generator")(delayed(run)(*task) for task in tasks)
    yield from cast("Iterator[R]", results)


@contextmanager
def _processes_without_interrupts() -> Iterator[None]:
    """Let processes that are started within the block never see Ctrl-C; this one sees it after the block."""
    resource_tracker.ensure_running()  # As it starts, it would let this process see Ctrl-C again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
