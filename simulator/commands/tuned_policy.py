"""A policy file with other settings: the user's own text, its comments and whatever else is in the file kept."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from autoscaler.core.policy import KIND
from simulator.commands.inputs import policy_of
from simulator.experiments.policy_settings import Settings, tuned


def rewritten(text: str, settings: Settings | None, place: str) -> str:
    """Return the text with these settings in its policy; with None, as it is.

    Raises:
        click.ClickException: what is written anew would not be the same policy.
    """
    if settings is None:
        return text
    odd = click.ClickException(f"{place}: cannot be rewritten; give a file with the policy alone, without YAML anchors")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # Lines stay as long as they were.
    try:
        documents = list(yaml.load_all(text))
        specs = [policy["spec"] for policy in _policies(documents)]
        if len(specs) != 1:
            raise odd
        _set(specs[0], settings)
        written = StringIO()
        yaml.dump_all(documents, written)
        same = policy_of(written.getvalue(), place).spec == tuned(policy_of(text, place), settings).spec
    except (YAMLError, TypeError, KeyError, AttributeError) as error:
        raise odd from error
    if not same:
        raise odd
    return written.getvalue()


def _policies(documents: list[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, dict):
            items = document.get("items")
            yield from (one for one in (items if isinstance(items, list) else [document]) if one.get("kind") == KIND)


def _set(spec: Any, settings: Settings) -> None:  # noqa: ANN401 - a mapping of ruamel
    for part in ("prewarm", "scaleDown"):
        if spec.get(part) is None:
            spec[part] = {}
    spec["prewarm"]["quantile"] = settings.quantile
    spec["prewarm"]["min"] = settings.pool
    spec["scaleDown"]["stabilizationSeconds"] = settings.hold_s
