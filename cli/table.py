"""Tables: drawn by rich on a terminal that is wide enough, otherwise plain columns. Cells are made printable."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from shared.core.jsontext import printable

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {
    "completed": "green",
    "action_required": "cyan",
    "partial": "yellow",
    "failed": "red",
    "unknown": "magenta",
    "invalid": "bright_red",
    "ok": "green",
    "warning": "yellow",
    "skipped": "bright_black",
}
"""The colour of a cell with this text."""

_MAX_CELL = 256
"""The length of the longest request id, which must stay whole to be copied."""


def show(headings: Sequence[str], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Print a table, or nothing if there are no rows."""
    cells = [[printable("" if cell is None else str(cell), _MAX_CELL) for cell in row] for row in rows]
    if not cells:
        return
    lines = [list(headings), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    stream = sys.stderr if err else sys.stdout
    # A table that is too wide is not folded: an id in two parts cannot be copied.
    if stream.isatty() and sum(widths) + 2 * len(widths) <= shutil.get_terminal_size().columns:
        from rich.console import Console  # noqa: PLC0415  neither --help nor a pipe must import it

        Console(file=stream, highlight=False).print(_drawn(headings, cells))
        return
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip(), err=err)


def _drawn(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415  as above

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, COLOURS.get(cell, "")) for cell in row))  # as Text, no cell is parsed as markup
    return table
