"""The pre-warm pool: replicas above present need, so that demand arriving within one cold start finds them ready.

There is no separate pool to size. The base-stock rule orders up to need(D_q), D_q the q-quantile of demand one lead
time from now; what that is above the need of the present level is the pool,

    pool = need(D_q) − need(level)                                            replicas

and it moves with the measured forecast errors and the measured cold start. It is reported as a number of its own and
is a ledger state of its own. The policy may bound it: ``prewarm.min`` holds at least so many above present need,
``prewarm.max`` at most, and the one that bound is named.

Invariants: without bounds the order is exactly need(D_q); with them ``min ≤ pool ≤ max``.
"""

from dataclasses import dataclass
from math import ceil

from autoscaler.core.capacity import Need
from autoscaler.core.decision import Term, Why
from autoscaler.core.policy_parts import Prewarm

FORGIVEN = 0.05  # Of a replica, in rounding up: the forecast is not that exact.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The order up to which to go, unrounded, what bound it, and the pool in it, in replicas (never below 0)."""

    order: float
    why: Why
    pool: float
    terms: tuple[Term, ...]


def whole(replicas: float) -> int:
    """Return whole replicas: rounded up, with 0.05 of a replica forgiven, never below 0."""
    return max(0, ceil(replicas - FORGIVEN))


def size(bounds: Prewarm, present: Need, ahead: Need) -> Pool:
    """Return the order for a need now (``present``) and one lead time ahead, within the policy's bounds."""
    least = present.replicas + bounds.min
    if bounds.min > 0 and ahead.replicas < least:
        return _bound(Why.PREWARM_MIN, least, present)
    if bounds.max is not None and ahead.replicas > present.replicas + bounds.max:
        return _bound(Why.PREWARM_MAX, present.replicas + bounds.max, present)
    pool = max(0.0, ahead.replicas - present.replicas)
    return Pool(order=ahead.replicas, why=ahead.why, pool=pool, terms=())


def held(target: int, present: Need) -> int:
    """Return how many of ``target`` replicas are held above present need."""
    return max(0, target - whole(present.replicas))


def _bound(why: Why, order: float, present: Need) -> Pool:
    terms = (Term(name=why.value, replicas=order),)
    return Pool(order=order, why=why, pool=order - present.replicas, terms=terms)
