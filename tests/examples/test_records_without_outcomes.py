"""A record may have no outcome yet: its cart was posted, or is about to be."""

import json
from pathlib import Path

from local.simulator import scenarios
from shared.adapters.storage import AzureBlobs
from shared.core.messages import CheckoutRequest, decode
from shared.records import CONTENT_TYPE, Records
from tests.conftest import Storage
from tests.examples.test_examples import answer_all, ask, run
from tests.support.builders import delivery
from tests.support.world import CUSTOMER


def enter(storage: Storage) -> str:
    """A cart of which nothing but its entry is known."""
    cart = scenarios.cart_id("created", "entered")
    asked = decode(json.dumps({"customerId": CUSTOMER, "cartId": cart, "requestId": "order-1"}).encode(), delivery())
    assert isinstance(asked, CheckoutRequest)
    records = Records(AzureBlobs(storage.records))
    records.enter(asked, records.load(CUSTOMER, cart), {"key": "0"})
    blob = storage.records.get_blob_client(f"{CUSTOMER}/{cart}.json").get_blob_properties()
    assert (2, CONTENT_TYPE) == (blob.size, blob.content_settings.content_type)
    return cart


def test_the_projection_has_no_cart_of_it(storage: Storage) -> None:
    enter(storage)
    assert "" == run("examples/projection.py", storage=storage)
    bought = ask(storage, "created", "order-2")
    answer_all(storage)
    (cart,) = run("examples/projection.py", storage=storage).splitlines()
    assert bought == json.loads(cart)["cart_id"]


def test_the_consumer_has_no_purchase_of_it(storage: Storage, tmp_path: Path) -> None:
    enter(storage)
    ask(storage, "huge-result", "order-2")
    answer_all(storage)
    told = run("examples/consumer.py", str(tmp_path / "books"), "--once", storage=storage)
    assert {"purchases": 1, "outcomes": {"completed": 1}} == json.loads(told.splitlines()[-1])
