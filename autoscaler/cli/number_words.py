"""What the numbers of a decision are called when they are shown: a heading, a few words and a unit for each name.

Words may name another number, as in ``{level_span_s}``: the span that was in force then, and not its default. A name
that is not listed is shown as it stands, under the last heading, with the unit that its ending tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.cli.tables import number

# The unit of what is 1 or 0 for yes or no.
YES_NO = "yes or no"
_OTHER = "Other"
_GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Demand": {
        "arrival_rps": ("arrivals", "requests/s"),
        "running": ("requests running", ""),
        "waiting": ("requests waiting", ""),
        "held": ("requests held at the gateway", ""),
        "demand": ("newest", "replicas of work"),
        "level": ("smoothed over {level_span_s} s", "replicas of work"),
        "base": ("highest of that in {peak_span_s} s", "replicas of work"),
        "demand_quantile": ("in {horizon_s} s at quantile {quantile}", "replicas of work"),
        "scale": ("scale of forecast errors", ""),
        "residual_quantile": ("error at that quantile", "scales"),
        "dispersion": ("burstiness of arrivals (IDC)", ""),
        "measured_age_s": ("age of the newest rate", "s"),
    },
    "Need": {
        "need_present": ("needed now", "replicas"),
        "pool": ("pre-warm pool", "replicas"),
        "prewarm_min": ("pre-warm, at least", "replicas"),
        "prewarm_max": ("pre-warm, at most", "replicas"),
        "min_replicas": ("replicas, at least", "replicas"),
        "max_replicas": ("replicas, at most", "replicas"),
        "policy_min_replicas": ("replicas.min of the policy", "replicas"),
        "left_replicas": ("left by the last decision", "replicas"),
        "target_concurrency": ("requests per replica wanted", ""),
    },
    "Backlog": {
        "backlog_s": ("now", "replica-seconds"),
        "backlog_left_s": ("when an order comes (<0: gone)", "replica-seconds"),
        "backlog_clear_s": ("to be cleared in", "s"),
    },
    "Times": {
        "horizon_s": ("horizon", "s"),
        "coldstart_p50_s": ("cold start, p50", "s"),
        "coldstart_p75_s": ("cold start, p75", "s"),
        "coldstart_p90_s": ("cold start, p90", "s"),
        "coldstart_samples": ("cold starts measured", ""),
        "hold_s": ("hold before going down", "s"),
        "guard_s": ("watch before going down", "s"),
        "tick_s": ("tick", "s"),
        "scrape_s": ("scrape interval", "s"),
        "lag_s": ("lag of the metrics", "s"),
        "level_span_s": ("smoothing of demand", "s"),
        "peak_span_s": ("peak of demand believed for", "s"),
    },
    "Sight": {
        "reporting": ("pods that report", ""),
        "expected": ("pods that ought to", ""),
        "sample_age_s": ("age of the newest sample", "s"),
        "stale_after_s": ("a sample is stale after", "s"),
        "sighted_s": ("time with sight", "s"),
        "blind_s": ("time without sight", "s"),
        "fail_safe_after_s": ("fail-safe after blindness of", "s"),
        "warnings": ("warnings of the sources", ""),
        "hung": ("engines that hang", ""),
        "frozen_counters": ("counters that stand still", ""),
        "unseen": ("pods that show no request where some end", ""),
        "untold": ("tokens nobody tells", YES_NO),
        "guess": ("demand rests on a guess", YES_NO),
        "idle": ("nobody asks", YES_NO),
        "contradictory": ("metrics contradict", YES_NO),
    },
    "Starts and writers": {
        "healthy": ("starts under way", ""),
        "stuck": ("starts stuck", ""),
        "replacements": ("ordered for stuck starts", "replicas"),
        "starts_fail": ("starts fail as a rule", YES_NO),
        "loading": ("pods starting (also rollouts)", ""),
        "lapsed": ("pods ready once and not now", ""),
        "surge": ("a rollout's surplus pods", ""),
        "paused": ("paused", YES_NO),
        "own_zero": ("zero set by the last decision", YES_NO),
        "foreign_changes": ("changes by someone else", ""),
        "foreign_span_s": ("from the first to the last", "s"),
        "foreign_ago_s": ("time since the last", "s"),
    },
    "One request, one replica": {
        "work_s": ("work of one request", "replica-seconds"),
        "prompt_tokens": ("prompt of one request", "tokens"),
        "output_tokens": ("output of one request", "tokens"),
        "kv_tokens_per_request": ("KV cache of one request", "tokens"),
        "kv_capacity_tokens": ("KV cache of one replica", "tokens"),
        "max_sequences": ("sequences at once", ""),
        "itl_s": ("inter-token latency", "s"),
        "ttft_s": ("TTFT objective", "s"),
        "tpot_s": ("ITL objective", "s"),
        "a_s": ("step: fixed", "s"),
        "b_s": ("step: per prefill token", "s"),
        "c_s": ("step: per sequence", "s"),
        "d_s": ("step: per KV token", "s"),
    },
}
_ENDINGS = {"_s": "s", "_rps": "requests/s", "_tokens": "tokens", "_usd": "USD", "_replicas": "replicas"}
_LISTED = {name for named in _GROUPS.values() for name in named}
# Said with the demand that it belongs to.
_WITHIN_WORDS = frozenset({"quantile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One number as a person reads it."""

    words: str
    value: str
    unit: str


class _Spans(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"


def said(numbers: Mapping[str, float]) -> dict[str, list[Said]]:
    """Return the numbers of a decision by heading, in the order in which they are listed here."""
    spans = _Spans({name: number(value) for name, value in numbers.items()})
    groups = {
        heading: [
            _said(words.format_map(spans), numbers[name], unit)
            for name, (words, unit) in named.items()
            if name in numbers
        ]
        for heading, named in _GROUPS.items()
    }
    others = sorted(numbers.keys() - _LISTED - _WITHIN_WORDS)
    groups[_OTHER] = [_said(name, numbers[name], _unit(name)) for name in others]
    return {heading: group for heading, group in groups.items() if group}


def _said(words: str, value: float, unit: str) -> Said:
    if unit == YES_NO:
        return Said(words=words, value="yes" if value else "no", unit="")
    text = number(value)
    one = text == "1" and unit in {"replicas", "tokens", "scales", "replica-seconds"}
    return Said(words=words, value=text, unit=unit.removesuffix("s") if one else unit)


def _unit(name: str) -> str:
    return next((unit for ending, unit in _ENDINGS.items() if name.endswith(ending)), "")
