"""What of a stored memory is taken up after a restart. Pure: the controller and the simulator restart by it."""

from dataclasses import replace

from autoscaler.core.decide import Memory

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
    same_prior = newest.coldstart.prior_s == first.coldstart.prior_s
    return replace(first, coldstart=newest.coldstart) if same_prior else first
