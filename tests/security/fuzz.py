"""Hostile bodies and responses through the real program, a million by default: each body must be answered.

    python -m tests.security.fuzz --bodies 1000000 --seed 1       the same bodies again: the same seed
    python -m tests.security.fuzz --body 7b7d                     one body again, in hexadecimal

Each body is decoded, and its event or its deferred copy is checked. Every tenth goes through the whole program, with a
service whose responses are hostile too, and so do its copies. The cost of a step is its processor time relative to that
of parsing JSON of the same length on this machine, so that a slow machine changes nothing.
"""

import argparse
import base64
import json
import logging
import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from shared.bootstrap import bootstrap
from shared.core.jsontext import MAX_DEPTH
from shared.core.messages import LONGEST_COPY, CheckoutRequest, Delivery, InvalidMessage, decode, ms_request_id
from shared.core.models import ServiceResponse
from shared.core.outcomes import BOUGHT, Decision, Event, Outcome, decided, invalid, response_ids
from shared.core.verdict import candidates, judge, read_cart_status
from shared.ports import StorageUnavailable
from shared.settings import Settings
from shared.telemetry import LOGGER
from tests.security.mutator import Mutator
from tests.support.builders import NOW, delivery
from tests.support.memory import LONGEST_TEXT, MemoryBlobs, VirtualClock
from tests.support.verdicts import view

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
HEADER = re.compile(r"[ -~]+", re.ASCII)
TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
ADDRESS = "https://" + "a" * 24 + ".blob.core.windows.net/" + "c" * 63 + "/"
"""The longest address that a container can have."""
WHOLE_PROGRAM = 10
"""One body in so many goes through the whole program."""
MOST_WORK = 100.0
"""How much longer a step may take than parsing as much dense JSON; the slowest known one takes a sixth of that."""
_LEAST = 8_192  # bytes: below that, the cost is that of calls and not of the length
_SETTINGS = Settings("carts", "checkout-outcomes", "checkout-records", storage_connection_string="unused")


class Broken(BaseException):
    """A check failed. Not an Exception, since the program handles those itself."""


def must(holds: object, what: str) -> None:
    """Raise Broken, with the claim that does not hold."""
    if not holds:
        raise Broken(what)


class Yardstick:
    """Measures work: a step's processor time against that of parsing JSON."""

    def __init__(self, most: float = MOST_WORK, timer: Callable[[], float] = time.thread_time) -> None:
        self._most = most
        self._timer = timer
        text = "[" + '{"a":1,"b":[]},' * 600 + "[]]"
        self._per_byte = min(self._cost(lambda: json.loads(text)) for _ in range(50)) / len(text)

    def measure(self, what: str, size: int, step: Callable[[], Any]) -> Any:
        """Take a step that processes so many bytes. Raises Broken where it repeatedly takes too long."""
        started = self._timer()
        found = step()
        allowed = self._most * self._per_byte * max(size, _LEAST)
        if self._timer() - started > allowed:  # other processes may have interfered: take the best of some more
            took = min(self._cost(step) for _ in range(5))
            must(took <= allowed, f"{what}: {took / allowed * self._most:.0f} times the work of parsing {size} bytes")
        return found

    def _cost(self, step: Callable[[], Any]) -> float:
        started = self._timer()
        step()
        return self._timer() - started


# --- one body -------------------------------------------------------------------------------------------------


def examine(body: bytes, yardstick: Yardstick) -> str:
    """Decode a body, check how it is answered, and return its kind."""
    current = delivery()
    found = yardstick.measure("decode", len(body), lambda: decode(body, current))
    if isinstance(found, InvalidMessage):
        check_invalid(body, found, yardstick)
        must(decode(body, current) == found, "the same body is decoded alike twice")
        return f"invalid: {_kind_of(found)}"
    check_request(found)
    check_copy(body, found, yardstick)
    check_events(found)
    return "accepted" + (", an event" if found.causation_id else "") + (", deferred" if found.deferred else "")


