"""The objects of the stage: Deployments of emulated engines, a policy, and an HPA as people configure it."""

from typing import Any

Manifest = dict[str, Any]

ACCELERATOR_LABEL = "nvidia.com/gpu.product"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
COLDSTART = "coldstart.inference-autoscaler.dev"
# A cold start of two minutes, by phase: pull, load, warm-up; a tenth of it where time is compressed ten times.
PHASES_S = {"pull": 12.0, "load": 68.0, "warmup": 40.0}


def listed(*items: Manifest) -> Manifest:
    """Return objects as one List."""
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


def engines(name: str, *, replicas: int, time_factor: float) -> Manifest:
    """Return a Deployment of engines on A100 nodes, whose cold start is as annotated."""
    phases = {f"{COLDSTART}/{phase}": f"{seconds / time_factor:.2f}s" for phase, seconds in PHASES_S.items()}
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--model", MODEL, "--max-num-seqs", "256"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": phases},
                "spec": {
                    "containers": [container],
                    "nodeSelector": {ACCELERATOR_LABEL: "NVIDIA-A100-SXM4-80GB"},
                    "terminationGracePeriodSeconds": 5,
                },
            },
        },
    }


def policy(name: str, *, target: str, mode: str, time_factor: float, replicas: Manifest) -> Manifest:
    """Return a policy for such engines, with every time divided by the factor."""
    factor = time_factor
    return {
        "apiVersion": "inference-autoscaler.dev/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRef": {"name": target},
            "mode": mode,
            "model": {"name": MODEL},
            "engine": {
                "preset": "vllm",
                "maxSequences": 256,
                "stepTime": {
                    "fixedSeconds": 0.0115 / factor,
                    "prefillTokenSeconds": 7.0e-5 / factor,
                    "sequenceSeconds": 3.5e-5 / factor,
                    "kvTokenSeconds": 8.0e-8 / factor,
                    "source": "the emulated engine's own profile, a100-80gb/llama-3.1-8b",
                },
            },
            "accelerator": {"class": "A100-80GB", "price": {"reference": "aws/a100-80gb"}},
            "objectives": {"ttftSeconds": 2.5 / factor},
            "replicas": replicas,
            "coldStart": {"priorSeconds": 150 / factor},
            "timing": {
                "tickSeconds": 15 / factor,
                "scrapeSeconds": 15 / factor,
                "levelSeconds": 60 / factor,
                "peakHoldSeconds": 300 / factor,
                "dispersionBinSeconds": 15 / factor,
                "backlogClearSeconds": 60 / factor,
                "staleAfterSeconds": 90 / factor,
            },
        },
    }


def hpa(name: str, *, metric: str, time_factor: float, replicas: Manifest) -> Manifest:
    """Return an HPA on five waiting requests a replica, with its default behavior, whose times the factor divides."""
    period_s = max(1, round(15 / time_factor))
    up = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": period_s},
            {"type": "Percent", "value": 100, "periodSeconds": period_s},
        ],
    }
    down = {
        "stabilizationWindowSeconds": round(300 / time_factor),
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": period_s}],
    }
    source = {"metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": "5"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": replicas["min"],
            "maxReplicas": replicas["max"],
            "metrics": [{"type": "External", "external": source}],
            "behavior": {"scaleUp": up, "scaleDown": down},
        },
    }


def external_metrics(port: int) -> Manifest:
    """Return what sends the external metrics API to a port of this machine: there is no pod network to go through."""
    metadata = {"name": "emulator", "namespace": "kube-system"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": metadata | {"port": port},
        },
    }
    return listed(service, registration)
