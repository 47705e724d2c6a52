"""YAML files that describe a part of a simulation: read strictly, every mistake at once, each at its line.

The models say what may stand in such a file; what pydantic finds wrong is told as for policies (``policywords``): file,
line, column, path, and in one sentence what and what to do.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from autoscaler import yamltext
from autoscaler.policywords import message


class Part(BaseModel):
    """A part of such a file: fields in camel case, none beside those that are known, no infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


P = TypeVar("P", bound=Part)


class InputFileError(ValueError):
    """A file that cannot be used: one sentence a line, each with file, line and column."""


def read_text(path: Path, what: str) -> str:
    """Return a file's text; ``what`` is what messages call it.

    Raises:
        InputFileError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputFileError(f"cannot read {what} {path}: {reason}; give a YAML file") from error


class InputFile:
    """The one document of a text, with the place of every value; ``source`` is what messages call the text."""

    def __init__(self, text: str, source: str, *, remedy: str) -> None:
        """Take the text apart; ``remedy`` says what to give where there is nothing or too much.

        Raises:
            InputFileError: it is no YAML, or not one document.
        """
        documents = yamltext.read(text)
        if len(documents) != 1:
            found = f"{len(documents)} documents" if documents else "nothing"
            raise InputFileError(f"{source}: {found} in this file; {remedy}")
        self._document, self._source = documents[0], source
        if self._document.faults:
            raise InputFileError("\n".join(self.told(fault.path, fault.message) for fault in self._document.faults))

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever stands in the file
        """The document as plain data."""
        return self._document.data

    def told(self, path: yamltext.Path, text: str) -> str:
        """Return a sentence about a path with its place in front, as compilers print."""
        mark = self._document.mark_of(path)
        dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
        place = f"{self._source}:{mark.line}:{mark.column}"
        return f"{place}: {dotted}: {text}" if dotted else f"{place}: {text}"

    def part(self, model: type[P], data: object, path: yamltext.Path = ()) -> P:
        """Return a part of the file, of which ``data`` stands at ``path``.

        Raises:
            InputFileError: all that is wrong in it.
        """
        try:
            return model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            details = error.errors(include_url=False)
            places = [detail["loc"] for detail in details]
            # Of a list pydantic counts the good items alone: that one is too short is no news where an item is wrong.
            shortened = {place[:depth] for place in places for depth in range(len(place))}
            told = [
                self.told((*path, *detail["loc"]), message(detail, model))
                for detail in details
                if not (detail["type"] == "too_short" and detail["loc"] in shortened)
            ]
            raise InputFileError("\n".join(told)) from error
