"""What can be observed of a chaos run from outside, once its queues are empty."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as replace_fields

from local.invariants import chain_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.chaos.fault_table import InjectedFaults
    from local.chaos.plan import ChaosPlan, ExpectedRequest
    from local.outcomes import Event


class WorkerLog:
    """The log lines of the function, by event id in order of arrival."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.results: Counter[str] = Counter()
        self.exceptions: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Add a line that a worker printed, unless it is the host's own or incomplete."""
        _, brace, rest = text.partition('{"function":')
        try:
            line = json.loads(brace + rest)
        except ValueError:
            return
        with self._lock:
            if "exception" in line:
                self.exceptions[line["exception"]] += 1
            self.results[line.get("result", "nothing")] += 1
            self.lines[line.get("eventId", "invalid")].append(line)


@dataclass
class Evidence:
    """The observations of one run.

    `published`: the events of the outcomes queue, repeats included. `sent_at`: when a request was sent first, by its
    name in the plan. `first_seen`: when an event arrived first, by its id. `message_ids`: of the queue messages, by
    the name of their request. `records`: the entries by `{customerId}/{cartId}`. `data`: of the events with a
    `dataref`, by event id. `crashed`: what hosts and workers said that ended by themselves. `left`: the messages that
    are still in the queues.
    """

    plan: ChaosPlan
    published: list[Event]
    sent_at: Mapping[str, float]
    first_seen: Mapping[str, float]
    message_ids: Mapping[str, Sequence[str]]
    records: dict[str, list[Event]]
    data: dict[str, Event]
    books: dict[str, Any]
    log: WorkerLog
    crashed: list[str]
    left: dict[str, int]
    deliveries: int
    injected: InjectedFaults
    duration: float

    @cached_property
    def by_id(self) -> dict[str, list[Event]]:
        """The published events by id."""
        events: defaultdict[str, list[Event]] = defaultdict(list)
        for event in self.published:
            events[event["id"]].append(event)
        return dict(events)

    @cached_property
    def by_cart(self) -> dict[str, list[Event]]:
        """The published events by cart id."""
        events: defaultdict[str, list[Event]] = defaultdict(list)
        for event in self.published:
            events[event.get("subject", "").rpartition("/")[2]].append(event)
        return dict(events)

    @cached_property
    def requests(self) -> list[ExpectedRequest]:
        """The requests as the function knew them: a message without `requestId` is one under its own id.

        Where it was told under the id of its poison copy, that is one too, without copies. Then it need not be told
        under its own id.
        """
        known: list[ExpectedRequest] = []
        for planned in self.plan.requests:
            ids = self.message_ids.get(planned.name, ())
            known += [planned] if planned.named else [_under(planned, id_, 1) for id_ in ids]
        return known + [each for planned in self._carts_without_names for each in self._poison_copies(planned, known)]

    @cached_property
    def _carts_without_names(self) -> list[ExpectedRequest]:
        """One request for each cart that messages without `requestId` asked for."""
        return [*{each.request.cart_id: each for each in self.plan.requests if not each.named}.values()]

    def _poison_copies(self, planned: ExpectedRequest, known: list[ExpectedRequest]) -> list[ExpectedRequest]:
        cart = planned.request.cart_id
        ids = {each.request.request_id for each in known if each.request.cart_id == cart}
        told = {self.data_of(event).get("requestId", "") for event in self.by_cart.get(cart, [])}
        return [_under(planned, id_, 0) for id_ in sorted(told - ids)]

    @cached_property
    def seconds(self) -> list[float]:
        """From the sending of each request to its first outcome, sorted."""
        told = ((each.name, self.first_seen.get(each.request.event_id)) for each in self.requests if each.copies)
        return sorted(at - self.sent_at[name] for name, at in told if at is not None and name in self.sent_at)

    def events_of(self, expected: ExpectedRequest) -> list[Event]:
        """The events of a request with their repeats, corrections last."""
        chain = chain_of(expected.request, self.by_cart.get(expected.request.cart_id, []))
        return [event for each in chain for event in self.by_id[each["id"]]]

    def data_of(self, event: Event) -> Event:
        """The data of an event, from the event or from its blob."""
        return dict(event["data"] if "data" in event else self.data[event["id"]])

    def log_of(self, expected: ExpectedRequest) -> list[dict[str, Any]]:
        """The log lines of a request."""
        return self.log.lines.get(expected.request.event_id, [])

    def poisonings(self, expected: ExpectedRequest) -> int:
        """How many messages of a request were handled as poison messages."""
        return sum(line["function"] == "report_poison" for line in self.log_of(expected))

    @property
    def copies(self) -> float:
        """How many messages ended with a published outcome for each that was sent, on average."""
        logs = (self.log_of(each) for each in self.requests)
        told = sum(len({line["messageId"] for line in log if line.get("result") == "told"}) for log in logs)
        return told / max(1, sum(each.copies for each in self.plan.requests))


def _under(planned: ExpectedRequest, request_id: str, copies: int) -> ExpectedRequest:
    request = replace_fields(planned.request, request_id=request_id)
    return replace(planned, request=request, copies=copies)
