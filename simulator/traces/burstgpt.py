"""BurstGPT as CSV: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, with or without sessions.

Timestamps are seconds from the start of the trace, whole ones in the files of 2023. A request without response tokens
failed; since nobody knows how long its answer would have been, it is left out and counted.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from simulator.traces.csvlines import csv_lines, fields_of, token_field
from simulator.traces.lines import TOLD, Batch, BrokenLineError, Request, WrongLineError, batches

BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
_SECONDS = re.compile(r"[+-]?(\d{1,9})(?:\.(\d{1,9})\d*)?", re.ASCII)


def burstgpt_batches(place: str, path: Path | Traversable) -> Iterator[Batch]:
    """Yield the requests of a BurstGPT file; failures are left out.

    Raises:
        TraceError: no such file, wrong columns, no CSV, a negative length or time.
    """
    return batches(place, csv_lines(place, path, BURSTGPT_COLUMNS), _request)


def _request(row: Sequence[str]) -> Request | None:
    stamp, prompt, output = fields_of(row)
    at_ns = _at_ns(stamp)
    prompt_tokens, output_tokens = (
        token_field(name, text) for name, text in zip(BURSTGPT_COLUMNS[1:], (prompt, output), strict=True)
    )
    return (at_ns, prompt_tokens, output_tokens, ()) if output_tokens else None


def _at_ns(text: str) -> int:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise BrokenLineError(f'Timestamp "{text[:TOLD]}" is no number; give seconds from the start of the trace')
    if text.startswith("-"):
        raise WrongLineError(f"Timestamp is {text}; give seconds from the start of the trace, 0 or more")
    return int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))
