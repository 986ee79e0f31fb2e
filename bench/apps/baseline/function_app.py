"""The baseline: the same five requests, with the same conditions, by the bare SDK clients and one session.

Without any logic.
"""

import json
import os

import azure.functions as func
import requests
from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient, ContentSettings
from azure.storage.queue import QueueServiceClient
from requests.adapters import HTTPAdapter

URL = os.environ["PARTNER_CENTER_URL"]
CREDENTIAL = ManagedIdentityCredential()
SESSION = requests.Session()
SESSION.mount("http://", HTTPAdapter(pool_maxsize=32))
TRANSPORT = RequestsTransport(session=SESSION, session_owner=False)
STORAGE = os.environ["CheckoutStorage"]
OUTCOMES = QueueServiceClient.from_connection_string(STORAGE, transport=TRANSPORT).get_queue_client(
    os.environ["OUTCOMES_QUEUE"]
)
RECORDS = BlobServiceClient.from_connection_string(STORAGE, transport=TRANSPORT).get_container_client(
    os.environ["RECORDS_CONTAINER"]
)
JSON = ContentSettings("application/json")
ENTRY = "x" * 300
"""As long as what the function enters before each POST."""
app = func.FunctionApp()


@app.queue_trigger(
    arg_name="message", queue_name="%CARTS_QUEUE%", connection="CheckoutStorage", data_type=func.DataType.BINARY
)
def checkout_cart(message: func.QueueMessage) -> None:
    """GET the record, PUT the entry, POST the checkout, PUT the record, send the outcome."""
    cart = json.loads(message.get_body())
    record = RECORDS.get_blob_client(f"{cart['customerId']}/{cart['cartId']}.json")
    try:
        record.download_blob().readall()
    except ResourceNotFoundError:
        pass
    entered = record.upload_blob(b"[]", content_settings=JSON, metadata={"key": "0", "post": ENTRY})  # only if absent
    token = CREDENTIAL.get_token(f"{URL}/.default").token
    answer = SESSION.post(
        f"{URL}/v1/customers/{cart['customerId']}/carts/{cart['cartId']}/checkout",
        headers={"Accept": "application/json", "Authorization": f"Bearer {token}", "MS-RequestId": cart["cartId"]},
        timeout=180,
    ).text
    record.upload_blob(
        answer.encode(),
        overwrite=True,
        etag=entered["etag"],
        match_condition=MatchConditions.IfNotModified,
        content_settings=JSON,
        metadata={"key": "0"},
    )
    OUTCOMES.send_message(answer, time_to_live=-1)
