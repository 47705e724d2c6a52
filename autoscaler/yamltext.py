"""YAML text to plain data, with the line and column of every value, so that an error can point at its place.

Pure: text in, values out. A file is written by a person but may come from anywhere, so three limits keep a small
text from growing large: its size, its depth, and the number of values it has once its aliases are followed.
Scalars are read as YAML 1.2 does, but for times, which stay text, as they do on their way through kubectl. What kubectl
reads otherwise (``010``, ``yes``) is a fault: a file must mean the same here and on the server. A whole number that is
written as a real one (``5.0``) is whole in both.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]

SIZE_LIMIT_BYTES = 256 * 1024
DEPTH_LIMIT = 32
VALUE_LIMIT = 20_000
ALIAS_LIMIT = 100

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place in a text; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with the text itself, with its place and what to do about it."""

    mark: Mark
    path: Path
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a YAML text: its plain data, and the place of each path in it (of a key, for a mapping)."""

    mark: Mark
    data: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def mark_of(self, path: Path) -> Mark:
        """Return the place of a path, or of the nearest thing around it that is in the text."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return self.mark


def read(text: str) -> tuple[Document, ...]:
    """Return the documents of a YAML text. Never raises: what cannot be read is a document with a fault.

    Empty documents (comments only) are left out.
    """
    fault = _limit(text)
    if fault is not None:
        return (Document(mark=fault.mark, faults=(fault,)),)
    documents: list[Document] = []
    try:
        documents.extend(_Walk().document(node) for node in _nodes(text))
    except YAMLError as error:
        fault = _syntax(error, text)
        documents.append(Document(mark=fault.mark, faults=(fault,)))
    return tuple(document for document in documents if document.data is not None or document.faults)


def _nodes(text: str) -> Iterator[Node]:
    nodes: Iterator[Node] = YAML(typ="rt", pure=True).compose_all(text)
    return nodes


