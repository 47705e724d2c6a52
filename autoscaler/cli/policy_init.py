"""``autoscaler policy init``: a first policy from a running workload, with every guess named as one."""

import json
import re
import sys
from pathlib import Path

import click

from autoscaler.core import capacity
from autoscaler.core.policy import GROUP, KIND, VERSION
from autoscaler.core.policy_parts import Preset
from autoscaler.engines import histogram_edges
from autoscaler.footprint.prices import PriceList
from autoscaler.policyfile import parse
from autoscaler.pricelist import shipped_prices
from autoscaler.workload import Found, Workload, recognise

_KINDS = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "deployments": "Deployment",
    "deployment.apps": "Deployment",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "statefulsets": "StatefulSet",
    "statefulset.apps": "StatefulSet",
}
_USUAL_TTFT_S = 2.5
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@click.command()
@click.argument("workload", metavar="deploy/NAME")
@click.option("-n", "--namespace", help="Its namespace; else that of the kubeconfig's context.")
@click.option("--kubeconfig", help="Path of the kubeconfig; else $KUBECONFIG or ~/.kube/config.")
@click.option("-o", "--output", metavar="FILE", help="Write to a new file; else print. An existing file is kept.")
def init(workload: str, namespace: str | None, kubeconfig: str | None, output: str | None) -> None:
    """Write a first policy from a running Deployment or StatefulSet, and say what was guessed.

    The policy is in mode Recommend: applied as it is, it writes nothing to the workload.

    \b
    autoscaler policy init deploy/chat -n prod -o chat.yaml
    """  # noqa: D301 -- \b is click's own mark for lines that it must not join
    # Imported here, as the Kubernetes client takes a second that `policy check` has no use for.
    from autoscaler.adapters.workloads import WorkloadError, read_workload  # noqa: PLC0415

    kind, name = _named(workload)
    if output is not None and Path(output).exists():
        raise click.ClickException(f"{output} exists and is kept; name another file with -o")
    try:
        seen = read_workload(kind, name, namespace=namespace, kubeconfig=kubeconfig)
    except WorkloadError as error:
        raise click.ClickException(str(error)) from error
    found = recognise(seen.body, running_on=seen.running_on, cluster=seen.cluster)
    text = first_policy(found, shipped_prices())
    problems = [str(problem) for document in parse(text, output or "the policy") for problem in document.problems]
    if problems:
        raise click.ClickException(f"no valid policy can be made of it: {problems[0]}")
    for line in guesses(found):
        click.echo(line, err=True)
    _write(text, output)


def _named(workload: str) -> tuple[str, str]:
    kind, slash, name = workload.rpartition("/")
    if not slash:
        return "Deployment", workload
    if kind.lower() not in _KINDS or not name:
        raise click.ClickException(f"{workload} is not understood; write deploy/NAME or statefulset/NAME")
    return _KINDS[kind.lower()], name


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{output} exists and is kept; name another file with -o") from error
    except OSError as error:
        raise click.ClickException(
            f"{output} cannot be written: {error.strerror}; name another file with -o"
        ) from error
    click.echo(f"written to {output}; next: autoscaler policy check --explain {output}", err=True)


def guesses(found: Workload) -> list[str]:
    """Return one line for each thing that was recognised or not, for the person at the terminal."""
    rows: list[tuple[str, Found | None, str]] = [
        ("engine", found.preset, "assumed vllm"),
        ("model", found.model, f"assumed {found.name}: set spec.model.name to the served model name"),
        ("max sequences", found.max_sequences, "left out: set spec.engine.maxSequences"),
        ("accelerators per replica", found.accelerators, "assumed 1"),
        ("accelerator class", found.accelerator_class, "unknown: set spec.accelerator.class"),
        ("parameters", found.parameters_billion, "left out: set spec.model.parametersBillion"),
        ("bytes per parameter", found.bytes_per_parameter, "assumed 2 (BF16)"),
    ]
    lines = [f"read {found.kind} {found.namespace}/{found.name}, container {found.container}"]
    for what, one, otherwise in rows:
        lines.append(f"  {what}: {otherwise}" if one is None else f"  {what}: {one.value} (from {one.where})")
    return lines


