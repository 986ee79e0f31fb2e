"""Parsing and formatting of times, for options and tables."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SPAN = re.compile(r"([0-9]{1,6})\s*([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Earlier than any record, and late enough for arithmetic with `datetime`."""
_HOURS, _DAYS = timedelta(minutes=90), timedelta(hours=48)


class FiniteFloat(click.FloatRange):
    """A number in a range, without `nan` and `inf`, which click accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  as click's
        """Convert an option's value."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def parse_when(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse an option's value: an age such as `90m`, or a time such as 2026-11-22T10:00Z. Without a zone it is UTC.

    Raises:
        click.BadParameter: the value is neither.
    """
    if value is None:
        return None
    if span := _SPAN.fullmatch(value):
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        except OverflowError:
            return _EARLIEST
    if instant := parse_rfc3339(value):
        return max(instant, _EARLIEST)
    expected = "an age such as 30m, 12h or 7d, or a time such as 2026-11-22T10:00Z"
    raise click.BadParameter(f"{value!r} is not {expected}", ctx, parameter)


def parse_rfc3339(text: object) -> datetime | None:
    """Parse a time, or None if it is not one."""
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
        return instant and (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_age(instant: datetime | None, now: datetime) -> str:
    """The distance from now in one unit, such as `12 min` or `in 40 s`, or empty if there is no time."""
    if instant is None:
        return ""
    passed = now - instant
    span = abs(passed)
    if span >= _DAYS:
        text = f"{span.days} d"
    elif span >= _HOURS:
        text = f"{span.total_seconds() / 3600:.0f} h"
    elif span >= timedelta(seconds=90):
        text = f"{span.total_seconds() / 60:.0f} min"
    else:
        text = f"{span.total_seconds():.0f} s"
    return text if passed >= timedelta() else f"in {text}"


def format_utc(instant: datetime | None) -> str:
    """Date and time in UTC, to the second, or empty if there is no time."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if instant else ""
