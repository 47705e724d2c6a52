"""Prometheus, the real one: it scrapes recorded pages of a real vLLM, and the snapshot is right to the digit."""

import asyncio
import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from autoscaler.adapters.prometheus import Endpoint, PolicySeries, Prometheus, Snapshot, query_plans
from autoscaler.core.policy_parts import CustomQuery, CustomSignal, Preset
from autoscaler.core.signals import PodSample, Presence
from autoscaler.dcgm import DeviceKey, DeviceSignal
from autoscaler.engines import Labels, Signal
from deploy.localcluster.prometheus import LocalPrometheus
from tests.adapters.metrics_pages import MetricsPages, Page, at_time, recorded, with_value, without

pytestmark = pytest.mark.servers

STALE_AFTER_S = 90.0
TINY = PolicySeries(namespace="prod", model="tiny", ttft_s=2.5, itl_s=0.05)
NASTY = (
    'm"} or vector(1e9) or foo{a="b',
    "back\\slash",
    "new\nline",
    "nul\x00byte",
    "emoji🙂",
    "`backtick`",
    "'single'",
    '"',
    "\\",
    "$by ${edges}",
    "org/model-7B:v1.0 (beta)",
)

SATURATED = PodSample(
    pod="saturated",
    at=0.0,
    running=8.0,
    waiting=26.0,
    kv_ratio=0.009281875915974624,
    kv_capacity_tokens=262144.0,
    prompt_tokens=7458.0,
    generation_tokens=5603.0,
    finished_requests=30.0,
    steps=976.0,
    ttft_count=38.0,
    ttft_within=((2.5, 23.0),),
    itl_sum_s=50.51689010299958,
    itl_count=5565.0,
    tpot_count=30.0,
    tpot_within=((0.05, 30.0),),
)
IDLE = PodSample(
    pod="idle",
    at=0.0,
    running=0.0,
    waiting=0.0,
    kv_ratio=0.0,
    kv_capacity_tokens=262144.0,
    prompt_tokens=633.0,
    generation_tokens=713.0,
    finished_requests=4.0,
    steps=364.0,
    ttft_count=4.0,
    ttft_within=((2.5, 4.0),),
    itl_sum_s=6.481110055000045,
    itl_count=709.0,
    tpot_count=4.0,
    tpot_within=((0.05, 4.0),),
)
FRESH = PodSample(
    pod="fresh",
    at=0.0,
    running=0.0,
    waiting=0.0,
    kv_ratio=0.0,
    kv_capacity_tokens=262144.0,
    prompt_tokens=0.0,
    generation_tokens=0.0,
    finished_requests=0.0,
    steps=0.0,
    ttft_count=0.0,
    ttft_within=((2.5, 0.0),),
    itl_sum_s=0.0,
    itl_count=0.0,
    tpot_count=0.0,
    tpot_within=((0.05, 0.0),),
)

SGLANG = """\
sglang:num_running_reqs{model_name="tiny",tp_rank="0",dp_rank="0"} 3
sglang:num_running_reqs{model_name="tiny",tp_rank="1",dp_rank="0"} 3
sglang:num_running_reqs{model_name="tiny",tp_rank="0",dp_rank="1"} 5
sglang:num_queue_reqs{model_name="tiny",tp_rank="0",dp_rank="0"} 1
sglang:num_queue_reqs{model_name="tiny",tp_rank="1",dp_rank="0"} 1
sglang:token_usage{model_name="tiny",tp_rank="0",dp_rank="0"} 0.25
sglang:token_usage{model_name="tiny",tp_rank="1",dp_rank="0"} 0.25
sglang:token_usage{model_name="tiny",tp_rank="0",dp_rank="1"} 0.75
sglang:max_total_num_tokens{model_name="tiny",tp_rank="0",dp_rank="0"} 1000
sglang:max_total_num_tokens{model_name="tiny",tp_rank="1",dp_rank="0"} 1000
sglang:max_total_num_tokens{model_name="tiny",tp_rank="0",dp_rank="1"} 1000
sglang:prompt_tokens_total{model_name="tiny",is_streaming="true"} 900
sglang:prompt_tokens_total{model_name="tiny",is_streaming="false"} 100
sglang:cached_tokens_total{model_name="tiny",cache_source="device"} 300
sglang:generation_tokens_total{model_name="tiny",is_streaming="true"} 70
sglang:num_requests_total{model_name="tiny",is_streaming="true"} 9
sglang:time_to_first_token_seconds_bucket{model_name="tiny",is_streaming="true",le="2.0"} 6
sglang:time_to_first_token_seconds_bucket{model_name="tiny",is_streaming="true",le="4.0"} 8
sglang:time_to_first_token_seconds_bucket{model_name="tiny",is_streaming="true",le="+Inf"} 9
sglang:inter_token_latency_seconds_sum{model_name="tiny"} 1.5
sglang:inter_token_latency_seconds_count{model_name="tiny"} 60
"""

