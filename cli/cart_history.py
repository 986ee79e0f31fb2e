"""What lies in the records container, as operators read it: entries of records, and notes of what waits. No I/O."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cli.times import parse
from shared.core import jsontext
from shared.core.errors import ErrorClass
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event, Outcome

if TYPE_CHECKING:
    from shared.core.rules import Record

_LINE_BREAKS = str.maketrans("\r\n", "  ")


@dataclass(frozen=True, slots=True, order=True)
class Cart:
    """A cart's two ids."""

    customer_id: str
    cart_id: str

    def request(self, request_id: str = "") -> CheckoutRequest:
        """A request for this cart, to ask the program's own code with."""
        return CheckoutRequest(self.customer_id, self.cart_id, request_id, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Listed:
    """A blob that the container lists: a record, or the note of a cart that waits."""

    cart: Cart
    modified: datetime
    waits: bool


@dataclass(frozen=True)
class Entry:
    """One entry of a record, with its data, from wherever they lie."""

    cart: Cart
    event: Event
    data_text: str

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The CloudEvent's own members."""
        return object_of(self.event.text)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What it says."""
        return object_of(self.data_text)

    @property
    def request_id(self) -> str:
        """The request that it answers."""
        return str(self.data.get("requestId", ""))

    @property
    def decided_at(self) -> datetime | None:
        """When it was decided."""
        return parse(self.attributes.get("time"))

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong, or must be done; empty where nothing is."""
        return _dict(self.data.get("error"))

    @property
    def response(self) -> dict[str, Any]:
        """What came back with the answer that decided it; empty where there was none."""
        return _dict(self.data.get("response"))

    @property
    def error_class(self) -> str:
        """The class of the error, or nothing."""
        return str(self.error.get("class", ""))

    @property
    def kind(self) -> str:
        """Class and code, as far as there are any."""
        return " ".join(str(self.error[name]) for name in ("class", "code") if name in self.error)

    @property
    def orders(self) -> list[str]:
        """The ids of the orders in its result."""
        found = _dict(self.data.get("result")).get("orders")
        return [str(order["id"]) for order in found if _dict(order).get("id")] if isinstance(found, list) else []

    @property
    def says(self) -> str:
        """The rest in a line: what it repeats or replaces, what was bought, or what went wrong."""
        for name in ("answeredBy", "corrects"):
            if name in self.data:
                return f"{name} {self.data[name]}"
        if self.orders and not self.error:
            return f"{len(self.orders)} order(s): {', '.join(self.orders)}"
        return str(self.error.get("description", ""))

    @property
    def line(self) -> str:
        """The event as it was kept, on one line."""
        return self.event.text.translate(_LINE_BREAKS)


@dataclass(frozen=True, slots=True)
class Note:
    """What a cart waits for, as the function noted it beside the record after its last call."""

    cart: Cart
    said: dict[str, Any]

    @property
    def request_id(self) -> str:
        """The request that waits."""
        return str(self.said.get("requestId", ""))

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.said.get("reason", ""))

    @property
    def since(self) -> datetime | None:
        """When the first transient answer came that was no 429."""
        return parse(self.said.get("since"))

    @property
    def next_at(self) -> datetime | None:
        """When it will be tried again."""
        return parse(self.said.get("nextAt"))


@dataclass(frozen=True, slots=True)
class CartHistory:
    """All that lies in the container of one cart. `trouble`: why its record could not be read."""

    cart: Cart
    record: "Record"
    kept: tuple[Entry, ...] = ()
    note: Note | None = None
    trouble: str = ""

    @property
    def last(self) -> Entry | None:
        """The entry that was decided last."""
        return self.kept[-1] if self.kept else None

    @property
    def unsure(self) -> Entry | None:
        """The latest entry that tells `unknown`: what is decided later for another request takes no doubt away."""
        return next((entry for entry in reversed(self.kept) if entry.event.outcome is Outcome.UNKNOWN), None)

    @property
    def ordered(self) -> Entry | None:
        """The latest entry that tells that the service calls the cart ordered: it will never be anything else."""
        found = (entry for entry in reversed(self.kept) if entry.error_class == ErrorClass.ALREADY_ORDERED)
        return next(found, None)

    @property
    def waiting(self) -> Note | None:
        """The note, unless its request has been answered meanwhile: taking a note away is done at best."""
        if self.note and self.record.own(self.cart.request(self.note.request_id)):
            return None
        return self.note


def select(
    files: Iterable[CartHistory],
    *,
    outcomes: Sequence[str] = (),
    classes: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[tuple[CartHistory, Entry]]:
    """Each entry of these that has one of the outcomes, one of the classes, and was decided in the time."""
    for file in files:
        for entry in file.kept:
            at = entry.decided_at
            if (
                (not outcomes or entry.event.outcome in outcomes)
                and (not classes or entry.error_class in classes)
                and (since is None or (at is not None and at >= since))
                and (until is None or (at is not None and at <= until))
            ):
                yield file, entry


def object_of(text: str) -> dict[str, Any]:
    """A JSON object; {} where the text is none."""
    try:
        return _dict(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def raw_context(entry: Entry) -> str | None:
    """The producer's `context`, as it was written."""
    return jsontext.members(entry.data_text).get("context")
