"""Custom queries before they are asked: whether they are PromQL, and whether what they give can be read.

Pure: text in, sentences out. How the answer is read says what a query must be (``adapters/prometheus_snapshot.py``):
it gives an instant vector or one number. For ``running`` and ``waiting`` that is one sample, which the pods share, or
samples that name their pod in the pod label and, where they carry the namespace label, the target's namespace in it.
For ``heldRequests`` all samples are added up.

Which labels a result has follows from the query's text as far as aggregations, ``on`` and ``label_replace`` name them;
beyond that the series themselves decide, and nothing is said.

The parser copies a part with all that is in it whenever it is looked at, so each is looked at once (:func:`_parted`).
It also takes what no Prometheus does, or only a later one; what it is known to take so is refused here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import promql_parser as ast

# What is longer the policy's schema refuses; a parser that recurses is not given it.
LONGEST = 2000
# Aggregations that choose among the samples and leave their labels as they are.
_CHOOSING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
_AROUND = ast.AggregateExpr | ast.UnaryExpr | ast.ParenExpr | ast.SubqueryExpr
_NEW_LABEL = frozenset({"label_replace", "label_join"})
# Functions whose result has no labels, or none that anybody counts on.
_BARE = frozenset({"absent", "absent_over_time", "scalar", "time", "vector", "pi"})
# The parser takes these as functions, and they are none: the first two stand behind @, the others in durations.
_NO_FUNCTIONS = frozenset({"start", "end", "step", "range"})


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a query, the parts that it is made of, and the selectors in all of them, in order."""

    expression: ast.Expr
    parts: tuple["_Part", ...]
    selectors: tuple[ast.VectorSelector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """The labels of a result: exactly ``only``, or (None) those of the series but ``gone``."""

    only: frozenset[str] | None = None
    gone: frozenset[str] = field(default_factory=frozenset)

    def has(self, name: str) -> bool:
        return name not in self.gone if self.only is None else name in self.only

    def without(self, names: frozenset[str]) -> "_Labels":
        return _Labels(only=None if self.only is None else self.only - names, gone=self.gone | names)

    def with_(self, names: frozenset[str]) -> "_Labels":
        return _Labels(only=None if self.only is None else self.only | names, gone=self.gone - names)


def fault_of(text: str) -> str | None:
    """Return why a query is refused, in one sentence with the remedy; None for one that may be asked."""
    if len(text) > LONGEST:
        return None
    try:
        expression = ast.parse(text)
    except ValueError as error:
        said = " ".join(str(error).split())
        return f"no PromQL: {said}; correct it, and try it in Prometheus' own expression browser"
    try:
        whole = _parted(expression)
        _labels(whole)
        unknown = next(_unknown(whole), None)
    except RecursionError:
        return "is nested deeper than can be judged; write it with fewer parentheses and operators"
    if unknown is not None:
        return f"no PromQL: {unknown}"
    return _unfit(_opened(expression))


def _unfit(inner: ast.Expr) -> str | None:
    if isinstance(inner, ast.MatrixSelector | ast.SubqueryExpr):
        return "gives a range vector, where one value is needed of each series; write e.g. max_over_time(...) around it"
    if isinstance(inner, ast.StringLiteral):
        return "gives a text, where numbers are needed; take the quotes away"
    return None


def doubts_of(text: str, *, pod_label: str, namespace_label: str, namespace: str, by_pod: bool) -> Iterator[str]:
    """Yield why a sound query may not give what is meant, a sentence each with the remedy.

    ``by_pod`` tells ``running`` and ``waiting`` from ``heldRequests``; the labels are those of the policy's mapping.
    """
    try:
        whole = _parted(ast.parse(text))
        labels = _labels(whole)
    except RecursionError:  # Whoever asks stands deeper than who asked for faults.
        return
    selectors = whole.selectors
    if not selectors:
        yield "reads no series, so it is the same at all times; name a metric"
        return
    if not by_pod:
        if any(not _matchers(one) for one in selectors):
            yield "adds up every series of that name in this Prometheus; select what is this policy's, e.g. by model"
        return
    yield from _unreadable(labels, pod_label, namespace_label)
    chosen = [_chosen(one, namespace_label) for one in selectors]
    elsewhere = sorted({name for name in chosen if name not in {None, "", namespace}})
    ours = f'{namespace_label}="{namespace}"'
    if elsewhere:
        named = ", ".join(map(str, elsewhere))
        yield f"selects the namespace {named}, and the pods are in {namespace}; write {{{ours}}}"
    elif None in chosen and labels.only is not None and namespace_label not in labels.only:
        pods = "pods of the same name" if labels.has(pod_label) else "the pods"
        yield f"counts {pods} in every namespace of this Prometheus; select {{{ours}}}"


def _unreadable(labels: _Labels, pod: str, namespace: str) -> Iterator[str]:
    """Say where the samples are several and none of them names a pod: then not one of them is read."""
    if labels.has(pod) or labels.only == frozenset():
        return
    kept = f"by {', '.join(sorted(labels.only))}" if labels.only else f"without {pod}"
    yield (
        f"tells its samples apart {kept}, so none of several names its pod and none is read; write "
        f"sum by ({namespace}, {pod}) (...), or sum(...) for one number that the pods share"
    )


def _parted(expression: ast.Expr) -> _Part:
    """Return a query with its parts, each taken out of the parser's tree once."""
    inside: list[ast.Expr] = []
    if isinstance(expression, ast.BinaryExpr):
        inside = [expression.lhs, expression.rhs]
    elif isinstance(expression, ast.Call):
        inside = expression.args
    elif isinstance(expression, _AROUND):
        inside = [expression.expr]
    parts = tuple(_parted(one) for one in inside)
    own: tuple[ast.VectorSelector, ...] = ()
    if isinstance(expression, ast.VectorSelector):
        own = (expression,)
    elif isinstance(expression, ast.MatrixSelector):
        own = (expression.vector_selector,)
    return _Part(expression, parts, own + tuple(one for part in parts for one in part.selectors))


def _unknown(part: _Part) -> Iterator[str]:
    """Say what the parser takes and Prometheus refuses, with the remedy."""
    if isinstance(part.expression, ast.Call) and part.expression.func.name in _NO_FUNCTIONS:
        name = part.expression.func.name
        yield f"{name}() is no function; write time() for the instant that is asked for, or leave it out"
    for selector in part.selectors if not part.parts else ():
        if selector.matchers.or_matchers:
            yield 'one selector cannot choose with or; write two of them, x{a="b"} or x{a="c"}, or a=~"b|c"'
    for inner in part.parts:
        yield from _unknown(inner)


def _matchers(selector: ast.VectorSelector) -> list[ast.Matcher]:
    """Return what a selector asks for beside the metric's name."""
    groups = [selector.matchers.matchers, *selector.matchers.or_matchers]
    return [one for group in groups for one in group if one.name != "__name__"]


def _chosen(selector: ast.VectorSelector, label: str) -> str | None:
    """Return the value of a label that a selector asks for, "" for a choice that is not one value; None for any."""
    found = [one for one in _matchers(selector) if one.name == label]
    if not found:
        return None
    return found[0].value if len(found) == 1 and found[0].op == ast.MatchOp.Equal else ""


def _opened(expression: ast.Expr) -> ast.Expr:
    while isinstance(expression, ast.ParenExpr):
        expression = expression.expr
    return expression


def _labels(part: _Part) -> _Labels:
    expression = part.expression
    if isinstance(expression, ast.AggregateExpr):
        return _aggregated(part, expression)
    if isinstance(expression, ast.BinaryExpr):
        return _matched(part, expression)
    if isinstance(expression, ast.Call):
        return _called(part, expression)
    if isinstance(expression, _AROUND):
        return _labels(part.parts[0])
    return _Labels(only=frozenset()) if isinstance(expression, ast.NumberLiteral) else _Labels()


def _aggregated(part: _Part, expression: ast.AggregateExpr) -> _Labels:
    operator = str(expression.op)
    if operator in _CHOOSING:
        return _labels(part.parts[0])
    counted = {expression.param.val} if operator == "count_values" and expression.param is not None else set()
    named = frozenset(expression.modifier.labels) if expression.modifier else frozenset()
    if expression.modifier is not None and expression.modifier.type == ast.AggModifierType.Without:
        return _labels(part.parts[0]).without(named).with_(frozenset(counted))
    return _Labels(only=named | counted)


def _matched(part: _Part, expression: ast.BinaryExpr) -> _Labels:
    left, right = part.parts
    if not left.selectors or str(expression.op) == "or":
        # Of two alternatives the one that names more decides: ``or vector(0)`` stands for where there is nothing.
        sides = [_labels(right), _labels(left)]
        return next((side for side in sides if side.only is None), max(sides, key=lambda side: len(side.only or ())))
    modifier = expression.modifier
    if modifier is None or modifier.matching is None or str(expression.op) in {"and", "unless"}:
        return _labels(left)
    if modifier.card == ast.VectorMatchCardinality.OneToMany:
        return _labels(right).with_(frozenset(modifier.group_labels or ()))
    if modifier.card == ast.VectorMatchCardinality.ManyToOne:
        return _labels(left).with_(frozenset(modifier.group_labels or ()))
    named = frozenset(modifier.matching.labels)
    if modifier.matching.type == ast.LabelModifierType.Include:
        return _Labels(only=named)
    return _labels(left).without(named)


def _called(part: _Part, expression: ast.Call) -> _Labels:
    name = expression.func.name
    if name in _BARE:
        return _Labels(only=frozenset())
    reading = [one for one in part.parts if one.selectors]
    labels = _labels(reading[0]) if reading else _Labels(only=frozenset())
    if name in _NEW_LABEL:
        return labels.with_(frozenset({expression.args[1].val}))
    return labels
