"""What must hold of every request, checked from the outside: outcomes queue, records, the service's books.

The tests in memory and the chaos run call the same checks. A check yields one sentence for each thing that does
not hold; it begins with the number that docs/architecture.md gives the invariant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from shared.core.messages import derive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

BOUGHT = frozenset({"completed", "action_required", "partial"})


class Request(Protocol):
    """What the checks must know of a request; a `shared.core.messages.CheckoutRequest` is one."""

    @property
    def customer_id(self) -> str:
        """A GUID in lower case."""

    @property
    def cart_id(self) -> str:
        """A GUID in lower case."""

    @property
    def request_id(self) -> str:
        """The producer's key."""

    @property
    def event_id(self) -> str:
        """The id of its outcome."""

    @property
    def correction_id(self) -> str:
        """The id of the outcome that corrects it."""


def outcome_of(event: Mapping[str, Any]) -> str:
    """The outcome that an event tells, read from its type."""
    return str(event["type"]).rpartition(".")[2]


def final(request: Request, mine: Iterable[Mapping[str, Any]]) -> str | None:
    """What a request came to in the end: its correction, else its first outcome; None: nothing was told."""
    outcomes = {event["id"]: outcome_of(event) for event in mine}
    return outcomes.get(request.correction_id, outcomes.get(request.event_id))


def told_as_kept(
    told: Iterable[Mapping[str, Any]], records: Mapping[str, Collection[Mapping[str, Any]]]
) -> Iterator[str]:
    """3: no outcome is told before its record is kept, and it is told as kept.

    `records`: the entries, by ``{customerId}/{cartId}``.
    """
    for event in told:
        if event.get("data", {}).get("error", {}).get("class") == "invalid_message":
            continue  # has no record
        _, customer, _, cart = event["subject"].split("/")
        if event not in records.get(f"{customer}/{cart}", []):
            yield f"3: the event {event['id']} was told but not kept"


def one_answer(request: Request, mine: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """1 and 2: an outcome for each request, under one id, or two of which the second corrects the first."""
    if not mine:
        yield f"1: the request {request.request_id} was never answered"
    by_id = {event["id"]: event for event in mine}
    if any(event != by_id[event["id"]] for event in mine):
        yield f"2: the request {request.request_id} was told differently under one id"
    correction = by_id.get(request.correction_id)
    if correction is not None and correction.get("data", {}).get("corrects") != request.event_id:
        yield f"2: the correction of {request.request_id} does not name what it corrects"


def bought_once(request: Request, purchases: int) -> Iterator[str]:
    """4: no cart is bought twice."""
    if purchases > 1:
        yield f"4: the cart {request.cart_id} was bought {purchases} times"


def true(request: Request, mine: Iterable[Mapping[str, Any]], purchases: int, *, alone: bool = True) -> Iterator[str]:
    """9: `failed` only where no order exists; and nothing is called bought that was not.

    `alone`: one live message for a cart at a time. (Two of them, one killed inside its POST and the other refused
    meanwhile, is the residual that is documented and accepted; then `failed` may be told of a bought cart.)
    """
    said = final(request, mine)
    if said == "failed" and purchases and alone:
        yield f"9: {request.request_id} was told as failed, but the cart was bought"
    if said in BOUGHT and not purchases:
        yield f"9: {request.request_id} was told as {said}, but the cart was not bought"


def own_ms_request_ids(requests: Iterable[Request], sent: Iterable[str], epochs: int) -> Iterator[str]:
    """5: a cart is only ever posted under its requests' derived ids, a new one only after a fault code.

    `sent`: the MS-RequestIds in the books; `epochs`: how often the service failed a POST with a fault code, at most.
    """
    allowed = {
        derive("ms-request", request.customer_id, request.cart_id, request.request_id, epoch)
        for request in requests
        for epoch in range(epochs + 1)
    }
    for ms_request_id in sorted(set(sent) - allowed):
        yield f"5: the MS-RequestId {ms_request_id} is of no request, or too new"
