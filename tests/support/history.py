"""The invariants as seen from outside: the outcomes queue, the records, and the simulator's report.

`Journal` records every I/O step of every delivery, and makes steps fail as planned. `violations` checks the final
state. The numbers are those of docs/architecture.md. The invariants that need no journal are in `local/invariants.py`,
which the chaos run uses too.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from local import invariants
from local.invariants import BOUGHT, outcome_of
from shared.core.messages import CheckoutRequest, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.state_metadata import from_metadata
from shared.ports import StorageUnavailable, StoredBlob, TokenUnavailable
from tests.support.memory import MemoryBlobs, MemoryPartnerCenter

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_NO_STEP = frozenset({"url"})  # methods of a port without I/O


class Killed(BaseException):
    """The process was killed."""


class Failure(StrEnum):
    """How an I/O step fails."""

    RAISES_BEFORE = "raises before"
    RAISES_AFTER = "raises after it took effect"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after it took effect"
    BUG = "raises an unforeseen exception"


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One I/O step: its name, the delivery it belongs to, its subject and its result."""

    number: int
    delivery: int
    name: str
    subject: Any = None
    answer: Any = None


@dataclass
class Journal:
    """Every step in order. `plan` says which steps, by number, fail and how."""

    plan: dict[int, Failure] = field(default_factory=dict)
    actions: dict[str, list[Callable[[], object]]] = field(default_factory=lambda: defaultdict(list))
    steps: list[JournalStep] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _deliveries: Iterator[int] = field(default_factory=itertools.count)
    _at: list[int] = field(default_factory=lambda: [-1])

    @contextmanager
    def delivery(self) -> Iterator[None]:
        """Record the steps of one delivery. A concurrent delivery is nested in another."""
        self._at.append(next(self._deliveries))
        try:
            yield
        finally:
            self._at.pop()

    def run_before(self, name: str, action: Callable[[], object]) -> None:
        """Call `action` just before the next step of this name."""
        self.actions[f"before {name}"].append(action)

    def run_after(self, name: str, action: Callable[[], object]) -> None:
        """Call `action` just after the next step of this name."""
        self.actions[f"after {name}"].append(action)

    def take(self, name: str, call: Callable[[], Any], failing: Callable[[], Any], subject: Any = None) -> Any:
        """Take a step, or fail it as planned. `failing` raises or returns the failure."""
        self._run_concurrent(f"before {name}")
        number, delivery = next(self._numbers), self._at[-1]
        how = self.plan.get(number)
        if how in (Failure.RAISES_BEFORE, Failure.KILLED_BEFORE, Failure.BUG):
            self.steps.append(JournalStep(number, delivery, name, subject))
            return self._fail(how, name, failing)
        answer = call()
        self.steps.append(JournalStep(number, delivery, name, subject, answer))
        self._run_concurrent(f"after {name}")
        return answer if how is None else self._fail(how, name, failing)

    def _fail(self, how: Failure, name: str, failing: Callable[[], Any]) -> Any:
        if how in (Failure.KILLED_BEFORE, Failure.KILLED_AFTER):
            raise Killed(name)
        if how is Failure.BUG:
            raise RuntimeError(name)
        return failing()

    def _run_concurrent(self, point: str) -> None:
        if self.actions.get(point):
            self.actions[point].pop(0)()


class TappedStorage:
    """A storage port that records each call as a step of the journal."""

    def __init__(self, name: str, port: Any, journal: Journal) -> None:
        self._name, self._port, self._journal = name, port, journal

    def __getattr__(self, method: str) -> Any:
        original = getattr(self._port, method)
        if method in _NO_STEP:
            return original
        step = f"{self._name}.{method}"

        def failing() -> Any:
            raise StorageUnavailable(f"{step} failed")

        return lambda *args, **kwargs: self._journal.take(
            step, lambda: original(*args, **kwargs), failing, (*args, kwargs)
        )


class Posted(NamedTuple):
    """The subject of a POST's step."""

    request: CheckoutRequest
    ms_request_id: str


