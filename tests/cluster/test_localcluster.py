"""The local cluster itself: what the other cluster tests stand on has to be real, timely and gone afterwards."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deploy.localcluster import LocalCluster, LocalClusterError, LocalPrometheus, NodePool, manifests
from deploy.localcluster.binaries import controlplane
from deploy.localcluster.external_metrics import external_metrics
from deploy.localcluster.processes import free_ports
from tests.cluster.conftest import NEWCOMER

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

_CHECKOUT = Path(__file__).parents[2]
T = TypeVar("T")
_COLDSTART = "coldstart.inference-autoscaler.dev"


def deployment(
    name: str, *, replicas: int = 1, gpus: int = 1, product: str = "NVIDIA-H100-80GB-HBM3", **annotations: str
) -> str:
    """An engine's Deployment, as JSON; keyword arguments become cold-start annotations."""
    labels = {"app": name}
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.11.0",
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    pod = {
        "metadata": {
            "labels": labels,
            "annotations": {f"{_COLDSTART}/{key}": value for key, value in annotations.items()},
        },
        "spec": {"containers": [container], "nodeSelector": {"nvidia.com/gpu.product": product}},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def pods(cluster: LocalCluster, namespace: str) -> list[dict[str, Any]]:
    """The pods of the namespace, as the API server has them."""
    answer = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))
    items: list[dict[str, Any]] = answer["items"]
    return items


