"""Policy files: YAML text to policies, and every error at once, each with its place and what to do about it.

Pure: text in, values out; who calls it reads the file. One file may hold several documents, separated by ``---``,
and objects of other kinds beside the policies (the Deployment, say), which are passed over. A ``List``, as kubectl
prints one, is read item by item.

Types are taken as strictly as the API server takes them: ``max: "5"`` is text, not a number, here as there. What the
server drops before it looks is dropped here: a ``status``, and a field that is null.
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from autoscaler.core.policy import GROUP, KIND, ScalingPolicy
from autoscaler.policyrules import broken_rules
from autoscaler.policywords import message
from autoscaler.yamltext import Document, Mark, Path, read

_LIST_KINDS = {"List", f"{KIND}List"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a policy file: where, and in one sentence what and what to do."""

    source: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Return it as compilers print: ``file:line:column: path: message``."""
        place = f"{self.source}:{self.line}:{self.column}"
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """One policy of a file, or what is wrong with it: ``policy`` is None exactly if there are problems."""

    source: str
    line: int
    policy: ScalingPolicy | None
    problems: tuple[Problem, ...]
    document: Document
    root: Path = ()

    def problem_at(self, path: str, text: str) -> Problem:
        """Return a problem at a dotted path of this policy, such as ``spec.objectives.ttftSeconds``."""
        mark = self.document.mark_of((*self.root, *_split(path)))
        return Problem(source=self.source, line=mark.line, column=mark.column, path=path, message=text)


def parse(text: str, source: str) -> tuple[PolicyDocument, ...]:
    """Return the policies of a file's text, in their order; ``source`` names the file in messages. Never raises.

    A file without any policy gives one document with a problem that says so.
    """
    found = [policy for document in read(text) for policy in _policies(document, source)]
    if found:
        return tuple(found)
    nothing = Document(mark=Mark(line=1, column=1))
    return (_refused(nothing, (), source, [nothing_found(source)]),)


def nothing_found(source: str) -> Problem:
    """Return the problem of a file that holds no policy."""
    text = f"no {KIND} in this file; start one with `autoscaler policy init deploy/NAME`"
    return Problem(source=source, line=1, column=1, path="", message=text)


def _policies(document: Document, source: str) -> Iterable[PolicyDocument]:
    data = document.data
    items = data.get("items") if isinstance(data, dict) and data.get("kind") in _LIST_KINDS else None
    if isinstance(items, list):
        return [_policy(document, ("items", i), item, source) for i, item in enumerate(items) if _is_ours(item)]
    return [_policy(document, (), data, source)] if _is_ours(data) or document.faults else []


def _is_ours(data: object) -> bool:
    """Whether a document is a policy or meant to be one: another kind of another group is somebody else's."""
    if not isinstance(data, dict):
        return True
    kind, group = data.get("kind"), str(data.get("apiVersion", GROUP)).split("/")[0]
    return group == GROUP or not kind or bool(difflib.get_close_matches(str(kind), [KIND], cutoff=0.8))


def _policy(document: Document, root: Path, data: object, source: str) -> PolicyDocument:
    problems = [_problem(source, fault.mark, fault.path, fault.message) for fault in document.faults]
    policy = None
    if data is not None and _is_ours(data):
        kept = _without_nulls({k: v for k, v in data.items() if k != "status"} if isinstance(data, dict) else data)
        broken = broken_rules(kept)
        problems += [_problem(source, document.mark_of((*root, *path)), path, text) for path, text in broken]
        try:
            policy = ScalingPolicy.model_validate_json(json.dumps(kept), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            problems.extend(_explained(error, document, root, source, told=[path for path, _ in broken]))
    if policy is None and not problems:
        problems = [_problem(source, document.mark_of(root), (), "nothing stands here; write a policy, or remove it")]
    if problems or policy is None:
        return _refused(document, root, source, problems)
    line = document.mark_of(root).line
    return PolicyDocument(source=source, line=line, policy=policy, problems=(), document=document, root=root)


def _without_nulls(data: object) -> object:
    if isinstance(data, dict):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    return [_without_nulls(item) for item in data] if isinstance(data, list) else data


def _refused(document: Document, root: Path, source: str, problems: Iterable[Problem]) -> PolicyDocument:
    in_order = sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.path))
    line = document.mark_of(root).line
    return PolicyDocument(source=source, line=line, policy=None, problems=tuple(in_order), document=document, root=root)


_OWN_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"})


def _explained(
    error: ValidationError, document: Document, root: Path, source: str, told: list[Path]
) -> Iterable[Problem]:
    """Yield pydantic's errors; a rule that was told at its field is not told again there or at the block around it."""
    for detail in error.errors(include_url=False):
        path: Path = detail["loc"]
        # Beyond its own bounds a number is wrong whatever it is compared with.
        if (path in told and detail["type"] not in _OWN_BOUNDS) or (
            detail["type"] == "value_error" and any(one[: len(path)] == path for one in told)
        ):
            continue
        yield _problem(source, document.mark_of((*root, *path)), path, message(detail))


def _problem(source: str, mark: Mark, path: Path, text: str) -> Problem:
    return Problem(source=source, line=mark.line, column=mark.column, path=_dotted(path), message=text)


def _dotted(path: Path) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def _split(path: str) -> Path:
    keys = re.findall(r"[^.\[\]]+", path)
    return tuple(int(key) if key.isdigit() else key for key in keys)
