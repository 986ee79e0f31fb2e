"""The REST API of Queue Storage as far as the SDK clients use it: queues; put, get, peek, update, delete and clear.

Every operation takes constant or logarithmic time, so the length of a backlog does not matter. Not implemented:
authentication, metadata, and the expiry of messages.
"""

from __future__ import annotations

import heapq
import re
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from html import unescape
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.stub.http_server import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER_EXPIRES = "Fri, 31 Dec 9999 23:59:59 GMT"
MAX_TEXT_BYTES = 64 * 1024
_TEXT = re.compile(rb"<MessageText>(.*?)</MessageText>|<MessageText ?/>", re.DOTALL)
_XML = {"Content-Type": "application/xml", "x-ms-version": "2021-12-02"}


@dataclass(slots=True)
class StubMessage:
    """A message; times are in epoch seconds."""

    id: str
    text: str
    inserted_at: float
    visible_at: float
    dequeue_count: int = 0
    receipt: str = ""


@dataclass(slots=True)
class StubQueue:
    """One queue: visible messages in `ready`, delayed and leased ones in `hidden`."""

    ready: deque[StubMessage] = field(default_factory=deque)
    hidden: list[tuple[float, int, StubMessage]] = field(default_factory=list)
    messages: dict[str, StubMessage] = field(default_factory=dict)
    before_get: Callable[[], None] | None = None
    _count: int = 0

    def put(self, text: str, delay: float = 0.0) -> StubMessage:
        """Enqueue a text, visible after `delay` seconds."""
        now = time.time()
        message = StubMessage(str(uuid.UUID(int=self._next() | 1 << 127)), text, now, now + delay)
        self.messages[message.id] = message
        if delay > 0:
            self._hide(message)
        else:
            self.ready.append(message)
        return message

    def get(self, most: int, lease: float) -> list[StubMessage]:
        """Lease up to `most` messages for `lease` seconds."""
        if self.before_get is not None:
            self.before_get()
        self._reveal()
        now = time.time()
        leased: list[StubMessage] = []
        while self.ready and len(leased) < most:
            message = self.ready.popleft()
            if self.messages.get(message.id) is not message or message.visible_at > now:
                continue  # deleted or hidden meanwhile
            message.dequeue_count += 1
            self.renew(message, lease)
            leased.append(message)
        return leased

    def peek(self, most: int) -> list[StubMessage]:
        """The first visible messages, at most `most`; they stay visible."""
        self._reveal()
        return [message for message in self.ready if message.id in self.messages][:most]

    def renew(self, message: StubMessage, delay: float) -> None:
        """Hide a message for `delay` seconds and give it a new pop receipt."""
        message.visible_at = time.time() + delay
        message.receipt = f"{self._next():x}"
        if delay > 0:
            self._hide(message)
        else:
            self.ready.append(message)

    def clear(self) -> None:
        """Delete all messages."""
        self.ready.clear()
        self.hidden.clear()
        self.messages.clear()

    def _hide(self, message: StubMessage) -> None:
        heapq.heappush(self.hidden, (message.visible_at, self._next(), message))

    def _reveal(self) -> None:
        now = time.time()
        while self.hidden and self.hidden[0][0] <= now:
            at, _, message = heapq.heappop(self.hidden)
            if self.messages.get(message.id) is message and message.visible_at == at:
                self.ready.append(message)

    def _next(self) -> int:
        self._count += 1
        return self._count


