"""The baseline: the same five requests with the bare SDK clients and one session, without any logic."""

import json
import os

import azure.functions as func
import requests
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
    name = f"{cart['customerId']}/{cart['cartId']}.json"
    try:
        RECORDS.download_blob(name).readall()
    except ResourceNotFoundError:
        pass
    entered = RECORDS.upload_blob(name, b"[]", content_settings=JSON, metadata={"key": "0", "post": ENTRY})
    token = CREDENTIAL.get_token(f"{URL}/.default").token
    answer = SESSION.post(
        f"{URL}/v1/customers/{cart['customerId']}/carts/{cart['cartId']}/checkout",
        headers={"Accept": "application/json", "Authorization": f"Bearer {token}", "MS-RequestId": cart["cartId"]},
        timeout=180,
    ).text
    entered.upload_blob(answer.encode(), overwrite=True, content_settings=JSON, metadata={"key": "0"})
    OUTCOMES.send_message(answer, time_to_live=-1)
