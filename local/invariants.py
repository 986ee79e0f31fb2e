"""The invariants of docs/architecture.md, checked from outside: outcomes queue, records, the service's books.

The tests in memory, the demo and the chaos run share these checks. A check yields a sentence for each violation, which
begins with the invariant's number.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.core.messages import CheckoutRequest, InvalidMessage, ms_request_id
from shared.core.outcomes import invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    Event = Mapping[str, Any]

LONGEST_CHAIN = 10
"""No request is corrected more often in any test."""
BOUGHT = frozenset({"completed", "action_required", "partial"})


def outcome_of(event: Event) -> str:
    """The outcome that an event's type names."""
    return str(event["type"]).rpartition(".")[2]


def final_outcome(request: CheckoutRequest, events: Iterable[Event]) -> str | None:
    """A request's outcome after any correction, or None where none was published."""
    chain = chain_of(request, events)
    return outcome_of(chain[-1]) if chain else None


def chain_of(request: CheckoutRequest, events: Iterable[Event]) -> list[Event]:
    """A request's events in the order in which each corrects the one before, without repeats."""
    by_id = {event["id"]: event for event in events}
    return [by_id[event_id] for event_id in ids_of(request, by_id.values())]


def ids_of(request: CheckoutRequest, events: Iterable[Event]) -> list[str]:
    """The ids of a request's events, in the order in which each corrects the one before."""
    present = {event["id"] for event in events}
    ids = [request.event_id, *(request.correction_id(number) for number in range(1, LONGEST_CHAIN))]
    return [event_id for event_id in ids if event_id in present]


def queues_are_empty(messages: Mapping[str, int]) -> Iterator[str]:
    """1: no message is left, by queue."""
    for name, count in messages.items():
        if count:
            yield f"1: the queue {name} holds {count} messages"


def answered_once(request: CheckoutRequest, events: Collection[Event]) -> Iterator[str]:
    """1 and 2: a request has one outcome under one id, or more of which each later one corrects the one before."""
    if not events:
        yield f"1: the request {request.request_id} was never answered"
    by_id = {event["id"]: event for event in events}
    if any(event != by_id[event["id"]] for event in events):
        yield f"2: different events of the request {request.request_id} have one id"
    for number, event in enumerate(chain_of(request, events)):
        corrects = event.get("data", {}).get("corrects") if "data" in event else None
        before = request.event_id if number <= 1 else request.correction_id(number - 1)
        if "data" in event and event["id"] != request.event_id and corrects != before:
            yield f"2: the correction {event['id']} of {request.request_id} does not name the event that it corrects"


def rejected_once(message: InvalidMessage, events: Collection[Event]) -> Iterator[str]:
    """1 and 2: an invalid message is answered by the event that its bytes determine."""
    if not events:
        yield f"1: the invalid message {message.sha256} was never answered"
    elif any(event != json.loads(invalid(message).text) for event in events):
        yield f"2: an event of the invalid message {message.sha256} does not follow from its bytes"


def no_other_events(event_ids: Iterable[str], messages: Iterable[CheckoutRequest | InvalidMessage]) -> Iterator[str]:
    """2: every event belongs to one of the messages that were sent."""
    expected = {message.event_id for message in messages}
    requests = [message for message in messages if isinstance(message, CheckoutRequest)]
    expected |= {request.correction_id(number) for request in requests for number in range(1, LONGEST_CHAIN)}
    for event_id in set(event_ids) - expected:
        yield f"2: the event {event_id} belongs to no message"


def recorded_before_published(published: Iterable[Event], records: Mapping[str, Collection[Event]]) -> Iterator[str]:
    """3: every published event is in its cart's record, unchanged.

    Args:
        published: The events; those of invalid messages have no record.
        records: The entries by `{customerId}/{cartId}`.
    """
    for event in published:
        if outcome_of(event) == "invalid":
            continue
        name = event.get("subject", "").removeprefix("customers/").replace("/carts/", "/")
        if event not in records.get(name, []):
            yield f"3: the event {event['id']} was published but not recorded"


