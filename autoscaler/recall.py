"""What of a memory is taken up after a restart, and under another policy. Pure: controller and simulator go by it."""

from dataclasses import replace

from autoscaler.core.decide import Memory
from autoscaler.core.policy import PolicySpec

MEMORY_FRESH_S = 600.0


def recalled(newest: Memory, *, age_s: float, first: Memory) -> Memory:
    """Return the newest memory if it is fresh; else ``first`` with the cold starts learnt so far.

    How long starts take is not forgotten over a night without a controller; demand is: what was believed an hour ago
    says nothing about now, and the core has a guard for starting without. ``age_s`` is the time since its tick; a
    memory from the future (a clock that was put right) is none. Where it is read late, ``first`` is what the ticks
    until then left: the count that they left on the target is ours, whatever an older memory says.
    """
    if age_s < 0:
        return first
    if age_s <= MEMORY_FRESH_S:
        left = first.guard
        if left.expected is None:
            return newest
        return replace(newest, guard=replace(newest.guard, expected=left.expected, zero_is_ours=left.zero_is_ours))
    return _with_starts(first, newest)


def carried(memory: Memory, *, was: PolicySpec, now: PolicySpec, first: Memory) -> Memory:
    """Return what of a memory of one policy holds under another: all of it, its cold starts alone, or nothing.

    A policy's name says nothing: one that was made anew for another target would begin with the demand of the old one.
    """
    if (was.target_ref, was.model.name) == (now.target_ref, now.model.name):
        return memory
    alike = (was.model, was.engine.preset, was.accelerator.class_, was.accelerator.count_per_replica) == (
        now.model,
        now.engine.preset,
        now.accelerator.class_,
        now.accelerator.count_per_replica,
    )
    return _with_starts(first, memory) if alike else first


def _with_starts(first: Memory, learnt: Memory) -> Memory:
    """Return a first memory with the cold starts that another learnt from the same prior."""
    same_prior = learnt.coldstart.prior_s == first.coldstart.prior_s
    return replace(first, coldstart=learnt.coldstart) if same_prior else first
