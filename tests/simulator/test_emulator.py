"""The emulated engines: pages that vLLM could have served, and replicas that follow the pods that there are."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from simulator.emulator import server as emulator
from simulator.emulator.emulation import EmulatedPool, Emulation, ReplayError, SeenPod, compressed
from simulator.emulator.pods import seen_pod
from simulator.engine.profiles import load_profile
from simulator.traces import Trace, load_trace

PROFILE = load_profile("a100-80gb/llama-3.1-8b")
RECORDED = Path(__file__).parents[1] / "adapters" / "recorded" / "vllm-0.32.0-saturated.prom"
ONE, OTHER = "models/one", "models/other"


def pod(name: str, *, ready: bool = True, deleting: bool = False, namespace: str = "models") -> SeenPod:
    """A pod as the API server shows it."""
    return SeenPod(namespace=namespace, name=name, uid=f"uid-{name}", ready=ready, deleting=deleting)


def emulation(*deployments: str) -> Emulation:
    """Emulated engines that serve a model called llama."""
    return Emulation(deployments or (ONE,), model="llama", profile=PROFILE)


def requests(count: int, *, over_s: float = 10.0, prompt: int = 500, output: int = 50) -> Trace:
    """Requests at even distances."""
    return Trace(
        name="even",
        arrival_s=np.linspace(0.0, over_s, count),
        prompt_tokens=np.full(count, prompt, dtype=np.int32),
        output_tokens=np.full(count, output, dtype=np.int32),
    )


def families(text: str) -> dict[str, Metric]:
    """The metric families of a page, by name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str) -> dict[str, float]:
    """The samples of a page, the labels in order."""
    found = {}
    for family in families(text).values():
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def page(pool: EmulatedPool, name: str) -> str:
    """A pod's page, which must be there."""
    found = pool.page(name)
    assert found is not None
    return found.decode()


@pytest.fixture
def busy() -> str:
    """The page of a replica that has worked and still does."""
    running = emulation()
    running.see({ONE: [pod("a")]})
    running.replay(requests(2000))
    running.advance(9.0)
    return page(running.pools[ONE], "a")


def test_every_series_is_one_that_vllm_exports(busy: str) -> None:
    """Names and labels are those of a recorded page of vLLM 0.32; of buckets there may be fewer, never others."""
    recorded = RECORDED.read_text()
    known = {re.sub(r"model_name=[^,}]*", "model_name=llama", key) for key in values(recorded)}
    config = "vllm:cache_config_info"
    strange = {key for key in values(busy) if key not in known and not key.startswith(config)}
    assert strange == set()
    [ours], [theirs] = families(busy)[config].samples, families(recorded)[config].samples
    assert set(ours.labels) <= set(theirs.labels)


def test_all_that_the_controller_reads_is_there(busy: str) -> None:
    """Each metric in the preset's first-choice queries is on the page, the latency histograms with every edge."""
    wanted = {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:cache_config_info",
        "vllm:prompt_tokens_by_source_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:iteration_tokens_total_count",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:inter_token_latency_seconds_count",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:request_time_per_output_token_seconds_bucket",
    }
    assert wanted <= {key.partition("{")[0] for key in values(busy)}
    recorded = RECORDED.read_text()
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds"):
        assert edges(busy, f"vllm:{name}") == edges(recorded, f"vllm:{name}")


def edges(text: str, name: str) -> list[float]:
    """The bucket edges of a histogram."""
    return [float(sample.labels["le"]) for sample in families(text)[name].samples if sample.name == f"{name}_bucket"]


def test_the_figures_are_the_models_own(busy: str) -> None:
    """Counts agree with one another: buckets rise to the count, and finished requests are no more than first tokens."""
    seen = values(busy)
    labels = "engine=0,model_name=llama"
    first_tokens = seen[f"vllm:time_to_first_token_seconds_count{{{labels}}}"]
    finished = sum(value for key, value in seen.items() if key.startswith("vllm:request_success_total"))
    assert 0 < finished <= first_tokens
    assert seen[f"vllm:prompt_tokens_total{{{labels}}}"] == 500 * first_tokens
    buckets = [sample.value for sample in families(busy)["vllm:time_to_first_token_seconds"].samples][:-2]
    assert buckets[-1] == first_tokens
    assert buckets == sorted(buckets)
    assert 0 < seen[f"vllm:kv_cache_usage_perc{{{labels}}}"] <= 1
    assert seen[f"vllm:num_requests_running{{{labels}}}"] > 0


def test_the_page_tells_prompt_tokens_that_the_prefix_cache_saved() -> None:
    """Of two equal prompts the second is a hit but for its last block; cached and computed tokens add up."""
    running = emulation()
    running.see({ONE: [pod("a")]})
    ids, offsets = np.array([7, 8, 7, 8]), np.array([0, 2, 4])
    running.replay(
        replace(requests(2, prompt=1024), block_ids=ids, block_offsets=offsets, block_tokens=512),
    )
    running.advance(20.0)
    seen = values(page(running.pools[ONE], "a"))
    labels = "engine=0,model_name=llama"
    assert seen[f"vllm:prefix_cache_queries_total{{{labels}}}"] == 2048
    assert seen[f"vllm:prefix_cache_hits_total{{{labels}}}"] == 1024 - 16
    by_source = "vllm:prompt_tokens_by_source_total"
    assert seen[f"{by_source}{{{labels},source=local_cache_hit}}"] == 1024 - 16
    assert seen[f"{by_source}{{{labels},source=local_compute}}"] == 1024 + 16


