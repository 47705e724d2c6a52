"""The CustomResourceDefinition: a structural schema that says what the models say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from autoscaler.core.policy import PolicySpec
from autoscaler.crd import crd, crd_yaml, structural
from autoscaler.status import PolicyStatus

ROOT = Path(__file__).resolve().parent.parent
VERSION = crd()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]

# What a structural schema may hold; all else is refused by an API server, or dropped without a word.
KEYWORDS = {
    "type",
    "description",
    "default",
    "nullable",
    "enum",
    "format",
    "required",
    "properties",
    "items",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema inside a schema, with its dotted path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{path}[]")


PARTS = dict(parts(SCHEMA))


def test_the_shipped_file_is_what_the_models_say() -> None:
    """deploy/crd.yaml is generated; after a change of the models: python -m autoscaler.crd > deploy/crd.yaml."""
    assert (ROOT / "deploy/crd.yaml").read_text() == crd_yaml()


def test_the_yaml_reads_back_as_the_definition() -> None:
    """Nothing is lost in writing, and no alias is left that kubectl would have to follow."""
    assert YAML(typ="safe").load(crd_yaml()) == crd()
    assert "&id" not in crd_yaml()


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path or "root")
def test_every_part_is_structural(path: str) -> None:
    """Each value has exactly one type and only keywords that the API server keeps."""
    part = PARTS[path]
    assert set(part) <= KEYWORDS
    assert part["type"] in {"object", "array", "string", "integer", "number", "boolean"}
    assert part.get("default", 0) is not None
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        assert part.get(bound) in {None, True}
        assert bound not in part or bound.removeprefix("exclusive").lower() in part


@pytest.mark.parametrize("path", [path for path in PARTS if path.startswith(".spec")])
def test_every_field_of_the_spec_is_described_and_bounded(path: str) -> None:
    """Kubectl explain needs a sentence for each field, and CEL's cost estimate a bound for each list and text."""
    part = PARTS[path]
    described = path.endswith("[]") or part.get("description", "").endswith((".", "required"))
    assert described, path
    if part["type"] == "array":
        assert "maxItems" in part
    if part["type"] == "string":
        assert "maxLength" in part or "enum" in part


def test_every_field_of_the_models_is_in_the_schema() -> None:
    """The definition leaves nothing out: what pydantic parses, the API server keeps."""
    for model, name in ((PolicySpec, ".spec"), (PolicyStatus, ".status")):
        aliases = {field.alias for field in model.model_fields.values()}
        assert set(PARTS[name]["properties"]) == aliases


def test_blocks_with_nothing_required_default_to_empty() -> None:
    """A block left out becomes {} and then gets the defaults inside it, so that rules may rely on them."""
    assert PARTS[".spec.timing"]["default"] == {}
    assert "default" not in PARTS[".spec.replicas"]
    assert "default" not in PARTS[".spec.pin"]


def test_rules_that_cross_fields_are_there_for_the_server() -> None:
    """The rules that pydantic checks by validators stand beside them as CEL."""
    rules = [rule["message"] for part in PARTS.values() for rule in part.get("x-kubernetes-validations", [])]
    assert [message for message in rules if "zero" in message.lower() or "min" in message] != []
    for wanted in ("min must not exceed max", "price needs exactly one", "NothingHoldsRequests", "failSafe.replicas"):
        assert any(wanted in message for message in rules), wanted


def test_names_scope_and_columns() -> None:
    """Kubectl get sp shows what one wants to know first."""
    spec = crd()["spec"]
    assert (spec["scope"], spec["names"]["shortNames"]) == ("Namespaced", ["sp"])
    assert VERSION["subresources"] == {"status": {}}
    shown = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Target", "Mode", "Desired", "Ready", "Cold start", "Reason", "Age"]
    for column in VERSION["additionalPrinterColumns"]:
        assert column["jsonPath"] in PARTS or column["jsonPath"].startswith(".metadata")


class _Inner(BaseModel):
    """An inner block."""

    size: float = Field(1.0, gt=0, lt=2)


class _Sample(BaseModel):
    kind: Literal["one"]
    maybe: int | None = Field(None, ge=0)
    inner: _Inner = Field(default_factory=_Inner, description="Its own words.")
    many: tuple[_Inner, ...] = Field((), max_length=3)


class _Union(BaseModel):
    both: int | str


def test_the_rewriting_rules_one_by_one() -> None:
    """Const, null, exclusive bounds, references and nested defaults become what Kubernetes takes."""
    assert structural(_Sample) == {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"type": "string", "enum": ["one"]},
            "maybe": {"type": "integer", "nullable": True, "minimum": 0},
            "inner": {
                "type": "object",
                "description": "Its own words.",
                "default": {},
                "properties": {
                    "size": {
                        "type": "number",
                        "default": 1.0,
                        "minimum": 0,
                        "exclusiveMinimum": True,
                        "maximum": 2,
                        "exclusiveMaximum": True,
                    }
                },
            },
            "many": {
                "type": "array",
                "default": [],
                "maxItems": 3,
                "items": {
                    "type": "object",
                    "description": "An inner block.",
                    "properties": {
                        "size": {
                            "type": "number",
                            "default": 1.0,
                            "minimum": 0,
                            "exclusiveMinimum": True,
                            "maximum": 2,
                            "exclusiveMaximum": True,
                        }
                    },
                },
            },
        },
    }


def test_a_bound_between_whole_numbers_is_a_rule_too() -> None:
    """The API server compares 0 with the whole part of 0.1 and lets it pass; a rule does not."""
    for path, part in PARTS.items():
        least = part.get("minimum", 0)
        rules = [one["rule"] for one in part.get("x-kubernetes-validations", ())]
        assert least == int(least) or f"self >= {least!r}" in rules, path


def test_a_union_of_types_is_refused_when_generating() -> None:
    """What no structural schema can say fails here and not in a user's cluster."""
    with pytest.raises(ValueError, match="not structural"):
        structural(_Union)


def test_the_definition_is_plain_json() -> None:
    """It can be sent to an API server as it is."""
    assert json.loads(json.dumps(crd())) == crd()
