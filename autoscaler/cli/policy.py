"""``autoscaler policy``: check policy files, say what they mean, write a first one."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from autoscaler.cli.policy_explain import explain
from autoscaler.cli.policy_init import init
from autoscaler.cli.policy_warnings import shared_targets, warnings_of
from autoscaler.cli.tables import counted, plain
from autoscaler.footprint.prices import PriceList, PriceListError
from autoscaler.policyfile import PolicyDocument, Problem, parse
from autoscaler.pricelist import read_prices, shipped_prices

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One policy of a file with its errors, and its warnings if it has no errors."""

    document: PolicyDocument
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


@click.group()
def policy() -> None:
    """Check, explain and write policies."""


policy.add_command(init)


@policy.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--explain", "explained", is_flag=True, help="Say in sentences what each policy means.")
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@click.option(
    "--prices", "prices_file", metavar="FILE", help="A price list of your own, in the form of the shipped one."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(files: Sequence[str], explained: bool, strict: bool, prices_file: str | None, output: str) -> None:
    """Check policy files and print every error with file, line, path and remedy; - reads standard input.

    Ends with 1 if there is an error, else with 0.

    \b
    autoscaler policy check policies/vllm/*.yaml
    autoscaler policy check --explain policies/vllm/llama-3.1-8b-h100.yaml
    kubectl get scalingpolicies -A -o yaml | autoscaler policy check -
    """  # noqa: D301 -- \b is click's own mark for lines that it must not join
    prices = _prices(prices_file)
    documents = [document for file in files for document in _parsed(file)]
    shared = shared_targets(documents)
    checked = [_checked(document, prices, strict, shared.get(i, ())) for i, document in enumerate(documents)]
    if output == "json":
        click.echo(json.dumps([_as_json(one, prices, explained) for one in checked], indent=2))
    else:
        _print(checked, prices, explained, len(files))
    if any(one.errors for one in checked):
        sys.exit(1)


def _checked(document: PolicyDocument, prices: PriceList, strict: bool, shared: tuple[Problem, ...]) -> Checked:
    warnings = (*warnings_of(document, prices), *shared)
    errors = (*document.problems, *warnings) if strict else document.problems
    return Checked(document=document, errors=errors, warnings=() if strict else warnings)


def _parsed(file: str) -> tuple[PolicyDocument, ...]:
    """Read a file and parse it; a file that cannot be read is one more error, and the others are still checked."""
    try:
        text = sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        return _unreadable(file, f"cannot be read: {(error.strerror or str(error)).lower()}; check the path")
    except UnicodeDecodeError as error:
        wide = error.object[:2] in {b"\xff\xfe", b"\xfe\xff"}
        byte = f"byte {error.start + 1} is {error.object[error.start]:#04x}"
        return _unreadable(file, f"is not UTF-8 text ({'it looks like UTF-16' if wide else byte}); save it as UTF-8")
    return parse(text, "<stdin>" if file == STDIN else file)


def _unreadable(file: str, message: str) -> tuple[PolicyDocument, ...]:
    document = parse("", file)[0]
    problem = Problem(source=file, line=1, column=1, path="", message=message)
    return (PolicyDocument(source=file, line=1, policy=None, problems=(problem,), document=document.document),)


def _prices(file: str | None) -> PriceList:
    if file is None:
        return shipped_prices()
    try:
        return read_prices(Path(file))
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"--prices {file} cannot be read: {error}; check the path") from error
    except PriceListError as error:
        raise click.ClickException(f"--prices {file}: {error}") from error


def _print(checked: Iterable[Checked], prices: PriceList, explained: bool, files: int) -> None:
    errors = warnings = policies = 0
    for one in checked:
        for kind, color, problems in (("error", "red", one.errors), ("warning", "yellow", one.warnings)):
            for problem in problems:
                click.echo(_line(problem, kind, color))
        if explained and one.document.policy is not None:
            _print_explained(one.document, prices)
        errors, warnings = errors + len(one.errors), warnings + len(one.warnings)
        policies += one.document.policy is not None
    counts = [counted(policies, "valid policy", "valid policies"), counted(files, "file")]
    click.echo(f"{' in '.join(counts)}: {counted(errors, 'error')}, {counted(warnings, 'warning')}")


def _line(problem: Problem, kind: str, color: str) -> str:
    place = click.style(plain(f"{problem.source}:{problem.line}:{problem.column}"), bold=True)
    path = f"{problem.path}: " if problem.path else ""
    return f"{place}: {click.style(kind, fg=color)}: {plain(path + problem.message)}"


def _print_explained(document: PolicyDocument, prices: PriceList) -> None:
    if document.policy is None:
        return
    click.echo()
    source = plain(f"{document.source}:{document.line}")
    click.echo(click.style(plain(document.policy.key), bold=True) + f"  ({source})")
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    for heading, sentences in explain(document.policy, prices):
        click.echo(f"  {heading}")
        for sentence in sentences:
            click.echo(
                click.wrap_text(plain(sentence), width=width, initial_indent="    - ", subsequent_indent="      ")
            )
    click.echo()


def _as_json(one: Checked, prices: PriceList, explained: bool) -> dict[str, object]:
    found = one.document.policy
    body: dict[str, object] = {
        "file": one.document.source,
        "line": one.document.line,
        "policy": None if found is None else found.key,
        "valid": not one.errors,
        "errors": [asdict(problem) for problem in one.errors],
        "warnings": [asdict(problem) for problem in one.warnings],
    }
    if explained and found is not None:
        body["explanation"] = {heading: list(sentences) for heading, sentences in explain(found, prices)}
    return body
