"""The engine against a real vLLM 0.19 under overload, with the shipped profile of that pair."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from simulator.cluster import Cluster
from simulator.profiles import load_profile
from simulator.startup import StartupModel
from simulator.traces import Trace

RUN = Path("/work/shared/profiles/llmservingsim_bench/RTX4090_Llama-3.1-8B/vllm_requests.jsonl.gz")


@pytest.mark.skipif(not RUN.exists(), reason="the recorded vLLM run is not on this machine")
def test_the_rtx4090_profile_reproduces_a_real_overload() -> None:
    """300 requests, KV-bound with preemptions: means of TTFT and TPOT within 5 % over all, 10 % at p95."""
    with gzip.open(RUN, "rt", encoding="utf-8") as lines:
        rows = sorted((json.loads(line) for line in lines), key=lambda row: row["queued_ts"])
    queued_s, first_s, last_s = (
        np.array([row[key] for row in rows]) for key in ("queued_ts", "first_token_ts", "last_token_ts")
    )
    trace = Trace(
        name="vllm",
        arrival_s=queued_s - queued_s[0],
        prompt_tokens=np.array([row["input_toks"] for row in rows], dtype=np.int32),
        output_tokens=np.array([row["output_toks"] for row in rows], dtype=np.int32),
    )
    profile = load_profile("rtx4090/llama-3.1-8b")
    cluster = Cluster(profile=profile, startup=StartupModel.of_total(1.0), seed=0, trace=trace, initial_replicas=1)
    cluster.advance(10_000.0)
    table = cluster.requests()
    tpot_s = (last_s - first_s) / np.maximum(trace.output_tokens - 1, 1)
    for ours, real in ((table.ttft_s, first_s - queued_s), (table.tpot_s, tpot_s)):
        assert ours.mean() == pytest.approx(real.mean(), rel=0.05)
        assert np.percentile(ours, 95) == pytest.approx(np.percentile(real, 95), rel=0.10)