def first_policy(found: Workload, prices: PriceList) -> str:
    """Return a policy as YAML, each line with where its value comes from."""
    preset = Preset.VLLM if found.preset is None else found.preset.value
    lines = [
        f"# A first policy for {found.kind} {found.namespace}/{found.name}, read off its pod template.",
        "# Mode Recommend writes nothing to it. Check the lines marked GUESS, then: autoscaler policy check --explain",
        f"apiVersion: {GROUP}/{VERSION}",
        f"kind: {KIND}",
        "metadata:",
        f"  name: {_scalar(found.name)}",
        f"  namespace: {_scalar(found.namespace)}",
        "spec:",
        "  targetRef:",
        "    apiVersion: apps/v1",
        f"    kind: {found.kind}",
        f"    name: {_scalar(found.name)}",
        "  mode: Recommend",
        *_model_lines(found),
        *_engine_lines(found, preset),
        *_accelerator_lines(found, prices),
        *_bound_lines(found, preset),
    ]
    return "\n".join(lines) + "\n"


def _model_lines(found: Workload) -> list[str]:
    lines = ["  model:", _line("    name", found.model, found.name, "must be the served model name")]
    if found.parameters_billion is not None:
        lines.append(_line("    parametersBillion", found.parameters_billion, None, ""))
    else:
        lines.append("    # parametersBillion: 8 # write it: the physics prior needs it")
    if found.bytes_per_parameter is not None:
        lines.append(_line("    bytesPerParameter", found.bytes_per_parameter, None, ""))
    return lines


def _engine_lines(found: Workload, preset: Preset) -> list[str]:
    lines = ["  engine:", _line("    preset", found.preset, preset, "no known engine in image or command")]
    if found.version is not None:
        lines.append(_line("    version", found.version, None, ""))
    if found.max_sequences is not None:
        lines.append(_line("    maxSequences", found.max_sequences, None, ""))
    elif preset in {Preset.VLLM, Preset.SGLANG}:
        lines.append("    # maxSequences: 256 # write the engine's max_num_seqs: it does not export it")
    else:
        lines.append("    # targetConcurrency: 8 # write how many requests in flight one replica is to carry")
    if preset in {Preset.VLLM, Preset.SGLANG}:
        lines.append("    # stepTime is not known, so a physics prior is used; policies/ has fits for some pairs.")
    return lines


def _accelerator_lines(found: Workload, prices: PriceList) -> list[str]:
    lines = [
        "  accelerator:",
        _line("    class", found.accelerator_class, "unknown", "no node label tells it; e.g. H100-80GB"),
        _line("    countPerReplica", found.accelerators, 1, "no GPU in the resources"),
    ]
    named = "" if found.accelerator_class is None else str(found.accelerator_class.value)
    known = capacity.accelerator_class(named)
    rows = [
        row.reference for row in prices.rows if known is not None and capacity.accelerator_class(row.class_) == known
    ]
    choice = f"e.g. {', '.join(rows[:4])}" if rows else "e.g. aws/h100"
    return [*lines, f"    # price: {{reference: ...}} # {choice}; or usdPerHour. Without it costs are unknown."]


def _bound_lines(found: Workload, preset: Preset) -> list[str]:
    edges = histogram_edges(preset).ttft_edges
    ttft_s = min(edges, key=lambda edge: abs(edge - _USUAL_TTFT_S)) if edges else _USUAL_TTFT_S
    edge = f", an edge of {preset}'s histogram" if edges else ""
    most = max(2, 2 * found.replicas)
    return [
        "  objectives:",
        f"    ttftSeconds: {ttft_s:g} # GUESS: a usual choice{edge}",
        "    ttftAttainment: 0.99 # GUESS: a usual choice",
        "  replicas:",
        "    min: 1 # GUESS: never to zero",
        f"    max: {most} # GUESS: twice the {found.replicas} that stand there; write what you are ready to pay for",
    ]


def _line(key: str, found: Found | None, otherwise: object, doubt: str) -> str:
    if found is None:
        return f"{key}: {_scalar(otherwise)} # GUESS: {doubt}"
    return f"{key}: {_scalar(found.value)} # from {found.where}"


def _scalar(value: object) -> str:
    """Return a value as a YAML scalar that reads back as itself."""
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # JSON writes what is beyond 16 bits as two surrogates, which YAML reads as two characters; so it is done here.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