class QueueService:
    """All queues of the account; `answer` is the HTTP handler."""

    def __init__(self) -> None:
        self.queues: dict[str, StubQueue] = {}

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request to `/account/...`."""
        _, _, path = request.path.lstrip("/").partition("/")
        name, _, rest = path.partition("/")
        if not name:
            return self._list() if request.query.get("comp") == "list" else fault(400, "InvalidUri")
        if not rest:
            return self._manage(request, name)
        queue = self.queues.get(name)
        if queue is None:
            return fault(404, "QueueNotFound")
        if rest.startswith("messages/"):
            return self._update_or_delete(request, queue, rest.removeprefix("messages/"))
        match request.method:
            case "POST":
                return self._put(request, queue)
            case "GET":
                return self._get(request, queue)
            case "DELETE":
                queue.clear()
                return HttpResponse(204)
        return fault(405, "UnsupportedHttpVerb")

    def _manage(self, request: HttpRequest, name: str) -> HttpResponse:
        queue = self.queues.get(name)
        if request.method == "PUT":
            self.queues.setdefault(name, StubQueue())
            return HttpResponse(201 if queue is None else 204)
        if queue is None:
            return fault(404, "QueueNotFound")
        if request.method == "DELETE":
            del self.queues[name]
            return HttpResponse(204)
        return HttpResponse(200, headers={"x-ms-approximate-messages-count": str(len(queue.messages))})

    def _list(self) -> HttpResponse:
        listed = "".join(f"<Queue><Name>{name}</Name></Queue>" for name in sorted(self.queues))
        return _xml(200, f"<EnumerationResults><Queues>{listed}</Queues><NextMarker /></EnumerationResults>")

    def _put(self, request: HttpRequest, queue: StubQueue) -> HttpResponse:
        text = text_of(request.body)
        if text is None:
            return fault(400, "InvalidXmlDocument")
        if len(text.encode()) > MAX_TEXT_BYTES:
            return fault(413, "RequestBodyTooLarge")
        message = queue.put(text, float(request.query.get("visibilitytimeout", "0")))
        message.receipt = f"put-{message.id}"
        return _messages(201, [message], _sent)

    def _get(self, request: HttpRequest, queue: StubQueue) -> HttpResponse:
        most = int(request.query.get("numofmessages", "1"))
        if request.query.get("peekonly") == "true":
            return _messages(200, queue.peek(most), _peeked)
        return _messages(200, queue.get(most, float(request.query.get("visibilitytimeout", "30"))), _received)

    def _update_or_delete(self, request: HttpRequest, queue: StubQueue, message_id: str) -> HttpResponse:
        message = queue.messages.get(message_id)
        if message is None:
            return fault(404, "MessageNotFound")
        if message.receipt != request.query.get("popreceipt"):
            return fault(400, "PopReceiptMismatch")
        if request.method == "DELETE":
            del queue.messages[message_id]
            return HttpResponse(204)
        if request.method != "PUT":
            return fault(405, "UnsupportedHttpVerb")
        if request.body and (text := text_of(request.body)) is not None:
            message.text = text
        queue.renew(message, float(request.query.get("visibilitytimeout", "0")))
        headers = {"x-ms-popreceipt": message.receipt, "x-ms-time-next-visible": _date(message.visible_at)}
        return HttpResponse(204, headers=headers)


def fault(status: int, code: str) -> HttpResponse:
    """An error response of Azure Storage: the code in a header and in XML."""
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return HttpResponse(status, text.encode(), {**_XML, "x-ms-error-code": code})


def text_of(body: bytes) -> str | None:
    """The text of a QueueMessage; None where the body has none."""
    found = _TEXT.search(body)
    return None if found is None else unescape((found[1] or b"").decode())


def _messages(status: int, messages: list[StubMessage], write: Callable[[StubMessage], str]) -> HttpResponse:
    listed = "".join(f"<QueueMessage>{write(message)}</QueueMessage>" for message in messages)
    return _xml(status, f"<QueueMessagesList>{listed}</QueueMessagesList>")


def _xml(status: int, text: str) -> HttpResponse:
    return HttpResponse(status, f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(), dict(_XML))


def _head(message: StubMessage) -> str:
    return (
        f"<MessageId>{message.id}</MessageId><InsertionTime>{_date(message.inserted_at)}</InsertionTime>"
        f"<ExpirationTime>{NEVER_EXPIRES}</ExpirationTime>"
    )


def _sent(message: StubMessage) -> str:
    visible = _date(message.visible_at)
    return f"{_head(message)}<PopReceipt>{message.receipt}</PopReceipt><TimeNextVisible>{visible}</TimeNextVisible>"


def _received(message: StubMessage) -> str:
    text = escape(message.text, {"\r": "&#13;"})
    return f"{_sent(message)}<DequeueCount>{message.dequeue_count}</DequeueCount><MessageText>{text}</MessageText>"


def _peeked(message: StubMessage) -> str:
    text = escape(message.text)
    return f"{_head(message)}<DequeueCount>{message.dequeue_count}</DequeueCount><MessageText>{text}</MessageText>"


def _date(at: float) -> str:
    return formatdate(at, usegmt=True)
