"""What the numbers of a decision are called when they are shown: a few words and a unit for each name.

A name that is not listed is shown as it stands, with the unit that its ending tells.
"""

_WORDS = {
    "arrival_rps": ("arrivals", "requests/s"),
    "running": ("requests running", ""),
    "waiting": ("requests waiting", ""),
    "held": ("requests held at the gateway", ""),
    "demand": ("demand, newest", "replicas of work"),
    "level": ("demand, level", "replicas of work"),
    "base": ("demand, peak of the level", "replicas of work"),
    "demand_quantile": ("demand one horizon ahead", "replicas of work"),
    "quantile": ("probability staffed for", ""),
    "scale": ("scale of forecast errors", ""),
    "residual_quantile": ("forecast error at that probability", "scales"),
    "need_present": ("needed now", "replicas"),
    "pool": ("pre-warm pool", "replicas"),
    "backlog_s": ("backlog", "replica-seconds"),
    "backlog_left_s": ("backlog when an order comes", "replica-seconds"),
    "horizon_s": ("horizon", "s"),
    "lag_s": ("lag of the metrics", "s"),
    "hold_s": ("hold before going down", "s"),
    "guard_s": ("time to watch before going down", "s"),
    "scrape_s": ("scrape interval", "s"),
    "tick_s": ("tick", "s"),
    "level_span_s": ("span of the level", "s"),
    "peak_span_s": ("span of the peak", "s"),
    "backlog_clear_s": ("time to clear a backlog in", "s"),
    "measured_age_s": ("age of the newest rate", "s"),
    "blind_s": ("time without sight", "s"),
    "sighted_s": ("time with sight", "s"),
    "sample_age_s": ("age of the newest sample", "s"),
    "coldstart_p50_s": ("cold start, median", "s"),
    "coldstart_p75_s": ("cold start, 0.75 quantile", "s"),
    "coldstart_p90_s": ("cold start, 0.9 quantile", "s"),
    "coldstart_samples": ("cold starts measured", ""),
    "reporting": ("pods that report", ""),
    "expected": ("pods that ought to", ""),
    "hung": ("engines that hang", ""),
    "frozen_counters": ("counters that stand still", ""),
    "untold": ("tokens nobody tells (1: yes)", ""),
    "contradictory": ("metrics contradict (1: yes)", ""),
    "warnings": ("warnings of the sources", ""),
    "stuck": ("starts stuck", ""),
    "healthy": ("starts under way", ""),
    "loading": ("pods starting, a rollout's included", ""),
    "lapsed": ("pods ready once and not now", ""),
    "surge": ("a rollout's surplus pods", ""),
    "replacements": ("ordered for stuck starts", "replicas"),
    "starts_fail": ("starts fail as a rule (1: yes)", ""),
    "prewarm_min": ("pre-warm, at least", "replicas"),
    "prewarm_max": ("pre-warm, at most", "replicas"),
    "min_replicas": ("replicas, at least", "replicas"),
    "max_replicas": ("replicas, at most", "replicas"),
    "policy_min_replicas": ("replicas.min", "replicas"),
    "left_replicas": ("replicas left by the last decision", "replicas"),
    "own_zero": ("zero set by the last decision (1: yes)", ""),
    "paused": ("paused (1: yes)", ""),
    "foreign_changes": ("changes by someone else", ""),
    "foreign_span_s": ("time between the first and the last", "s"),
    "foreign_ago_s": ("time since the last", "s"),
    "itl_s": ("inter-token latency", "s"),
    "ttft_s": ("TTFT objective", "s"),
    "tpot_s": ("ITL objective", "s"),
    "work_s": ("work of one request", "replica-seconds"),
    "prompt_tokens": ("prompt of one request", "tokens"),
    "output_tokens": ("output of one request", "tokens"),
    "kv_tokens_per_request": ("KV cache of one request", "tokens"),
    "kv_capacity_tokens": ("KV cache of one replica", "tokens"),
    "max_sequences": ("sequences at once", ""),
    "target_concurrency": ("requests per replica wanted", ""),
    "dispersion": ("burstiness of arrivals (IDC)", ""),
    "a_s": ("step: fixed", "s"),
    "b_s": ("step: per prefill token", "s"),
    "c_s": ("step: per sequence", "s"),
    "d_s": ("step: per KV token", "s"),
}
_ENDINGS = {"_s": "s", "_rps": "requests/s", "_tokens": "tokens", "_usd": "USD", "_replicas": "replicas"}


def words(name: str) -> tuple[str, str]:
    """Return (words, unit) for a number's name."""
    if name in _WORDS:
        return _WORDS[name]
    unit = next((unit for ending, unit in _ENDINGS.items() if name.endswith(ending)), "")
    return name, unit


def order(name: str) -> tuple[int, str]:
    """Return the key that sorts numbers as they are listed here, unknown ones last, by name."""
    names = list(_WORDS)
    return (names.index(name), "") if name in _WORDS else (len(names), name)