DCGM = """\
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",Hostname="node-a",modelName="NVIDIA H100",namespace="prod",pod="saturated"} 70000
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-1",Hostname="node-a",modelName="NVIDIA H100",namespace="prod",pod="saturated"} 10000
DCGM_FI_DEV_FB_RESERVED{gpu="0",UUID="GPU-1",Hostname="node-a",modelName="NVIDIA H100",namespace="prod",pod="saturated"} 1559
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-1",Hostname="node-a",modelName="NVIDIA H100",namespace="prod",pod="saturated"} 0.93
"""  # noqa: E501  (a line of a page is one line)


def old_names(body: str) -> str:
    """Return a body as an older vLLM would have written it: other names, no tokens by source, blocks alone."""
    renamed = body.replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc").replace(
        "vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"
    )
    fewer = without(renamed, "vllm:prompt_tokens_by_source", "vllm:request_time_per_output_token_seconds")
    return re.sub(r'kv_cache_size_tokens="\d+",', "", fewer)


def two_engines(body: str) -> str:
    """Return a body with a second data-parallel engine that shows the same numbers."""
    second = [line.replace('engine="0"', 'engine="1"') for line in body.splitlines() if 'engine="0"' in line]
    return body + "\n".join(second) + "\n"


def escaped(value: str) -> str:
    """Return a label value as the exposition format writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def pod_page(body: str, pod: str, namespace: str = "prod", **labels: str) -> Page:
    """Return a page as Prometheus' Kubernetes discovery would label it."""
    return Page(body=body, labels={"namespace": namespace, "pod": pod, **labels})


def all_pages() -> dict[str, Page]:
    """Return every page that these tests read."""
    saturated = recorded("saturated")
    pages = {
        "fresh": pod_page(recorded("before-first-request"), "fresh"),
        "idle": pod_page(recorded("idle-after-requests"), "idle"),
        "saturated": pod_page(saturated, "saturated", job="engines"),
        "saturated-again": pod_page(saturated, "saturated", job="behind-a-second-service"),
        "labelled": pod_page(saturated, "labelled", job="engines"),
        "labelled-again": pod_page(saturated, "labelled", job="annotated-pods", app="chat", node="a"),
        "elsewhere": pod_page(recorded("idle-after-requests"), "saturated", namespace="test"),
        "nan": pod_page(with_value(saturated, "vllm:num_requests_waiting{", "NaN"), "nan"),
        "infinite": pod_page(with_value(saturated, "vllm:generation_tokens_total", "+Inf"), "infinite"),
        "negative": pod_page(with_value(saturated, "vllm:num_requests_running", "-1"), "negative"),
        "down": Page(body="out of order", status=500, labels={"namespace": "prod", "pod": "down"}),
        "silent": pod_page(without(saturated, "vllm:"), "silent"),
        "frozen": pod_page(at_time(saturated, time.time() - 200), "frozen"),
        "old": pod_page(with_value(old_names(saturated), "vllm:prefix_cache_hits_total", "458"), "old"),
        "uncached": pod_page(without(old_names(saturated), "vllm:prefix_cache"), "uncached"),
        "pair": pod_page(two_engines(saturated), "pair"),
        "sglang": pod_page(SGLANG, "sglang"),
        "tgi": pod_page("tgi_queue_size 4\ntgi_batch_current_size 6\ntgi_request_success 11\n", "tgi"),
        "llamacpp": pod_page("llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n", "llamacpp"),
        "mapped": Page(body=saturated, labels={"k8s_ns": "prod", "k8s_pod": "saturated"}),
        "leaving": pod_page(saturated, "leaving"),
        "gateway": Page(body='held{queue="a"} 3\nheld{queue="b"} 4\nbroken NaN\n', labels={"pod": "gateway"}),
        "dcgm": pod_page(DCGM, "dcgm-exporter-x", namespace="monitoring"),
    }
    for number, model in enumerate(NASTY):
        body = saturated.replace('model_name="tiny"', f'model_name="{escaped(model)}"')
        pages[f"nasty-{number}"] = pod_page(body, f"nasty-{number}")
    return pages


