"""What a running workload serves, read off its pod template: engine, model, sizes, accelerators.

Pure: a Deployment as plain data in, a value with its guesses out. People start engines in many ways (``vllm serve
MODEL``, ``python -m vllm.entrypoints.openai.api_server --model MODEL``, the image's own entry point with arguments,
one long ``sh -c`` string), so everything found is told with where it was found, and what was not found stays None.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscaler.core.policy_parts import Preset

_ENGINES: tuple[tuple[Preset, re.Pattern[str]], ...] = (
    (Preset.TGI, re.compile(r"text-generation-(inference|launcher)")),
    (Preset.CONCURRENCY, re.compile(r"text-embeddings-(inference|router)")),
    (Preset.SGLANG, re.compile(r"sglang")),
    (Preset.VLLM, re.compile(r"vllm")),
)
_MODEL_FLAGS = ("--model", "--model-path", "--model-id")
_NAME_FLAGS = ("--served-model-name",)
_SEQUENCE_FLAGS = {
    Preset.VLLM: ("--max-num-seqs",),
    Preset.SGLANG: ("--max-running-requests",),
}
_PARALLEL_FLAGS = (
    ("--tensor-parallel-size", "--tp-size", "--tp", "-tp", "--num-shard"),
    ("--pipeline-parallel-size", "--pp-size", "-pp"),
    ("--data-parallel-size", "--dp-size", "-dp"),
)
_GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")
_GPU_LABELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "gpu.nvidia.com/class",
)
_SEPARATORS = {"&&", "||", ";", "|", "exec"}
_SIZE = re.compile(r"(?<![\dA-Za-z.x])(\d+(?:\.\d+)?)[bB](?![A-Za-z\d])")
_MIXTURE = re.compile(r"\d+x\d+(\.\d+)?b|-a\d+(\.\d+)?b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value and where it was found, in words for a person."""

    value: Any
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What was recognised of one workload; ``None`` is what was not.

    ``accelerators`` is the number one replica holds; ``parameters_billion`` and ``bytes_per_parameter`` are guessed
    from the model's name and its quantization.
    """

    kind: str
    name: str
    namespace: str
    replicas: int
    container: str
    preset: Found | None = None
    version: Found | None = None
    model: Found | None = None
    max_sequences: Found | None = None
    accelerators: Found | None = None
    accelerator_class: Found | None = None
    parameters_billion: Found | None = None
    bytes_per_parameter: Found | None = None


def recognise(
    body: Mapping[str, Any],
    *,
    running_on: Sequence[Mapping[str, str]] = (),
    cluster: Sequence[Mapping[str, str]] = (),
) -> Workload:
    """Return what a Deployment or StatefulSet (as plain JSON data) serves.

    ``running_on`` are the labels of the nodes that its pods run on, ``cluster`` those of all nodes.
    """
    template = body["spec"]["template"]["spec"]
    container = _engine_container(template["containers"])
    words = command_line(container)
    engine = _engine(container, words)
    preset = None if engine is None else engine.value
    path = _model_path(words, _literal_env(container), preset)
    served = _flag(words, _NAME_FLAGS)
    return Workload(
        kind=body.get("kind") or "Deployment",
        name=body["metadata"]["name"],
        namespace=body["metadata"].get("namespace", "default"),
        replicas=_replicas(body),
        container=container["name"],
        preset=engine,
        version=_version(container, preset),
        model=served if served is not None else path,
        max_sequences=_whole(_flag(words, _SEQUENCE_FLAGS.get(preset, ()) if preset is not None else ())),
        accelerators=_accelerators(container, words),
        accelerator_class=_class(template, running_on, cluster),
        parameters_billion=_parameters(path),
        bytes_per_parameter=_bytes(path, words),
    )


def command_line(container: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a container's command and arguments as words, a shell's script among them split into its own words.

    References to environment variables with a literal value, ``$(NAME)``, ``$NAME`` and ``${NAME}``, are filled in.
    """
    env = _literal_env(container)
    given = [str(word) for word in [*(container.get("command") or ()), *(container.get("args") or ())]]
    words: list[str] = []
    for word in given:
        words.extend(_script(word) if _is_script(word) else [word])
    return tuple(_filled(word, env) for word in words)


def _is_script(word: str) -> bool:
    """Whether a word is a shell's script; a flag or a piece of JSON may hold spaces too."""
    return len(word.split()) > 1 and not word.lstrip().startswith(("-", "{", "["))


def _script(text: str) -> list[str]:
    try:
        return shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError:  # An open quote: the words are still worth reading.
        return text.split()


def _filled(word: str, env: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group is not None)
        return env.get(name, match.group(0))

    return re.sub(r"\$\((\w+)\)|\$\{(\w+)\}|\$(\w+)", value, word)


def _literal_env(container: Mapping[str, Any]) -> dict[str, str]:
    return {
        entry["name"]: str(entry["value"]) for entry in container.get("env") or () if entry.get("value") is not None
    }


