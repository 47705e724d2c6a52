"""`python -m deploy.localcluster build` fills the cache; `up` runs a cluster until Ctrl-C."""

import threading

import click

from deploy.localcluster import binaries
from deploy.localcluster.cluster import LocalCluster
from deploy.localcluster.demo import demo
from deploy.localcluster.processes import interrupt_once


@click.group()
def main() -> None:
    """A real Kubernetes control plane without containers."""
    interrupt_once()


@main.command()
def build() -> None:
    """Build or download all executables into the cache folder; a second call finds them there."""
    for executable in (binaries.kubectl, binaries.prometheus, binaries.kwok, binaries.controlplane):
        click.echo(executable())


@main.command()
@click.option(
    "--hpa-sync-period", default="15s", show_default=True, help="How often the HPA controller looks (Go duration)."
)
def up(hpa_sync_period: str) -> None:
    """Start a cluster with GPU nodes, print how to reach it, and stop it on Ctrl-C."""
    with LocalCluster(hpa_sync_period=hpa_sync_period) as cluster:
        click.echo(f"export KUBECONFIG={cluster.kubeconfig}")
        click.echo(f"# logs in {cluster.folder}; Ctrl-C stops everything", err=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopping …", err=True)


main.add_command(demo)

if __name__ == "__main__":
    main()