@dataclass
class World:
    """A real Prometheus, its pages, and the adapter that reads it."""

    prometheus: LocalPrometheus
    pages: dict[str, Page]
    reader: Prometheus

    def snapshot(self, *wanted: PolicySeries) -> Snapshot:
        """Return what it says of some policies as soon as every page's last scrape has succeeded.

        On a busy machine a scrape now and then misses its second, and a pod is then rightly told as down.
        """
        ought_to_be_up = {f"/metrics/{key}" for key, page in self.pages.items() if page.status == 200}
        with contextlib.suppress(OSError):
            wait_until(lambda: not self.unhealthy() & ought_to_be_up)
        return asyncio.run(self.reader.snapshot(query_plans(wanted), time.time()))

    def sample(self, pod: str, series: PolicySeries = TINY) -> PodSample:
        """Return one pod's sample now."""
        (found,) = self.snapshot(series).samples(series, [pod], STALE_AFTER_S)
        return found

    def unhealthy(self) -> set[str]:
        """Return the pages whose last scrape failed, or that were not scraped yet."""
        with urllib.request.urlopen(f"{self.prometheus.url}/api/v1/targets?state=active", timeout=5) as answer:
            active = json.load(answer)["data"]["activeTargets"]
        return {one["discoveredLabels"]["__metrics_path__"] for one in active if one["health"] != "up"}

    def queries_answered(self) -> int:
        """Return how many instant queries Prometheus itself says to have answered."""
        with urllib.request.urlopen(f"{self.prometheus.url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.findall(r'^prometheus_http_requests_total{.*handler="/api/v1/query"} (\S+)', text, re.MULTILINE)
        return sum(int(float(count)) for count in found)


def wait_until(condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
    """Wait for a condition, or fail."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Start a Prometheus that scrapes all pages every two seconds."""
    pages = all_pages()
    with MetricsPages(pages) as server:
        prometheus = LocalPrometheus(
            http_sd_url=f"http://{server.address}/targets", scrape_interval="2s", refresh_interval="5s"
        )
        url = prometheus.start()
        reader = Prometheus(Endpoint(name="default", url=url))
        try:
            started = World(prometheus=prometheus, pages=pages, reader=reader)
            wait_until(lambda: all(run.series > 0 for run in started.snapshot(TINY).runs))
            # Every page is scraped once more: a page of the first second may have been missed by the last query.
            time.sleep(4.0)
            yield started
        finally:
            reader.close()
            prometheus.stop()


@pytest.mark.parametrize("expected", [FRESH, IDLE, SATURATED], ids=lambda sample: sample.pod)
def test_a_real_vllms_numbers_arrive_to_the_digit(world: World, expected: PodSample) -> None:
    """Every field of a pod's sample is what the engine wrote; a pod that served nothing is present with zeros."""
    sample = world.sample(expected.pod)
    assert time.time() - 10 < sample.at <= time.time()
    assert replace(sample, at=0.0) == expected


@pytest.mark.parametrize("pod", ["saturated", "labelled"])
def test_a_pod_scraped_by_two_jobs_counts_once(world: World, pod: str) -> None:
    """A pod behind two Services, or in a second job that copies its labels, still runs eight requests.

    Else every counter doubles when somebody adds a scrape job: a lifetime of work that arrives in one interval.
    """
    assert len(world.reader._client.query(f'up{{pod="{pod}",namespace="prod"}}', at=time.time()).rows) == 2
    assert replace(world.sample(pod), at=0.0, pod="saturated") == SATURATED


def test_pods_of_another_namespace_are_not_seen(world: World) -> None:
    """Two pods of one name and model in two namespaces never mix."""
    elsewhere = world.sample("saturated", replace(TINY, namespace="test"))
    assert replace(elsewhere, at=0.0) == replace(IDLE, pod="saturated")


def test_an_objective_between_two_edges_brings_both(world: World) -> None:
    """Within 2 s lies between 13 requests within 1 s and 23 within 2.5 s; another policy's edges do not show."""
    series = replace(TINY, ttft_s=2.0, itl_s=None)
    (sample,) = world.snapshot(series, TINY).samples(series, ["saturated"], STALE_AFTER_S)
    assert sample.ttft_within == ((1.0, 13.0), (2.5, 23.0))
    assert sample.tpot_within == ()
    assert sample.tpot_count == 30.0


@pytest.mark.parametrize(
    ("pod", "presence", "missing"),
    [
        ("nan", Presence.INVALID, "waiting"),
        ("infinite", Presence.INVALID, "generation_tokens"),
        ("negative", Presence.INVALID, "running"),
    ],
)
def test_a_value_that_no_count_can_have_is_named_and_left_out(
    world: World, pod: str, presence: Presence, missing: str
) -> None:
    """NaN, infinity and a negative count are invalid; what else the pod says is kept."""
    expected = replace(SATURATED, pod=pod, presence=presence, **{missing: None})  # type: ignore[arg-type]
    assert replace(world.sample(pod), at=0.0) == expected


def test_down_silent_unknown_and_frozen_are_four_things(world: World) -> None:
    """A failing scrape, a scrape without series, a pod nobody scrapes and an old sample are told apart."""
    samples = world.snapshot(TINY).samples(TINY, ["down", "silent", "never-seen", "frozen"], STALE_AFTER_S)
    assert [sample.presence for sample in samples] == [
        Presence.TARGET_DOWN,
        Presence.ABSENT,
        Presence.ABSENT,
        Presence.STALE,
    ]
    assert [sample.running for sample in samples] == [None, None, None, 8.0]
    assert 190 < time.time() - samples[3].at < 300


def test_old_names_give_the_same_signals(world: World) -> None:
    """An older vLLM is read by its own names; computed tokens are prefix-cache queries minus hits."""
    expected = replace(SATURATED, pod="old", prompt_tokens=7000.0, tpot_count=None, tpot_within=())
    assert replace(world.sample("old"), at=0.0) == expected


def test_without_a_prefix_cache_all_prompt_tokens_were_computed(world: World) -> None:
    """Where an engine tells neither sources nor cache, its prompt tokens stand."""
    assert world.sample("uncached").prompt_tokens == 7458.0


def test_two_engines_of_one_pod_add_up_and_their_fill_and_steps_do_not(world: World) -> None:
    """Data-parallel engines share a pod: work and capacity are sums, fill and steps are means."""
    sample = world.sample("pair")
    assert (sample.running, sample.waiting, sample.kv_capacity_tokens) == (16.0, 52.0, 524288.0)
    assert (sample.kv_ratio, sample.steps) == (SATURATED.kv_ratio, 976.0)
    assert sample.ttft_within == ((2.5, 46.0),)


def test_sglangs_ranks_are_one_fact_and_its_replicas_add_up(world: World) -> None:
    """Tensor-parallel ranks repeat one number, data-parallel ranks have their own."""
    sample = world.sample("sglang", replace(TINY, preset=Preset.SGLANG, ttft_s=3.0))
    assert replace(sample, at=0.0) == PodSample(
        pod="sglang",
        at=0.0,
        running=8.0,
        waiting=1.0,
        kv_ratio=0.5,
        kv_capacity_tokens=2000.0,
        prompt_tokens=700.0,
        generation_tokens=70.0,
        finished_requests=9.0,
        ttft_count=9.0,
        ttft_within=((2.0, 6.0), (4.0, 8.0)),
        itl_sum_s=1.5,
        itl_count=60.0,
    )


def test_engines_without_model_label_are_joined_by_pod(world: World) -> None:
    """TGI and llama.cpp do not say which model they serve: the pod does."""
    tgi = world.sample("tgi", replace(TINY, preset=Preset.TGI))
    assert (tgi.running, tgi.waiting, tgi.finished_requests, tgi.presence) == (6.0, 4.0, 11.0, Presence.PRESENT)
    other = world.sample("llamacpp", replace(TINY, preset=Preset.CONCURRENCY))
    assert (other.running, other.waiting, other.kv_ratio) == (2.0, 1.0, None)


def test_another_label_mapping_is_a_plan_of_its_own(world: World) -> None:
    """Where the cluster names its labels otherwise, the policy says how and reads the same numbers."""
    series = replace(TINY, labels=Labels(namespace="k8s_ns", pod="k8s_pod"))
    assert replace(world.sample("saturated", series), at=0.0) == SATURATED


def test_a_target_that_goes_down_is_seen_and_its_last_numbers_are_not_used(world: World) -> None:
    """A pod that stops answering scrapes turns target-down, with no numbers at all."""
    assert world.sample("leaving").presence is Presence.PRESENT
    world.pages["leaving"].status = 503
    wait_until(lambda: world.sample("leaving").presence is Presence.TARGET_DOWN)
    assert world.sample("leaving").running is None


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_no_model_name_can_break_or_widen_a_query(world: World, number: int) -> None:
    """Model names never enter a query; a pod that serves such a model is found by joining in memory."""
    series = replace(TINY, model=NASTY[number])
    assert query_plans([series]) == query_plans([TINY])
    sample = world.sample(f"nasty-{number}", series)
    assert replace(sample, at=0.0) == replace(SATURATED, pod=f"nasty-{number}")


def test_a_model_of_another_name_is_not_read_and_the_message_says_what_is_served(world: World) -> None:
    """A misspelt model name gives absent samples, and a warning that names the right one."""
    series = replace(TINY, model="tyni")
    snapshot = world.snapshot(series)
    assert snapshot.samples(series, ["saturated"], STALE_AFTER_S)[0].presence is Presence.ABSENT
    assert snapshot.warnings(series, ["saturated"]) == (
        "the pods serve tiny and not tyni; set spec.model.name to what they serve",
    )


def test_all_is_well_and_nothing_is_said(world: World) -> None:
    """A sound answer carries no warning: a warning would keep replicas from going."""
    assert world.snapshot(TINY).warnings(TINY, ["saturated", "idle"]) == ()


@pytest.mark.parametrize("policies", [1, 10, 200])
def test_the_number_of_queries_does_not_grow_with_the_number_of_policies(world: World, policies: int) -> None:
    """One, ten and two hundred policies, each with its own objective, cost fourteen queries, by Prometheus' count."""
    wanted = [replace(TINY, model=f"m{i}", namespace=f"n{i}", ttft_s=0.1 + i / 50) for i in range(policies)]
    before = world.queries_answered()
    snapshot = world.snapshot(*wanted)
    assert world.queries_answered() - before == len(snapshot.runs) == len(Signal) == 14
    assert all(run.error_kind is None for run in snapshot.runs)


def custom(signal: CustomSignal, promql: str) -> PolicySeries:
    """Return a policy with one custom query."""
    return replace(TINY, queries=(CustomQuery(signal=signal, promql=promql),))


@pytest.mark.parametrize(
    ("promql", "held", "warns"),
    [
        ("sum(held)", 7.0, False),
        ("held", 7.0, False),
        ("sum(held) * 0", 0.0, False),
        ("scalar(sum(held))", 7.0, False),
        ("absent_from_here", None, True),
        ("broken", None, True),
        ("held[1m]", None, True),
        ("sum(", None, True),
    ],
)
def test_held_requests_come_from_the_policys_own_query(
    world: World, promql: str, held: float | None, warns: bool
) -> None:
    """Nothing is not zero: an empty, broken or wrong query leaves the number unknown and says so."""
    series = custom(CustomSignal.HELD_REQUESTS, promql)
    snapshot = world.snapshot(series)
    assert snapshot.held_requests(series) == held
    assert bool(snapshot.warnings(series, ["saturated"])) is warns
    assert snapshot.held_requests(TINY) is None


def test_a_custom_query_replaces_a_signal_by_pod_or_in_equal_shares(world: World) -> None:
    """A query with a sample for each pod goes to the pods, one with a single sample is shared out: sums stay."""
    by_pod = custom(CustomSignal.WAITING, 'vllm:num_requests_waiting{namespace="prod"} * 2')
    single = custom(CustomSignal.WAITING, "sum(held)")
    pods = ["saturated", "idle"]
    snapshot = world.snapshot(by_pod, single)
    assert [sample.waiting for sample in snapshot.samples(by_pod, pods, STALE_AFTER_S)] == [104.0, 0.0]
    assert [sample.waiting for sample in snapshot.samples(single, pods, STALE_AFTER_S)] == [3.5, 3.5]


def test_a_custom_query_that_prometheus_refuses_is_named_and_the_other_signals_live_on(world: World) -> None:
    """One sentence with the query and Prometheus' own words; the engine's own series are read as without it."""
    broken = custom(CustomSignal.WAITING, "sum(vllm:num_requests_waiting")
    pods = ["saturated", "idle"]
    snapshot = world.snapshot(broken)
    (said,) = snapshot.warnings(broken, pods)
    assert said.startswith(
        "spec.metrics.queries: the query for waiting, sum(vllm:num_requests_waiting, was not answered: "
    )
    assert "refuses a query: invalid parameter" in said
    assert "parse error: unclosed left parenthesis" in said
    assert snapshot.samples(broken, pods, STALE_AFTER_S) == world.snapshot(TINY).samples(TINY, pods, STALE_AFTER_S)


def test_a_custom_query_whose_samples_name_no_pod_is_told(world: World) -> None:
    """Several samples, none of the target's pods: nothing of it is read, and that is no silence."""
    lost = custom(CustomSignal.WAITING, "count by (__name__) ({__name__=~'vllm:num_requests_.*'})")
    (said,) = world.snapshot(lost).warnings(lost, ["saturated"])
    assert ", and in none of them is the label pod a pod of the target in prod; let it give one sample" in said


def test_gpus_are_found_with_the_pod_that_holds_them(world: World) -> None:
    """The exporter's own pod label stands in front of the workload's, which is found all the same."""
    devices, warnings = asyncio.run(world.reader.devices(time.time()))
    key = DeviceKey(uuid="GPU-1", node="node-a", namespace="prod", pod="saturated", accelerator_class="NVIDIA H100")
    assert devices == {
        key: {
            DeviceSignal.MEMORY_USED_MIB: 70000.0,
            DeviceSignal.MEMORY_FREE_MIB: 10000.0,
            DeviceSignal.MEMORY_RESERVED_MIB: 1559.0,
            DeviceSignal.BUSY_RATIO: 0.93,
        }
    }
    assert warnings == ()
