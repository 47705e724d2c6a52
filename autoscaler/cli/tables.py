"""How the commands print: one style of table, and numbers with as many digits as they deserve."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

BAR = "█"
PARTS_OF_BAR = " ▏▎▍▌▋▊▉"


UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """Return a text of somebody else's (a name, an engine's message) as it may be printed within a line.

    Line breaks, escape sequences and what turns the direction of writing would let it say more than its own words.
    """
    return "".join(char if char.isprintable() or unicodedata.category(char) == "Zs" else UNPRINTABLE for char in text)


@dataclass(frozen=True, slots=True)
class _Plain:
    """A part whose texts are printed plainly."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.part, options):
            lines = segment.text.split("\n")
            yield segment if segment.control else Segment("\n".join(map(plain, lines)), segment.style)


def show(*parts: RenderableType) -> None:
    """Print parts to standard output with an empty line between them, as wide as the terminal is."""
    console = Console(highlight=False)
    for i, part in enumerate(parts):
        if i:
            console.print()
        console.print(_Plain(part))


def fits(part: RenderableType) -> bool:
    """Return whether a part can be printed without folding or cutting anything off."""
    console = Console()
    endless = console.options.update(width=10_000)
    return Measurement.get(console, endless, part).maximum <= console.width


def show_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def table(title: str, *columns: str, numbers: Iterable[str] = ()) -> Table:
    """Return an empty table; columns named in ``numbers`` are aligned to the right and never wrapped."""
    right = set(numbers)
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return made


def heading(name: str, rest: str) -> Text:
    """Return the first line of an answer: what it is about, then the rest, dimmed."""
    return Text.assemble((name, "bold cyan"), "  ", (rest, "dim"))


def gist(detail: str) -> str:
    """Return the first clause of a decision's sentence, for tables with a line each."""
    return detail.partition(";")[0]


def instant(at: float) -> str:
    """Return an instant as a person reads it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float | None) -> str | None:
    """Return an instant in ISO 8601, None for None."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def seconds(value: float | None) -> str:
    """Return a duration in seconds up to ten minutes, else in minutes, hours or days; a dash where it is not known."""
    if value is None:
        return "–"
    if abs(value) < 600:
        return f"{value:.1f} s"
    if abs(value) < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if abs(value) < 48 * 3600 else f"{value / 86_400:.1f} days"


def ago(at: float, now: float) -> str:
    """Return how long ago an instant was."""
    return f"{seconds(max(0.0, now - at))} ago"


def number(value: float) -> str:
    """Return a number with four significant digits, without an exponent where one can do without."""
    if abs(value) < 1e-9:
        return "0"
    if 0.001 <= abs(value) < 1_000_000:
        rounded = f"{value:.{max(0, 3 - _magnitude(value))}f}"
        return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded
    return f"{value:.3g}"


def counted(how_many: int, one: str, many: str | None = None) -> str:
    """Return how many there are of something, in the right number."""
    return f"{how_many:,} {one if how_many == 1 else many or one + 's'}"


def count(value: float | None) -> str:
    """Return replicas, a dash where they are not known."""
    return "–" if value is None else number(value)


def bar(share: float, width: int = 24) -> str:
    """Return a horizontal bar for a share of 0 to 1, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return (BAR * (eighths // 8) + PARTS_OF_BAR[eighths % 8]).rstrip()


def bins(values: Sequence[float], most: int = 10) -> list[tuple[float, float, int]]:
    """Return (from, to, count) of equal bins over the values, with round edges; empty for no values."""
    if not values:
        return []
    low, high = min(values), max(values)
    width = _round_up((high - low) / most or max(abs(high) / 10, 1.0))
    first = int(low // width)
    counts = [0] * (int(high // width) - first + 1)
    for value in values:
        counts[int(value // width) - first] += 1
    return [((first + i) * width, (first + i + 1) * width, n) for i, n in enumerate(counts)]


def _round_up(width: float) -> float:
    """Return the next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** _magnitude(width)
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= width * (1 - 1e-9))


def _magnitude(value: float) -> int:
    return 0 if value == 0 else int(f"{abs(value):e}".partition("e")[2])
