"""Label selectors, as /scale prints them in ``status.selector``: ``app=chat,tier in (a,b),!canary``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)$")
# A label's key, with a prefix or without. What is none was never written by Kubernetes (JSON, a half-printed set).
_KEY = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")


class SelectorError(ValueError):
    """A selector that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement: the label's value must be among ``values``, or must not (``negated``).

    ``values`` None asks for the label's presence alone. As in Kubernetes, ``notin`` and ``!=`` hold where there is no
    such label.
    """

    key: str
    values: frozenset[str] | None
    negated: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet it."""
        met = self.key in labels if self.values is None else labels.get(self.key) in self.values
        return met is not self.negated


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """All requirements of a selector. One without requirements selects nothing: nobody means every pod by it."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet every requirement."""
        return bool(self.requirements) and all(one.holds(labels) for one in self.requirements)

    @property
    def exact(self) -> tuple[str, str] | None:
        """A label and value that every match has, to look it up by; None if there is no such pair."""
        for one in self.requirements:
            if one.values is not None and len(one.values) == 1 and not one.negated:
                return one.key, next(iter(one.values))
        return None


def parse(text: str) -> Selector:
    """Return the selector in a text.

    Raises:
        SelectorError: the text is no selector.
    """
    parts = [part.strip() for part in _COMMA_OUTSIDE_BRACKETS.split(text) if part.strip()]
    return Selector(requirements=tuple(_requirement(part) for part in parts))


def _requirement(text: str) -> Requirement:
    found = _SET.match(text)
    if found and _KEY.fullmatch(found["key"]):
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Requirement(key=found["key"], values=values, negated=found["op"] == "notin")
    if text.startswith("!") and _KEY.fullmatch(text[1:].strip()):
        return Requirement(key=text[1:].strip(), values=None, negated=True)
    key, operator, value = _equation(text)
    if not _KEY.fullmatch(key):
        raise SelectorError(f"{text!r} is no label selector requirement")
    if not operator:
        return Requirement(key=key, values=None)
    return Requirement(key=key, values=frozenset({value}), negated=operator == "!=")


def _equation(text: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        key, found, value = text.partition(operator)
        if found:
            return key.strip(), operator, value.strip()
    return text.strip(), "", ""
