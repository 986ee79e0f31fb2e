"""Outcome events as operators read them. No I/O."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared.core.outcomes import TYPE

_LINE_BREAKS = str.maketrans("\r\n", "  ")


@dataclass(frozen=True)
class OutcomeEvent:
    """An outcome as a CloudEvent: its text, its attributes, and its data from the event or from its blob."""

    text: str
    attributes: dict[str, Any]
    data: dict[str, Any]

    @property
    def outcome(self) -> str:
        """`completed`, ..., or empty if the event is not an outcome."""
        kind = self.attributes.get("type")
        return kind.removeprefix(TYPE) if isinstance(kind, str) else ""

    @property
    def request_id(self) -> str:
        """The request that it answers."""
        return str(self.data.get("requestId", ""))

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong or must be done, or empty if there is none."""
        return as_object(self.data.get("error"))

    @property
    def error_class(self) -> str:
        """The class of the error, or an empty string."""
        return str(self.error.get("class", ""))

    @property
    def class_and_code(self) -> str:
        """Class and code of the error, as far as there are any."""
        return " ".join(str(self.error[name]) for name in ("class", "code") if name in self.error)

    @cached_property
    def orders(self) -> list[str]:
        """The ids of the orders in its result."""
        found = as_object(self.data.get("result")).get("orders")
        return [str(order["id"]) for order in found if as_object(order).get("id")] if isinstance(found, list) else []

    @property
    def summary(self) -> str:
        """One line: the event that it repeats or corrects, what went wrong, or the orders."""
        if links := [f"{name} {self.data[name]}" for name in ("corrects", "answeredBy") if name in self.data]:
            return ", ".join(links)
        if self.orders and not self.error:
            return f"{len(self.orders)} order(s): {', '.join(self.orders)}"
        return str(self.error.get("description", ""))

    @property
    def line(self) -> str:
        """The unchanged text on one line: parsing and writing it again would turn 36.480 into 36.48."""
        # Between JSON tokens a line break is equal to a space, and JSON strings contain none.
        return self.text.translate(_LINE_BREAKS)


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object, or {} if the text is not one."""
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def as_object(value: object) -> dict[str, Any]:
    """The value, if it is a JSON object, or else {}."""
    return value if isinstance(value, dict) else {}