class TappedService:
    """A service port that records each call as a step of the journal, and a token before each POST."""

    def __init__(self, service: MemoryPartnerCenter, journal: Journal) -> None:
        self._service, self._journal = service, journal

    def token(self) -> str:
        def no_token() -> Any:
            raise TokenUnavailable("no token")

        token: str = self._journal.take("identity.token", self._service.token, no_token)
        return token

    def renew_token(self, refused: str) -> str | None:
        token: str | None = self._journal.take(
            "identity.renew", lambda: self._service.renew_token(refused), lambda: None
        )
        return token

    def checkout(self, request: CheckoutRequest, *, ms_request_id: str, **how: Any) -> ServiceResponse:
        return self._call(
            "checkout",
            Posted(request, ms_request_id),
            lambda: self._service.checkout(request, ms_request_id=ms_request_id, **how),
        )

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        return self._call("get_cart", request, lambda: self._service.get_cart(request))

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        return self._call("list_orders", request, lambda: self._service.list_orders(request))

    def _call(self, method: str, subject: Any, call: Callable[[], ServiceResponse]) -> ServiceResponse:
        answer: ServiceResponse = self._journal.take(
            f"service.{method}", call, lambda: ServiceResponse(None, failure="no answer: ConnectionError"), subject
        )
        return answer


def violations(
    *,
    accepted: list[CheckoutRequest],
    published: list[dict[str, Any]],
    blobs: MemoryBlobs,
    journal: Journal,
    page_of: Callable[[str], dict[str, Any]],
) -> list[str]:
    """Return the invariants that do not hold, one sentence each. `page_of`: a cart's page in the service's books."""
    records = {
        name.removesuffix(".json"): json.loads(blob.content)
        for name, blob in blobs.blobs.items()
        if name.count("/") == 1
    }
    found = list(invariants.recorded_before_published(published, records))
    found += invariants.every_entry_is_published(published, records)
    for request in accepted:
        ids, page = invariants.ids_of(request, published), page_of(request.cart_id)
        own = [event for event in published if event["id"] in ids]
        found += invariants.answered_once(request, own)
        found += invariants.bought_once(request, page.get("purchases", 0))
        found += invariants.outcome_is_true(request, own, page)
        found += invariants.one_key_at_work(request, page)
        found += _keys_only_grow(request, journal)
    found += _never_posted_again(journal)
    found += _entered_before_posted(journal)
    found += _records_only_grow(journal)
    return found


def _entered_before_posted(journal: Journal) -> Iterator[str]:
    """5: no POST without its entry in the record, under its key, by the delivery that makes it."""
    entered: dict[int, Mapping[str, str]] = {}
    for step in journal.steps:
        if step.name == "records.set_metadata" and step.answer is not None:
            entered[step.delivery] = step.subject[1]
        elif step.name == "records.write" and step.answer is not None:
            entered[step.delivery] = step.subject[-1]["metadata"]
        elif step.name == "service.checkout":
            request, sent = step.subject
            state = from_metadata(entered.pop(step.delivery, {}), NEVER)
            post, key = state.post, state.key
            if post is None or key is None or post.by != request.event_id or post.heard:
                yield f"5: {request.request_id} was posted, but what was entered was {post}"
            elif sent != ms_request_id(request.customer_id, request.cart_id, key):
                yield f"5: {request.request_id} was posted under another key than it was entered with"


def _records_only_grow(journal: Journal) -> Iterator[str]:
    """No entry is edited, and each write of a record adds one."""
    last: dict[str, list[dict[str, Any]]] = {}
    for step in journal.steps:
        if step.name != "records.write" or step.answer is None or step.subject[0].count("/") != 1:
            continue
        name, entries = step.subject[0], json.loads(step.subject[1])
        if name in last and entries[:-1] != last[name]:
            yield f"the record {name} was edited"
        last[name] = entries
        revisions = [e["data"]["revision"] for e in entries if "data" in e]
        if revisions != [number for number, e in enumerate(entries, 1) if "data" in e]:
            yield f"the entries of {name} have the revisions {revisions}"


def _keys_only_grow(request: CheckoutRequest, journal: Journal) -> Iterator[str]:
    posted = [s.subject for s in journal.steps if s.name == "service.checkout"]
    sent = [post.ms_request_id for post in posted if post.request.cart_id == request.cart_id]
    yield from invariants.keys_only_grow(request, sent)


def _never_posted_again(journal: Journal) -> Iterator[str]:
    """4: no delivery that has read a purchase in the record posts the cart."""
    recalled: dict[int, list[dict[str, Any]]] = {}
    for step in journal.steps:
        if step.name == "records.read" and isinstance(step.answer, StoredBlob) and step.subject[0].count("/") == 1:
            recalled[step.delivery] = json.loads(step.answer.content)
        if step.name == "service.checkout":
            bought = [e for e in recalled.get(step.delivery, []) if outcome_of(e) in BOUGHT]
            if bought:
                yield f"4: delivery {step.delivery} posted a cart that its record calls bought"
