"""Which outcomes `watch` shows."""

from dataclasses import dataclass

import click

from cli import options
from cli.outcome_event import OutcomeEvent


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """Admits outcomes that match every kind of filter given. Within a kind, one match is enough."""

    outcomes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    carts: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether any filter is given."""
        return self != OutcomeFilter()

    def admits(self, event: OutcomeEvent) -> bool:
        """Whether to show this event."""
        return (
            _among(event.outcome, self.outcomes)
            and _among(event.error_class, self.classes)
            and _among(event.data.get("customerId"), self.customers)
            and _among(event.data.get("cartId"), self.carts)
            and _among(event.data.get("requestId"), self.requests)
        )


def _among(value: object, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted


def _parse_guids(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(found for value in values if (found := options.parse_guid(context, parameter, value)))


filter_options = options.collected(
    "wanted",
    OutcomeFilter,
    options.outcomes,
    options.classes,
    click.option(
        "--customer",
        "customers",
        metavar="GUID",
        callback=_parse_guids,
        multiple=True,
        help="Only this customer. May be repeated.",
    ),
    click.option(
        "--cart", "carts", metavar="GUID", callback=_parse_guids, multiple=True, help="Only this cart. May be repeated."
    ),
    click.option("--request", "requests", metavar="ID", multiple=True, help="Only this requestId. May be repeated."),
)
"""Adds the options of an `OutcomeFilter`. The command receives them as `wanted`."""
