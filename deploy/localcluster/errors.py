"""The one error of this package."""

import click


class LocalClusterError(click.ClickException):
    """What went wrong and what to do about it, in one sentence (a component's last log lines may follow it).

    It is a `click.ClickException`, so that a command line prints the sentence and exits with 1, without a traceback.
    """
