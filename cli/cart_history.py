"""The content of the records container, as operators read it: the entries of records, and what waits. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.outcome_event import OutcomeEvent, as_object, parse_object
from cli.times import format_utc, parse_rfc3339
from shared.core import jsontext
from shared.core.cart_state import CartState, Post, in_doubt_since
from shared.core.messages import CheckoutRequest, ms_request_id
from shared.core.outcomes import Event, timestamp
from shared.core.retry import LAST_DAY
from shared.core.state_metadata import from_metadata

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
class CartPost:
    """The latest POST of a cart, as the cart's state has it: who waits for what.

    Attributes:
        cart: The cart.
        post: Its entry.
        fields: The entry's JSON. Beside the members of `Post`, attempt, since, nextAt, reason and the Microsoft ids.
    """

    cart: CartKey
    post: Post
    fields: dict[str, Any]

    @property
    def reason(self) -> str:
        """Why its request waits. Before an answer is noted, the POST is at work, or its worker has died."""
        return str(self.fields.get("reason", "at_work"))

    @property
    def since(self) -> datetime | None:
        """When the first transient failure other than a 429 came."""
        return parse_rfc3339(self.fields.get("since"))

    @property
    def next_at(self) -> datetime | None:
        """When it will be tried again."""
        return parse_rfc3339(self.fields.get("nextAt"))

    def is_alive(self, now: datetime) -> bool:
        """Whether its message can still exist: nothing is tried again on the cart's last day."""
        return max(self.post.at, self.next_at or self.post.at) > now - LAST_DAY

    def as_json(self) -> dict[str, Any]:
        """The JSON object of what waits."""
        return self.cart.as_json() | {"reason": self.reason} | self.fields


@dataclass(frozen=True, slots=True)
class KnownState:
    """What a cart's record says of its POSTs. `post`: the latest one, or None where none waits for an answer."""

    state: CartState
    post: CartPost | None = None

    @classmethod
    def parse(cls, cart: CartKey, metadata: Mapping[str, str], last_modified: datetime | None) -> "KnownState":
        """Read the metadata of a record, whose names may be in any case. Without a record nothing is known."""
        if last_modified is None:
            return cls(CartState())
        state = from_metadata(metadata, last_modified)
        if state.post is None:
            return cls(state)
        text = next(value for name, value in metadata.items() if name.lower() == "post")
        return cls(state, CartPost(cart, state.post, parse_object(text)))

    @property
    def is_lost(self) -> bool:
        """Whether the record carries none: it was restored, copied or edited."""
        return self.state.key is None

    def ms_request_id(self, cart: CartKey) -> str | None:
        """MS-RequestId of the present key."""
        return None if self.state.key is None else ms_request_id(cart.customer_id, cart.cart_id, self.state.key)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the state. Times are in UTC."""
        doubt, since = self.state.doubt, in_doubt_since(self.state)
        return {
            "key": self.state.key,
            "post": self.post and self.post.fields,
            "doubt": doubt and timestamp(doubt),
            "spent": self.state.spent,
            "lost": self.is_lost,
            "inDoubtSince": since and timestamp(since),
        }


@dataclass(frozen=True, slots=True)
class ListedRecord:
    """A cart's record, as the list of the container has it: with its state, but without its entries."""

    cart: CartKey
    modified: datetime
    known: KnownState


@dataclass(frozen=True, slots=True)
class CartHistory:
    """Everything that the container holds of one cart. `trouble`: why its record could not be read."""

    cart: CartKey
    record: "Record"
    entries: tuple[Entry, ...] = ()
    trouble: str = ""

    @property
    def known(self) -> KnownState:
        """What is known of its POSTs."""
        return KnownState.parse(self.cart, self.record.metadata, self.record.last_modified)

    @property
    def last(self) -> Entry | None:
        """The entry that was decided last."""
        return self.entries[-1] if self.entries else None

    @property
    def waiting(self) -> CartPost | None:
        """The latest POST, unless its request is answered: that of a duplicate stays when the first one is told."""
        post = self.known.post
        return None if post is None or any(entry.event.id == post.post.by for entry in self.entries) else post
