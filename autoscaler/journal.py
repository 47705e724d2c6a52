"""The journal: what was known, what was decided and what came of it, one entry a tick, append-only.

An entry holds all that ``decide`` was given but its memory, which is kept beside it: the newest one for a restart,
and one every so often so that any stretch of the past can be folded again from there. So a decision can be
recomputed months later, and replayed under another policy.
"""

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from autoscaler.core.decision import Decision
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Signals

V = TypeVar("V")


class OutcomeStatus(StrEnum):
    """What became of a decision in the world."""

    SCALED = "scaled"
    UNCHANGED = "unchanged"
    DRY_RUN = "dry-run"
    CONFLICT = "conflict"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision: whether it was written, and if not, why not in one sentence."""

    status: OutcomeStatus
    replicas_before: int | None = None
    replicas_after: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tick of one policy. ``policy_digest`` names the exact policy that decided."""

    policy: str
    policy_digest: str
    at: float
    signals: Signals
    decision: Decision
    outcome: Outcome


def digest(spec: PolicySpec) -> str:
    """Return the first 16 hex digits of the SHA-256 of the policy's canonical JSON."""
    text = json.dumps(spec.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # type: ignore[arg-type]


def encode(value: object) -> bytes:
    """Return a frozen value (entry, signals, decision, memory) as JSON.

    Raises:
        pydantic_core.PydanticSerializationError: a field is not a plain value.
    """
    return bytes(_adapter(cast("Hashable", type(value))).dump_json(value))


def decode(kind: type[V], text: bytes | str) -> V:
    """Return the frozen value of a kind that ``encode`` wrote.

    Raises:
        pydantic.ValidationError: the text is not JSON or not of that kind; a stored memory of another version is
            to be treated as none.
    """
    value: V = _adapter(cast("Hashable", kind)).validate_json(text)
    return value
