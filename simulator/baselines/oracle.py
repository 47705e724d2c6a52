"""An oracle: it knows every arrival and every length to come, the engine's step times, and how long a start takes.

It is a heuristic and no optimum. It knows the work of each request (w of the core's ``capacity``, with the engine's own
coefficients), spreads it over the time that the request takes to serve, and wants at each instant

    need(t) = ⌈max(work/utilization, running/(0.9·max_num_seqs), KV tokens/(0.9·capacity))⌉      means over 15 s

It orders what will be needed within one mean cold start and a tick, so that it stands when it is needed; and it takes
away only what will not be needed again within two, because a start costs a cold start of accelerator time. What it
does not know: which replica starts slowly (it plans with the mean of this scenario's starts), where the router puts a
request, and queueing; its knob, the utilization that it fills replicas to, stands for the last two. So a better plan is
possible, and a better knob may lie between two that were tried. It says what foresight alone would be worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decision import Decision, Why
from autoscaler.core.signals import Signals
from simulator.baselines.sight import Bounds, verdict
from simulator.engine.profiles import EngineProfile
from simulator.startup.phases import Startup
from simulator.traces import Trace, Traffic, traffic_of

BIN_S = 15.0
"""The time over which need is averaged, and between two decisions."""
MAX_FILL = 0.9
REMOVAL_COLD_STARTS = 2.0
STARTS_KNOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What will be needed: ``order`` and ``keep`` in replicas for each bin of ``BIN_S`` seconds from ``begin_at``."""

    begin_at: float
    order: tuple[int, ...]
    keep: tuple[int, ...]
    bounds: Bounds

    def at(self, instant: float) -> tuple[int, int]:
        """Return the replicas to order up to, and to keep, at an instant; after the end, those of the last bin."""
        number = min(max(0, int((instant - self.begin_at) / BIN_S)), len(self.order) - 1)
        return self.order[number], self.keep[number]


def decide(spec: Foresight, memory: None, signals: Signals) -> tuple[None, Decision]:
    """Order what will be needed when it is ready, and remove what will not be needed for long."""
    current = signals.spec_replicas
    order, keep = (spec.bounds.within(replicas) for replicas in spec.at(signals.at))
    target = None if current is None else max(order, min(current, keep))
    if current is None:
        why = Why.TARGET_UNKNOWN
    elif target == current:
        why = Why.SETTLED if order == current else Why.STABILIZATION
    else:
        why = Why.CONCURRENCY
    detail = f"replicas needed within a cold start: {order}, within two: {keep}"
    return memory, verdict(
        signals, target=target, why=why, detail=detail, next_at=signals.at + BIN_S, wished=order, stable=keep
    )


def mean_start_s(startup: Startup, seed: int) -> float:
    """Return the mean of the cold starts that this scenario has in store."""
    return float(np.mean([startup.draw(seed=seed, replica_id=number).total_s for number in range(STARTS_KNOWN)]))


def foreseen(
    trace: Trace | Traffic,
    profile: EngineProfile,
    *,
    start_s: float,
    utilization: float,
    bounds: Bounds,
    begin_at: float,
) -> Foresight:
    """Return what an oracle knows of a trace that begins at ``begin_at``, where a start takes ``start_s``."""
    need = needed(trace, profile, utilization)
    ahead = ceil((start_s + BIN_S) / BIN_S)
    return Foresight(
        begin_at=begin_at,
        order=_largest_ahead(need, ahead + 1),
        keep=_largest_ahead(need, ceil(REMOVAL_COLD_STARTS * ahead) + 1),
        bounds=bounds,
    )


def needed(trace: Trace | Traffic, profile: EngineProfile, utilization: float) -> NDArray[np.int64]:
    """Return the replicas needed in each bin."""
    bins = ceil(trace.span_s / BIN_S) + 1
    work, slots = np.zeros(bins), np.zeros((2, bins))
    for piece in traffic_of(trace).pieces():
        more_work, more_slots = _loads(piece, profile, utilization, bins)
        work += more_work
        slots += more_slots
    fill = np.maximum(slots[0], slots[1]) / MAX_FILL
    replicas: NDArray[np.int64] = np.ceil(np.maximum(work / utilization, fill) - 1e-9).astype(np.int64)
    return replicas


def _loads(
    trace: Trace, profile: EngineProfile, utilization: float, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return in each bin the replicas' worth of work, and (2, bins) of sequences and of KV memory."""
    prompt = np.maximum(trace.prompt_tokens, 1.0)
    output = np.maximum(trace.output_tokens, 1.0)
    work_s = profile.b_s * prompt + (profile.c_s + profile.d_s * (prompt + output / 2)) * output
    # At such a utilization a step takes a/(1 − ρ), and a request as many steps as it has output tokens.
    step_s = profile.a_s / max(1 - utilization, 0.02)
    stay_s = output * step_s + profile.b_s * prompt
    work = _spread(trace.arrival_s, stay_s, work_s, bins) / BIN_S
    running = _spread(trace.arrival_s, stay_s, stay_s, bins) / BIN_S
    kv_tokens = _spread(trace.arrival_s, stay_s, stay_s * (prompt + output / 2), bins) / BIN_S
    return work, np.stack([running / profile.max_num_seqs, kv_tokens / profile.kv_tokens])


def _spread(
    arrival_s: NDArray[np.float64], stay_s: NDArray[np.float64], amount: NDArray[np.float64], bins: int
) -> NDArray[np.float64]:
    """Return amounts, each spread evenly over its stay from its arrival on, summed by bin."""
    # The integral of a stay's share up to an edge is clip((edge − arrival)/stay, 0, 1); its derivative changes at two
    # instants only, so two sums of ramps do for all requests at once.
    edges = np.arange(bins + 1, dtype=np.float64) * BIN_S
    rate = amount / stay_s
    up = _ramps(arrival_s, rate, edges)
    down = _ramps(arrival_s + stay_s, rate, edges)
    return np.diff(up - down)


def _ramps(begin_s: NDArray[np.float64], rate: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ rate·max(0, edge − begin) for each edge."""
    order = np.argsort(begin_s, kind="stable")
    begun = np.searchsorted(begin_s[order], edges, side="right")
    rates = np.concatenate([[0.0], np.cumsum(rate[order])])
    moments = np.concatenate([[0.0], np.cumsum(rate[order] * begin_s[order])])
    sums: NDArray[np.float64] = rates[begun] * edges - moments[begun]
    return sums


def _largest_ahead(need: NDArray[np.int64], bins: int) -> tuple[int, ...]:
    """Return for each bin the largest need of it and those after it, ``bins`` in all."""
    padded = np.concatenate([need, np.repeat(need[-1:], bins - 1)])
    windows: Sequence[int] = np.lib.stride_tricks.sliding_window_view(padded, bins).max(axis=1).tolist()
    return tuple(windows)
