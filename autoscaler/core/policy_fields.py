"""What the fields of a policy are made of: names, spans and counts with their limits, and rules that cross fields.

Limits keep absurd values out and not unusual ones: they stand in the CustomResourceDefinition, so the API server
refuses what is beyond them as well.
"""

from typing import Annotated, Any

from pydantic import Field

Name = Annotated[str, Field(min_length=1, max_length=253)]
# What the API server takes for names: a DNS subdomain (RFC 1123), for a namespace one label of it.
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^{_DNS_LABEL}(\.{_DNS_LABEL})*$")]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63, pattern=rf"^{_DNS_LABEL}$")]
# What kubectl accepts for a target: group and version, and a kind in letters and digits.
ApiVersion = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=rf"^({_DNS_LABEL}(\.{_DNS_LABEL})*/)?v[0-9]+((alpha|beta)[0-9]+)?$"),
]
KindName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
Label = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
EndpointName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
# A tenth of a second is faster than any scrape, and slower than rounding.
Seconds = Annotated[float, Field(ge=0.1, le=86_400)]
Count = Annotated[int, Field(ge=0, le=10_000)]

# What the rules that cross fields say: here in a validator, on the server as CEL, and for files in policyrules.
REPLICAS_ORDER = "min must not exceed max"
PREWARM_ORDER = "prewarm.min must not exceed prewarm.max"
ONE_PRICE = "price needs exactly one of usdPerHour and reference"
ONE_PRIOR = "coldStart takes priorSeconds or weightsGib with loadGibPerSecond, not both"
WEIGHTS_TOGETHER = "weightsGib and loadGibPerSecond go together"
ONE_QUERY = "metrics.queries takes at most one query for each signal"


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Return the schema extension with CEL rules, each a pair (rule, message)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}
