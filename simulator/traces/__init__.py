"""Request traces: when requests arrive and how long their prompts and answers are.

A `Trace` is an immutable value: arrival times in seconds from the trace's start, token counts, a name; a `Traffic` is
any number of requests in such pieces. The forms that others publish are read by one module each, in pieces, and
refused, where wrong, with one sentence that names file, line and remedy; `forms` tells one from the other. Two Azure
traces are shipped (see data/ATTRIBUTION.md). One of them fills a fifth of one GPU: `superpose` makes the load of a
fleet from it without making it smoother or burstier than traffic of that kind is, by laying jittered copies over one
another with lengths of near neighbours.
"""

from simulator.traces.forms import FORMS, SHIPPED_TRACES, SLOW_FORMS, load_trace, open_trace, useless_options
from simulator.traces.pieces import in_memory, joined
from simulator.traces.shaping import chain, superpose
from simulator.traces.source import Reading, Source
from simulator.traces.trace import MAX_TOKENS, Trace, TraceError, Traffic, traffic_of

__all__ = [
    "FORMS",
    "MAX_TOKENS",
    "SHIPPED_TRACES",
    "SLOW_FORMS",
    "Reading",
    "Source",
    "Trace",
    "TraceError",
    "Traffic",
    "chain",
    "in_memory",
    "joined",
    "load_trace",
    "open_trace",
    "superpose",
    "traffic_of",
    "useless_options",
]