def check_request(request: CheckoutRequest) -> None:
    """Check the text that goes into the URL, the headers, the record's name and the event."""
    must(GUID.fullmatch(request.customer_id), "the customer's id is a GUID")
    must(GUID.fullmatch(request.cart_id), "the cart's id is a GUID")
    must(GUID.fullmatch(request.correlation_id), "the correlation id is a GUID")
    must(GUID.fullmatch(ms_request_id(request.customer_id, request.cart_id, 0)), "the MS-RequestId is a GUID")
    must(1 <= len(request.request_id) <= 256, "the request id is 1 to 256 characters long")
    must(all(c >= " " and not "\x7f" <= c <= "\x9f" for c in request.request_id), "no control characters in an id")
    request.request_id.encode()
    must(request.traceparent is None or TRACE.fullmatch(request.traceparent), "the traceparent is one")
    upn = request.customer_user_upn
    must(upn is None or (HEADER.fullmatch(upn) and upn == upn.strip()), "the UPN is fit for a header")


def check_copy(body: bytes, request: CheckoutRequest, yardstick: Yardstick) -> None:
    """Check that a copy is the same request, and that a copy of the copy is too."""
    copy = yardstick.measure("copy", len(body), lambda: request.copy(request.retry))
    must(len(base64.b64encode(copy)) <= LONGEST_TEXT, "a copy fits a queue message")
    must(request.deferred or len(copy) <= LONGEST_COPY, "a first copy is short enough to be read again")
    if len(copy) > LONGEST_COPY:
        return
    later = Delivery("another message", 3, NOW + timedelta(days=1))
    for text in (copy, base64.b64encode(copy)):
        again = decode(text, later)
        must(isinstance(again, CheckoutRequest), f"a copy is a request: {again}")
        assert isinstance(again, CheckoutRequest)
        must(again.deferred, "a copy is recognized as one")
        must(again.retry == replace_started(request), "a copy has the retry state")
        expected = replace(request, retry=again.retry, deferred=True, raw_fields={}, raw_envelope=None)
        must(replace(again, raw_fields={}, raw_envelope=None) == expected, "a copy decodes to the same request")
        must(again.event_id == request.event_id, "a copy has the same event id")
        must(again.copy(again.retry) == copy, "a copy of a copy is the same text")


def replace_started(request: CheckoutRequest) -> Any:
    """The retry state as its copy must have it, with the start pinned."""
    return type(request.retry)(**{**_asdict(request.retry), "started_at": request.started_at})


