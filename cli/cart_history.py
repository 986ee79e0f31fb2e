"""The content of the records container, as operators read it: the entries of records, and waiting notes. No I/O."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.outcome_event import OutcomeEvent, as_object, parse_object
from cli.times import format_utc, parse_rfc3339
from shared.core import jsontext
from shared.core.errors import ErrorClass
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event, Outcome

if TYPE_CHECKING:
    from shared.core.rules import Record


class CartKey(NamedTuple):
    """The two ids that name a cart."""

    customer_id: str
    cart_id: str

    def as_json(self) -> dict[str, str]:
        """The JSON members that name the cart."""
        return {"customerId": self.customer_id, "cartId": self.cart_id}

    def request(self, request_id: str = "") -> CheckoutRequest:
        """A request for this cart, as an argument for the app's own code."""
        return CheckoutRequest(self.customer_id, self.cart_id, request_id, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob of the container: a cart's record, or its waiting note."""

    cart: CartKey
    modified: datetime
    is_note: bool


@dataclass(frozen=True)
class Entry(OutcomeEvent):
    """One entry of a record."""

    cart: CartKey
    event: Event
    data_text: str

    @classmethod
    def parse(cls, cart: CartKey, event: Event, data_text: str) -> "Entry":
        """Parse an event. Its data may be stored in another blob."""
        return cls(event.text, parse_object(event.text), parse_object(data_text), cart, event, data_text)

    @property
    def decided_at(self) -> datetime | None:
        """When it was decided."""
        return parse_rfc3339(self.attributes.get("time"))

    @property
    def decided_cells(self) -> tuple[str, str]:
        """The first cells of a table: when it was decided, and the outcome."""
        return format_utc(self.decided_at), self.outcome  # the word of a later version, too

    @property
    def response(self) -> dict[str, Any]:
        """The ids and status of the response that decided it, or empty if there was none."""
        return as_object(self.data.get("response"))

    @property
    def raw_context(self) -> str | None:
        """The producer's `context`, as it was written."""
        return jsontext.members(self.data_text).get("context")


@dataclass(frozen=True, slots=True)
class WaitingNote:
    """What a cart waits for, as the function noted it beside the record after the last call."""

    cart: CartKey
    fields: dict[str, Any]

    @property
    def request_id(self) -> str:
        """The request that waits."""
        return str(self.fields.get("requestId", ""))

    @property
    def reason(self) -> str:
        """Why it waits."""
        return str(self.fields.get("reason", ""))

    @property
    def since(self) -> datetime | None:
        """When the first transient failure other than a 429 came."""
        return parse_rfc3339(self.fields.get("since"))

    @property
    def next_at(self) -> datetime | None:
        """When it will be tried again."""
        return parse_rfc3339(self.fields.get("nextAt"))


@dataclass(frozen=True, slots=True)
class CartHistory:
    """Everything that the container holds of one cart. `trouble`: why its record could not be read."""

    cart: CartKey
    record: "Record"
    entries: tuple[Entry, ...] = ()
    note: WaitingNote | None = None
    trouble: str = ""

    @property
    def last(self) -> Entry | None:
        """The entry that was decided last."""
        return self.entries[-1] if self.entries else None

    @property
    def last_unknown(self) -> Entry | None:
        """The latest `unknown` entry. A later outcome of another request does not settle it."""
        return next((entry for entry in reversed(self.entries) if entry.event.outcome is Outcome.UNKNOWN), None)

    @property
    def last_ordered(self) -> Entry | None:
        """The latest entry of class `already_ordered`, which is final."""
        entries = (entry for entry in reversed(self.entries) if entry.error_class == ErrorClass.ALREADY_ORDERED)
        return next(entries, None)

    @property
    def waiting(self) -> WaitingNote | None:
        """The note, unless its request is answered: notes are deleted on a best-effort basis."""
        if self.note and self.record.own(self.cart.request(self.note.request_id)):
            return None
        return self.note
