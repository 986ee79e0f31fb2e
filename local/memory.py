"""Queues and blobs in memory: the ports of `shared.storage` for tests and simulations, with a clock passed in."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.storage import Conflict

LONGEST_TEXT = 64 * 1024


@dataclass(slots=True)
class QueuedMessage:
    """A message as it lies in a queue."""

    id: str
    text: str
    inserted_at: datetime
    visible_at: datetime
    dequeue_count: int = 0


class MemoryQueue:
    """A queue with visibility timeouts, as Azure's: `send` is the port, the rest is the receiving side."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.messages: list[QueuedMessage] = []

    def send(self, text: str, delay: float = 0.0) -> None:
        """See `shared.storage.Queue.send`."""
        if len(text.encode()) > LONGEST_TEXT:
            raise ValueError("a queue message holds at most 64 KiB")
        now = self._clock()
        visible_at = now + timedelta(seconds=-(-delay // 1))  # rounded up to whole seconds
        with self._lock:
            self.messages.append(QueuedMessage(f"message-{next(self._numbers)}", text, now, visible_at))

    def receive(self, lease: float = 600.0) -> QueuedMessage | None:
        """The oldest visible message, made invisible for `lease` seconds; None where there is none."""
        now = self._clock()
        with self._lock:
            message = next((m for m in self.messages if m.visible_at <= now), None)
            if message is not None:
                message.dequeue_count += 1
                message.visible_at = now + timedelta(seconds=lease)
            return message

    def delete(self, message: QueuedMessage) -> None:
        """Take a message out for good."""
        with self._lock:
            self.messages.remove(message)

    def next_visible(self) -> datetime | None:
        """When the next message can be received; None: the queue is empty."""
        with self._lock:
            return min((m.visible_at for m in self.messages), default=None)


class MemoryBlobs:
    """A container of blobs under ETags, as Azure's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self.blobs: dict[str, tuple[bytes, str]] = {}

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `shared.storage.Blobs.read`."""
        with self._lock:
            return self.blobs.get(name)

    def write(self, name: str, content: bytes, *, content_type: str, match: str | None = None) -> None:
        """See `shared.storage.Blobs.write`."""
        del content_type  # kept by the real one only
        with self._lock:
            there = self.blobs.get(name)
            if (there and there[1]) != match:
                raise Conflict
            self.blobs[name] = content, f'"{next(self._versions)}"'

    def overwrite(self, name: str, content: bytes | None) -> None:
        """See `shared.storage.Blobs.overwrite`."""
        with self._lock:
            if content is None:
                self.blobs.pop(name, None)
            else:
                self.blobs[name] = content, f'"{next(self._versions)}"'

    def url(self, name: str) -> str:
        """See `shared.storage.Blobs.url`."""
        return f"memory://records/{name}"
