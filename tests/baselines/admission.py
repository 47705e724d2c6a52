"""Admission: vectors of the upstream projects, held against our peers.

A vector is an input and what the upstream project's own test (or its documentation, where the file says so) expects of
it. Vectors are data: one YAML file a peer in ``vectors/``, in groups with the upstream file and commit they come from.
Each group names a *check*, a function of the peer's ``checks_`` module that hands a vector's input to our code.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import yaml

VECTORS = Path(__file__).parent / "vectors"
PEERS = ("hpa", "keda", "kpa", "aibrix", "ray", "watermark", "wva", "dynamo")

Vector: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Vector], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One vector with what it is held against: a check's name, and where upstream has it."""

    peer: str
    check: str
    source: str
    commit: str
    vector: Vector

    @property
    def name(self) -> str:
        """The name under which upstream has it, with the check's."""
        return f"{self.check}: {self.vector['name']}"

    def passes(self) -> bool:
        """Whether our code gives what upstream expects."""
        return bool(self.found() == self.vector["expect"])

    def found(self) -> object:
        """Return what our code gives."""
        return checks(self.peer)[self.check](self.vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """All vectors of one peer."""

    peer: str
    title: str
    upstream: str
    cases: tuple[Case, ...]


def checks(peer: str) -> Mapping[str, Check]:
    """Return a peer's checks by name: ``CHECKS`` of its own module."""
    found: Mapping[str, Check] = import_module(f"tests.baselines.checks_{peer}").CHECKS
    return found


@cache
def admission(peer: str) -> Admission:
    """Return a peer's vectors."""
    data = yaml.safe_load((VECTORS / f"{peer}.yaml").read_text(encoding="utf-8"))
    return Admission(peer=peer, title=data["title"], upstream=data["upstream"], cases=tuple(_cases(peer, data)))


def _cases(peer: str, data: Mapping[str, Any]) -> Iterator[Case]:
    for group in data["groups"]:
        for vector in group["vectors"]:
            yield Case(
                peer=peer,
                check=group["check"],
                source=group["source"],
                commit=str(group.get("commit", "")),
                vector=group.get("given", {}) | vector,
            )
