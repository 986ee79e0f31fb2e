"""The rows of the demo: each is a request for a cart whose scenario is known, or an invalid message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.message_text import Form


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One request of the demo.

    `copies`: how often its message is sent. `after`: the scenario whose outcome must arrive first. `cart_of`: it asks
    for the cart of that scenario's request, and is answered by that request's outcome.
    """

    scenario: str
    about: str
    form: Form = "plain"
    copies: int = 1
    after: str | None = None
    cart_of: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A message that is not a valid request."""

    name: str
    about: str
    body: str


ROWS = (
    # bought
    DemoRow("created", "bought; its message is sent twice", copies=2),
    DemoRow("created", "another request for that cart", cart_of="created"),
    DemoRow("ok", "its message is base64", form="base64"),
    DemoRow("pending", "its message is a CloudEvent", form="cloudevent"),
    DemoRow("two-order-groups", "two order groups, two orders"),
    DemoRow("byte-order-mark", "the answer begins with a BOM"),
    DemoRow("huge-result", "200 lines: the result is in a blob"),
    # bought, and the partner must act
    DemoRow("pending-review", "ordered, but held for a review"),
    DemoRow("pending-po-upload", "ordered, purchase order missing"),
    # bought in part: not repeated
    DemoRow("partial", "one of two groups; sent twice", copies=2),
    DemoRow("order-in-error", "one of two orders is in error"),
    # refused
    DemoRow("only-order-errors", "201, but no group was bought"),
    DemoRow("fault-in-a-200", "200 with a fault in its body"),
    DemoRow("fault-403-900323", "the cart's owner must change it"),
    DemoRow("fault-403-13605", "no customer agreement"),
    DemoRow("fault-404-800008", "no such cart, or it expired"),
    DemoRow("fault-400-900127", "a limit of the sandbox"),
    DemoRow("fault-500-800083", "a 500 that is final"),
    DemoRow("unknown-400", "undocumented code; cart is active"),
    # responses without a result
    DemoRow("empty-body", "bought, with an empty 200"),
    DemoRow("no-orders", "bought, with an empty list"),
    DemoRow("login-page", "200 with a login page, then bought"),
    DemoRow("empty-object-for-ever", "{} at every attempt"),
    # throttled: one after the other, since two throttled customers close the gate for the whole tenant
    DemoRow("throttled", "429, Retry-After in seconds"),
    DemoRow("throttled-until", "429, Retry-After is a date", after="throttled"),
    DemoRow("throttled-thrice", "429 three times, not counted", after="throttled-until"),
    # slow
    DemoRow("slow", "slow, but in time"),
    DemoRow("too-slow", "responds after the time-out"),
    DemoRow("endless-trickle", "trickles past the time-out"),
    # lost
    DemoRow("dropped-before", "connection lost before purchase"),
    DemoRow("dropped-after", "lost after purchase; sent twice", copies=2),
    DemoRow("dropped-mid-body", "connection lost in the body"),
    DemoRow("dropped-before-then-refused", "lost, then refused; cart is active"),
    DemoRow("dropped-after-then-refused", "bought, lost, then refused"),
    DemoRow("never-answers", "every connection is lost"),
    DemoRow("refused-then-ordered-late", "lost, refused, then ordered late"),
    # the service and its gateways fail
    DemoRow("html-502", "bought, with a gateway's 502"),
    DemoRow("empty-500", "bought, with an empty 500"),
    DemoRow("coded-500-twice", "a new MS-RequestId for each fault"),
    DemoRow("html-404", "a gateway's 404, then bought"),
    DemoRow("in-progress", "409 twice, then bought"),
    DemoRow("already-ordered", "checked out by another client"),
    DemoRow("in-progress-for-ever", "409 at every attempt"),
    # not admitted
    DemoRow("unauthorized-once", "401, then a new token"),
    DemoRow("unknown-403", "403 once, then bought"),
    DemoRow("redirect", "302, not followed, then bought"),
)

_GUID = "c0ffee00-1111-4222-8333-444444444444"
INVALID_ROWS = (
    InvalidRow(
        "a typo", "requestID instead of requestId", f'{{"customerId":"{_GUID}","cartId":"{_GUID}","requestID":"1"}}'
    ),
    InvalidRow("nonsense", "a message that is not JSON", "please buy everything"),
)
