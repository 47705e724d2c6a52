"""Mooncake's traces: a JSON object a line with `timestamp` (ms), `input_length`, `output_length` and `hash_ids`.

`hash_ids` name the blocks of 512 tokens that the prompt is cut into: equal ids at the front of two prompts mean equal
text there. Other tools write traces of this form without them. The published timestamps are multiples of 3 s.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from simulator.traces.lines import TOLD, Batch, BrokenLineError, Request, WrongLineError, batches, opened_text, tokens

BLOCK_TOKENS = 512
_LATEST_MS = 10**12
_LARGEST_ID = 2**63 - 1


def mooncake_batches(place: str, path: Path | Traversable) -> Iterator[Batch]:
    """Yield the requests of a file in Mooncake's form.

    Raises:
        TraceError: no such file, no text, a negative length or time.
    """
    return batches(place, _lines(place, path), _request)


def _lines(place: str, path: Path | Traversable) -> Iterator[tuple[int, str]]:
    with opened_text(place, path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _request(line: str) -> Request:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise BrokenLineError(f'"{line.strip()[:TOLD]}" is no JSON; give one object a line') from None
    if not isinstance(fields, dict):
        raise BrokenLineError("no JSON object; give one object a line")
    prompt, output = (tokens(name, _whole(fields, name)) for name in ("input_length", "output_length"))
    return _at_ns(fields), prompt, output, _blocks(fields, prompt)


def _at_ns(fields: Mapping[str, Any]) -> int:
    value = fields.get("timestamp")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _LATEST_MS:
        raise BrokenLineError(f'timestamp "{str(value)[:TOLD]}" is no number; give milliseconds from the start')
    if value < 0:
        raise WrongLineError(f"timestamp is {value}; give milliseconds from the start, 0 or more")
    return round(value * 1_000_000)


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BrokenLineError(f'{name} "{str(value)[:TOLD]}" is no whole number; give a token count')
    return value


def _blocks(fields: Mapping[str, Any], prompt_tokens: int) -> tuple[int, ...]:
    ids = fields.get("hash_ids", [])
    if not isinstance(ids, list) or not all(type(block) is int and 0 <= block <= _LARGEST_ID for block in ids):
        raise BrokenLineError("hash_ids is no list of whole numbers; give the ids of the prompt's blocks")
    if len(ids) * BLOCK_TOKENS >= prompt_tokens + BLOCK_TOKENS:
        raise BrokenLineError(
            f"{len(ids)} hash_ids for {prompt_tokens} tokens; give one for each {BLOCK_TOKENS} tokens of the prompt"
        )
    return tuple(ids)
