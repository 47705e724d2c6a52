"""What is wrong with a policy, or another file that models describe, in the words of the person who wrote it.

Pydantic says "Extra inputs are not permitted"; a person who wrote ``maxReplica`` needs to hear what they meant. So a
misspelt key is compared with the keys that are known there, a misplaced one with the whole policy, and the names of
the autoscalers that people come from are known.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autoscaler.core.policy import ScalingPolicy
from autoscaler.yamltext import Path

# What the fields are called in the HorizontalPodAutoscaler and in KEDA's ScaledObject.
_ELSEWHERE_CALLED = {
    "minReplicas": "spec.replicas.min",
    "maxReplicas": "spec.replicas.max",
    "minReplicaCount": "spec.replicas.min",
    "maxReplicaCount": "spec.replicas.max",
    "scaleTargetRef": "spec.targetRef",
    "cooldownPeriod": "spec.scaleDown.stabilizationSeconds",
    "stabilizationWindowSeconds": "spec.scaleDown.stabilizationSeconds",
    "pollingInterval": "spec.timing.tickSeconds",
}


def message(detail: ErrorDetails, root: type[BaseModel] = ScalingPolicy) -> str:
    """Return one sentence for one of pydantic's errors about a ``root``: what is wrong, and what to write instead."""
    kind, path, given = detail["type"], detail["loc"], detail["input"]
    if kind == "missing":
        return _missing(path, root)
    if kind == "extra_forbidden":
        return _unknown(path, root)
    if kind in {"enum", "literal_error"}:
        return _not_among(given, detail.get("ctx", {}))
    if kind == "string_pattern_mismatch":
        return f"{_shown(given)} is not {_PATTERNS.get(str(path[-1]), 'of the form that is taken here; see the docs')}"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return _WORDS.get(kind, detail["msg"]).format(given=_shown(given), **_plain(detail.get("ctx", {})))


_WORDS = {
    "bool_type": "{given} is not a yes or no; write true or false",
    "int_type": "{given} is not a whole number; write digits without quotes, e.g. 4",
    "int_from_float": "{given} is not a whole number; write digits without quotes, e.g. 4",
    "float_type": "{given} is not a number; write it without quotes, e.g. 2.5",
    "finite_number": "{given} is not a finite number; write one",
    "string_type": "{given} is not text; put it in quotes",
    "tuple_type": "{given} is not a list; begin each item with '- '",
    "model_type": "{given} is not a block of fields; indent its fields below it",
    "model_attributes_type": "{given} is not a block of fields; indent its fields below it",
    "greater_than": "{given} is too small; it must be greater than {gt}",
    "greater_than_equal": "{given} is too small; it must be at least {ge}",
    "less_than": "{given} is too large; it must be less than {lt}",
    "less_than_equal": "{given} is too large; it must be at most {le}",
    "string_too_short": "it is empty; write at least {min_length} character",
    "string_too_long": "it is too long; at most {max_length} characters are taken",
    "too_short": "it has {actual_length} items; give at least {min_length}",
    "too_long": "it has {actual_length} items; at most {max_length} are taken",
    "datetime_type": "{given} is not a time; write RFC 3339, e.g. 2026-12-01T08:00:00Z",
    "datetime_parsing": "{given} is not a time; write RFC 3339, e.g. 2026-12-01T08:00:00Z",
    "datetime_from_date_parsing": "{given} is not a time; write RFC 3339, e.g. 2026-12-01T08:00:00Z",
}


# What a pattern asks for, by the field that has it.
_DNS_NAME = "a name in Kubernetes; write lower-case letters, digits, '-' and '.', e.g. chat-8b"
_LABEL = "a label of Prometheus; write letters, digits and '_', not beginning with a digit, e.g. model_name"
_PATTERNS = {
    "name": _DNS_NAME,
    "namespace": "a namespace; write lower-case letters, digits and '-', e.g. prod",
    "prometheus": "the name of an endpoint; write lower-case letters, digits and '-', e.g. default",
    "apiVersion": "a group and version; write e.g. apps/v1",
    "kind": "a kind; write it as kubectl does, e.g. Deployment",
    "modelLabel": _LABEL,
    "namespaceLabel": _LABEL,
    "podLabel": _LABEL,
    "cron": "five cron fields; write minute, hour, day, month and weekday, e.g. 0 8 * * mon-fri",
}


def _missing(path: Path, root: type[BaseModel]) -> str:
    fields = _fields(_model_at(path[:-1], root))
    field = fields.get(str(path[-1]))
    what = f": {field.description}" if field is not None and field.description else ""
    return f"required, and missing{what}" if what else "required, and missing; add it"


def _unknown(path: Path, root: type[BaseModel]) -> str:
    """Say what a misspelt or misplaced key might have been."""
    key = str(path[-1])
    if root is ScalingPolicy and key in _ELSEWHERE_CALLED:
        return f"there is no field '{key}' here; it is called {_ELSEWHERE_CALLED[key]}"
    nearly = difflib.get_close_matches(key, _ELSEWHERE_CALLED, n=1, cutoff=0.9) if root is ScalingPolicy else []
    if nearly:
        return f"there is no field '{key}' here; did you mean {_ELSEWHERE_CALLED[nearly[0]]}?"
    known = list(_fields(_model_at(path[:-1], root)))
    by_lower_case = {_folded(name): name for name in known}
    close = difflib.get_close_matches(_folded(key), by_lower_case, n=1, cutoff=0.6)
    if close:
        return f"there is no field '{key}' here; did you mean '{by_lower_case[close[0]]}'?"
    elsewhere = sorted(place for place in _places(root) if place.split(".")[-1] == key)
    if elsewhere:
        return f"there is no field '{key}' here; it belongs at {elsewhere[0]}"
    return f"there is no field '{key}' here; the fields are {', '.join(known)}"


def _folded(key: str) -> str:
    return re.sub(r"[_-]", "", key).lower()


def _not_among(given: object, context: Mapping[str, Any]) -> str:
    known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(given).lower(), folded, n=1, cutoff=0.6)
    hint = f"; did you mean {folded[close[0]]}?" if close and len(known) > 1 else ""
    choice = known[0] if len(known) == 1 else f"one of {', '.join(known)}"
    return f"{_shown(given)} is not known here; it must be {choice}{hint}"


def _shown(given: object) -> str:
    text = json.dumps(given, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in context.items()
    }


# The models, walked by the names that users write.


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds, be it optional or a list of them."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _model_at(path: Path, root: type[BaseModel]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    for key in path:
        if isinstance(key, str):
            field = _fields(model).get(key)
            model = None if field is None else _model_in(field.annotation)
    return model


def _places(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in _fields(model).items():
        yield f"{prefix}{name}"
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from _places(inner, f"{prefix}{name}.")