def condition(pod: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The pod's condition of this type, empty where it has none."""
    found = [each for each in pod["status"].get("conditions", []) if each["type"] == kind]
    return dict(found[0]) if found else {}


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition is true."""
    return condition(pod, "Ready").get("status") == "True"


def at(stamp: str) -> float:
    """Seconds since 1970 of an API time stamp."""
    return datetime.fromisoformat(stamp).timestamp()


def eventually(look: Callable[[], T], accept: Callable[[T], object], within_s: float = 30.0) -> T:
    """Look again and again until what is seen is acceptable; fail with the last thing seen."""
    deadline = time.monotonic() + within_s
    while not accept(seen := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s; last seen: {seen}"
        time.sleep(0.2)
    return seen


@pytest.fixture
def tiny_pool(cluster: LocalCluster, namespace: str) -> NodePool:
    """One node with one GPU of a kind that no other test asks for."""
    pool = NodePool(
        name=namespace,
        nodes=1,
        gpus_per_node=1,
        product=f"TEST-{namespace}",
        family="test",
        memory_mib=1024,
        instance_type="gpu-test-1",
    )
    cluster.add_nodes([pool])
    return pool


def test_a_start_takes_its_annotated_phases(cluster: LocalCluster, namespace: str) -> None:
    """Pull, load and warm-up last as long as the pod says, and the pod's own times and conditions show each of them."""
    cluster.apply(deployment("engine", pull="2s", load="3s", warmup="2500ms"), namespace=namespace)
    seen: list[str] = []

    def phase() -> str:
        found = pods(cluster, namespace)
        status = found[0]["status"].get("containerStatuses", [{}])[0] if found else {}
        waiting = status.get("state", {}).get("waiting", {}).get("reason", "")
        now = waiting or ("ready" if status.get("ready") else "started" if status.get("started") else "loading")
        if status and now not in seen:
            seen.append(now)
        return now

    eventually(phase, lambda now: now == "ready")
    assert seen == ["ContainerCreating", "loading", "started", "ready"]
    (pod,) = pods(cluster, namespace)
    scheduled = at(condition(pod, "PodScheduled")["lastTransitionTime"])
    running = at(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
    is_ready = at(condition(pod, "Ready")["lastTransitionTime"])
    # The API server cuts times to whole seconds, and this machine may be busy.
    assert 1 <= running - scheduled <= 4
    assert 4 <= is_ready - running <= 8


def test_a_pod_without_annotations_becomes_ready(cluster: LocalCluster, namespace: str) -> None:
    """Any pod starts in about three seconds, so that nothing but engines needs to know of cold starts."""
    cluster.apply(deployment("plain", pull="no duration"), namespace=namespace)
    eventually(lambda: pods(cluster, namespace), lambda found: found and ready(found[0]))


def test_more_pods_than_gpus_wait_for_a_node(cluster: LocalCluster, namespace: str, tiny_pool: NodePool) -> None:
    """The scheduler counts GPUs: what does not fit is Pending and unschedulable, until a node comes."""
    cluster.apply(deployment("engine", replicas=2, product=tiny_pool.product), namespace=namespace)
    unschedulable = eventually(
        lambda: [condition(pod, "PodScheduled") for pod in pods(cluster, namespace)],
        lambda found: len(found) == 2 and {each.get("status") for each in found} == {"True", "False"},
    )
    (refused,) = (each for each in unschedulable if each["status"] == "False")
    assert refused["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in refused["message"]
    node = json.loads(cluster.kubectl("get", "node", f"{tiny_pool.name}-0", "-o", "json"))
    second = {"metadata": {"name": f"{tiny_pool.name}-1", "labels": node["metadata"]["labels"]}}
    added = {"apiVersion": "v1", "kind": "Node", "status": {"capacity": node["status"]["capacity"]}} | second
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(added))
    eventually(lambda: pods(cluster, namespace), lambda found: len(found) == 2 and all(map(ready, found)))


def test_a_hanging_start_never_becomes_ready(cluster: LocalCluster, namespace: str) -> None:
    """`fault: start-hangs` leaves the container running and not started, long after its sibling is ready."""
    cluster.apply(deployment("hangs", fault="start-hangs", pull="100ms", load="100ms"), namespace=namespace)
    cluster.apply(deployment("starts", pull="3s", load="3s"), namespace=namespace)

    def engines() -> dict[str, dict[str, Any]]:
        return {pod["metadata"]["labels"]["app"]: pod for pod in pods(cluster, namespace)}

    found = eventually(engines, lambda found: len(found) == 2 and ready(found["starts"]))
    hanging = found["hangs"]["status"]["containerStatuses"][0]
    assert not ready(found["hangs"])
    assert (hanging["started"], list(hanging["state"])) == (False, ["running"])


def test_a_failing_pull_backs_off(cluster: LocalCluster, namespace: str) -> None:
    """`fault: pull-fails` ends in ImagePullBackOff, with the kubelet's Warning event."""
    cluster.apply(deployment("broken", fault="pull-fails", pull="100ms"), namespace=namespace)
    waiting = "{.items[*].status.containerStatuses[*].state.waiting.reason}"
    eventually(
        lambda: cluster.kubectl("get", "pods", "-n", namespace, "-o", f"jsonpath={waiting}"),
        lambda reason: reason == "ImagePullBackOff",
    )
    events = cluster.kubectl("get", "events", "-n", namespace)
    assert "Failed to pull image" in events


@pytest.mark.parametrize(("grace", "lasts_s"), [("30", 4.0), ("1", 1.0)], ids=["drained", "cut off by its grace"])
def test_a_deleted_pod_drains(cluster: LocalCluster, namespace: str, grace: str, lasts_s: float) -> None:
    """A deleted pod stays as long as its drain annotation says, but never longer than its grace period."""
    cluster.apply(deployment("engine", pull="0s", load="0s", warmup="0s", drain="4s"), namespace=namespace)
    (pod,) = eventually(lambda: pods(cluster, namespace), lambda found: found and ready(found[0]))
    name = pod["metadata"]["name"]
    began = time.monotonic()
    cluster.kubectl("delete", "pod", name, "-n", namespace, f"--grace-period={grace}", "--wait=true")
    took_s = time.monotonic() - began
    assert lasts_s - 0.5 <= took_s <= lasts_s + 2.9


def test_a_service_account_has_the_rights_of_its_role_only(cluster: LocalCluster, namespace: str) -> None:
    """RBAC is real: the service account may nothing until a role says so, and no more than that afterwards."""
    with pytest.raises(LocalClusterError, match="forbidden"):
        cluster.kubectl("get", "pods", "-n", namespace, user=NEWCOMER.name)
    cluster.kubectl("create", "role", "looks", "--verb=list", "--resource=pods", "-n", namespace)
    subject = "--serviceaccount=tests:newcomer"
    cluster.kubectl("create", "rolebinding", "looks", "--role=looks", subject, "-n", namespace)
    eventually(
        lambda: cluster.kubectl("auth", "can-i", "list", "pods", "-n", namespace, f"--as={NEWCOMER.name}"),
        lambda answer: answer.strip() == "yes",
    )
    cluster.kubectl("get", "pods", "-n", namespace, user=NEWCOMER.name)
    with pytest.raises(LocalClusterError, match="forbidden"):
        cluster.kubectl("delete", "pod", "any", "-n", namespace, user=NEWCOMER.name)


@contextlib.contextmanager
def serving(answers: Callable[[str], str | None], content_type: str) -> Iterator[int]:
    """An HTTP server of ours on a free port: path to body, None is 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def autoscaler_on_queue(target: str) -> str:
    """An autoscaling/v2 HPA that wants an external queue of 4 a replica."""
    metric = {"metric": {"name": f"waiting-{target}"}, "target": {"type": "AverageValue", "averageValue": "4"}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [{"type": "External", "external": metric}],
    }
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    return json.dumps(kind | {"metadata": {"name": target}, "spec": spec})


def test_the_real_hpa_scales_on_an_external_metric(cluster: LocalCluster, namespace: str) -> None:
    """The HPA controller reads an aggregated metrics API that we serve: a queue of 12 at 4 a replica makes 3 of 1."""
    [port] = free_ports(1)
    registration = json.dumps(manifests.external_metrics(port))
    with contextlib.ExitStack() as stack:
        stack.enter_context(external_metrics(port, cluster.certificate, lambda _: 12))
        cluster.apply(registration)
        stack.callback(cluster.kubectl, "delete", "-f", "-", stdin=registration)
        cluster.apply(deployment("engine"), namespace=namespace)
        cluster.apply(autoscaler_on_queue("engine"), namespace=namespace)
        eventually(
            lambda: cluster.kubectl("get", "deploy", "engine", "-n", namespace, "-o", "jsonpath={.spec.replicas}"),
            lambda replicas: replicas == "3",
            within_s=60,
        )


def children_with(text: str) -> list[str]:
    """Command lines, of processes on this machine, that contain the text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line:
                found.append(line)
    return found


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_nothing_is_left_running(cluster: LocalCluster, ending: signal.Signals, tmp_path: Path) -> None:
    """However `up` ends, all that it started is gone, and after an orderly end its folder; ours runs on beside it."""
    up = subprocess.Popen(
        [sys.executable, "-m", "deploy.localcluster", "up"],
        cwd=_CHECKOUT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert up.stdout is not None
    line = up.stdout.readline()
    folder = Path(line.removeprefix("export KUBECONFIG=").strip()).parent
    assert len(children_with(str(folder))) == 5
    up.send_signal(ending)
    if ending is not signal.SIGKILL:  # Whoever is impatient presses twice; what is being put away still is.
        time.sleep(0.3)
        up.send_signal(signal.SIGINT)
    up.wait(timeout=30)
    eventually(lambda: children_with(str(folder)), lambda found: not found, within_s=5)
    assert folder.exists() == (ending is signal.SIGKILL)
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"


def test_a_component_that_dies_is_named_with_its_last_words() -> None:
    """Where a component does not start, one message says which and why, and nothing is left behind."""
    broken = LocalCluster(pools=[], controller_manager_flags=["--no-such-flag"])
    with pytest.raises(LocalClusterError, match=r"^kube-controller-manager ended with status 1;") as raised:
        broken.start()
    assert "unknown flag: --no-such-flag" in raised.value.message
    assert broken.pids == {}
    assert not broken.folder.exists()


def build(cache: Path | str, path: str) -> "subprocess.CompletedProcess[str]":
    """`python -m deploy.localcluster build` with this cache folder and PATH."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.localcluster", "build"],
        cwd=_CHECKOUT,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_absent_prometheus_is_one_sentence(tmp_path: Path) -> None:
    """Where neither Prometheus nor apt is to be had, the message names the remedy."""
    done = build(tmp_path, path="/nonexistent")
    assert (done.returncode, done.stderr) == (1, "Error: prometheus not found: apt-get install prometheus\n")


def test_a_broken_cache_is_one_sentence(tmp_path: Path) -> None:
    """Where the cache folder cannot be, the message says so and how to have another."""
    (tmp_path / "file").write_text("")
    done = build(tmp_path / "file", path=os.environ["PATH"])
    assert done.returncode == 1
    assert "set XDG_CACHE_HOME to a writable folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of a build ends the compiler too, and the cache holds nothing half-made."""
    fake = tmp_path / "bin" / "prometheus"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho prometheus, version 2.42.0\n")
    fake.chmod(0o755)
    cold = {"XDG_CACHE_HOME": str(tmp_path), "GOCACHE": str(tmp_path / "go-build")}
    building = subprocess.Popen(
        [sys.executable, "-m", "deploy.localcluster", "build"],
        cwd=_CHECKOUT,
        env=os.environ | cold | {"PATH": f"{fake.parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert building.stderr is not None
    assert building.stderr.readline().startswith("building kwok")
    eventually(lambda: children_with(f"{tmp_path}/inference-autoscaler"), bool)
    building.send_signal(signal.SIGTERM)
    assert building.wait(timeout=30) == 128 + signal.SIGTERM
    eventually(lambda: children_with(f"{tmp_path}/inference-autoscaler"), lambda found: not found, within_s=5)
    assert [each for each in (tmp_path / "inference-autoscaler").iterdir() if not each.name.endswith(".lock")] == []


def query(url: str, promql: str) -> dict[str, str]:
    """The samples of an instant query: series (as JSON labels) to value."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': promql})}", timeout=5) as answer:
        result = json.load(answer)["data"]["result"]
    return {json.dumps(each["metric"], sort_keys=True): each["value"][1] for each in result}


@contextlib.contextmanager
def emulated_pod() -> Iterator[str]:
    """A server that answers discovery with one pod and serves that pod's metrics; yields the discovery URL."""
    metrics = "# TYPE a counter\na_total 7\na_created 1.7e9\n"
    ports: list[int] = []

    def answers(path: str) -> str | None:
        if path == "/pods/one/metrics":
            return metrics
        labels = {"namespace": "n", "pod": "one", "__metrics_path__": "/pods/one/metrics"}
        return json.dumps([{"targets": [f"127.0.0.1:{ports[0]}"], "labels": labels}])

    with serving(answers, "application/json") as port:
        ports.append(port)
        yield f"http://127.0.0.1:{port}/targets"


def test_prometheus_comes_back_with_its_data_after_a_crash() -> None:
    """It scrapes what discovery names, with its labels and without `_created`; killed, it comes back as the same."""
    with (
        emulated_pod() as targets,
        LocalPrometheus(http_sd_url=targets, scrape_interval="500ms", refresh_interval="1s") as prometheus,
    ):
        url = prometheus.url
        series = eventually(lambda: query(url, "a_total"), bool)
        (labels,) = map(json.loads, series)
        assert (labels["namespace"], labels["pod"], labels["job"]) == ("n", "one", "engines")
        assert query(url, "a_created") == {}
        before = eventually(lambda: int(*query(url, "count_over_time(a_total[1h])").values()), lambda n: n > 2)
        prometheus.kill()
        with pytest.raises(OSError, match="refused"):
            query(url, "a_total")
        assert prometheus.start() == url
        assert int(*query(url, "count_over_time(a_total[1h])").values()) >= before
        prometheus.pause()
        with pytest.raises(TimeoutError):
            query(url, "a_total")
        prometheus.resume()
        assert list(query(url, "a_total").values()) == ["7"]
    assert prometheus.pid is None
    assert not prometheus.folder.exists()


def test_the_build_is_found_again(cluster: LocalCluster) -> None:
    """What is built once is found in the cache by its content hash, at once."""
    began = time.monotonic()
    assert controlplane() == controlplane()
    assert time.monotonic() - began < 5
