"""Takes outcomes from their queue while others are busy: a consumer for runs that last."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient


class OutcomeCollector(threading.Thread):
    """Takes what is told from the outcomes queue, until asked to stop and the queue is empty."""

    def __init__(self, queue: QueueClient) -> None:
        """Nothing is taken yet; ``first`` will tell when, on the monotonic clock, an event id was told first."""
        super().__init__(name="outcomes", daemon=True)
        self.told: list[dict[str, Any]] = []
        self.first: dict[str, float] = {}
        self._queue = queue
        self._stopping = threading.Event()

    def run(self) -> None:
        """Take and remember."""
        while True:
            stopping = self._stopping.is_set()
            found = 0
            for message in self._queue.receive_messages(messages_per_page=32, visibility_timeout=300):
                found += 1
                event = json.loads(base64.b64decode(message.content))
                self.told.append(event)
                self.first.setdefault(event["id"], time.monotonic())
                self._queue.delete_message(message)
            if stopping and not found:
                return
            self._stopping.wait(0.2)

    def stop(self) -> None:
        """Take what is left, and end."""
        self._stopping.set()
        self.join()
