"""The CustomResourceDefinition against a real API server: what it takes, refuses, fills in, explains and prints."""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from autoscaler.core.decision import Decision, Why
from autoscaler.core.policy import ScalingPolicy
from autoscaler.core.policy_parts import Mode
from autoscaler.core.signals import Signals
from autoscaler.journal import Entry, Outcome, OutcomeStatus
from autoscaler.policyfile import parse
from autoscaler.status import PolicyStatus, read_status, status_of, status_patch
from deploy.localcluster import LocalCluster, LocalClusterError

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "policies").rglob("*.yaml"))
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def crd(cluster: LocalCluster) -> LocalCluster:
    """The cluster with our definition, established and published in the API's own documentation."""
    cluster.kubectl("apply", "-f", str(ROOT / "deploy/crd.yaml"))
    name = "crd/scalingpolicies.inference-autoscaler.dev"
    cluster.kubectl("wait", "--for=condition=Established", name, "--timeout=30s")
    deadline = time.monotonic() + 30
    while "FIELDS" not in _explained(cluster, "scalingpolicy.spec"):
        assert time.monotonic() < deadline, "the definition was not published within 30 s"
        time.sleep(0.5)
    return cluster


def _explained(cluster: LocalCluster, path: str) -> str:
    try:
        return cluster.kubectl("explain", path)
    except LocalClusterError:
        return ""


def minimal() -> dict[str, Any]:
    """The smallest valid policy."""
    return {
        "apiVersion": "inference-autoscaler.dev/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "chat"},
        "spec": {
            "targetRef": {"name": "chat"},
            "model": {"name": "m"},
            "accelerator": {"class": "H100-80GB"},
            "replicas": {"max": 4},
        },
    }


