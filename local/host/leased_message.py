"""A received queue message: its lease, and how it ends (deleted, released, or lost to another receiver)."""

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


class LeasedMessage:
    """A received message. Its pop receipt changes with every renewal, hence the lock around each request.

    Args:
        queue: The queue it was received from.
        message: The message.
        lease_seconds: How long it is invisible from `received_at`. The lease is renewed at half of that.
        received_at: On the monotonic clock, before the request was sent: too early is safe, too late is not.
    """

    def __init__(self, queue: QueueClient, message: QueueMessage, lease_seconds: float, received_at: float) -> None:
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
        """Delete it: the delivery succeeded."""
        with self._lock:
            self._settled = True
            try:
                self._queue.delete_message(self.message.id, self._receipt)
            except HttpResponseError as error:
                self._log_lost_lease(error)

    def release(self, seconds: float) -> None:
        """Make it visible again after so many seconds."""
        with self._lock:
            self._settled = True
            try:
                self._queue.update_message(self.message.id, self._receipt, visibility_timeout=round(seconds))
            except HttpResponseError as error:
                self._log_lost_lease(error)

    def renew_if_due(self) -> None:
        """Renew the lease once half of it is over. A failed request is repeated a tenth of a lease later."""
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

    def _log_lost_lease(self, error: HttpResponseError) -> None:
        """The lease ended before the message was settled: another receiver has it, or it is deleted."""
        if error.status_code not in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            raise error
        _log.warning("%s: %s was taken by another before it was settled", self._queue.queue_name, self)


def first_line(error: Exception) -> str:
    """Return the first line of an error, since the SDK's texts have many."""
    return str(error).partition("\n")[0]