def test_a_pod_serves_from_ready_to_gone() -> None:
    """A pod that is not Ready has no engine; one that drained and one that is gone have none any more."""
    running = emulation()
    pool = running.pools[ONE]
    running.see({ONE: [pod("a", ready=False)]})
    assert (pool.serving(), pool.page("a")) == ((), None)
    running.see({ONE: [pod("a")]})
    assert [one.name for one in pool.serving()] == ["a"]
    running.see({ONE: [pod("a", deleting=True)]})
    assert pool.page("a") is None
    running.see({ONE: []})
    assert pool.serving() == ()


def test_a_draining_pod_finishes_what_it_has() -> None:
    """After its deletion a pod takes nothing new, and its page stays until it is empty."""
    running = emulation()
    running.see({ONE: [pod("a")]})
    running.replay(requests(1, over_s=0.0, output=1000))
    running.advance(1.0)
    running.see({ONE: [pod("a", deleting=True), pod("b")]})
    running.advance(2.0)
    pool = running.pools[ONE]
    assert values(page(pool, "a"))["vllm:num_requests_running{engine=0,model_name=llama}"] == 1
    running.advance(60.0)
    assert pool.page("a") is None
    assert pool.outcomes(begins_s=0.0, ends_s=1.0, objective_s=1.0).finished == 1


def test_requests_of_a_pod_that_vanishes_start_anew() -> None:
    """A pod that goes with requests in flight gives them back; they are counted as retried and are not lost."""
    running = emulation()
    running.see({ONE: [pod("a")]})
    running.replay(requests(10, over_s=0.5, output=1000))
    running.advance(1.0)
    running.see({ONE: [pod("b")]})
    running.advance(120.0)
    told = running.pools[ONE].outcomes(begins_s=0.0, ends_s=1.0, objective_s=0.5)
    assert (told.arrived, told.finished, told.retried) == (10, 10, 10)


def test_requests_wait_at_the_gateway_for_the_first_pod() -> None:
    """Without a pod nothing is lost: requests wait, and count as late while they do."""
    running = emulation()
    running.replay(requests(5, over_s=1.0))
    running.advance(10.0)
    pool = running.pools[ONE]
    assert pool.figures() == {"ready": 0, "running": 0, "waiting": 5}
    assert pool.outcomes(begins_s=0.0, ends_s=2.0, objective_s=2.5).late == 5
    running.see({ONE: [pod("a")]})
    running.advance(30.0)
    assert pool.outcomes(begins_s=0.0, ends_s=2.0, objective_s=2.5).finished == 5


def test_two_deployments_meet_the_same_requests() -> None:
    """Two Deployments with as many pods end alike; one with fewer pods does not disturb the other."""
    running = emulation(ONE, OTHER)
    running.see({ONE: [pod("a")], OTHER: [pod("b")]})
    running.replay(requests(500))
    running.advance(60.0)
    told = [pool.outcomes(begins_s=0.0, ends_s=60.0, objective_s=0.5) for pool in running.pools.values()]
    assert told[0] == told[1]
    assert told[0].arrived == 500


def test_compressed_time_is_the_same_run_faster() -> None:
    """Ten times the speed for engine and arrivals: the same requests are late, measured in a tenth of the seconds."""
    trace = load_trace("azure-code-2023").slice(180.0, 300.0)
    late = []
    for factor in (1.0, 10.0):
        running = Emulation((ONE,), model="llama", profile=compressed(PROFILE, factor))
        running.see({ONE: [pod("a")]})
        running.replay(
            Trace(
                name="fast",
                arrival_s=trace.arrival_s / factor,
                prompt_tokens=trace.prompt_tokens,
                output_tokens=trace.output_tokens,
            )
        )
        running.advance(600.0 / factor)
        told = running.pools[ONE].outcomes(begins_s=0.0, ends_s=600.0, objective_s=2.5 / factor)
        assert told.finished == told.arrived == len(trace)
        late.append(told.late)
    assert late[0] > 0
    # Rounding of times may decide a request that lies on the objective itself.
    assert math.isclose(late[0], late[1], abs_tol=2)


def test_one_replay_at_a_time() -> None:
    """Requests are handed in by their time of arrival, so a second replay waits for the end of the first."""
    running = emulation()
    running.replay(requests(10, over_s=20.0))
    running.advance(5.0)
    with pytest.raises(ReplayError, match="still replayed for 15 s"):
        running.replay(requests(10))
    running.advance(21.0)
    assert running.replay(requests(10)).begins_s == 21.0


def test_what_matters_of_a_pod_is_read_from_its_object() -> None:
    """Ready is a condition, a deletion is a timestamp, and neither need be there."""
    metadata = {"namespace": "n", "name": "a", "uid": "u"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    fresh = seen_pod({"metadata": metadata})
    assert (fresh.ready, fresh.deleting) == (False, False)
    assert seen_pod({"metadata": metadata, "status": ready}).ready
    assert seen_pod({"metadata": {**metadata, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": ready}).deleting


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--deployment", "chat"], "give NAMESPACE/NAME"),
        (["--deployment", "a/b", "--listen", "9400"], "is no address; give e.g. 127.0.0.1:9400"),
        (["--deployment", "a/b", "--trace", "none.csv"], "none.csv: no such trace"),
        (["--deployment", "a/b", "--trace", "azure-code-2023", "--from", "1e8"], "no request between"),
        (["--deployment", "a/b", "--profile", "none"], 'no engine profile "none"'),
        (["--deployment", "a/b", "--kubeconfig", "/none/there"], "no usable kubeconfig"),
    ],
    ids=["deployment", "listen", "trace", "slice", "profile", "kubeconfig"],
)
def test_wrong_options_get_one_sentence(arguments: list[str], said: str) -> None:
    """What was given wrong is named with its remedy, and nothing is started."""
    done = CliRunner().invoke(emulator.main, ["--model", "llama", *arguments])
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output
