"""Request traces: when requests arrive and how long their prompts and answers are.

A `Trace` is an immutable value: arrival times in seconds from the trace's start, token counts, a name. The forms that
others publish are read by one module each and refused, where broken, with one sentence that names file, line and
remedy. Two Azure traces are shipped (see data/ATTRIBUTION.md). One of them fills a fifth of one GPU: `superpose` makes
the load of a fleet from it without making it smoother or burstier than traffic of that kind is, by laying jittered
copies over one another with lengths of near neighbours.
"""

import os
from importlib import resources
from pathlib import Path

from simulator.traces.azure import AZURE_COLUMNS, decode_text, parse_azure, read_azure_csv
from simulator.traces.shaping import chain, superpose
from simulator.traces.trace import MAX_TOKENS, Trace, TraceError, Traffic, traffic_of

__all__ = [
    "AZURE_COLUMNS",
    "MAX_TOKENS",
    "SHIPPED_TRACES",
    "Trace",
    "TraceError",
    "Traffic",
    "chain",
    "load_trace",
    "read_azure_csv",
    "superpose",
    "traffic_of",
]

SHIPPED_TRACES = {
    "azure-conv-2023": "AzureLLMInferenceTrace_conv.csv.gz",
    "azure-code-2023": "AzureLLMInferenceTrace_code.csv.gz",
}
"""Traces that are part of the package, by name."""


def load_trace(name_or_path: str | os.PathLike[str]) -> Trace:
    """A shipped trace by name, or a file in Azure's form.

    Raises:
        TraceError: neither a shipped name nor a readable, well-formed file.
    """
    text = os.fspath(name_or_path)
    if text in SHIPPED_TRACES:
        data = resources.files("simulator").joinpath("data", SHIPPED_TRACES[text]).read_bytes()
        return parse_azure(text, text, decode_text(text, data))
    try:
        there = Path(text).exists()
    except OSError:
        there = True  # A name too long, or no right to look: the reader says which.
    if not there:
        names = ", ".join(SHIPPED_TRACES)
        raise TraceError(f"{text}: no such trace; give a CSV file in Azure's form, or one of: {names}")
    return read_azure_csv(text)
