"""A consumer of outcomes as an Azure Function: each outcome becomes one document in a separate container.

The document is named by the event's id. It is created once and never replaced, so a repeated event finds its document
and has no second effect.
"""

import base64
import json
import logging
import os

import azure.functions as func
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import ContainerClient

app = func.FunctionApp()


@app.queue_trigger(
    arg_name="message",
    queue_name="%OUTCOMES_QUEUE%",
    connection="CheckoutStorage",
    data_type=func.DataType.BINARY,
)
def store_outcome(message: func.QueueMessage) -> None:
    """Store one outcome. If this raises, the message is delivered again, since it is deleted only afterwards."""
    text = base64.b64decode(message.get_body())
    event = json.loads(text)
    kind = event["type"].rpartition(".")[2]
    name = f"{event.get('partitionkey', 'nobody')}/{event['id']}.json"
    with ContainerClient.from_connection_string(
        os.environ["CheckoutStorage"], os.environ["ORDERS_CONTAINER"]
    ) as orders:
        try:
            orders.upload_blob(name, text, metadata={"outcome": kind}, overwrite=False)
        except ResourceExistsError:
            logging.info("seen before: %s", event["id"])
            return
    # `answeredBy` and `corrects` are in the data (or in the blob that `dataref` names): see examples/consumer.py
    logging.info("%s: %s", kind, event.get("subject", "no checkout request"))
