"""What can be observed of a chaos run from outside, once its queues are empty."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    `published`: the events of the outcomes queue, repeats included. `seconds`: from the sending of a request to its
    first outcome, by event id. `records`: the entries by `{customerId}/{cartId}`. `data`: of the events with a
    `dataref`, by event id. `crashed`: the last output of workers that ended by themselves. `left`: the messages that
    are still in the queues.
    """

    plan: ChaosPlan
    published: list[Event]
    seconds: dict[str, float]
    records: dict[str, list[Event]]
    data: dict[str, Event]
    notes: int
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

    def events_of(self, expected: ExpectedRequest) -> list[Event]:
        """The events of a request, corrections last."""
        request = expected.request
        return [event for id_ in (request.event_id, request.correction_id) for event in self.by_id.get(id_, [])]

    def data_of(self, event: Event) -> Event:
        """The data of an event, from the event or from its blob."""
        return dict(event["data"] if "data" in event else self.data[event["id"]])

    def log_of(self, expected: ExpectedRequest) -> list[dict[str, Any]]:
        """The log lines of a request."""
        return self.log.lines.get(expected.request.event_id, [])

    def poisonings(self, expected: ExpectedRequest) -> int:
        """How many messages of a request were handled as poison messages."""
        return sum(line["function"] == "report_poison" for line in self.log_of(expected))

    def chains(self, requests: Iterable[ExpectedRequest]) -> int:
        """How many messages of these requests ended with a published outcome."""
        logs = (self.log_of(expected) for expected in requests)
        return sum(len({line["messageId"] for line in log if line.get("result") == "told"}) for log in logs)

    @property
    def copies(self) -> float:
        """How many messages ended with a published outcome for each that was sent, on average."""
        return self.chains(self.plan.requests) / sum(expected.copies for expected in self.plan.requests)
