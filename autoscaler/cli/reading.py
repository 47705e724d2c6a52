"""What the commands that read the store have in common: where it is, which policy, since when."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from autoscaler.adapters.store import Store, StoreError

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_STORE = "autoscaler.db"
STORE_VARIABLE = "INFERENCE_AUTOSCALER_STORE"
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_duration = TypeAdapter(timedelta)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.2 on
    """A length of time: 90s, 30m, 24h, 7d, 2w, or ISO 8601 as in PT1H30M. Gives seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = seconds_of(str(value))
        if seconds is None or seconds <= 0:
            self.fail(f"{value!r} is no duration; write e.g. 30m, 24h or 7d", param, ctx)
        return seconds


class Instant(click.ParamType):  # type: ignore[type-arg]
    """A point in time in ISO 8601; without a zone it is UTC. Gives unix seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return unix seconds."""
        if isinstance(value, int | float):
            return float(value)
        try:
            parsed = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write e.g. 2026-12-01T08:00:00Z", param, ctx)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration's text, None if it is none."""
    number, unit = text[:-1], text[-1:].lower()
    if unit in _UNITS_S and number.replace(".", "", 1).isdigit():
        return float(number) * _UNITS_S[unit]
    if not text.upper().startswith("P"):
        return None
    try:
        return _duration.validate_python(text.upper()).total_seconds()
    except ValidationError:
        return None


def store_option(command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        "url",
        envvar=STORE_VARIABLE,
        show_envvar=True,
        default=DEFAULT_STORE,
        show_default=True,
        metavar="PATH|URL",
        help="The controller's store: an SQLite file or an SQLAlchemy URL.",
    )(command)


def output_option(command: F) -> F:
    """Add ``-o``."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
    )(command)


@contextmanager
def reading(url: str) -> Iterator[Store]:
    """Open a store for reading; whatever is wrong with it becomes one sentence and exit code 1."""
    try:
        with Store.open(url, read_only=True) as store:
            yield store
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def policy_in(store: Store, name: str) -> str:
    """Return the full name of a policy that the store knows; a name alone suffices where it is unambiguous."""
    known = store.policies()
    if name in known:
        return name
    matches = [policy for policy in known if policy.partition("/")[2] == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise click.ClickException(f"policy {name!r} is ambiguous; write {' or '.join(matches)}")
    if not known:
        raise click.ClickException(f"store {store.place} has no decision of any policy yet; is the controller running?")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
    raise click.ClickException(f"store {store.place} has no decision of policy {name!r}; {hint}")