def _engine_container(containers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the container that runs the engine: the recognised one, else one with accelerators, else the first."""
    recognised = [one for one in containers if _engine(one, command_line(one)) is not None]
    holding = [one for one in containers if _held(one) is not None]
    both = [one for one in recognised if one in holding]
    return [*both, *recognised, *holding, *containers][0]


def _engine(container: Mapping[str, Any], words: Sequence[str]) -> Found | None:
    """Return the engine by the command first: an image may be anybody's, with a name of their own."""
    for where, text in (("its command", " ".join(words[:40])), ("its image", str(container.get("image", "")))):
        for preset, pattern in _ENGINES:
            if pattern.search(text.lower()):
                return Found(value=preset, where=where)
    return None


def _version(container: Mapping[str, Any], preset: Preset | None) -> Found | None:
    match = re.search(r":v?(\d+\.\d+[\w.]*)", str(container.get("image", "")))
    return Found(value=match.group(1), where="the image's tag") if match and preset is not None else None


def _flag(words: Sequence[str], names: Iterable[str]) -> Found | None:
    """Return the value of the first of several flags, as ``--flag value`` or ``--flag=value``; ``_`` is as ``-``."""
    for name in names:
        for i, word in enumerate(words):
            key, equals, value = word.partition("=")
            if key.replace("_", "-") != name:
                continue
            if equals and value.strip():
                return Found(value=value, where=name)
            if not equals and i + 1 < len(words) and words[i + 1].strip() and not words[i + 1].startswith("-"):
                return Found(value=words[i + 1], where=name)
    return None


def _model_path(words: Sequence[str], env: Mapping[str, str], preset: Preset | None) -> Found | None:
    flagged = _flag(words, _MODEL_FLAGS)
    if flagged is not None:
        return flagged
    if "serve" in words:
        after = words[words.index("serve") + 1 :]
        if after and not after[0].startswith("-") and after[0] not in _SEPARATORS:
            return Found(value=after[0], where="the word after serve")
    if preset in {Preset.TGI, Preset.CONCURRENCY} and "MODEL_ID" in env:
        return Found(value=env["MODEL_ID"], where="the environment variable MODEL_ID")
    # The official vLLM image's entry point is `vllm serve`, so its first argument may be the model itself.
    if preset is Preset.VLLM and words and not words[0].startswith("-") and "/" in words[0] and words[0][0] != "/":
        return Found(value=words[0], where="the first argument")
    return None


def _whole(found: Found | None) -> Found | None:
    if found is None or not str(found.value).isdigit() or int(found.value) == 0:
        return None
    return Found(value=int(found.value), where=found.where)


def _held(container: Mapping[str, Any]) -> Found | None:
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name in _GPU_RESOURCES:
            count = (resources.get(kind) or {}).get(name)
            if count is not None and str(count).isdigit() and int(count) > 0:
                return Found(value=int(count), where=f"resources.{kind} {name}")
    return None


def _accelerators(container: Mapping[str, Any], words: Sequence[str]) -> Found | None:
    held = _held(container)
    if held is not None:
        return held
    sizes = [found for names in _PARALLEL_FLAGS if (found := _whole(_flag(words, names))) is not None]
    if not sizes:
        return None
    count = 1
    for size in sizes:
        count *= size.value
    return Found(value=count, where=" times ".join(size.where for size in sizes))


def _class(
    template: Mapping[str, Any], running_on: Sequence[Mapping[str, str]], cluster: Sequence[Mapping[str, str]]
) -> Found | None:
    for label in _GPU_LABELS:
        selected = (template.get("nodeSelector") or {}).get(label)
        if selected:
            return Found(value=selected, where=f"nodeSelector {label}")
        asked = _affinity(template, label)
        if len(asked) == 1:
            return Found(value=asked[0], where=f"node affinity {label}")
    for nodes, where in ((running_on, "the nodes its pods run on"), (cluster, "the only kind of GPU node there is")):
        for label in _GPU_LABELS:
            kinds = sorted({labels[label] for labels in nodes if labels.get(label)})
            if len(kinds) == 1:
                return Found(value=kinds[0], where=f"{where}, label {label}")
    return None


def _affinity(template: Mapping[str, Any], label: str) -> list[str]:
    affinity = (template.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    return [
        value
        for term in terms
        for expression in term.get("matchExpressions") or ()
        if expression.get("key") == label and expression.get("operator") == "In"
        for value in expression.get("values") or ()
    ]


def _replicas(body: Mapping[str, Any]) -> int:
    stands = body["spec"].get("replicas")
    return 1 if stands is None else int(stands)


def _parameters(model: Found | None) -> Found | None:
    """Return the billions in a model's name; a mixture of experts has two such numbers, so none is taken."""
    text = "" if model is None else str(model.value)
    sizes = _SIZE.findall(text)
    if not sizes or _MIXTURE.search(text):
        return None
    return Found(value=float(sizes[-1]), where="the model's name")


def _bytes(model: Found | None, words: Sequence[str]) -> Found | None:
    quantization = _flag(words, ("--quantization", "-q", "--quantize"))
    for text, where in (
        (str(quantization.value) if quantization is not None else "", "--quantization"),
        (str(model.value) if model is not None else "", "the model's name"),
    ):
        folded = text.lower()
        if re.search(r"fp8|int8|w8a8|w8a16", folded):
            return Found(value=1.0, where=where)
        if re.search(r"awq|gptq|int4|w4a16|4bit|fp4", folded):
            return Found(value=0.5, where=where)
    return None
