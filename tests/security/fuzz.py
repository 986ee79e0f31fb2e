"""Hostile bodies and answers through the real program, a million if asked: whatever comes, it must be answered.

    python -m tests.security.fuzz --bodies 1000000 --seed 1       the same bodies again: the same seed
    python -m tests.security.fuzz --body 7b7d                     one body again, in hexadecimal

Each body is decoded, and what it is told as, or sent to wait as, is checked. Every tenth goes the whole way, to a
service that answers as hostilely, and its copies after it. What a step costs is measured as work: by its processor
time against that of parsing JSON of the same length here and now, so that a slow machine changes nothing.
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
from shared.core.messages import LONGEST_COPY, CheckoutRequest, Delivery, InvalidMessage, decode
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
WHOLE_WAY = 10
"""One body in so many goes through the whole program."""
MOST_WORK = 100.0
"""How much longer a step may take than parsing as much dense JSON; the worst honest one takes a sixth of that."""
_LEAST = 8_192  # bytes: what is shorter costs calls, not its length
_SETTINGS = Settings("carts", "checkout-outcomes", "checkout-records", storage_connection_string="unused")


class Broken(BaseException):
    """Something that must hold does not. No Exception, since the program answers those itself."""


def must(holds: object, what: str) -> None:
    """Raise Broken, with what must have held."""
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
        """Take a step that deals with so many bytes; Broken where it works too long, and again and again so."""
        began = self._timer()
        found = step()
        allowed = self._most * self._per_byte * max(size, _LEAST)
        if self._timer() - began > allowed:  # or something else was at work: the best of some more tells
            took = min(self._cost(step) for _ in range(5))
            must(took <= allowed, f"{what}: {took / allowed * self._most:.0f} times the work of parsing {size} bytes")
        return found

    def _cost(self, step: Callable[[], Any]) -> float:
        began = self._timer()
        step()
        return self._timer() - began


# --- one body -------------------------------------------------------------------------------------------------


def examine(body: bytes, yardstick: Yardstick) -> str:
    """Decode a body and check what it is answered with; returns what kind of body it is."""
    here = delivery()
    found = yardstick.measure("decode", len(body), lambda: decode(body, here))
    if isinstance(found, InvalidMessage):
        check_invalid(body, found, yardstick)
        must(decode(body, here) == found, "the same body is read alike twice")
        return f"invalid: {_kind_of(found)}"
    check_request(found)
    check_copy(body, found, yardstick)
    check_events(found)
    return "accepted" + (", an event" if found.causation_id else "") + (", deferred" if found.deferred else "")


def check_request(request: CheckoutRequest) -> None:
    """Nothing but checked text goes to the URL, the headers, the record's name or the event."""
    must(GUID.fullmatch(request.customer_id), "the customer's id is a GUID")
    must(GUID.fullmatch(request.cart_id), "the cart's id is a GUID")
    must(GUID.fullmatch(request.correlation_id), "the correlation id is a GUID")
    must(GUID.fullmatch(request.ms_request_id), "the MS-RequestId is a GUID")
    must(1 <= len(request.request_id) <= 256, "the request id is 1 to 256 characters long")
    must(all(c >= " " and not "\x7f" <= c <= "\x9f" for c in request.request_id), "no control characters in an id")
    request.request_id.encode()
    must(request.traceparent is None or TRACE.fullmatch(request.traceparent), "the traceparent is one")
    upn = request.customer_user_upn
    must(upn is None or (HEADER.fullmatch(upn) and upn == upn.strip()), "the UPN is fit for a header")


def check_copy(body: bytes, request: CheckoutRequest, yardstick: Yardstick) -> None:
    """A copy says the same request, and a copy of the copy too."""
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
        must(again.deferred, "a copy is known as one")
        must(again.retry == replace_started(request), "a copy remembers")
        expected = replace(request, retry=again.retry, deferred=True, raw_fields={}, raw_envelope=None)
        must(replace(again, raw_fields={}, raw_envelope=None) == expected, "a copy decodes to the same request")
        must(again.event_id == request.event_id, "a copy is told under the same id")
        must(again.copy(again.retry) == copy, "a copy of a copy is the same text")


