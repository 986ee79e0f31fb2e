"""One message in our hands: its lease, and the three ways it ends (deleted, released, lost)."""

from __future__ import annotations

import logging
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

_log = logging.getLogger("local.host")


class Delivery:
    """A received message. Its pop receipt changes with every renewal, hence the lock around each request.

    Args:
        queue: Where it came from.
        message: What came.
        lease_seconds: How long it is invisible from ``received_at``; renewed when half of that is over.
        received_at: On the monotonic clock, before the request was made: rather too early than too late.
    """

    def __init__(self, queue: QueueClient, message: QueueMessage, lease_seconds: float, received_at: float) -> None:
        """The lease runs already."""
        self.message = message
        self.dequeue_count = message.dequeue_count or 0
        self._queue, self._lease = queue, lease_seconds
        self._receipt = message.pop_receipt
        self._renew_at = received_at + lease_seconds / 2
        self._settled = False
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"{self.message.id} (delivery {self.dequeue_count})"

    def delete(self) -> None:
        """Done with it."""
        with self._lock:
            self._settled = True
            try:
                self._queue.delete_message(self.message.id, self._receipt)
            except HttpResponseError as error:
                self._taken_by_another(error)

    def release(self, seconds: float) -> None:
        """Let it be seen again after so many seconds."""
        with self._lock:
            self._settled = True
            try:
                self._queue.update_message(self.message.id, self._receipt, visibility_timeout=round(seconds))
            except HttpResponseError as error:
                self._taken_by_another(error)

    def renew_if_due(self) -> None:
        """Begin the lease anew once half of it is over; a failing storage is asked again a little later."""
        with self._lock:
            now = time.monotonic()
            if self._settled or now < self._renew_at:
                return
            try:
                renewed = self._queue.update_message(
                    self.message.id, self._receipt, visibility_timeout=round(self._lease), retry_total=0
                )
                self._receipt, self._renew_at = renewed.pop_receipt, now + self._lease / 2
            except Exception as error:  # noqa: BLE001 - the other deliveries' leases depend on this thread
                self._renew_at = now + self._lease / 10
                _log.warning("%s: cannot renew %s: %s", self._queue.queue_name, self, first_line(error))

    def _taken_by_another(self, error: HttpResponseError) -> None:
        """Our lease ended before we answered: the message is another's business now, or nobody's."""
        if error.status_code not in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            raise error
        _log.warning("%s: %s was taken by another before it was settled", self._queue.queue_name, self)


def first_line(error: Exception) -> str:
    """The first line of an error: the SDK's texts run over many."""
    return str(error).partition("\n")[0]
