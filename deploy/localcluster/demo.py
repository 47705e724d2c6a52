"""``make cluster``: the product on a real control plane, to look at and to touch with kubectl."""

import contextlib
import dataclasses
import tempfile
import threading
import time
from pathlib import Path

import click

from deploy.localcluster import binaries, manifests
from deploy.localcluster.errors import LocalClusterError
from deploy.localcluster.nodes import A100
from deploy.localcluster.stage import NAMESPACE, ROOT, Stage
from deploy.localcluster.traffic import acts

NAMES = ("ours", "theirs")
LOOK_S = 3.0


@click.command()
@click.option("--time-factor", default=10.0, show_default=True, type=click.FloatRange(1, 20), help="Compression.")
@click.option("--for", "for_s", type=click.FloatRange(1), metavar="SECONDS", help="End by itself; else at Ctrl-C.")
def demo(time_factor: float, for_s: float | None) -> None:
    """Run the controller beside the real HPA on a real control plane with emulated engines, until Ctrl-C."""
    click.echo("starting etcd, kube-apiserver, controllers, scheduler, Prometheus and emulated engines …", err=True)
    with tempfile.TemporaryDirectory(prefix="inference-autoscaler-traffic-") as folder:
        played = acts(Path(folder))
        with Stage(deployments=NAMES, time_factor=time_factor, pools=[dataclasses.replace(A100, nodes=8)]) as stage:
            try:
                _set_up(stage)
                _tell(stage)
                threading.Thread(target=_play, args=(stage, *played), daemon=True).start()
                _watch(stage, for_s)
            except KeyboardInterrupt:
                click.echo("\nstopping, which takes a few seconds …", err=True)
    click.echo("everything is stopped", err=True)


def _set_up(stage: Stage) -> None:
    bounds = {"min": 1, "max": 24}
    factor = stage.time_factor
    stage.apply(*(manifests.engines(name, replicas=2, time_factor=factor) for name in NAMES))
    stage.apply(
        manifests.policy("ours", target="ours", mode="Enforce", time_factor=factor, replicas=bounds),
        manifests.hpa("theirs", metric="waiting-theirs", time_factor=factor, replicas=bounds),
    )
    for name in NAMES:
        stage.wait_for_ready(name, 2, timeout_s=180)
    stage.start_controller()


def _tell(stage: Stage) -> None:
    click.echo(
        f"""
Two Deployments of emulated engines get the same real requests: `ours` under a ScalingPolicy, `theirs` under the real
HPA on waiting requests. Time is compressed {stage.time_factor:g} times. In another terminal:

  export KUBECONFIG={stage.cluster.kubeconfig}
  {binaries.kubectl()} get scalingpolicies,hpa,pods -n {NAMESPACE}
  {ROOT}/.venv/bin/autoscaler explain {NAMESPACE}/ours --store {stage.store}
"""
    )


def _play(stage: Stage, opening: Path, quiet: Path, closing: Path) -> None:
    """Replay a burst, quiet until both have begun to fall, and another burst. Ends when the stage does."""
    with contextlib.suppress(OSError, LocalClusterError, TimeoutError):
        stage.replay(opening)
        stage.replay(quiet)
        held = {name: stage.replicas(name) for name in NAMES}
        stage.quiet_until_fewer(held, quiet, at_most_s=3000 / stage.time_factor)
        stage.replay(closing)
        click.echo("the second burst; after it the traffic ends, and kubectl stays usable until Ctrl-C", err=True)


def _watch(stage: Stage, for_s: float | None) -> None:
    """Print a line every few seconds, and every change of our target with its reason."""
    begins_at, reason = time.time(), ""
    while for_s is None or time.time() - begins_at < for_s:
        now = _reason(stage)
        if now != reason:
            reason = now
            click.echo(f"      {reason}")
        click.echo(f"{time.time() - begins_at:5.0f} s  " + "  |  ".join(_shown(stage, name) for name in NAMES))
        time.sleep(LOOK_S)


# Whoever looks on may delete or stop anything with kubectl; that is shown, and the stage stays.
_GONE = (LocalClusterError, OSError, KeyError, ValueError)


def _reason(stage: Stage) -> str:
    try:
        status = stage.get("scalingpolicy", "ours").get("status", {})
    except _GONE:
        return "the policy cannot be read; was it deleted?"
    return f"{status.get('reason')}: {status.get('detail', '')}" if status else ""


def _shown(stage: Stage, name: str) -> str:
    try:
        found = stage.get("deployment", name)
        ready = found["status"].get("readyReplicas", 0)
        queue = f"{stage.waiting(name)} waiting, {stage.late(name)} late"
    except _GONE:
        return f"{name} cannot be read"
    return f"{name} {ready} of {found['spec']['replicas']} ready, {queue}"