def apply(cluster: LocalCluster, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create or change a policy and return what the server made of it."""
    answer = cluster.kubectl("apply", "-n", namespace, "-f", "-", "-o", "json", stdin=json.dumps(body))
    stored: dict[str, Any] = json.loads(answer)
    return stored


def test_the_server_fills_in_the_defaults_of_the_models(crd: LocalCluster, namespace: str) -> None:
    """A minimal policy is stored with the very defaults that pydantic gives it."""
    stored = apply(crd, namespace, minimal())
    ours = ScalingPolicy.model_validate(minimal()).spec
    assert ScalingPolicy.model_validate(stored).spec == ours
    assert stored["spec"]["mode"] == "Recommend"
    assert stored["spec"]["timing"]["tickSeconds"] == 15
    assert stored["spec"]["engine"]["preset"] == "vllm"


def _set(path: str, value: object) -> Change:
    keys = path.split(".")

    def change(body: dict[str, Any]) -> None:
        part = body
        for key in keys[:-1]:
            part = part.setdefault(key, {})
        part[keys[-1]] = value

    return change


HELD = [{"signal": "heldRequests", "promql": "gateway_held"}]
REFUSED: dict[str, tuple[list[Change], str]] = {
    "min above max": ([_set("spec.replicas", {"min": 5, "max": 3})], "min must not exceed max"),
    "zero without opting in": ([_set("spec.replicas", {"min": 0, "max": 3})], "needs scaleToZero.enabled"),
    "zero without a holder": ([_set("spec.scaleToZero.enabled", True)], "NothingHoldsRequests"),
    "both prices": (
        [_set("spec.accelerator.price", {"usdPerHour": 1, "reference": "aws/h100"})],
        "exactly one of usdPerHour and reference",
    ),
    "no price in price": ([_set("spec.accelerator.price", {})], "exactly one of usdPerHour and reference"),
    "prewarm min above max": ([_set("spec.prewarm", {"min": 3, "max": 1})], "prewarm.min must not exceed"),
    "two cold-start priors": (
        [_set("spec.coldStart", {"priorSeconds": 60, "weightsGib": 15, "loadGibPerSecond": 1})],
        "not both",
    ),
    "weights without bandwidth": ([_set("spec.coldStart", {"weightsGib": 15})], "go together"),
    "floor above max": ([_set("spec.failSafe", {"replicas": 9})], "failSafe.replicas must not exceed"),
    "a mode that is none": ([_set("spec.mode", "enforce")], "Unsupported value"),
    "an engine that is none": ([_set("spec.engine.preset", "vLLM")], "Unsupported value"),
    "attainment of one": ([_set("spec.objectives.ttftAttainment", 1)], "should be less than 1"),
    "text for a number": ([_set("spec.replicas.max", "3")], "must be of type integer"),
    "an unknown field": ([_set("spec.minReplicas", 1)], "unknown field"),
    "two queries for a signal": ([_set("spec.metrics.queries", HELD + HELD)], "Duplicate value"),
    "a pin without a zone": ([_set("spec.pin", {"replicas": 1, "until": "2026-12-01T08:00:00"})], "date-time"),
    "no target": ([_set("spec.targetRef", {})], "targetRef.name: Required"),
    "a target that no cluster has": ([_set("spec.targetRef.name", "Chat_8b")], "spec.targetRef.name"),
    "an endpoint by its address": ([_set("spec.prometheus", "http://x")], "spec.prometheus"),
    "seconds too few to mean": ([_set("spec.objectives.ttftSeconds", 1e-9)], "ttftSeconds"),
    "no seconds at all": ([_set("spec.objectives.ttftSeconds", 0)], "greater than or equal to 0.001"),
    "a quantile of nothing": ([_set("spec.prewarm", {"quantile": 0})], "greater than or equal to 0.5"),
    "a step that takes no time": ([_set("spec.timing", {"staleAfterSeconds": 0})], "greater than or equal to 0.1"),
    "a field that metadata has not": ([_set("metadata.lables", {"a": "b"})], "unknown field"),
    "too many queries": ([_set("spec.metrics.queries", [{"signal": "waiting", "promql": "x"}] * 5)], "Too many"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_server_refuses_the_models_refuse_too(case: str, crd: LocalCluster, namespace: str) -> None:
    """Every rule holds twice: at the API server and in files, so that neither takes what the other does not."""
    changes, expected = REFUSED[case]
    body = minimal()
    for change in changes:
        change(body)
    with pytest.raises(LocalClusterError) as refused:
        apply(crd, namespace, body)
    assert expected in refused.value.message
    (document,) = parse(json.dumps(body), case)
    assert document.problems != ()


ACCEPTED: dict[str, Change] = {
    "zero with a holder": lambda body: body["spec"].update(
        {"replicas": {"min": 0, "max": 3}, "scaleToZero": {"enabled": True}, "metrics": {"queries": HELD}}
    ),
    "nulls where absence is meant": lambda body: body["spec"].update({"pin": None, "prewarm": {"min": 2, "max": None}}),
    "a whole number with a point": _set("spec.replicas.max", 4.0),
    "a status, which is dropped": lambda body: body.update(status={"desired": "?"}),
    "a pin": _set("spec.pin", {"replicas": 2, "until": "2026-12-01T08:00:00+01:00"}),
    "a schedule": _set("spec.schedules", [{"cron": "0 8 * * 1-5", "durationSeconds": 3600, "prewarmMin": 2}]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_the_server_takes_the_models_take_too(case: str, crd: LocalCluster, namespace: str) -> None:
    """No rule is stricter in files than at the server, and what is stored reads back as the same policy."""
    body = minimal()
    ACCEPTED[case](body)
    stored = apply(crd, namespace, copy.deepcopy(body))
    (document,) = parse(json.dumps(body), case)
    assert document.policy is not None, document.problems
    assert ScalingPolicy.model_validate(stored).spec == document.policy.spec


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_policy_is_taken(file: Path, crd: LocalCluster, namespace: str) -> None:
    """What we ship can be applied as it is."""
    stored = apply(crd, namespace, YAML(typ="safe").load(file.read_text()))
    (document,) = parse(file.read_text(), file.name)
    assert document.policy is not None
    assert ScalingPolicy.model_validate(stored).spec == document.policy.spec


def test_explain_reads_well(crd: LocalCluster) -> None:
    """A person at the terminal learns each field's meaning, values and default without leaving it."""
    spec = crd.kubectl("explain", "scalingpolicy.spec")
    for field in ("targetRef", "coldStart", "scaleDown", "failSafe"):
        assert field in spec
    assert "The pre-warm pool: replicas held above present demand" in " ".join(spec.split())
    mode = " ".join(crd.kubectl("explain", "scalingpolicy.spec.mode").split())
    assert "ENUM: Observe Recommend Enforce" in mode
    assert "Enforce also writes it to the target's /scale" in mode
    deep = crd.kubectl("explain", "sp.spec.engine.stepTime.kvTokenSeconds")
    assert "Added by each token held in the KV cache" in deep
    assert "Median of the next cold start" in crd.kubectl("explain", "sp.status.coldStart.p50Seconds")


def _status(*, desired: int | None, why: Why, previous: PolicyStatus | None = None, at: float = 1_764_000_000) -> Any:
    decision = Decision(
        at=at,
        target=desired,
        spec_replicas=3,
        why=why,
        detail="said.",
        next_at=at + 15,
        ready=3,
        warming=2,
        numbers={"coldstart_p50_s": 121.3, "coldstart_p75_s": 150.0, "coldstart_samples": 7.0},
    )
    entry = Entry(
        policy="n/chat",
        policy_digest="d",
        at=at,
        signals=Signals(at=at, spec_replicas=3),
        decision=decision,
        outcome=Outcome(status=OutcomeStatus.SCALED),
    )
    return status_of(entry, mode=Mode.ENFORCE, generation=1, previous=previous)


def test_a_status_patch_is_stored_and_shown(crd: LocalCluster, namespace: str) -> None:
    """The status subresource takes our patch whole, drops what the next one lacks, and fills the columns."""
    apply(crd, namespace, minimal())

    def patched(status: PolicyStatus) -> PolicyStatus:
        body = json.dumps(status_patch(status))
        arguments = ("-n", namespace, "--subresource=status", "--type=merge", "-p", body, "-o", "json")
        answer = json.loads(crd.kubectl("patch", "sp", "chat", *arguments))
        return read_status(answer["status"])

    first = _status(desired=5, why=Why.BURST)
    assert patched(first) == first
    shown = crd.kubectl("get", "sp", "-n", namespace).splitlines()
    assert shown[0].split() == ["NAME", "TARGET", "MODE", "DESIRED", "READY", "COLD", "START", "REASON", "AGE"]
    assert shown[1].split()[:7] == ["chat", "chat", "Recommend", "5", "3", "121.3", "burst"]
    second = _status(desired=None, why=Why.PAUSED, previous=first, at=1_764_000_060)
    assert patched(second) == second
    assert patched(second).desired is None


def test_the_status_cannot_be_written_with_the_policy(crd: LocalCluster, namespace: str) -> None:
    """Who applies a policy writes no status: it belongs to the controller."""
    body = minimal() | {"status": {"desired": 7}}
    assert "desired" not in apply(crd, namespace, body).get("status", {})
