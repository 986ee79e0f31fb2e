"""The function app: two queue triggers, each of which hands its message to `Checkout.handle`.

The data type is BINARY. With the default one the host merges the members of a JSON body into the trigger's metadata,
where a body could set its own id and dequeue count. Bytes also need not be UTF-8.
"""

from datetime import UTC

import azure.functions as func

from shared.bootstrap import bootstrap, utc_now, warn_of_idle_messages
from shared.core.messages import Delivery
from shared.settings import Settings

settings = Settings.from_env()
warn_of_idle_messages(settings)
checkout = bootstrap(settings)
app = func.FunctionApp()


@app.function_name("checkout_cart")
@app.queue_trigger(
    arg_name="message",
    queue_name="%CARTS_QUEUE%",
    connection="CheckoutStorage",
    data_type=func.DataType.BINARY,
)
def checkout_cart(message: func.QueueMessage) -> None:
    """Handle one delivery of a cart."""
    checkout.handle(message.get_body(), delivery_of(message))


@app.function_name("report_poison")
@app.queue_trigger(
    arg_name="message",
    queue_name="%CARTS_QUEUE%-poison",
    connection="CheckoutStorage",
    data_type=func.DataType.BINARY,
)
def report_poison(message: func.QueueMessage) -> None:
    """Handle a poison message: five deliveries failed."""
    checkout.handle(message.get_body(), delivery_of(message, from_poison=True))


def delivery_of(message: func.QueueMessage, *, from_poison: bool = False) -> Delivery:
    """The delivery, as the host describes it."""
    inserted_at = message.insertion_time or utc_now()
    return Delivery(
        message_id=message.id or "",
        dequeue_count=message.dequeue_count or 1,
        inserted_at=inserted_at if inserted_at.tzinfo else inserted_at.replace(tzinfo=UTC),
        from_poison=from_poison,
    )
