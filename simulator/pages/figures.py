"""A table of figures that stays whole on any terminal: upright where it fits, else turned, in parts if need be.

No figure is ever cut off or broken over two lines: a number without its last digits is another number.
"""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 1
"""Columns between two figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A title, the headings of the columns, and rows of as many cells, of which the first is the row's name.

    All text is shown as it is: what a user named is no markup.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Columns that the table takes upright."""
        columns = zip(self.headings, *self.rows, strict=True)
        widths = [max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns]
        return sum(widths) + GAP * (len(widths) - 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title and the table, upright or turned."""
        yield Text(self.title, style="bold")
        if self.width <= options.max_width:
            yield self._upright()
        else:
            yield from self._turned(options.max_width)

    def _upright(self) -> Table:
        table = _empty()
        for number, heading in enumerate(self.headings):
            justify = "right" if number else "left"
            table.add_column(Text(heading), justify=justify, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _turned(self, width: int) -> RenderResult:
        """Yield tables with a line for each heading, and as many of the rows beside each other as there is room for."""
        labels = [" ".join(heading.split()) for heading in self.headings]
        widths = [GAP + max(map(len, row)) for row in self.rows]
        room = width - max(map(len, labels))
        while widths:
            many = next((n for n in range(len(widths), 1, -1) if sum(widths[:n]) <= room), 1)
            shown = self.rows[len(self.rows) - len(widths) :][:many]
            table = _empty()
            table.add_column(no_wrap=False)
            for row in shown:
                table.add_column(justify="right", no_wrap=True, min_width=max(map(len, row)))
            for number, label in enumerate(labels):
                table.add_row(Text(label), *(Text(row[number]) for row in shown))
            yield table
            widths = widths[many:]


def _empty() -> Table:
    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
