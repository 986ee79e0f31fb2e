"""What is sent to a queue: outcomes for downstream systems, and deferred copies of messages.

A text is base64 and never expires: control characters cannot break the queue's XML, and an outcome waits for its
consumer however long that takes. Only an invalid message is sent as it came.
"""

import base64

from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.outcomes import Event
from shared.core.retry import Deferral, Destination
from shared.ports import Queue


class Publisher:
    """The three queues that the program sends to."""

    def __init__(self, outcomes: Queue, carts: Queue, poison: Queue) -> None:
        self._outcomes = outcomes
        self._destinations = {Destination.CARTS: carts, Destination.POISON: poison}

    def publish(self, event: Event) -> None:
        """Publish an outcome.

        Raises:
            StorageUnavailable: it may be published or not. Publishing it again is safe, since its id is the same.
        """
        self._outcomes.send(_base64(event.text.encode()))

    def send_deferred(self, message: CheckoutRequest | InvalidMessage, deferral: Deferral) -> None:
        """Send a copy of a message to the queue that the deferral names, invisible for `deferral.delay` seconds.

        Raises:
            StorageUnavailable: it may be sent or not. The delivery must not be finished then.
        """
        copy = message.copy(deferral.retry)
        # an invalid message goes back as it came, so that its outcome keeps its id
        text = _base64(copy) if isinstance(message, CheckoutRequest) else copy.decode(errors="surrogateescape")
        self._destinations[deferral.queue or Destination.CARTS].send(text, deferral.delay)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
