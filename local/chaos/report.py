"""What a chaos run left behind, and what it proves: the checks of `local.invariants`, and the figures beside them."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from local import invariants as checker
from local.chaos.fault_table import survived
from local.invariants import BOUGHT, final, outcome_of
from local.simulator.steps import FaultStep, Masked
from shared.core.outcomes import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.chaos.plan import ExpectedRequest, Plan

SERVICE_FAILED = 500
FORESEEN = frozenset({"StorageUnavailable", "TokenUnavailable"})
"""What may be in a line: storage or the identity endpoint failed. Anything else is a bug."""
MOST_DIFFERING = 0.1
"""Requests that may end otherwise than their scenario does when nothing breaks: with more, the run proves little."""
MOST_COPIES = 1.2
"""Messages of one request that end, each by telling, for each message that was sent for it."""

Event = dict[str, Any]


class Log:
    """What the workers wrote: one line per message, as they came, by the id of the event it is about."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.results: Counter[str] = Counter()
        self.exceptions: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Take a line that a worker printed; what is none of the program's is passed over."""
        _, brace, rest = text.partition('{"function":')
        try:
            line = json.loads(brace + rest)
        except ValueError:
            return  # the host's own, or its writer was killed in the middle of it
        with self._lock:
            if "exception" in line:
                self.exceptions[line["exception"]] += 1
            self.results[line.get("result", "nothing")] += 1
            self.lines[line.get("eventId", "invalid")].append(line)


