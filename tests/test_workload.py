"""Recognition of engines: the many ways in which people start them, read right or left unknown."""

from typing import Any

import pytest

from autoscaler.workload import Workload, command_line, recognise


def deployment(*, gpus: int | None = 1, spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    """A Deployment with one container, as plain JSON."""
    resources = {} if gpus is None else {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    engine = {"name": "engine", "image": "example.org/engine:1", **resources, **container}
    pod = {"containers": [engine], **(spec or {})}
    return {
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "prod"},
        "spec": {"replicas": 3, "template": {"spec": pod}},
    }


def read(found: Workload) -> dict[str, Any]:
    """The recognised values without where they were found."""
    names = ("preset", "model", "max_sequences", "accelerators")
    return {name: one.value for name in names if (one := getattr(found, name)) is not None}


SCRIPT = """\
set -e
export HF_HOME=/cache
exec vllm serve meta-llama/Llama-3.1-8B-Instruct \\
  --served-model-name llama \\
  --max-num-seqs 128 # as tuned
"""


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            {"command": ["vllm", "serve", "Qwen/Qwen3-32B"], "args": ["--max-num-seqs=64", "-tp", "2"]},
            {"preset": "vllm", "model": "Qwen/Qwen3-32B", "max_sequences": 64, "accelerators": 2},
        ),
        (
            {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"], "args": ["--model", "a/b"]},
            {"preset": "vllm", "model": "a/b"},
        ),
        (
            {"image": "vllm/vllm-openai:v0.11.0", "args": ["--model=a/b", "--served-model-name=chat"]},
            {"preset": "vllm", "model": "chat"},
        ),
        ({"image": "vllm/vllm-openai:v0.11.0", "args": ["a/b", "--port", "8000"]}, {"preset": "vllm", "model": "a/b"}),
        (
            {"command": ["/bin/sh", "-c", SCRIPT]},
            {"preset": "vllm", "model": "llama", "max_sequences": 128},
        ),
        (
            {
                "command": ["sh", "-c"],
                "args": ["vllm serve $MODEL -tp ${TP}"],
                "env": [{"name": "MODEL", "value": "a/b"}, {"name": "TP", "value": "4"}],
            },
            {"preset": "vllm", "model": "a/b", "accelerators": 4},
        ),
        (
            {"args": ["vllm", "serve", "$(MODEL)", "--max_num_seqs", "32"], "env": [{"name": "MODEL", "value": "a/b"}]},
            {"preset": "vllm", "model": "a/b", "max_sequences": 32},
        ),
        (
            {"command": ["python", "-m", "sglang.launch_server", "--model-path", "a/b", "--tp", "8"]},
            {"preset": "sglang", "model": "a/b", "accelerators": 8},
        ),
        (
            {"image": "lmsysorg/sglang:v0.5", "args": ["--model-path=a/b", "--max-running-requests=50"]},
            {"preset": "sglang", "model": "a/b", "max_sequences": 50},
        ),
        (
            {"image": "ghcr.io/huggingface/text-generation-inference:3.0", "args": ["--model-id", "a/b"]},
            {"preset": "tgi", "model": "a/b"},
        ),
        (
            {"image": "x/text-generation-inference:3", "env": [{"name": "MODEL_ID", "value": "a/b"}]},
            {"preset": "tgi", "model": "a/b"},
        ),
        (
            {"image": "x/text-embeddings-inference:1.7", "args": ["--model-id", "e"]},
            {"preset": "concurrency", "model": "e"},
        ),
        ({"image": "nginx:1.27"}, {}),
        ({"command": ["vllm", "serve", "--model"]}, {"preset": "vllm"}),
        ({"command": ["sh", "-c", "vllm serve 'a/b"]}, {"preset": "vllm", "model": "'a/b"}),
        ({"command": ["vllm", "serve", "a/b", "--max-num-seqs", "many"]}, {"preset": "vllm", "model": "a/b"}),
    ],
    ids=[
        "serve",
        "module",
        "flags",
        "entrypoint",
        "script",
        "shell env",
        "kubernetes env",
        "sglang",
        "sglang image",
        "tgi",
        "tgi env",
        "tei",
        "something else",
        "no model",
        "open quote",
        "not a number",
    ],
)
def test_the_ways_to_start_an_engine(container: dict[str, Any], expected: dict[str, Any]) -> None:
    """Engine, model and sizes come from command, arguments, environment and image; the rest stays unknown."""
    assert read(recognise(deployment(gpus=None, **container))) == expected


