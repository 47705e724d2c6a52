"""What ``run``, ``compare`` and ``tune`` are asked about, read from files and options before anything runs."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path

import click

from autoscaler.core.policy import ScalingPolicy
from simulator.cluster import Routing
from simulator.commands import inputs
from simulator.engine.profiles import EngineProfile, ProfileError
from simulator.experiments.demo import profile_of, too_long
from simulator.experiments.sweep import Case
from simulator.experiments.trial import promise_of
from simulator.nodes import clusterfile
from simulator.nodes.modelled_cluster import ModelledCluster, ModelledClusterError
from simulator.traces import Reading, Trace, Traffic, traffic_of

MOST_REFUSED = 0.5
"""A larger share of requests that no replica holds is a mistake in the policy, not a result."""
COLDSTART_S = 120.0
"""The median of cold starts that are drawn as a whole, where no other is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """The options that ``run``, ``compare`` and ``tune`` share. ``coldstart_s`` None is what the cluster says."""

    copies: int
    coldstart_s: float | None
    joint: bool
    cluster: Path | None = None
    faults: Path | None = None
    routing: Routing = "least_outstanding"
    reading: Reading = Reading()  # noqa: RUF009 - it is frozen


def case_of(policy: Path, trace: str, options: CaseOptions) -> Case:
    """Return the case.

    Raises:
        click.ClickException: an input is missing or wrong; the message says what to do.
    """
    for path in (policy, options.cluster, options.faults):
        inputs.refuse_pipe(path)
    found = inputs.read_policy(policy)
    if options.joint and found.spec.objectives.itl_seconds is None:
        raise click.ClickException(
            f"{policy}: --joint counts an objective per output token, and the policy has none;"
            " add spec.objectives.itlSeconds, or leave --joint out"
        )
    with inputs.told_errors():
        nodes = None if options.cluster is None else clusterfile.read(options.cluster)
    requests = inputs.read_requests(trace, options.reading)
    start_s = _coldstart_s(found, nodes, options.coldstart_s, place=policy)
    _refuse_too_small(found, requests, place=policy)
    return Case(
        policy=found,
        trace=requests,
        copies=options.copies,
        coldstart_s=start_s,
        promise=promise_of(found.spec, joint=options.joint),
        price_usd_per_hour=inputs.price_usd_per_hour(found.spec),
        cluster=nodes,
        faults=inputs.read_faults(
            options.faults,
            span_s=requests.span_s,
            groups=None if nodes is None else [group.name for group in nodes.groups],
        ),
        routing=options.routing,
    )


def _refuse_too_small(policy: ScalingPolicy, trace: Trace | Traffic, *, place: Path) -> None:
    """Refuse an engine that could not serve such traffic at all, as far as the first piece of it tells."""
    first = next((piece for piece in traffic_of(trace).pieces() if len(piece)), None)
    if first is None:
        return
    profile = profile_of(policy)
    refused = float(too_long(first, profile).mean())
    if refused > MOST_REFUSED:
        raise click.ClickException(
            f"{place}: {refused:.0%} of the requests are longer than the KV cache of a replica,"
            f" {profile.kv_tokens:,} tokens; give spec.engine.kvTokens as the engine reports it, or other traffic"
        )


def _coldstart_s(
    policy: ScalingPolicy, cluster: ModelledCluster | None, given_s: float | None, *, place: Path
) -> float:
    """Return what a cold start usually takes, the policy's replicas having been found to fit the cluster."""
    try:
        profile = profile_of(policy)
        usual_s = None if cluster is None else _usual_start_s(cluster, profile)
    except (ProfileError, ModelledClusterError) as error:
        raise click.ClickException(f"{place}: {error}") from error
    if given_s is not None and isnan(given_s):
        raise click.ClickException("--cold-start nan is no number; give seconds, 1 to 1200")
    if usual_s is not None and given_s is not None:
        raise click.ClickException("the cluster file's startup says what a start takes; leave --cold-start out")
    return given_s or usual_s or COLDSTART_S


def _usual_start_s(cluster: ModelledCluster, profile: EngineProfile) -> float | None:
    cluster.needs(profile)
    return cluster.usual_start_s(profile)
