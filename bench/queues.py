"""Queue Storage on the wire, as far as its clients use it: put, get, peek, update, delete, clear, and the queues.

Every operation takes constant or logarithmic time, so a backlog of 20,000 costs what one of 100 does. Of the
real service it leaves out authentication, metadata, and the end of a message's life.
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

from bench.wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

FOR_EVER = "Fri, 31 Dec 9999 23:59:59 GMT"
LONGEST_TEXT = 64 * 1024
_TEXT = re.compile(rb"<MessageText>(.*?)</MessageText>|<MessageText ?/>", re.DOTALL)
_XML = {"Content-Type": "application/xml", "x-ms-version": "2021-12-02"}


@dataclass(slots=True)
class Message:
    """A message in its queue; times are in epoch seconds."""

    id: str
    text: str
    inserted_at: float
    visible_at: float
    dequeue_count: int = 0
    receipt: str = ""


@dataclass(slots=True)
class Queue:
    """One queue: what can be received now in ``ready``, what waits or is leased in ``hidden``."""

    ready: deque[Message] = field(default_factory=deque)
    hidden: list[tuple[float, int, Message]] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    before_get: Callable[[], None] | None = None
    _count: int = 0

    def put(self, text: str, delay: float = 0.0) -> Message:
        """Enqueue a text, visible after ``delay`` seconds."""
        now = time.time()
        message = Message(str(uuid.UUID(int=_next(self) | 1 << 127)), text, now, now + delay)
        self.messages[message.id] = message
        if delay > 0:
            self._hide(message)
        else:
            self.ready.append(message)
        return message

    def get(self, most: int, lease: float) -> list[Message]:
        """Lease up to ``most`` messages for ``lease`` seconds."""
        if self.before_get is not None:
            self.before_get()
        self._surface()
        now = time.time()
        got: list[Message] = []
        while self.ready and len(got) < most:
            message = self.ready.popleft()
            if self.messages.get(message.id) is not message or message.visible_at > now:
                continue  # deleted or hidden meanwhile
            message.dequeue_count += 1
            self.renew(message, lease)
            got.append(message)
        return got

    def peek(self, most: int) -> list[Message]:
        """Look at up to ``most`` messages."""
        self._surface()
        return [message for message in self.ready if message.id in self.messages][:most]

    def renew(self, message: Message, delay: float) -> None:
        """Hide a message for ``delay`` seconds, under a new receipt."""
        message.visible_at = time.time() + delay
        message.receipt = f"{_next(self):x}"
        if delay > 0:
            self._hide(message)
        else:
            self.ready.append(message)

    def clear(self) -> None:
        """Delete all messages."""
        self.ready.clear()
        self.hidden.clear()
        self.messages.clear()

    def _hide(self, message: Message) -> None:
        heapq.heappush(self.hidden, (message.visible_at, _next(self), message))

    def _surface(self) -> None:
        now = time.time()
        while self.hidden and self.hidden[0][0] <= now:
            at, _, message = heapq.heappop(self.hidden)
            if self.messages.get(message.id) is message and message.visible_at == at:
                self.ready.append(message)


def _next(queue: Queue) -> int:
    queue._count += 1  # noqa: SLF001  its own helper
    return queue._count  # noqa: SLF001


class QueueService:
    """All queues of the account, behind ``answer``. ``on_put`` is told of each message that a client sends."""

    def __init__(self, on_put: Callable[[str], None] = lambda _: None) -> None:
        self.queues: dict[str, Queue] = {}
        self._on_put = on_put

    def answer(self, request: Request) -> Reply:
        """Answer one request to ``/account/...``."""
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
            return self._settle(request, queue, rest.removeprefix("messages/"))
        match request.method:
            case "POST":
                return self._put(request, name, queue)
            case "GET":
                return self._get(request, queue)
            case "DELETE":
                queue.clear()
                return Reply(204)
        return fault(405, "UnsupportedHttpVerb")

    def _manage(self, request: Request, name: str) -> Reply:
        queue = self.queues.get(name)
        if request.method == "PUT":
            self.queues.setdefault(name, Queue())
            return Reply(201 if queue is None else 204)
        if queue is None:
            return fault(404, "QueueNotFound")
        if request.method == "DELETE":
            del self.queues[name]
            return Reply(204)
        return Reply(200, headers={"x-ms-approximate-messages-count": str(len(queue.messages))})

    def _list(self) -> Reply:
        listed = "".join(f"<Queue><Name>{name}</Name></Queue>" for name in sorted(self.queues))
        return _xml(200, f"<EnumerationResults><Queues>{listed}</Queues><NextMarker /></EnumerationResults>")

    def _put(self, request: Request, name: str, queue: Queue) -> Reply:
        text = text_of(request.body)
        if text is None:
            return fault(400, "InvalidXmlDocument")
        if len(text.encode()) > LONGEST_TEXT:
            return fault(413, "RequestBodyTooLarge")
        message = queue.put(text, float(request.query.get("visibilitytimeout", "0")))
        message.receipt = f"put-{message.id}"
        self._on_put(name)
        return _messages(201, [message], _sent)

    def _get(self, request: Request, queue: Queue) -> Reply:
        most = int(request.query.get("numofmessages", "1"))
        if request.query.get("peekonly") == "true":
            return _messages(200, queue.peek(most), _peeked)
        return _messages(200, queue.get(most, float(request.query.get("visibilitytimeout", "30"))), _received)

    def _settle(self, request: Request, queue: Queue, message_id: str) -> Reply:
        message = queue.messages.get(message_id)
        if message is None:
            return fault(404, "MessageNotFound")
        if message.receipt != request.query.get("popreceipt"):
            return fault(400, "PopReceiptMismatch")
        if request.method == "DELETE":
            del queue.messages[message_id]
            return Reply(204)
        if request.method != "PUT":
            return fault(405, "UnsupportedHttpVerb")
        if request.body and (text := text_of(request.body)) is not None:
            message.text = text
        queue.renew(message, float(request.query.get("visibilitytimeout", "0")))
        headers = {"x-ms-popreceipt": message.receipt, "x-ms-time-next-visible": _date(message.visible_at)}
        return Reply(204, headers=headers)


def fault(status: int, code: str) -> Reply:
    """An error as storage tells it: the code in a header and in XML."""
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Reply(status, text.encode(), {**_XML, "x-ms-error-code": code})


def text_of(body: bytes) -> str | None:
    """The text in a QueueMessage; None where there is none."""
    found = _TEXT.search(body)
    return None if found is None else unescape((found[1] or b"").decode())


def _messages(status: int, messages: list[Message], write: Callable[[Message], str]) -> Reply:
    listed = "".join(f"<QueueMessage>{write(message)}</QueueMessage>" for message in messages)
    return _xml(status, f"<QueueMessagesList>{listed}</QueueMessagesList>")


def _xml(status: int, text: str) -> Reply:
    return Reply(status, f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(), dict(_XML))


def _head(message: Message) -> str:
    return (
        f"<MessageId>{message.id}</MessageId><InsertionTime>{_date(message.inserted_at)}</InsertionTime>"
        f"<ExpirationTime>{FOR_EVER}</ExpirationTime>"
    )


def _sent(message: Message) -> str:
    visible = _date(message.visible_at)
    return f"{_head(message)}<PopReceipt>{message.receipt}</PopReceipt><TimeNextVisible>{visible}</TimeNextVisible>"


def _received(message: Message) -> str:
    text = escape(message.text, {"\r": "&#13;"})
    return f"{_sent(message)}<DequeueCount>{message.dequeue_count}</DequeueCount><MessageText>{text}</MessageText>"


def _peeked(message: Message) -> str:
    text = escape(message.text)
    return f"{_head(message)}<DequeueCount>{message.dequeue_count}</DequeueCount><MessageText>{text}</MessageText>"


def _date(at: float) -> str:
    return formatdate(at, usegmt=True)