def _asdict(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def check_events(request: CheckoutRequest) -> None:
    """Check that its events are JSON and fit a queue message, if need be without their data."""
    earlier = decided(request, Decision(Outcome.FAILED, 1), NOW)
    for outcome in (Outcome.COMPLETED, Outcome.UNKNOWN):
        check_event(decided(request, Decision(outcome, 1, result='{"orders":[]}'), NOW, corrects=(earlier,)))


def check_event(event: Event) -> dict[str, Any]:
    """Check that an event is JSON, fits a queue message and can be parsed again. Returns its tree."""
    if event.too_large:
        _is_json(event.data or "")
        event = event.claim_check(f"{ADDRESS}{'0' * 36}/{'0' * 36}/{event.id}.{'0' * 16}.data.json")
    must(len(base64.b64encode(event.text.encode())) <= LONGEST_TEXT, "an event fits a queue message")
    tree = _is_json(event.text)
    must(tree["id"] == event.id, "an event says its id")
    must(GUID.fullmatch(event.id), "an event's id is a UUID")
    must(tree["type"].endswith(f".{event.outcome}"), "an event says its outcome")
    must(Event.parse(event.text) == event, "an event is read as it was written")
    return dict(tree)


def check_invalid(body: bytes, message: InvalidMessage, yardstick: Yardstick) -> None:
    """Check the event of an invalid message: it names the path of the fault, but not the value there."""
    event = yardstick.measure("invalid", len(body), lambda: invalid(message))
    must(not event.too_large, "the outcome of an invalid message is short")
    tree = check_event(event)
    must(invalid(message).text == event.text, "the same bytes have the same event")
    data = tree["data"]
    must(body.startswith(base64.b64decode(data["body"])), "it repeats the body's beginning")
    must(data["error"]["path"].startswith("$") and len(data["error"]["path"]) <= 100, "it names a path")
    must(data["outcome"] == "invalid", "an invalid message has an outcome of its own")
    must(data.get("deferred", False) is message.deferred, "it says whether the message is a copy of ours")
    bought = "Nothing was bought" not in data["error"]["advice"]
    must(bought is message.deferred, "it is silent on whether a copy was bought")
    for name in ("customerId", "cartId"):
        must(name not in data or GUID.fullmatch(data[name]), f"its {name}, where it is published, is a GUID")


def _kind_of(message: InvalidMessage) -> str:
    for word in ("base64", "key once", "one of", "GUID", "nesting", "UTF-8", "bytes, not", "CloudEvents", "surrogates"):
        if word in message.expected:
            return word
    return "JSON" if message.expected.startswith("JSON") else "a member"


def _is_json(text: str) -> Any:
    try:
        text.encode()
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise Broken(f"it is JSON: {type(error).__name__}") from None


def _no_json(word: str) -> None:
    raise ValueError(word)


# --- one response of the service ------------------------------------------------------------------------------


def examine_answer(answer: ServiceResponse, request: CheckoutRequest, yardstick: Yardstick) -> str:
    """Judge a response, check its event, and return the verdict's kind."""
    size = len(answer.body)
    verdict = view(yardstick.measure("judge", size, lambda: judge(answer)))
    orders = _orders(answer)
    if any(isinstance(order, dict) and isinstance(order.get("id"), str) for order in orders):
        must(verdict.kind in BOUGHT, f"a response with orders is never {verdict.kind}")
    elif orders:
        must(verdict.kind in {*BOUGHT, "retry"}, f"a response with something in its orders is never {verdict.kind}")
    if verdict.kind in BOUGHT:
        text = answer.body.decode("utf-8-sig")
        must(verdict.result in (text, f'{{"orders":[{text.strip()}]}}'), "the result is passed on as it came")
    must(verdict.error is not None or verdict.kind == "completed", "what is not completed has its error")
    yardstick.measure("cart status", size, lambda: read_cart_status(answer))
    ids = yardstick.measure("candidates", size, lambda: candidates(answer, answer, NOW))
    must(all(isinstance(each, str) and each for each in ids), "the ids of orders are texts")
    said = response_ids(answer, ms_request_id(request.customer_id, request.cart_id, 0), request.cart_id)
    found = Decision(Outcome.UNKNOWN, 1, verdict.result, verdict.error, said)
    check_event(decided(request, found, NOW))
    return f"response: {verdict.kind}"


def _orders(answer: ServiceResponse) -> list[Any]:
    """The orders in a 2xx, read by another parser than the program's."""
    if answer.status is None or not 200 <= answer.status < 300:
        return []
    try:
        tree = json.loads(answer.body.decode("utf-8-sig"), parse_int=str, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return []
    orders = tree.get("orders") if isinstance(tree, dict) else None
    return orders if isinstance(orders, list) and _depth(answer.body) <= MAX_DEPTH else []


def _depth(body: bytes) -> int:
    """How deep a JSON text goes, including the values that a duplicate key overwrites."""
    deepest = depth = 0
    for bracket in re.findall(rb"[\[\]{}]", re.sub(rb'"(?:[^"\\]|\\.)*+"', b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


# --- the whole program -----------------------------------------------------------------------------------------


class Deployment:
    """The whole program, with a service that returns the responses of the mutator, and storage that sometimes fails."""

    def __init__(self, mutator: Mutator, yardstick: Yardstick, rng: random.Random, counts: Counter[str]) -> None:
        self._mutator, self._yardstick, self._random, self._counts = mutator, yardstick, rng, counts
        self._clock = VirtualClock(NOW)
        self._sent: dict[str, list[tuple[str, float]]] = {}
        self._container = MemoryBlobs(self._clock)
        self.answers: list[ServiceResponse] = []
        self._checkout = bootstrap(
            _SETTINGS,
            partner_center=self,
            queue=self._queue,
            blobs=_Failing(self, self._container),
            clock=self._clock,
            monotonic=self._clock.epoch,
            uniform=rng.uniform,
        )

    def _queue(self, name: str) -> "_Sender":
        return _Sender(self, self._sent.setdefault(name, []), may_fail=name == _SETTINGS.outcomes_queue)

    def handle(self, body: bytes) -> None:
        """Deliver a body, and for some rounds its deferred copies."""
        self._clock.advance(3600.0)
        self.answers.clear()
        self._container.blobs.clear()
        waiting = [(body, self._random.random() < 0.1)]
        for number in range(6):
            following: list[tuple[bytes, bool]] = []
            for text, last in waiting:
                started = self._clock.now - timedelta(days=self._random.choice((0, 0, 0, 6)))
                current = Delivery(f"m-{number}", self._random.choice((1, 1, 1, 2, 4)), started, last)
                self._checkout.handle(text, current)
                following += [
                    (_bytes(sent), name == _SETTINGS.poison_queue) for name, sent in self._take(text, current)
                ]
            waiting = following

    def _take(self, text: bytes, delivery: Delivery) -> Iterator[tuple[str, str]]:
        """Yield the deferred copies, and check the published events against the record."""
        for name, messages in self._sent.items():
            for sent, delay in messages:
                if name == _SETTINGS.outcomes_queue:
                    self._check_published(sent)
                else:
                    must(0 <= delay <= 86_400, f"a delay of {delay} s")
                    self._check_deferred(text, sent, delivery)
                    self._clock.advance(delay / 4)
                    yield name, sent
            messages.clear()

    def _check_published(self, sent: str) -> None:
        tree = _is_json(base64.b64decode(sent, validate=True).decode())
        kind = tree["type"].rpartition(".")[2]
        self._counts[f"published: {kind}"] += 1
        if "time" not in tree:  # an invalid message has no record
            return
        _, customer, _, cart = tree["subject"].split("/")
        record = _is_json(self._container.blobs[f"{customer}/{cart}.json"][0].decode())
        must(tree in record, "a published event is recorded unchanged")
        if "dataref" in tree:
            self._counts["published with a dataref"] += 1
            _is_json(self._container.blobs[tree["dataref"].removeprefix("memory://records/")][0].decode())

    def _check_deferred(self, text: bytes, sent: str, delivery: Delivery) -> None:
        before, after = (decode(each, delivery) for each in (text, _bytes(sent)))
        self._counts["deferred"] += 1
        if isinstance(before, InvalidMessage):
            must(_bytes(sent) == text, "an invalid message is deferred unchanged")
        elif isinstance(after, InvalidMessage):
            must(before.deferred and len(base64.b64decode(sent)) > LONGEST_COPY, f"a copy is a request: {after}")
        else:
            must(after.event_id == before.event_id, "a copy has the same event id")

    # --- the service: PartnerCenterApi ---

    def token(self) -> str:
        """See `PartnerCenterApi.token`."""
        return "token"

    def renew_token(self, refused: str) -> str | None:
        """See `PartnerCenterApi.renew_token`."""
        return f"{refused}, renewed" if self._random.random() < 0.5 else None

    def checkout(
        self, request: CheckoutRequest, *, ms_request_id: str, token: str, may_begin: Callable[[], bool]
    ) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`."""
        must(GUID.fullmatch(ms_request_id), "the MS-RequestId is a GUID")
        must(token.startswith("token"), "a POST has a token")
        return self._answer(request) if may_begin() else ServiceResponse(None, failure="not sent", sent=False)

    def get_order(self, customer_id: str, order_id: str) -> ServiceResponse:
        """See `PartnerCenterApi.get_order`."""
        raise AssertionError(f"the order {order_id} of {customer_id} is not asked for")

    def get_cart(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.get_cart`."""
        return self._answer(request)

    def list_orders(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.list_orders`."""
        return self._answer(request)

    def _answer(self, request: CheckoutRequest) -> ServiceResponse:
        check_request(request)
        answer = self._mutator.answer()
        self.answers.append(answer)
        self._counts[examine_answer(answer, request, self._yardstick)] += 1
        return answer

    def fails(self) -> bool:
        """Whether storage fails now."""
        return self._random.random() < 0.03


class _Sender:
    """A queue that stores what is sent. The outcomes queue sometimes fails, the others never do."""

    def __init__(self, deployment: Deployment, sent: list[tuple[str, float]], *, may_fail: bool) -> None:
        self._deployment, self._sent, self._may_fail = deployment, sent, may_fail

    def send(self, text: str, delay: float = 0.0) -> None:
        """See `Queue.send`."""
        must(len(_bytes(text)) <= LONGEST_TEXT, "what is sent fits a queue message")
        if self._may_fail and self._deployment.fails():
            raise StorageUnavailable("the outcomes queue is unavailable")
        self._sent.append((text, delay))


class _Failing:
    """Blobs that sometimes fail."""

    def __init__(self, deployment: Deployment, blobs: MemoryBlobs) -> None:
        self._deployment, self._blobs = deployment, blobs

    def __getattr__(self, method: str) -> Any:
        if method != "url" and self._deployment.fails():
            raise StorageUnavailable("the records are unavailable")
        return getattr(self._blobs, method)


class Lines(logging.Handler):
    """Checks what the program logs of hostile messages: one line of JSON, and no unexpected exception."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        line = record.getMessage()
        must(line.isprintable() and line.isascii() and len(line) < 8_000, "a log line is one short printable line")
        facts = _is_json(line)
        if facts.get("exception") == Broken.__name__:  # on its way up already
            return
        must(
            facts.get("exception", "StorageUnavailable") == "StorageUnavailable", f"expected: {facts.get('exception')}"
        )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- a run ----------------------------------------------------------------------------------------------------


class Fuzz:
    """A seeded run. `counts`: the bodies and responses by their results."""

    def __init__(self, seed: int, yardstick: Yardstick | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.body = b""
        self._mutator = Mutator(seed)
        self._yardstick = yardstick or Yardstick()
        self.deployment = Deployment(self._mutator, self._yardstick, random.Random(seed), self.counts)

    def run(self, bodies: int) -> Iterator[int]:
        """Try so many bodies, and yield the number of each. Raises at the first that fails a check."""
        with _listening():
            for number in range(1, bodies + 1):
                self.body = self._mutator.body()
                self.examine(self.body, whole_program=number % WHOLE_PROGRAM == 0)
                yield number

    def examine(self, body: bytes, *, whole_program: bool) -> None:
        """Try one body."""
        self.counts[examine(body, self._yardstick)] += 1
        if whole_program and len(body) <= LONGEST_TEXT:
            self.deployment.handle(body)


@contextmanager
def _listening() -> Iterator[None]:
    lines, propagate, level = Lines(), LOGGER.propagate, LOGGER.level
    LOGGER.addHandler(lines)
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(lines)
        LOGGER.propagate = propagate
        LOGGER.setLevel(level)


def main(arguments: list[str] | None = None) -> int:
    """Run and report. Returns 1 where a check failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description="Hostile bodies, seeded.")
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--body", type=bytes.fromhex, help="one body in hexadecimal, and no other")
    options = parser.parse_args(arguments)
    fuzz, started = Fuzz(options.seed), time.monotonic()
    try:
        if options.body is not None:
            fuzz.body = options.body
            with _listening():
                fuzz.examine(options.body, whole_program=True)
        else:
            for number in fuzz.run(options.bodies):
                if number % 5_000 == 0 or number == options.bodies:
                    rate = number / max(time.monotonic() - started, 1e-9)
                    sys.stderr.write(f"\r{number:,} of {options.bodies:,} bodies, {rate:,.0f} a second ")
    except BaseException as broken:
        if isinstance(broken, KeyboardInterrupt):
            raise
        _report(fuzz, options.seed, broken)
        return 1
    sys.stderr.write("\n")
    for kind, count in sorted(fuzz.counts.items()):
        sys.stdout.write(f"{count:>12,}  {kind}\n")
    sys.stdout.write(f"Nothing broke: seed {options.seed}, {time.monotonic() - started:.0f} s.\n")
    return 0


def _report(fuzz: Fuzz, seed: int, broken: BaseException) -> None:
    traceback.print_exception(broken)
    sys.stdout.write(f"Broken, with seed {seed}: {broken!r}\nThe body, in hexadecimal:\n{fuzz.body.hex()}\n")
    for answer in fuzz.deployment.answers[-3:]:
        sys.stdout.write(f"The service had responded {answer.status}, in hexadecimal:\n{answer.body.hex()}\n")


if __name__ == "__main__":
    sys.exit(main())
