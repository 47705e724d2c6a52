"""What a user names on the command line, read: a policy, requests, a price, a new folder. An error is one sentence."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from tempfile import mkstemp

import click

from autoscaler.core.policy import PolicySpec, ScalingPolicy
from autoscaler.core.policy_parts import Preset
from autoscaler.footprint.prices import PriceListError, price_of
from autoscaler.policyfile import parse
from autoscaler.pricelist import shipped_prices
from simulator.baselines.peers import PEERS
from simulator.engine.cache_storage import refuse_odd_blocks
from simulator.faults import faultfile
from simulator.faults.plan import FaultPlan
from simulator.inputfile import InputFileError
from simulator.traces import (
    SLOW_FORMS,
    Reading,
    Source,
    Trace,
    TraceError,
    Traffic,
    in_memory,
    open_trace,
    useless_options,
)

SHORTEST_S = 600.0
"""Traffic has to outlast the opening, which is not scored."""


def refuse_pipe(path: Path | None) -> None:
    """Refuse what can be read but once: a run reads its inputs, and keeps them beside the result.

    Raises:
        click.ClickException: it is a pipe or a device.
    """
    if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
        raise click.ClickException(f"{path} is no file, and a run keeps its inputs; write it to a file and name that")


def read_policy(path: Path) -> ScalingPolicy:
    """Return the one policy of a file, whose engine the simulator has.

    Raises:
        click.ClickException: the file cannot be read, or what is wrong in it, with its place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise click.ClickException(f"cannot read the policy {path}: {reason}; give a YAML file") from error
    return policy_of(text, str(path))


def policy_of(text: str, place: str) -> ScalingPolicy:
    """Return the one policy of a text; ``place`` is what messages call it.

    Raises:
        click.ClickException: what is wrong in it, more than one policy or none, or another engine than the simulator's.
    """
    documents = parse(text, place)
    problems = [str(problem) for document in documents if document.policy is None for problem in document.problems]
    if problems:
        raise click.ClickException("\n".join(problems))
    policies = [document.policy for document in documents if document.policy is not None]
    if not policies:
        raise click.ClickException(f"{place}: no policy in this file; give a YAML file with one")
    if len(policies) > 1:
        raise click.ClickException(f"{place}: {len(policies)} policies; give a file with one, the simulator scales one")
    if policies[0].spec.engine.preset is not Preset.VLLM:
        preset = policies[0].spec.engine.preset.value
        raise click.ClickException(
            f"{place}: the simulated engine is vLLM, the policy's preset is {preset}; set spec.engine.preset to vllm"
        )
    return policies[0]


IN_MEMORY_MOST = 2_000_000
"""A trace of no more requests is read once and kept; a longer one is read anew, piece by piece, in every run."""


def read_requests(name_or_path: str, reading: Reading | None = None) -> Trace | Traffic:
    """Return the requests of a shipped trace or of a file: in memory, or, where they are many, as traffic.

    Raises:
        click.ClickException: there is none, it cannot be used, or it is too short.
    """
    source = read_source(name_or_path, reading)
    for note in source.notes:
        click.echo(f"{name_or_path}: {note}", err=True)
    if source.traffic.span_s < SHORTEST_S:
        raise click.ClickException(
            f"{name_or_path}: {source.traffic.span_s:.4g} s of traffic; the first ten minutes are not scored, give more"
        )
    with told_errors():
        for piece in islice(source.traffic.pieces(), 1):
            refuse_odd_blocks(piece)
    if source.requests is None or source.requests > IN_MEMORY_MOST:
        if source.form in SLOW_FORMS:
            faster = f"simulator trace convert {name_or_path} OUT.parquet"
            click.echo(f"{name_or_path}: it is read anew in every run, which is quicker after: {faster}", err=True)
        return source.traffic
    with told_errors():
        return in_memory(source.traffic)


def refuse_unknown_peers(names: Sequence[str]) -> None:
    """Refuse names that no peer has, and none at all.

    Raises:
        click.ClickException: it names the peers that there are.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown or not names:
        raise click.ClickException(f"no peer {', '.join(unknown) or 'named'}; there are: {', '.join(PEERS)}")


def read_source(name_or_path: str, reading: Reading | None = None) -> Source:
    """Return a trace of any form, its requests yet to be read.

    Raises:
        click.ClickException: there is none, or it cannot be used.
    """
    with told_errors():
        source = open_trace(name_or_path, reading)
    for option in useless_options(reading or Reading(), source.form):
        click.echo(f"{name_or_path}: {option} says nothing of the form {source.form} and was not used", err=True)
    return source


@contextmanager
def told_errors() -> Iterator[None]:
    """Tell what is wrong with a trace, or a file of faults or nodes, as the command line does.

    Raises:
        click.ClickException: in place of a TraceError or an InputFileError.
    """
    try:
        yield
    except (TraceError, InputFileError) as error:
        raise click.ClickException(str(error)) from error


def read_faults(path: Path | None, *, span_s: float, groups: Sequence[str] | None = None) -> FaultPlan | None:
    """Return the faults of a file for traffic of this length, and nodes of these groups; None without a file.

    Raises:
        click.ClickException: the file cannot be read, or all that is wrong in it, each with its place.
    """
    with told_errors():
        return None if path is None else faultfile.read(path, span_s=span_s, groups=groups)


def price_usd_per_hour(spec: PolicySpec) -> float | None:
    """Return the price of one of the policy's accelerators for an hour; None where it is not known.

    Raises:
        click.ClickException: the shipped price list is damaged.
    """
    try:
        return price_of(spec.accelerator, shipped_prices()).usd_per_hour
    except PriceListError as error:
        raise click.ClickException(str(error)) from error


def new_folder(path: Path) -> Path:
    """Make a folder for results that is not there yet, and return it.

    Raises:
        click.ClickException: it is there, or cannot be made.
    """
    if os.path.lexists(path):
        raise click.ClickException(f"{path} is there already, nothing was overwritten; name another folder by --out")
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise click.ClickException(f"cannot make {path}: {error.strerror}; name another folder by --out") from error
    return path


@contextmanager
def new_file(path: Path, option: str) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path``, which must not be there, if the block succeeds.

    Raises:
        click.ClickException: it is there already, or cannot be written.
    """
    taken = click.ClickException(f"{path} is there already, nothing was overwritten; name another {option}")
    if os.path.lexists(path):
        raise taken
    with told_writing(path, f"name another {option}"):
        handle, name = mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            part.chmod(0o666 & ~_umask())
            # A link, unlike a rename, does not replace what somebody else has put there meanwhile.
            os.link(part, path)
        except FileExistsError:
            raise taken from None
        finally:
            with suppress(OSError):
                part.unlink()


@contextmanager
def told_writing(path: Path, remedy: str = "make room there, or name another --out") -> Iterator[None]:
    """Tell why a file cannot be written.

    Raises:
        click.ClickException: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror or error}; {remedy}") from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