def replace_started(request: CheckoutRequest) -> Any:
    """The request's memory as its copy must have it: when it began is pinned."""
    return type(request.retry)(**{**_asdict(request.retry), "started_at": request.started_at})


def _asdict(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def check_events(request: CheckoutRequest) -> None:
    """What it can be told as is JSON, and fits a queue message, if need be without its data."""
    for outcome in (Outcome.COMPLETED, Outcome.UNKNOWN):
        check_event(decided(request, Decision(outcome, 1, result='{"orders":[]}'), NOW, corrects=request.event_id))


def check_event(event: Event) -> dict[str, Any]:
    """An event is JSON, fits a queue message, and is read again as what it is. Returns its tree."""
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
    """What is no request is told, and says where it failed without saying what stood there."""
    event = yardstick.measure("invalid", len(body), lambda: invalid(message))
    must(not event.too_large, "the outcome of an invalid message is short")
    tree = check_event(event)
    must(invalid(message).text == event.text, "the same bytes are told alike")
    data = tree["data"]
    must(body.startswith(base64.b64decode(data["body"])), "it repeats the body's beginning")
    must(data["error"]["path"].startswith("$") and len(data["error"]["path"]) <= 100, "it names a path")
    must(data["outcome"] == ("unknown" if message.deferred else "failed"), "a copy is never told as failed")
    for name in ("customerId", "cartId"):
        must(name not in data or GUID.fullmatch(data[name]), f"its {name}, where it is told, is a GUID")


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


# --- one answer of the service --------------------------------------------------------------------------------


def examine_answer(answer: ServiceResponse, request: CheckoutRequest, yardstick: Yardstick) -> str:
    """Judge an answer and check what is told of it; returns the verdict's kind."""
    size = len(answer.body)
    verdict = view(yardstick.measure("judge", size, lambda: judge(answer)))
    if _has_orders(answer):
        must(verdict.kind in BOUGHT, f"an answer with orders is never {verdict.kind}")
    if verdict.kind in BOUGHT:
        must(verdict.result == answer.body.decode("utf-8-sig"), "the result is passed on as it came")
    must(verdict.error is not None or verdict.kind == "completed", "what is not completed has its error")
    yardstick.measure("standing", size, lambda: read_cart_status(answer))
    ids = yardstick.measure("candidates", size, lambda: candidates(answer, answer, NOW))
    must(all(isinstance(each, str) and each for each in ids), "the ids of orders are texts")
    found = Decision(
        Outcome.UNKNOWN, 1, verdict.result, verdict.error, response_ids(answer, request.ms_request_id, request.cart_id)
    )
    check_event(decided(request, found, NOW))
    return f"answer: {verdict.kind}"


def _has_orders(answer: ServiceResponse) -> bool:
    """Whether a 2xx holds orders, read by another parser than the program's."""
    if answer.status is None or not 200 <= answer.status < 300:
        return False
    try:
        tree = json.loads(answer.body.decode("utf-8-sig"), parse_int=str, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return False
    orders = tree.get("orders") if isinstance(tree, dict) else None
    return isinstance(orders, list) and orders != [] and _depth(answer.body) <= MAX_DEPTH


def _depth(body: bytes) -> int:
    """How deep a JSON text goes, what a repeated key has hidden included."""
    deepest = depth = 0
    for bracket in re.findall(rb"[\[\]{}]", re.sub(rb'"(?:[^"\\]|\\.)*+"', b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


# --- the whole way --------------------------------------------------------------------------------------------


class Deployment:
    """The whole program, with a service that answers what the mutator makes, and storage that fails at times."""

    def __init__(self, mutator: Mutator, yardstick: Yardstick, rng: random.Random, counts: Counter[str]) -> None:
        self._mutator, self._yardstick, self._dice, self._counts = mutator, yardstick, rng, counts
        self._clock = VirtualClock(NOW)
        self._sent: dict[str, list[tuple[str, float]]] = {}
        self._container = MemoryBlobs()
        self.answers: list[ServiceResponse] = []
        self._checkout = bootstrap(
            _SETTINGS,
            partner_center=self,
            queue=self._queue,
            blobs=_Failing(self, self._container),
            clock=self._clock,
            uniform=rng.uniform,
        )

    def _queue(self, name: str) -> "_Sender":
        return _Sender(self, self._sent.setdefault(name, []), may_fail=name == _SETTINGS.outcomes_queue)

    def handle(self, body: bytes) -> None:
        """Deliver a body, and what is sent to wait after it, some rounds long."""
        self._clock.advance(3600.0)
        self.answers.clear()
        self._container.blobs.clear()
        waiting = [(body, self._dice.random() < 0.1)]
        for number in range(6):
            following: list[tuple[bytes, bool]] = []
            for text, last in waiting:
                began = self._clock.now - timedelta(days=self._dice.choice((0, 0, 0, 6)))
                here = Delivery(f"m-{number}", self._dice.choice((1, 1, 1, 2, 4)), began, last)
                self._checkout.handle(text, here)
                following += [(_bytes(sent), name == _SETTINGS.poison_queue) for name, sent in self._take(text, here)]
            waiting = following

    def _take(self, text: bytes, delivery: Delivery) -> Iterator[tuple[str, str]]:
        """What was sent to wait; what was told is checked against the record."""
        for name, messages in self._sent.items():
            for sent, delay in messages:
                if name == _SETTINGS.outcomes_queue:
                    self._check_told(sent)
                else:
                    must(0 <= delay <= 86_400, f"a delay of {delay} s")
                    self._check_waits(text, sent, delivery)
                    self._clock.advance(delay / 4)
                    yield name, sent
            messages.clear()

    def _check_told(self, sent: str) -> None:
        tree = _is_json(base64.b64decode(sent, validate=True).decode())
        kind = tree["type"].rpartition(".")[2]
        self._counts[f"told: {kind}"] += 1
        if "time" not in tree:  # an invalid message has no record
            return
        _, customer, _, cart = tree["subject"].split("/")
        record = _is_json(self._container.blobs[f"{customer}/{cart}.json"][0].decode())
        must(tree in record, "what is told is kept, as it is told")
        if "dataref" in tree:
            self._counts["told with a dataref"] += 1
            _is_json(self._container.blobs[tree["dataref"].removeprefix("memory://records/")][0].decode())

    def _check_waits(self, text: bytes, sent: str, delivery: Delivery) -> None:
        before, after = (decode(each, delivery) for each in (text, _bytes(sent)))
        self._counts["sent to wait"] += 1
        if isinstance(before, InvalidMessage):
            must(_bytes(sent) == text, "what is no request goes back as it came")
        elif isinstance(after, InvalidMessage):
            must(before.deferred and len(base64.b64decode(sent)) > LONGEST_COPY, f"a copy is a request: {after}")
        else:
            must(after.event_id == before.event_id, "a copy is told under the same id")

    # --- the service: PartnerCenterApi ---

    def checkout(self, request: CheckoutRequest) -> ServiceResponse:
        """See `PartnerCenterApi.checkout`."""
        return self._answer(request)

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
        return self._dice.random() < 0.03


class _Sender:
    """A queue that keeps what is sent; the outcomes queue fails at times, the others take every copy."""

    def __init__(self, deployment: Deployment, sent: list[tuple[str, float]], *, may_fail: bool) -> None:
        self._deployment, self._sent, self._may_fail = deployment, sent, may_fail

    def send(self, text: str, delay: float = 0.0) -> None:
        """See `Queue.send`."""
        must(len(_bytes(text)) <= LONGEST_TEXT, "what is sent fits a queue message")
        if self._may_fail and self._deployment.fails():
            raise StorageUnavailable("the outcomes queue is away")
        self._sent.append((text, delay))


class _Failing:
    """Blobs that fail at times."""

    def __init__(self, deployment: Deployment, blobs: MemoryBlobs) -> None:
        self._deployment, self._blobs = deployment, blobs

    def __getattr__(self, method: str) -> Any:
        if method != "url" and self._deployment.fails():
            raise StorageUnavailable("the records are away")
        return getattr(self._blobs, method)


class Lines(logging.Handler):
    """Checks what the program logs of hostile messages: one line of JSON, and no exception that nobody foresaw."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        line = record.getMessage()
        must(line.isprintable() and line.isascii() and len(line) < 8_000, "a log line is one short printable line")
        facts = _is_json(line)
        if facts.get("exception") == Broken.__name__:  # on its way up already
            return
        must(
            facts.get("exception", "StorageUnavailable") == "StorageUnavailable", f"foreseen: {facts.get('exception')}"
        )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- a run ----------------------------------------------------------------------------------------------------


class Fuzz:
    """A seeded run. `counts`: how many bodies and answers came to what end."""

    def __init__(self, seed: int, yardstick: Yardstick | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.body = b""
        self._mutator = Mutator(seed)
        self._yardstick = yardstick or Yardstick()
        self.deployment = Deployment(self._mutator, self._yardstick, random.Random(seed), self.counts)

    def run(self, bodies: int) -> Iterator[int]:
        """Try so many bodies, and yield the number of each; raises at the first that breaks something."""
        with _listening():
            for number in range(1, bodies + 1):
                self.body = self._mutator.body()
                self.examine(self.body, whole_way=number % WHOLE_WAY == 0)
                yield number

    def examine(self, body: bytes, *, whole_way: bool) -> None:
        """Try one body."""
        self.counts[examine(body, self._yardstick)] += 1
        if whole_way and len(body) <= LONGEST_TEXT:
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
    """Run, and say what came of it; 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description="Hostile bodies, seeded.")
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--body", type=bytes.fromhex, help="one body in hexadecimal, and no other")
    chosen = parser.parse_args(arguments)
    fuzz, began = Fuzz(chosen.seed), time.monotonic()
    try:
        if chosen.body is not None:
            fuzz.body = chosen.body
            with _listening():
                fuzz.examine(chosen.body, whole_way=True)
        else:
            for number in fuzz.run(chosen.bodies):
                if number % 5_000 == 0 or number == chosen.bodies:
                    rate = number / max(time.monotonic() - began, 1e-9)
                    sys.stderr.write(f"\r{number:,} of {chosen.bodies:,} bodies, {rate:,.0f} a second ")
    except BaseException as broken:
        if isinstance(broken, KeyboardInterrupt):
            raise
        _report(fuzz, chosen.seed, broken)
        return 1
    sys.stderr.write("\n")
    for kind, count in sorted(fuzz.counts.items()):
        sys.stdout.write(f"{count:>12,}  {kind}\n")
    sys.stdout.write(f"Nothing broke: seed {chosen.seed}, {time.monotonic() - began:.0f} s.\n")
    return 0


def _report(fuzz: Fuzz, seed: int, broken: BaseException) -> None:
    traceback.print_exception(broken)
    sys.stdout.write(f"Broken, with seed {seed}: {broken!r}\nThe body, in hexadecimal:\n{fuzz.body.hex()}\n")
    for answer in fuzz.deployment.answers[-3:]:
        sys.stdout.write(f"The service had answered {answer.status}, in hexadecimal:\n{answer.body.hex()}\n")


if __name__ == "__main__":
    sys.exit(main())
