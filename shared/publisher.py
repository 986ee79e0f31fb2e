"""What leaves for a queue: outcomes for downstream systems, and copies of messages that wait.

It is base64 text that never expires: control characters cannot break the queue's XML, and an outcome waits for
its consumer however long that takes. Only a message that is no request goes back as it came.
"""

import base64

from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.outcomes import Event
from shared.core.retry import RetryState
from shared.ports import Queue


class Publisher:
    """The three queues that the program sends to."""

    def __init__(self, outcomes: Queue, carts: Queue, poison: Queue) -> None:
        self._outcomes = outcomes
        self._carts = carts
        self._poison = poison

    def publish(self, event: Event) -> None:
        """Tell an outcome.

        Raises:
            StorageUnavailable: it may be told or not; telling it again changes nothing, since its id stays.
        """
        self._outcomes.send(_base64(event.text.encode()))

    def send_deferred(self, request: CheckoutRequest, retry: RetryState, delay: float, *, poison: bool = False) -> None:
        """Send a copy of a request to wait `delay` seconds in the carts queue, or in the poison queue.

        Raises:
            StorageUnavailable: it may wait there or not; then the delivery must not be finished.
        """
        queue = self._poison if poison else self._carts
        queue.send(_base64(request.copy(retry)), delay)

    def requeue_unparsed(self, message: InvalidMessage, delay: float, *, poison: bool = False) -> None:
        """Send a message that is no request to wait, unchanged, so that its outcome keeps its id.

        Raises:
            StorageUnavailable: it may wait there or not.
        """
        queue = self._poison if poison else self._carts
        queue.send(message.body.decode("utf-8", "surrogateescape"), delay)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
