import base64

import pytest

from shared.core.messages import CheckoutRequest, InvalidMessage
from shared.core.retry import Deferral, Destination, RetryState
from shared.publisher import Publisher
from tests.support.builders import accepted, body, event, refused


class SentTo:
    """A queue that remembers what was sent to it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float]] = []

    def send(self, text: str, delay: float = 0.0) -> None:
        self.sent.append((text, delay))


@pytest.fixture
def queues() -> dict[str, SentTo]:
    return {name: SentTo() for name in ("outcomes", "carts", "poison")}


def sent(queues: dict[str, SentTo], message: CheckoutRequest | InvalidMessage, to: Destination | None) -> None:
    Publisher(**queues).send_deferred(message, Deferral(7.5, RetryState(attempt=2), queue=to))


def test_an_outcome_is_base64_and_visible_at_once(queues: dict[str, SentTo]) -> None:
    outcome = event()
    Publisher(**queues).publish(outcome)
    assert [(base64.b64encode(outcome.text.encode()).decode(), 0.0)] == queues["outcomes"].sent


@pytest.mark.parametrize(
    ("to", "name"), [(Destination.CARTS, "carts"), (Destination.POISON, "poison"), (None, "carts")]
)
def test_a_copy_of_a_request_is_base64_and_waits(to: Destination | None, name: str, queues: dict[str, SentTo]) -> None:
    request = accepted(body())
    sent(queues, request, to)
    copy = request.copy(RetryState(attempt=2))
    assert [(base64.b64encode(copy).decode(), 7.5)] == queues[name].sent
    assert 1 == sum(len(queue.sent) for queue in queues.values())


@pytest.mark.parametrize("content", [b"nonsense", "ä\u2028".encode(), b"no text: \xff\xc3"])
def test_an_invalid_message_goes_back_byte_for_byte(content: bytes, queues: dict[str, SentTo]) -> None:
    sent(queues, refused(content), Destination.CARTS)
    ((text, delay),) = queues["carts"].sent
    assert (content, 7.5) == (text.encode(errors="surrogateescape"), delay)
