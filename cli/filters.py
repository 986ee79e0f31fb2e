"""Which outcomes `watch` shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from cli import batch
from shared.core.errors import ErrorClass
from shared.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Filter:
    """Which outcomes to show: those that match each kind of filter that is given."""

    outcomes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    carts: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is filtered at all."""
        return self != Filter()

    def admits(self, outcome: str, error_class: object, data: dict[str, Any]) -> bool:
        """Whether to show an outcome with this error class and these data."""
        return (
            _among(outcome, self.outcomes)
            and _among(error_class, self.classes)
            and _among(data.get("customerId"), self.customers)
            and _among(data.get("cartId"), self.carts)
            and _among(data.get("requestId"), self.requests)
        )


def _among(value: object, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted


def _guids(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(found for value in values if (found := batch.guid(context, parameter, value)))


_OPTIONS = (
    click.option(
        "--outcome",
        "outcomes",
        type=click.Choice([str(each) for each in Outcome]),
        multiple=True,
        help="Only this outcome. Each filter may be repeated.",
    ),
    click.option(
        "--class",
        "classes",
        type=click.Choice([str(each) for each in ErrorClass]),
        multiple=True,
        metavar="CLASS",
        help=f"Only this error class: {', '.join(ErrorClass)}.",
    ),
    click.option("--customer", "customers", metavar="GUID", callback=_guids, multiple=True, help="Only this customer."),
    click.option("--cart", "carts", metavar="GUID", callback=_guids, multiple=True, help="Only this cart."),
    click.option("--request", "requests", metavar="ID", multiple=True, help="Only this requestId."),
)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options whose values make a `Filter`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
