"""A consumer of outcomes that is a function itself: each outcome becomes one document in a container of its own.

The document's name is the event's id and it is only ever created, never replaced. So the effect is its own memory:
an event that comes again finds its document there.
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
def take_outcome(message: func.QueueMessage) -> None:
    """Keep one outcome. What raises comes again, since nothing is deleted before this returns."""
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
    # `answeredBy` and `corrects` stand in the data (or in the blob that `dataref` names): see examples/consumer.py
    logging.info("%s: %s", kind, event.get("subject", "no checkout request"))