def test_the_resources_win_over_the_flags() -> None:
    """What the pod holds is what is paid for."""
    found = recognise(deployment(gpus=8, command=["vllm", "serve", "a/b", "-tp", "4"]))
    assert found.accelerators is not None
    assert (found.accelerators.value, found.accelerators.where) == (8, "resources.limits nvidia.com/gpu")


def test_tensor_and_pipeline_sizes_multiply() -> None:
    """Without resources, a replica holds every rank."""
    found = recognise(deployment(gpus=None, command=["vllm", "serve", "a/b", "-tp", "4", "-pp=2"]))
    assert found.accelerators is not None
    assert found.accelerators.value == 8


def test_spaces_do_not_make_a_script() -> None:
    """A flag's value and a piece of JSON keep their spaces; an empty value is no value."""
    words = ("--model", "a/b", "--served-model-name=my model", '{"a": 1}')
    assert command_line({"args": list(words)}) == words
    found = recognise(deployment(image="vllm:1", args=[*words[:3], "--max-num-seqs="]))
    assert read(found) == {"preset": "vllm", "model": "my model", "accelerators": 1}


def test_a_sidecar_is_not_the_engine() -> None:
    """The container that runs the engine is read, wherever it stands."""
    body = deployment(image="vllm/vllm-openai:v0.11.0", args=["--model", "a/b"])
    body["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "envoy:1"})
    found = recognise(body)
    assert (found.container, read(found)["model"]) == ("engine", "a/b")


H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
AFFINITY = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["L40S"]}]}
                ]
            }
        }
    }
}


@pytest.mark.parametrize(
    ("spec", "running_on", "cluster", "expected"),
    [
        ({"nodeSelector": H100}, [A100], [A100], "NVIDIA-H100-80GB-HBM3"),
        (AFFINITY, [A100], [A100], "L40S"),
        ({}, [H100, H100], [H100, A100], "NVIDIA-H100-80GB-HBM3"),
        ({}, [], [A100, {}], "NVIDIA-A100-SXM4-80GB"),
        ({}, [], [H100, A100], None),
        ({}, [H100, A100], [H100, A100], None),
        ({}, [], [], None),
    ],
    ids=["selector", "affinity", "its nodes", "only kind", "two kinds", "runs on two", "nothing known"],
)
def test_the_accelerator_class(
    spec: dict[str, Any], running_on: list[dict[str, str]], cluster: list[dict[str, str]], expected: str | None
) -> None:
    """What the pod asks for wins over where it runs; two kinds are not guessed between."""
    found = recognise(deployment(spec=spec, image="vllm:1"), running_on=running_on, cluster=cluster)
    assert (None if found.accelerator_class is None else found.accelerator_class.value) == expected


@pytest.mark.parametrize(
    ("model", "billion", "size"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8.0, None),
        ("Qwen/Qwen2.5-0.5B", 0.5, None),
        ("neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8", 70.0, 1.0),
        ("TheBloke/Llama-2-13B-chat-AWQ", 13.0, 0.5),
        ("mistralai/Mixtral-8x7B-v0.1", None, None),
        ("Qwen/Qwen3-30B-A3B", None, None),
        ("openai/gpt-oss", None, None),
    ],
)
def test_the_size_in_a_name(model: str, billion: float | None, size: float | None) -> None:
    """One number of billions is taken; a mixture of experts has two, so neither is."""
    found = recognise(deployment(command=["vllm", "serve", model]))
    assert (None if found.parameters_billion is None else found.parameters_billion.value) == billion
    assert (None if found.bytes_per_parameter is None else found.bytes_per_parameter.value) == size


def test_a_name_from_a_secret_stays_as_it_stands() -> None:
    """A variable without a literal value cannot be known; the reference is kept, not dropped."""
    env = [{"name": "MODEL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    assert command_line({"args": ["--model", "$(MODEL)"], "env": env}) == ("--model", "$(MODEL)")
