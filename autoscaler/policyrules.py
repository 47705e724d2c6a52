"""Rules that pydantic's models tell one at a time, or not at all: each is told here, at the field that is concerned.

A validator of a model runs only when all of its fields are valid, and stops at the first that is broken; a person wants
to hear of all of them at once. So the rules that cross fields are asked once more of the plain data, as far as its
types allow, in the same words. Beside them stand rules that no schema of ours can say: whether a cron expression, a
time zone and the metadata's fields exist, whether a custom query is PromQL, and how the API server takes a time.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError

from autoscaler.core.policy import FLOOR_ABOVE_MAX, NOTHING_HOLDS, ZERO_NEEDS_OPT_IN
from autoscaler.core.policy_fields import (
    ONE_PRICE,
    ONE_PRIOR,
    ONE_QUERY,
    PREWARM_ORDER,
    REPLICAS_ORDER,
    WEIGHTS_TOGETHER,
)
from autoscaler.promql import fault_of
from autoscaler.yamltext import Path

Broken = tuple[Path, str]
Plain = dict[str, Any]

# As the API server takes a date-time: with seconds and an offset.
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[-+]\d{2}:\d{2})")
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)

_METADATA = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)


def broken_rules(data: object) -> tuple[Broken, ...]:
    """Return every broken rule of a policy as (path, sentence). Never raises: parts of a wrong type are passed over."""
    policy = _block(data)
    spec = _block(policy.get("spec"))
    rules = (_bounds, _zero, _priors, _queries, _pin, _schedules)
    return (*_metadata(_block(policy.get("metadata"))), *(broken for rule in rules for broken in rule(spec)))


def _block(data: object) -> Plain:
    return data if isinstance(data, dict) else {}


def _items(data: object) -> list[Plain]:
    return [_block(item) for item in data] if isinstance(data, list) else []


def _number(data: object) -> float | None:
    return data if isinstance(data, int | float) and not isinstance(data, bool) else None


def _metadata(metadata: Plain) -> Iterator[Broken]:
    for key in metadata:
        if key not in _METADATA:
            close = difflib.get_close_matches(key, _METADATA, n=1, cutoff=0.6)
            remedy = f"did you mean '{close[0]}'?" if close else "what is yours belongs under labels or annotations"
            yield ("metadata", key), f"there is no field '{key}' in metadata; {remedy}"
    for key in ("labels", "annotations"):
        pairs = metadata.get(key, {})
        if not isinstance(pairs, dict):
            yield ("metadata", key), f"{key} are names with texts; write e.g. {key}: {{team: search}}"
            continue
        for name, value in pairs.items():
            if not isinstance(value, str):
                yield ("metadata", key, name), f"{value!r} is not text; put it in quotes"


def _bounds(spec: Plain) -> Iterator[Broken]:
    replicas, prewarm = _block(spec.get("replicas")), _block(spec.get("prewarm"))
    least, most = _number(replicas.get("min", 1)), _number(replicas.get("max"))
    if least is not None and most is not None and least > most >= 1:
        yield ("spec", "replicas", "min"), f"{REPLICAS_ORDER}: min is {least}, max is {most}"
    low, high = _number(prewarm.get("min", 0)), _number(prewarm.get("max"))
    if low is not None and high is not None and low > high:
        yield ("spec", "prewarm", "min"), f"{PREWARM_ORDER}: {low} > {high}"
    floor = _number(_block(spec.get("failSafe")).get("replicas"))
    if floor is not None and most is not None and floor > most:
        yield ("spec", "failSafe", "replicas"), f"{FLOOR_ABOVE_MAX}: {floor} > {most}"


def _zero(spec: Plain) -> Iterator[Broken]:
    enabled = _block(spec.get("scaleToZero")).get("enabled", False)
    if _number(_block(spec.get("replicas")).get("min")) == 0 and enabled is False:
        yield ("spec", "replicas", "min"), ZERO_NEEDS_OPT_IN
    signals = [query.get("signal") for query in _items(_block(spec.get("metrics")).get("queries"))]
    if enabled is True and "heldRequests" not in signals:
        yield ("spec", "scaleToZero", "enabled"), NOTHING_HOLDS


def _priors(spec: Plain) -> Iterator[Broken]:
    start = _block(spec.get("coldStart"))
    if "priorSeconds" in start and "weightsGib" in start:
        yield ("spec", "coldStart", "priorSeconds"), ONE_PRIOR
    if ("weightsGib" in start) != ("loadGibPerSecond" in start):
        alone = "weightsGib" if "weightsGib" in start else "loadGibPerSecond"
        yield ("spec", "coldStart", alone), WEIGHTS_TOGETHER
    price = _block(spec.get("accelerator")).get("price")
    if isinstance(price, dict) and ("usdPerHour" in price) == ("reference" in price):
        yield ("spec", "accelerator", "price"), ONE_PRICE


def _queries(spec: Plain) -> Iterator[Broken]:
    seen: set[object] = set()
    for i, query in enumerate(_items(_block(spec.get("metrics")).get("queries"))):
        signal = query.get("signal")
        if isinstance(signal, str) and signal in seen:
            yield ("spec", "metrics", "queries", i, "signal"), ONE_QUERY
        seen.add(signal if isinstance(signal, str) else None)
        fault = fault_of(query["promql"]) if isinstance(query.get("promql"), str) and query["promql"] else None
        if fault is not None:
            yield ("spec", "metrics", "queries", i, "promql"), fault


def _pin(spec: Plain) -> Iterator[Broken]:
    until = _block(spec.get("pin")).get("until")
    if isinstance(until, str) and not _RFC3339.fullmatch(until):
        sentence = f"{until[:40]!r} is not a time with a zone; write RFC 3339, e.g. 2026-12-01T08:00:00Z"
        yield ("spec", "pin", "until"), sentence


def _schedules(spec: Plain) -> Iterator[Broken]:
    most = _number(_block(spec.get("replicas")).get("max"))
    for i, schedule in enumerate(_items(spec.get("schedules"))):
        at = ("spec", "schedules", i)
        yield from _cron((*at, "cron"), schedule.get("cron"))
        yield from _time_zone((*at, "timeZone"), schedule.get("timeZone"))
        for name in ("replicasMin", "prewarmMin"):
            floor = _number(schedule.get(name))
            if floor is not None and most is not None and floor > most:
                yield (*at, name), f"{floor} is more than replicas.max, which is {most}; lower it or raise max"


def _cron(path: Path, given: object) -> Iterator[Broken]:
    # Five words at least: what is not even that, the schema's own pattern refuses.
    if isinstance(given, str) and len(given.split(" ")) == 5:
        try:
            CronSim(given, _ANY_TIME)
        except CronSimError as error:
            reason = str(error).lower()
            yield path, f"{given!r} is no cron expression ({reason}); write e.g. 0 8 * * mon-fri"


def _time_zone(path: Path, given: object) -> Iterator[Broken]:
    zones = available_timezones()
    if isinstance(given, str) and given and given not in zones:
        by_lower_case = {zone.lower(): zone for zone in sorted(zones)}
        close = difflib.get_close_matches(given.lower(), by_lower_case, n=1, cutoff=0.6)
        remedy = f"did you mean {by_lower_case[close[0]]}?" if close else "write one such as Europe/Berlin"
        yield path, f"{given[:40]!r} is not a time zone; {remedy}"
