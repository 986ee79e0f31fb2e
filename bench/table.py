"""The table of a run, for a terminal and for a Markdown page. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Row

_HEAD = ("figure", "target", "median", "quartiles", "met")


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """A row's texts."""
    figure, spread = row.figure, row.spread
    met = {True: "yes", False: "no" if figure.aim else "**no**", None: ""}[row.met]
    target = "" if figure.bound is Bound.NONE else f"{figure.bound} {_number(figure.target, figure.unit)}"
    target = f"aim: {target}" if figure.aim else target
    quartiles = f"{_number(spread.low, figure.unit)} to {_number(spread.high, figure.unit)}" if spread.count > 1 else ""
    return figure.name, target, _number(spread.median, figure.unit), quartiles, met


def text(rows: Sequence[Row]) -> str:
    """For a terminal, in columns."""
    lines = [_HEAD, *((*cells(row)[:4], cells(row)[4].replace("*", "")) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """For a page."""
    lines = [_HEAD, ("---", "--:", "--:", "--:", "---"), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def missed(rows: Sequence[Row]) -> int:
    """How many targets were missed."""
    return sum(row.missed for row in rows)


def _number(value: float, unit: str) -> str:
    digits = 0 if unit == "ms" else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