@dataclass(slots=True)
class Aftermath:
    """All that can be seen from outside, now that all is quiet.

    ``told``: the outcomes queue, repeats included; ``seconds``: from a request's sending to its first outcome, by
    event id. ``records``: the entries by ``{customerId}/{cartId}``; ``data``: of the events that refer to a blob,
    by event id. ``crashed``: the last words of workers that ended by themselves. ``left``: what the queues still
    hold. ``injected``: what was done, by whom and kind.
    """

    plan: Plan
    told: list[Event]
    seconds: dict[str, float]
    records: dict[str, list[Event]]
    data: dict[str, Event]
    notes: int
    books: dict[str, Any]
    log: Log
    crashed: list[str]
    left: dict[str, int]
    deliveries: int
    injected: dict[str, Any]
    duration: float
    residual: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What does not hold, one sentence each. Fills ``residual``, ``corrected`` and ``differing`` on the way."""
        self.residual, self.corrected, self.differing = [], [], []
        by_id = self._by_id()
        pages = {page["cartId"]: page for page in self.books["carts"]}
        found = [f"1: the queue {name} holds {count} messages" for name, count in self.left.items() if count]
        found += [f"a worker ended by itself: {words}" for words in self.crashed]
        found += [f"8: {count} times {name}" for name, count in self.log.exceptions.items() if name not in FORESEEN]
        found += checker.told_as_kept(self.told, self.records)
        found += self._strangers(by_id)
        found += self._strays(by_id)
        by_cart: defaultdict[str, list[ExpectedRequest]] = defaultdict(list)
        for demand in self.plan.demands:
            by_cart[demand.request.cart_id].append(demand)
        for cart, demands in by_cart.items():
            page = pages.get(cart, {"posts": 0, "purchases": 0, "msRequestIds": [], "orderIds": []})
            requests = [demand.request for demand in demands]
            found += checker.bought_once(requests[0], page["purchases"])
            found += checker.own_ms_request_ids(requests, page["msRequestIds"], _faults_with_a_code(demands[0]))
            # the residual: two live messages for one cart, one of which never heard the answer to its POST
            alone = self._chains(demands) < 2 or not self._unheard(demands, page)  # noqa: PLR2004
            for demand in demands:
                found += self._answered(demand, by_id, page, alone=alone)
        if len(self.differing) > max(1, MOST_DIFFERING * len(self.plan.demands)):
            found.append(
                f"{len(self.differing)} of {len(self.plan.demands)} requests ended otherwise than by themselves"
            )
        if (copies := self.copies()) > MOST_COPIES:
            found.append(f"{copies:.2f} live copies for each message sent: more than {MOST_COPIES}")
        return found

    def copies(self) -> float:
        """How many messages of a request ended, each by telling, for each that was sent for it; on average."""
        ended = sum(self._ended(demand) for demand in self.plan.demands)
        return ended / sum(demand.copies for demand in self.plan.demands)

    def report(self) -> dict[str, Any]:
        """All of it, for machines."""
        violations = self.violations()
        by_id = self._by_id()
        first = [events[0] for events in by_id.values()]
        unknown = Counter(self.data_of(event)["error"]["class"] for event in first if outcome_of(event) == "unknown")
        waited = sorted(self.seconds.values()) or [0.0]
        attempts = [self.data_of(event).get("attempts", 0) for event in first]
        totals = self.books["totals"]
        return {
            "passed": not violations,
            "seed": self.plan.seed,
            "seconds": round(self.duration, 1),
            "carts": len({demand.request.cart_id for demand in self.plan.demands}),
            "requests": len(self.plan.demands),
            "invalid": len(self.plan.strays),
            "messages": self.plan.messages,
            "deliveries": self.deliveries,
            "results": dict(self.log.results.most_common()),
            "posts": totals["posts"],
            "throttled": totals["throttled"],
            "purchases": totals["purchases"],
            "boughtTwice": totals["boughtTwice"],
            "mostAttempts": max(attempts, default=0),
            "survived": survived(self.plan, self.injected, totals["throttled"]),
            "waited": {
                "median": round(median(waited), 1),
                "p95": round(quantiles(waited, n=20)[-1] if len(waited) > 1 else waited[0], 1),
                "longest": round(waited[-1], 1),
            },
            "outcomes": dict(Counter(outcome_of(event) for event in first).most_common()),
            "unknown": dict(unknown.most_common()),
            "toldMoreThanOnce": sum(len(events) > 1 for events in by_id.values()),
            "liveCopies": round(self.copies(), 3),
            "poisoned": self._poisoned(),
            "corrections": self.corrected,
            "residual": self.residual,
            "differing": self.differing,
            "notesLeft": self.notes,
            "left": self.left,
            "exceptions": dict(self.log.exceptions.most_common()),
            "violations": violations,
        }

    def journals(self) -> dict[str, list[dict[str, Any]]]:
        """What the workers wrote, in order, of each request that a finding names: to look into it."""
        named = " ".join([*self.violations(), *self.residual, *self.corrected, *self.differing])
        requests = {demand.request.request_id: demand.request.event_id for demand in self.plan.demands}
        return {id_: self.log.lines[event_id] for id_, event_id in requests.items() if f"{id_} " in named}

    def _answered(
        self, demand: ExpectedRequest, by_id: Mapping[str, list[Event]], page: Mapping[str, Any], *, alone: bool
    ) -> Iterator[str]:
        request, expected = demand.request, demand.scenario.expected
        mine = [event for id_ in (request.event_id, request.correction_id) for event in by_id.get(id_, [])]
        yield from checker.one_answer(request, mine)
        yield from checker.true(request, mine, page["purchases"], alone=alone)
        said = final(request, mine)
        if said is None:
            return
        if request.correction_id in by_id:
            self.corrected.append(f"{request.request_id}: {outcome_of(mine[0])}, corrected to {said}")
        if said == "failed" and page["purchases"] and not alone:
            self.residual.append(
                f"{request.request_id} ({demand.scenario.name}, cart {request.cart_id}): several live messages, "
                f"{page['posts']} POSTs; one lost the answer to its own, another was refused meanwhile"
            )
        if said in BOUGHT:
            if said != expected:
                yield f"9: {request.request_id} was told as {said}, but the service said {expected}"
            ids = {order["id"] for order in self.data_of(mine[-1])["result"]["orders"]}
            if not ids <= set(page["orderIds"]):
                yield f"9: {request.request_id} was told with the orders {ids}, which are not its cart's"
        if said != expected:
            error = self.data_of(mine[-1]).get("error", {})
            poisoned = sum(line["function"] == "report_poison" for line in self.log.lines[request.event_id])
            self.differing.append(
                f"{request.request_id} ({demand.scenario.name}): {said} instead of {expected}: {error.get('class')}, "
                f"{page['posts']} POSTs, {poisoned} times out of the poison queue: {error.get('description')}"
            )

    def _strangers(self, by_id: Mapping[str, list[Event]]) -> Iterator[str]:
        """1: nothing is told that nobody asked for."""
        known = {stray.event_id for stray in self.plan.strays}
        for demand in self.plan.demands:
            known |= {demand.request.event_id, demand.request.correction_id}
        for stranger in by_id.keys() - known:
            yield f"2: the event {stranger} is of no request"

    def _strays(self, by_id: Mapping[str, list[Event]]) -> Iterator[str]:
        """1: what is no request is answered too, always with the words that its bytes alone lead to."""
        for stray in self.plan.strays:
            events = by_id.get(stray.event_id, [])
            if not events:
                yield f"1: the invalid message {stray.sha256} was never answered"
            elif any(event != json.loads(invalid(stray).text) for event in events):
                yield f"2: the invalid message {stray.sha256} was told differently from what its bytes say"

    def _ended(self, demand: ExpectedRequest) -> int:
        """How many messages of this request ended by telling."""
        lines = self.log.lines.get(demand.request.event_id, [])
        return len({line["messageId"] for line in lines if line.get("result") == "told"})

    def _chains(self, demands: list[ExpectedRequest]) -> int:
        """How many messages asked for one cart, counted from both ends: as they were sent, and as they ended."""
        return max(sum(demand.copies for demand in demands), sum(map(self._ended, demands)))

    def _unheard(self, demands: list[ExpectedRequest], page: Mapping[str, Any]) -> int:
        """How many POSTs of a cart reached the service without an answer reaching a worker that lived to say so."""
        lines = [line for demand in demands for line in self.log.lines.get(demand.request.event_id, [])]
        return int(page["posts"]) - sum("status" in line for line in lines)

    def _poisoned(self) -> int:
        """How many requests came out of the poison queue."""
        return sum(any(line["function"] == "report_poison" for line in lines) for lines in self.log.lines.values())

    def _by_id(self) -> dict[str, list[Event]]:
        found: defaultdict[str, list[Event]] = defaultdict(list)
        for event in self.told:
            found[event["id"]].append(event)
        return dict(found)

    def data_of(self, event: Event) -> Event:
        """An event's data, wherever they lie."""
        return dict(event["data"] if "data" in event else self.data[event["id"]])


def _faults_with_a_code(demand: ExpectedRequest) -> int:
    """How many of the scenario's steps fail the call with a fault code: each allows another MS-RequestId."""
    answers = (step.by if isinstance(step, Masked) else step for step in demand.scenario.script)
    return sum(isinstance(step, FaultStep) and step.status >= SERVICE_FAILED and bool(step.code) for step in answers)
