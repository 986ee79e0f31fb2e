"""Points in time and spans, as operators type and read them."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SPAN = re.compile(r"([0-9]{1,6})\s*([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""Before anything that can be asked for, and far enough from the first year to reckon with."""
_HOURS, _DAYS = timedelta(minutes=90), timedelta(hours=48)


class Finite(click.FloatRange):
    """A number in a range; `nan` and `inf`, which click lets through, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  as click's
        """As click calls it."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def parse_when(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """The value of an option: `90m` (so long ago), or a time such as 2026-11-22T10:00Z; without a zone it is UTC.

    Raises:
        click.BadParameter: it is neither.
    """
    if value is None:
        return None
    if span := _SPAN.fullmatch(value):
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        except OverflowError:
            return _LONG_AGO
    if found := parse(value):
        return max(found, _LONG_AGO)
    wanted = "a span such as 30m, 12h or 7d, or a time such as 2026-11-22T10:00Z"
    raise click.BadParameter(f"{value!r} is not {wanted}", ctx, parameter)


def parse(text: object) -> datetime | None:
    """A point in time by RFC 3339; None where it is none."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
        return found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_age(instant: datetime | None, now: datetime) -> str:
    """How long ago, or how far ahead, in one unit: `12 min`, `in 40 s`; empty where it is not known."""
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
    """Date and time in UTC, to the second; empty where it is not known."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if instant else ""
