"""The command line: one file per group of commands, loaded only when it is called."""

import importlib
import sys
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that ``--help`` and small commands are quick."""

    lazy: ClassVar[dict[str, tuple[str, str]]] = {
        "run": ("autoscaler.cli.run", "Run the controller against a cluster."),
        "policy": ("autoscaler.cli.policy", "Check, explain and write policies."),
        "explain": ("autoscaler.cli.explain", "Tell why a policy's replicas are what they are."),
        "coldstart": ("autoscaler.cli.coldstart", "Show the measured cold start of a policy's replicas."),
        "footprint": ("autoscaler.cli.footprint", "Show accelerator time by state, and what it cost."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order in which a newcomer meets them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return a command, or None if there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        module, _ = self.lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in self.lazy.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inference-autoscaler")
def main() -> None:
    """An inference-aware autoscaler for Kubernetes.

    \b
    autoscaler policy check policies/vllm/*.yaml
    autoscaler run --prometheus default=http://prometheus:9090
    autoscaler explain prod/chat
    """  # noqa: D301 - click reads the backspace


if __name__ == "__main__":
    sys.exit(main())
