"""Request a checkout: python examples/producer.py CUSTOMER_ID CART_ID REQUEST_ID."""

import base64
import json
import os
import sys

from azure.storage.queue import QueueClient


def send(queue: QueueClient, customer_id: str, cart_id: str, request_id: str, **more: object) -> None:
    """Send a request to the carts queue. A repeat with the same request id is answered by the same event."""
    request = {"customerId": customer_id, "cartId": cart_id, "requestId": request_id, **more}
    # base64, because control characters would break the queue's XML. It must not expire before it is answered
    queue.send_message(base64.b64encode(json.dumps(request).encode()).decode(), time_to_live=-1)


if __name__ == "__main__":
    with QueueClient.from_connection_string(os.environ["CheckoutStorage"], os.environ["CARTS_QUEUE"]) as carts:
        send(carts, *sys.argv[1:4], context={"sentBy": "examples/producer.py"})
