"""``autoscaler policy init`` without a cluster: the policy that is written, and how it is refused.

The reading from a real API server is in tests/cluster/test_policy_init_on_server.py.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.cli import main
from autoscaler.cli.policy_init import first_policy, guesses
from autoscaler.policyfile import parse
from autoscaler.pricelist import shipped_prices
from autoscaler.workload import recognise

PRICES = shipped_prices()


def deployment(name: str = "chat", namespace: str = "prod", replicas: int = 3, **container: Any) -> dict[str, Any]:
    """A Deployment with one engine container."""
    engine = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", **container}
    pod = {"containers": [engine], "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas, "template": {"spec": pod}}}


def test_what_was_recognised_is_written_with_where_it_was_found() -> None:
    """Each value names its origin; what is a guess is marked as one; the result is a valid policy in Recommend."""
    args = ["--model", "meta-llama/Llama-3.1-8B", "--max-num-seqs=128"]
    resources = {"limits": {"nvidia.com/gpu": "2"}}
    text = first_policy(recognise(deployment(args=args, resources=resources)), PRICES)
    (document,) = parse(text, "f")
    assert document.policy is not None, document.problems
    spec = document.policy.spec
    assert document.policy.key == "prod/chat"
    assert (spec.mode, spec.model.name, spec.engine.max_sequences) == ("Recommend", "meta-llama/Llama-3.1-8B", 128)
    assert (spec.accelerator.class_, spec.accelerator.count_per_replica) == ("NVIDIA-H100-80GB-HBM3", 2)
    assert (spec.replicas.min, spec.replicas.max) == (1, 6)
    assert spec.engine.version == "0.11.0"
    assert "maxSequences: 128 # from --max-num-seqs" in text
    assert "GUESS" in text
    assert "aws/h100" in text


def test_what_was_not_recognised_is_a_marked_guess() -> None:
    """An unknown image still gives a valid policy, with every doubt in it and on the terminal."""
    body = deployment(image="example.org/own:1")
    del body["spec"]["template"]["spec"]["nodeSelector"]
    found = recognise(body)
    text = first_policy(found, PRICES)
    assert parse(text, "f")[0].policy is not None
    for line in ("preset: vllm # GUESS", "class: unknown # GUESS", "name: chat # GUESS"):
        assert line in text
    told = "\n".join(guesses(found))
    assert "engine: assumed vllm" in told
    assert "set spec.accelerator.class" in told


def test_an_objective_stands_on_an_edge_of_the_engines_histogram() -> None:
    """SGLang has no edge at 2.5 s: a first policy does not begin with a warning of its own making."""
    text = first_policy(recognise(deployment(command=["python", "-m", "sglang.launch_server"])), PRICES)
    assert "ttftSeconds: 2 #" in text


@settings(deadline=None)
@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    model=st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != "" and not text.startswith("-")),
    replicas=st.integers(0, 100),
)
def test_any_name_reads_back_as_itself(name: str, model: str, replicas: int) -> None:
    """Names that YAML would read as numbers, truth or syntax are quoted; the policy is valid whatever they are."""
    body = deployment(name=name, replicas=replicas, command=["vllm", "serve"], args=[f"--model={model}"])
    found = recognise(body)
    (document,) = parse(first_policy(found, PRICES), "f")
    assert document.policy is not None, document.problems
    assert document.policy.metadata.name == name
    assert found.model is not None
    assert document.policy.spec.model.name == found.model.value


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    """Nothing of the user's is overwritten, and no cluster is asked before that is clear."""
    file = tmp_path / "chat.yaml"
    file.write_text("mine")
    done = CliRunner().invoke(main, ["policy", "init", "deploy/chat", "-o", str(file)])
    assert (done.exit_code, file.read_text()) == (1, "mine")
    assert done.stderr == f"Error: {file} exists and is kept; name another file with -o\n"


@pytest.mark.parametrize("workload", ["pod/chat", "deploy/", "a/b/c"])
def test_a_workload_that_is_not_understood_is_one_sentence(workload: str) -> None:
    """Only what has a replica count of its own can be scaled."""
    done = CliRunner().invoke(main, ["policy", "init", workload])
    assert done.exit_code == 1
    assert "write deploy/NAME or statefulset/NAME" in done.stderr


@pytest.mark.parametrize("content", [None, "", "42", "not: [yaml", "apiVersion: v1\nkind: Config\n"])
def test_a_kubeconfig_that_cannot_be_used_is_one_sentence(content: str | None, tmp_path: Path) -> None:
    """Absent, empty, broken or without a context: the file is named, and the remedy."""
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    done = CliRunner().invoke(main, ["policy", "init", "deploy/chat", "--kubeconfig", str(file)])
    assert done.exit_code == 1
    assert re.match(rf"Error: kubeconfig {file} (does not exist|cannot be used: .+); name a working one", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)
