"""What a trace is opened with, and what is known of it then."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from simulator.traces.trace import TraceError, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a trace is to be read."""

    form: str | None = None
    """One of `FORMS`; by default told from the file."""
    seed: int = 0
    """Of whatever has to be drawn: times within a second, requests of a rate."""
    lengths: Path | None = None
    """ServeGen's table of lengths; by default the one beside its table of rates."""
    whose: str | None = None
    """Whose entries of a journal, as namespace/name; not needed where there is one policy."""
    model: str | None = None
    """Which model's series of a Prometheus; not needed where there is one."""
    since_s: float | None = None
    """How far back from its end a journal or a Prometheus is read; a journal wholly by default."""
    step_s: float = 15.0
    """Distance of the samples that a Prometheus is asked for."""
    token_file: Path | None = None
    """The bearer token for a Prometheus."""
    strict: bool = False
    """Refuse a file that has a line which cannot be read, instead of leaving the line out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Traffic, and what is to be known of where it comes from."""

    traffic: Traffic
    form: str
    requests: int | None
    """None where it is not known before they are made."""
    block_tokens: int = 0
    """Tokens of a prefix block; 0 where the trace has none."""
    notes: tuple[str, ...] = ()
    """What was done to the file's lines, a sentence each."""
    broken: int = 0
    """Lines that could not be read and were left out."""
    at_ratio: Callable[[float], "Source"] | None = None
    """The same so many times as busy, where requests are drawn anyway and need not be copied or thinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file (or a shipped trace) that is to be read."""

    place: str
    """What messages call it."""
    name: str
    path: Path | Traversable | None
    """None for the URL of a server."""

    def file(self) -> Path | Traversable:
        """Return the file.

        Raises:
            TraceError: it is none.
        """
        if self.path is None:
            raise TraceError(f"{self.place}: a URL where a file is needed; give the path of a trace")
        return self.path

    def local(self) -> Path:
        """Return the path of a file that is not part of the package.

        Raises:
            TraceError: it is none.
        """
        if not isinstance(self.path, Path):
            raise TraceError(f"{self.place}: not a file; give the path of a trace")
        return self.path
