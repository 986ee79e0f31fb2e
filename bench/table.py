"""Tables for a terminal and for a Markdown page. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.targets import TargetResult

_HEAD = ("figure", "target", "median", "quartiles", "met")


def cells(result: TargetResult) -> tuple[str, str, str, str, str]:
    """The texts of a row."""
    target, quartiles = result.target, result.quartiles
    limit = f"{'aim: ' if target.aim else ''}{target.comparison} {_number(target.limit, target.unit)}"
    low, median, high = (_number(each, target.unit) for each in (quartiles.low, quartiles.median, quartiles.high))
    met = "yes" if result.is_met else "**no**" if result.fails_run else "no"
    return target.name, limit, median, f"{low} to {high}" if quartiles.count > 1 else "", met


def text(results: Sequence[TargetResult]) -> str:
    """The results for a terminal, in columns."""
    lines = [_HEAD, *((*cells(result)[:4], cells(result)[4].replace("*", "")) for result in results)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_results(results: Iterable[TargetResult]) -> str:
    """The results for a page."""
    return markdown(_HEAD, map(cells, results))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a page; all columns but the first are aligned to the right."""
    lines = [head, ("---", *["--:"] * (len(head) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float, unit: str) -> str:
    digits = 0 if unit == "ms" else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
