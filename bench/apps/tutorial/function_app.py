"""The function as a tutorial writes it: new clients for each message."""

import json
import os

import azure.functions as func
import requests
from azure.identity import ManagedIdentityCredential
from azure.storage.queue import QueueClient

app = func.FunctionApp()


@app.queue_trigger(arg_name="message", queue_name="%CARTS_QUEUE%", connection="CheckoutStorage")
def checkout_cart(message: func.QueueMessage) -> None:
    """POST the checkout and send the response."""
    cart = json.loads(message.get_body().decode())
    url = os.environ["PARTNER_CENTER_URL"]
    token = ManagedIdentityCredential().get_token(f"{url}/.default").token
    response = requests.post(
        f"{url}/v1/customers/{cart['customerId']}/carts/{cart['cartId']}/checkout",
        headers={"Accept": "application/json", "Authorization": f"Bearer {token}"},
        timeout=180,
    )
    response.raise_for_status()
    queue = QueueClient.from_connection_string(os.environ["CheckoutStorage"], os.environ["OUTCOMES_QUEUE"])
    queue.send_message(response.text)