def bought_once(request: CheckoutRequest, purchases: int) -> Iterator[str]:
    """4: no cart is bought twice."""
    if purchases > 1:
        yield f"4: the cart {request.cart_id} was bought {purchases} times"


def keys_of(request: CheckoutRequest, sent: Iterable[str], most: int = 200) -> list[int | None]:
    """The cart's keys that these MS-RequestIds were made of; None for one that belongs to no key of the cart."""
    keys = {ms_request_id(request.customer_id, request.cart_id, key): key for key in range(most)}
    return [keys.get(each) for each in sent]


def keys_only_grow(request: CheckoutRequest, sent: Iterable[str]) -> Iterator[str]:
    """5: a cart is posted under its own keys, and never under an earlier one again.

    Args:
        request: Any request for the cart.
        sent: The MS-RequestIds in the order of the POSTs.
    """
    keys = keys_of(request, sent)
    known = [key for key in keys if key is not None]
    if len(known) < len(keys):
        yield f"5: the cart {request.cart_id} was posted under an MS-RequestId that is not its own"
    if known != sorted(known):
        yield f"5: the cart {request.cart_id} was posted under the keys {known}"


def one_key_at_work(request: CheckoutRequest, page: Mapping[str, Any]) -> Iterator[str]:
    """5: no two POSTs under different MS-RequestIds are at work at once.

    Args:
        request: Any request for the cart.
        page: The cart's page in the service's books.
    """
    log = sorted(page.get("postLog", []), key=lambda post: post["cameAt"])
    for number, post in enumerate(log):
        for later in log[number + 1 :]:
            if later["cameAt"] < post["endedAt"] and later["msRequestId"] != post["msRequestId"]:
                yield f"5: two POSTs of the cart {request.cart_id} under different keys were at work at once"


def purchases_begun_before(page: Mapping[str, Any], moment: float) -> list[Mapping[str, Any]]:
    """The purchases of a cart whose POST had begun before this moment, in epoch seconds."""
    return [each for each in page.get("purchaseLog", []) if _began(page, each) < moment]


def _began(page: Mapping[str, Any], purchase: Mapping[str, Any]) -> float:
    posts = [post for post in page["postLog"] if post["msRequestId"] == purchase["msRequestId"]]
    return min((post["cameAt"] for post in posts if post["endedAt"] >= purchase["at"]), default=float(purchase["at"]))


def outcome_is_true(request: CheckoutRequest, events: Iterable[Event], page: Mapping[str, Any]) -> Iterator[str]:
    """9: an outcome says that a cart was bought only where it was.

    And it says `failed` only where no POST that had begun before bought it: not even later.

    Args:
        request: The request.
        events: Its events.
        page: The cart's page in the service's books.
    """
    chain = chain_of(request, events)
    if not chain:
        return
    outcome, told = outcome_of(chain[-1]), chain[-1]
    if outcome in BOUGHT and not page.get("purchases"):
        yield f"9: the outcome of {request.request_id} is {outcome}, but the cart was not bought"
    if outcome == "failed":
        for purchase in purchases_begun_before(page, datetime.fromisoformat(told["time"]).timestamp()):
            yield (
                f"9: the outcome of {request.request_id} is failed, but the cart was bought by the POST under "
                f"{purchase['msRequestId']} that had begun before"
            )


def every_entry_is_published(published: Iterable[Event], records: Mapping[str, Collection[Event]]) -> Iterator[str]:
    """1: every recorded entry is published, but one that was corrected before."""
    told = {event["id"] for event in published}
    for name, entries in records.items():
        corrected = {entry.get("data", {}).get("corrects") for entry in entries}
        for entry in entries:
            if entry["id"] not in told and entry["id"] not in corrected:
                yield f"1: the entry {entry['id']} of {name} was recorded but never published"


def revisions_count_up(revisions: Mapping[str, Sequence[int | None]]) -> Iterator[str]:
    """3: a record only grows, so its entries say that they are its first, its second and so on.

    Args:
        revisions: `revision` of the entries, by `{customerId}/{cartId}`.
    """
    for name, found in revisions.items():
        if [*found] != [*range(1, len(found) + 1)]:
            yield f"3: the entries of {name} have the revisions {[*found]}"
