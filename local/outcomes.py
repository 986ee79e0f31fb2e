"""Collects outcomes from their queue, for the demo, the chaos run and the tests."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient
    from azure.storage.queue import QueueClient

Event = dict[str, Any]


class OutcomeCollector:
    """Receives and deletes outcomes: at each call of `receive`, or in a thread between `start` and `stop`.

    `events` lists them in order of arrival, repeats included. `first_seen` has the monotonic time at which each event
    id first arrived.
    """

    def __init__(self, queue: QueueClient) -> None:
        self.events: list[Event] = []
        self.first_seen: dict[str, float] = {}
        self._queue = queue
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)

    def receive(self) -> list[Event]:
        """Receive until the queue is empty, and return what arrived."""
        arrived: list[Event] = []
        for message in self._queue.receive_messages(messages_per_page=32, visibility_timeout=300):
            event = json.loads(base64.b64decode(message.content))
            arrived.append(event)
            self.events.append(event)
            self.first_seen.setdefault(event["id"], time.monotonic())
            self._queue.delete_message(message)
        return arrived

    def start(self) -> None:
        """Receive in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Receive what is left, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            if not self.receive() and stopping:
                return
            self._stopping.wait(0.2)


def data_of(event: Event, records: ContainerClient) -> Event:
    """Return an event's `data`, downloaded where the event has a `dataref`."""
    if "data" in event:
        return dict(event["data"])
    name = event["dataref"].partition(f"/{records.container_name}/")[2]  # its host may be a proxy of the chaos run
    return dict(json.loads(records.download_blob(name).readall()))


def message_counts(*queues: QueueClient) -> dict[str, int]:
    """How many messages each queue holds by its name, those that are invisible included."""
    return {queue.queue_name: queue.get_queue_properties().approximate_message_count or 0 for queue in queues}