def _limit(text: str) -> Fault | None:
    """Return what makes a text too large to be composed, from its events alone, which grow no larger than it."""
    start = Mark(line=1, column=1)
    if len(text.encode(errors="replace")) > SIZE_LIMIT_BYTES:
        return Fault(mark=start, path=(), message=f"the file is larger than {SIZE_LIMIT_BYTES // 1024} KiB; split it")
    depth = aliases = 0
    try:
        for event in YAML(typ="rt", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            aliases += isinstance(event, AliasEvent)
            if depth > DEPTH_LIMIT:
                return Fault(
                    mark=_mark(event.start_mark),
                    path=(),
                    message=f"nested deeper than {DEPTH_LIMIT} levels; flatten it",
                )
            if aliases > ALIAS_LIMIT:
                return Fault(
                    mark=_mark(event.start_mark), path=(), message=f"more than {ALIAS_LIMIT} aliases; write values out"
                )
    except YAMLError as error:
        # A fault in a later document must not hide the earlier ones, which composing goes through once more.
        return None if isinstance(error, MarkedYAMLError) else _syntax(error, text)
    return None


def _syntax(error: YAMLError, text: str) -> Fault:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    if mark is None and isinstance(position, int):
        line = text.count("\n", 0, position)
        place = Mark(line=line + 1, column=position - (text.rfind("\n", 0, position) + 1) + 1)
    else:
        place = _mark(mark) if mark is not None else Mark(line=1, column=1)
    remedy = next(remedy for part, remedy in _REMEDIES if part in problem)
    return Fault(mark=place, path=(), message=f"not valid YAML: {problem}; {remedy}")


_REMEDIES = (
    ("\\t", "indent with spaces, not tabs"),
    ("stream end", "close the bracket or brace that is still open"),
    ("end of stream", "close the quote that is still open"),
    ("mapping values", "give each field a line of its own, and quote a text that holds a colon"),
    ("undefined alias", "quote a text that begins with *, or name it by & before"),
    ("start any token", "quote a text that begins with it"),
    ("expected ',' or", "put a comma between, or close the bracket or brace before"),
    ("", "mend it there or in the line above"),
)
"""Parts of what the parser says, and what to do then."""


def _mark(mark: StreamMark) -> Mark:
    return Mark(line=mark.line + 1, column=mark.column + 1)


class _Walk:
    """One walk over a composed document. Aliases share nodes, so the values are counted as they are met."""

    def __init__(self) -> None:
        self.marks: dict[Path, Mark] = {}
        self.faults: list[Fault] = []
        self.values = 0

    def document(self, node: Node) -> Document:
        data = self.value(node, (), ())
        mark = _mark(node.start_mark)
        return Document(mark=mark, data=data, marks=self.marks, faults=tuple(self.faults))

    def value(self, node: Node, path: Path, parents: tuple[int, ...]) -> object:
        self.values += 1
        self.marks.setdefault(path, _mark(node.start_mark))
        if self.values > VALUE_LIMIT:
            if self.values == VALUE_LIMIT + 1:
                self.fault(node, path, f"more than {VALUE_LIMIT} values once its aliases are followed; split it")
            return None
        if id(node) in parents:
            self.fault(node, path, "an alias to something that contains it; write its value out")
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path, (*parents, id(node)))
        if isinstance(node, SequenceNode):
            self.untagged(node, path, "seq")
            return [self.value(item, (*path, i), (*parents, id(node))) for i, item in enumerate(node.value)]
        return self.scalar(cast("ScalarNode", node), path)

    def mapping(self, node: MappingNode, path: Path, parents: tuple[int, ...]) -> dict[str, object]:
        self.untagged(node, path, "map")
        out: dict[str, object] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else None
            if name is None or name == "<<":
                self.fault(key, path, "a key must be plain text; write the fields out instead of merging with <<")
            elif _HALF_CHARACTER.search(name):
                self.fault(key, path, f"the key {_shown(name)} {_NO_CHARACTER}")
            elif name in out:
                self.fault(key, (*path, name), f"'{name}' is given twice; keep one")
            else:
                self.marks[*path, name] = _mark(key.start_mark)
                out[name] = self.value(value, (*path, name), parents)
        return out

    def scalar(self, node: ScalarNode, path: Path) -> object:
        tag = str(node.tag or f"{_TAG}str").removeprefix(_TAG)
        if _HALF_CHARACTER.search(node.value):
            self.fault(node, path, f"{_shown(node.value)} {_NO_CHARACTER}")
            return None
        if tag == "str" and not node.style and node.value.lower() in _YES_OR_NO:
            self.fault(node, path, f"{node.value} is text to some and yes or no to others; write true, false or quotes")
            return None
        try:
            return _SCALARS[tag](node.value)
        except KeyError:
            self.fault(node, path, f"cannot read {_shown(node.value)} as {tag}; write plain YAML without tags")
        except ValueError as error:
            self.fault(node, path, f"{_shown(node.value)} {error}")
        return None

    def untagged(self, node: Node, path: Path, usual: str) -> None:
        tag = str(node.tag or "").removeprefix(_TAG)
        if tag not in {"", usual}:
            self.fault(node, path, f"the tag {_shown(tag)} means nothing here; write plain YAML without tags")

    def fault(self, node: Node, path: Path, message: str) -> None:
        self.faults.append(Fault(mark=_mark(node.start_mark), path=path, message=message))


_NO_CHARACTER = "holds half a character (a surrogate); write the character itself"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
# Plain words that YAML 1.1, and so kubectl, takes for true and false.
_YES_OR_NO = frozenset({"y", "n", "yes", "no", "on", "off"})
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_REAL = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_WHOLE = 2.0**53


def _shown(text: str) -> str:
    plain = ascii(text)
    return plain if len(plain) <= 40 else f"{plain[:37]}..."


def _whole(text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("is read as different numbers by different tools; write plain digits, at most 18, e.g. 10")
    return int(text)


def _real(text: str) -> float | int:
    if not _REAL.fullmatch(text):
        raise ValueError("is read as different numbers by different tools; write plain digits, e.g. 2.5")
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return int(value) if value.is_integer() and abs(value) < _MOST_WHOLE else value


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "timestamp": str,
    "null": lambda _: None,
    "bool": lambda text: text.lower() in {"true", "yes", "on"},
    "int": _whole,
    "float": _real,
}
