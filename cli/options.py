"""Options that several commands share."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import click

from shared.core.errors import ErrorClass
from shared.core.outcomes import RECORDED, Outcome
from shared.core.request_fields import guid_or_none

Command = Callable[..., None]
Decorator = Callable[[Command], Command]
MAX_BLOBS = 50_000


def collected(name: str, kind: type, *options: Decorator) -> Decorator:
    """Add options to a command, which receives their values as one dataclass, by the name given.

    A field without an option keeps its default.
    """
    names = [field.name for field in dataclasses.fields(kind)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collect(**values: Any) -> None:  # noqa: ANN401  whatever the options yield
            command(**{name: kind(**{field: values.pop(field) for field in names if field in values})}, **values)

        wrapped: Command = collect
        for option in reversed(options):  # click lists the options in the order of the decorators, from the top
            wrapped = option(wrapped)
        return wrapped

    return decorate


def parse_guid(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Parse an option's value as a GUID in lower case.

    Raises:
        click.BadParameter: the value is not a GUID.
    """
    if value is None or (found := guid_or_none(value)):
        return value and found
    raise click.BadParameter(f"{value!r} is not a GUID.", param=parameter)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON: one object a line.")
classes = click.option(
    "--class",
    "classes",
    type=click.Choice([str(each) for each in ErrorClass]),
    multiple=True,
    metavar="CLASS",
    help=f"Only this error class: {', '.join(ErrorClass)}. May be repeated.",
)
customer = click.option("--customer", metavar="GUID", callback=parse_guid, help="Only this customer's carts.")
most = click.option(
    "--most",
    type=click.IntRange(min=1),
    default=MAX_BLOBS,
    show_default=True,
    metavar="N",
    help="List at most N blobs of the container.",
)


def _outcomes(among: Iterable[Outcome]) -> Decorator:
    return click.option(
        "--outcome",
        "outcomes",
        type=click.Choice([str(each) for each in among]),
        multiple=True,
        help="Only this outcome. May be repeated.",
    )


outcomes = _outcomes(Outcome)
recorded_outcomes = _outcomes(RECORDED)
