"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


ROUTINGS = ("least_outstanding", "round_robin", "random", "prefix_aware")


def on_a_cluster(command: Command) -> Command:
    """Add the options that say what starting a replica takes, how requests come to replicas, and what goes wrong."""
    for option in (
        click.option(
            "--faults",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="What goes wrong, and when (docs/faults.md).",
        ),
        click.option(
            "--routing",
            type=click.Choice(ROUTINGS),
            default=ROUTINGS[0],
            show_default=True,
            help="How a replica is picked for a request.",
        ),
        click.option(
            "--cluster",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Nodes that replicas run on, as simulator/data/cluster-example.yaml; there is always room by default.",
        ),
        click.option(
            "--cold-start",
            "coldstart_s",
            type=click.FloatRange(1, 1200),
            metavar="SECONDS",
            help="Median from order to Ready; 120, or what --cluster says, by default.",
        ),
    ):
        command = option(command)
    return command
