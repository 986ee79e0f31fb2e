"""Each example runs against real queues and blobs, with real events, in every order in which they can arrive."""

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, Services, generate_account_sas
from hypothesis import given
from hypothesis import strategies as st

from examples import consumer, producer
from examples.projection import Cart, Projection
from local.azurite import ACCOUNT, ACCOUNT_KEY, Azurite
from local.simulator import scenarios
from shared.bootstrap import bootstrap, utc_now
from shared.core.messages import CheckoutRequest, Delivery, decode
from shared.settings import Settings
from tests.conftest import Storage
from tests.docs.test_docs import CART, EXAMPLES
from tests.support.builders import delivery
from tests.support.memory import MemoryPartnerCenter
from tests.support.world import CUSTOMER, World

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


def run(*command: str, storage: Storage, **more: str) -> str:
    """Run an example as a reader would. Returns what it printed."""
    done = subprocess.run(  # noqa: S603  this interpreter, our own files
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **storage.environ, **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer_all(storage: Storage) -> None:
    """Run the function, as the host would, until the carts queue is empty."""
    settings = Settings.from_env({**storage.environ, "PARTNER_CENTER_URL": "http://localhost"})
    world = World()
    checkout = bootstrap(settings, partner_center=MemoryPartnerCenter(world.service, world.clock))
    for message in storage.carts.receive_messages():
        checkout.handle(message.content.encode(), Delivery(message.id, 1, message.inserted_on or utc_now()))
        storage.carts.delete_message(message)


def ask(storage: Storage, scenario: str, request_id: str) -> str:
    """Let the producer send a request."""
    cart = scenarios.cart_id(scenario, "examples")
    producer.send(storage.carts, CUSTOMER, cart, request_id)
    return cart


def test_the_readme_lists_the_examples_and_its_links_have_targets() -> None:
    folder = ROOT / "examples"
    text = (folder / "README.md").read_text(encoding="utf-8")
    listed = [row.split("`")[1].rstrip("/") for row in text.splitlines() if row.startswith("| `")]
    existing = {path.name for path in folder.iterdir() if path.name not in ("README.md", "__pycache__")}
    assert existing == {*listed}
    assert all((folder / link).exists() for link in re.findall(r"\]\(([^)#]+)", text))


# --- the producer -----------------------------------------------------------------------------------------------


def test_the_producer_is_twenty_lines_and_what_it_sends_is_a_request(storage: Storage) -> None:
    assert 20 == len((ROOT / "examples" / "producer.py").read_text(encoding="utf-8").splitlines())

    run("examples/producer.py", CUSTOMER, CART, "order-4711", storage=storage)

    (message,) = storage.carts.receive_messages()
    decoded = decode(message.content.encode(), delivery())
    assert isinstance(decoded, CheckoutRequest)
    assert (CUSTOMER, CART, "order-4711") == (decoded.customer_id, decoded.cart_id, decoded.request_id)
    assert message.expires_on is not None
    assert message.expires_on.year > 9000


# --- the consumer -----------------------------------------------------------------------------------------------


def test_the_consumer_stores_the_purchases_that_the_function_published(storage: Storage, tmp_path: Path) -> None:
    ask(storage, "created", "order-1")
    ask(storage, "created", "order-2")  # the same cart: bought once
    ask(storage, "huge-result", "order-3")  # published with a dataref
    ask(storage, "fault-400-800013", "order-4")
    storage.carts.send_message("no request")
    answer_all(storage)
    path = str(tmp_path / "purchases.sqlite")

    printed = run("examples/consumer.py", path, "--once", storage=storage)

    assert {"purchases": 2, "outcomes": {"completed": 3, "failed": 1, "invalid": 1}} == json.loads(
        printed.splitlines()[-1]
    )
    assert not storage.outcomes.peek_messages()


def test_the_consumer_skips_seen_events_after_a_restart(storage: Storage, tmp_path: Path) -> None:
    cart = ask(storage, "created", "order-1")
    answer_all(storage)
    path = str(tmp_path / "purchases.sqlite")
    run("examples/consumer.py", path, "--once", storage=storage)
    producer.send(storage.carts, CUSTOMER, cart, "order-1")
    answer_all(storage)

    printed = run("examples/consumer.py", path, "--once", storage=storage)

    assert printed.startswith("seen:")
    assert {"purchases": 1, "outcomes": {"completed": 1}} == json.loads(printed.splitlines()[-1])


@cache
def published() -> tuple[str, ...]:
    """Real events as text, one of every kind except `dataref`."""
    return tuple(EXAMPLES[name][0]() for name in EXAMPLES if name != "dataref")


@cache
def corrected() -> tuple[str, ...]:
    """Several carts. Of the first: a failure, the event that corrects it, and a request that the correction answers."""
    world = World()
    events = [json.loads(text) for text in published()]
    correction = next(event for event in events if "corrects" in event["data"])
    failure = json.loads(json.dumps(next(event for event in events if event["type"].endswith("failed"))))
    failure["id"] = correction["data"]["corrects"]
    again = json.loads(json.dumps(correction)) | {"id": "5b0d0c1e-0000-5000-8000-000000000001"}
    again["data"] |= {"requestId": "order-5000", "answeredBy": correction["id"], "revision": 3}
    del again["data"]["corrects"]
    for scenario in ("created", "partial", "fault-400-800013", "pending-review"):
        world.enqueue(scenario)
    world.carts.send("no request")
    world.run()
    return tuple(json.dumps(event) for event in (failure, correction, again, *world.published()))


def any_order() -> st.SearchStrategy[list[str]]:
    """All events in any order, some of them repeatedly."""
    events = corrected()
    more = st.lists(st.sampled_from(events), max_size=5)
    return more.flatmap(lambda twice: st.permutations([*events, *twice]))


def stored(events: list[str] | tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    with closing(consumer.open_database(":memory:")) as db:
        for text in events:
            consumer.store(db, text)
        rows = db.execute("SELECT * FROM outcomes ORDER BY id").fetchall()
        return rows, db.execute("SELECT id FROM purchases ORDER BY id").fetchall()


@given(st.deferred(any_order))
def test_the_purchases_are_the_same_in_whatever_order_and_however_often_events_come(events: list[str]) -> None:
    assert stored(corrected()) == stored(events)


def test_a_correction_is_stored_without_what_it_replaces_and_no_purchase_counts_twice() -> None:
    failure, correction, again, *_ = (json.loads(text)["id"] for text in corrected())
    rows, purchases = stored(corrected())
    assert failure not in [row[0] for row in rows]
    assert {correction, again} <= {row[0] for row in rows}
    assert (correction,) in purchases
    assert (again,) not in purchases
    assert 4 == len(purchases)


def test_an_event_and_its_effect_are_stored_together_or_not_at_all() -> None:
    first, *_ = published()
    with closing(consumer.open_database(":memory:")) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON outcomes BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        with pytest.raises(sqlite3.Error, match="the disk is full"):
            consumer.store(db, first)
        db.execute("DROP TRIGGER full")
        assert consumer.store(db, first)  # it is delivered again, and does not count as seen
        assert 1 == db.execute("SELECT count(*) FROM purchases").fetchone()[0]


def test_the_consumer_sends_its_credential_to_its_own_container_only(storage: Storage) -> None:
    event = json.loads(EXAMPLES["dataref"][0]())
    with closing(consumer.open_database(":memory:")) as db, pytest.raises(ValueError, match="our container"):
        consumer.store(db, json.dumps(event), storage.records)


def test_ids_are_stored_for_at_least_thirty_days(tmp_path: Path) -> None:
    path = str(tmp_path / "purchases.sqlite")
    with closing(consumer.open_database(path)) as db, db:
        db.executemany("INSERT INTO seen VALUES (?, date('now', ?))", [("new", "-31 days"), ("old", "-50 days")])
    with closing(consumer.open_database(path)) as db:
        assert [("new",)] == db.execute("SELECT id FROM seen").fetchall()


def test_an_event_that_is_published_again_after_its_id_was_deleted_changes_nothing_and_does_not_raise() -> None:
    first, *_ = published()
    with closing(consumer.open_database(":memory:")) as db:
        consumer.store(db, first)
        with db:
            db.execute("DELETE FROM seen")
        consumer.store(db, first)
        assert [(1,)] == db.execute("SELECT count(*) FROM purchases").fetchall()


# --- the projection ---------------------------------------------------------------------------------------------


def projected(events: list[str] | tuple[str, ...]) -> list[Cart]:
    projection = Projection()
    for text in events:
        event = json.loads(text)
        projection.apply(event, event["data"])
    return projection.carts()


@given(st.deferred(any_order))
def test_the_projection_is_the_same_in_whatever_order_and_however_often_events_come(events: list[str]) -> None:
    assert projected(corrected()) == projected(events)


def test_the_projection_counts_a_purchase_once_and_links_the_request_that_asked_again() -> None:
    _, correction, _, *_ = (json.loads(text) for text in corrected())
    found = {cart.cart_id: cart for cart in projected(corrected())}
    cart = found[correction["data"]["cartId"]]
    assert "completed" == cart.outcome
    assert ["a4e9d2b0c1f3"] == [*cart.orders]
    assert {"order-4711": correction["id"], "order-5000": correction["id"]} == cart.requests
    assert {"CFQ7TTC0LH18:0001:CFQ7TTC0K971": 1} == cart.quantity


def test_the_projection_orders_the_outcomes_of_a_cart_by_revision_and_not_by_time() -> None:
    failed, unknown = (json.loads(EXAMPLES[name][0]()) for name in ("failed", "unknown"))
    failed["data"] |= {"requestId": "order-1", "finishedAt": "2026-11-22T11:00:00.000Z", "revision": 1}
    unknown["id"] = "5b0d0c1e-0000-5000-8000-000000000002"
    unknown["data"] |= {"requestId": "order-2", "finishedAt": "2026-11-22T10:00:00.000Z", "revision": 2}
    for events in ([failed, unknown], [unknown, failed]):
        (cart,) = projected([json.dumps(event) for event in events])
        assert "unknown" == cart.outcome


def test_the_projection_follows_a_correction_of_a_correction() -> None:
    unknown, failed, completed = (json.loads(EXAMPLES[name][0]()) for name in ("unknown", "failed", "completed"))
    for number, event in enumerate((unknown, failed, completed), 1):
        event["id"] = f"5b0d0c1e-0000-5000-8000-00000000000{number}"
        event["data"]["revision"] = number
    failed["data"]["corrects"], completed["data"]["corrects"] = unknown["id"], failed["id"]
    for events in ([unknown, failed, completed], [completed, failed, unknown]):
        (cart,) = projected([json.dumps(event) for event in events])
        assert ("completed", {"order-4711": completed["id"]}) == (cart.outcome, cart.requests)


def test_the_projection_passes_over_an_event_of_an_unknown_type() -> None:
    later = json.loads(EXAMPLES["failed"][0]()) | {"type": "partnercenter.cart.checkout.withdrawn"}
    assert [] == projected([json.dumps(later)])


def test_events_can_be_added_to_a_projection_while_it_is_read() -> None:
    projection = Projection()
    seen = []
    for text in corrected():
        event = json.loads(text)
        projection.apply(event, event["data"])
        seen.append(len(projection.carts()))
    assert sorted(seen) == seen


def test_the_projection_is_rebuilt_from_the_records(storage: Storage) -> None:
    bought = ask(storage, "created", "order-1")
    ask(storage, "created", "order-2")
    huge = ask(storage, "huge-result", "order-3")
    failed = ask(storage, "fault-400-800013", "order-4")
    answer_all(storage)

    first = run("examples/projection.py", storage=storage)
    carts = {cart["cart_id"]: cart for cart in map(json.loads, first.splitlines())}

    assert {bought: "completed", huge: "completed", failed: "failed"} == {c: carts[c]["outcome"] for c in carts}
    assert [1, 1, 0] == [len(carts[cart]["orders"]) for cart in (bought, huge, failed)]
    assert 1 == len({*carts[bought]["requests"].values()})
    assert first == run("examples/projection.py", storage=storage)


def test_a_dataref_can_be_loaded_with_a_signature_as_with_the_key(
    storage: Storage, azurite: Azurite, tmp_path: Path
) -> None:
    huge = ask(storage, "huge-result", "order-3")
    answer_all(storage)
    signature = generate_account_sas(
        ACCOUNT,
        ACCOUNT_KEY,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions.from_string("rlpud"),  # type: ignore[no-untyped-call]
        utc_now() + timedelta(hours=1),
        services=Services(blob=True, queue=True),
    )
    endpoints = f"BlobEndpoint={azurite.blob_endpoint};QueueEndpoint={azurite.queue_endpoint}"
    signed = f"{endpoints};SharedAccessSignature={signature};"

    view = run("examples/projection.py", storage=storage, CheckoutStorage=signed)
    printed = run(
        "examples/consumer.py", str(tmp_path / "purchases"), "--once", storage=storage, CheckoutStorage=signed
    )

    assert huge == json.loads(view)["cart_id"]
    assert {"purchases": 1, "outcomes": {"completed": 1}} == json.loads(printed.splitlines()[-1])


# --- the consumer that is a function ----------------------------------------------------------------------------


@pytest.fixture
def orders(storage: Storage) -> Iterator[ContainerClient]:
    name = f"{storage.records.container_name}-orders"
    with ContainerClient.from_connection_string(storage.connection_string, name) as container:
        container.create_container()
        yield container


def test_the_function_stores_each_outcome_once(storage: Storage, orders: ContainerClient, tmp_path: Path) -> None:
    events = [text for text in published() if '"partitionkey"' in text]
    distinct = {json.loads(text)["id"]: text for text in events}
    for text in (*distinct.values(), *distinct.values()):
        storage.outcomes.send_message(base64.b64encode(text.encode()).decode())
    values = {**storage.environ, "ORDERS_CONTAINER": orders.container_name}
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": values}))
    command = [
        sys.executable,
        "-m",
        "local.host",
        "--app-dir",
        "examples/functions_consumer",
        "--settings",
        str(settings),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as host:  # noqa: S603  as above
        try:
            deadline = time.monotonic() + PATIENCE
            while storage.outcomes.get_queue_properties().approximate_message_count:
                assert host.poll() is None, host.communicate()[1]
                assert time.monotonic() < deadline
                threading.Event().wait(0.05)
        finally:
            host.terminate()
            errors = host.communicate(timeout=PATIENCE)[1]

    assert {f"{CUSTOMER}/{name}.json" for name in distinct} == {*orders.list_blob_names()}
    name, text = next(iter(distinct.items()))
    assert text.encode() == orders.download_blob(f"{CUSTOMER}/{name}.json").readall()
    assert (2 * len(distinct), len(distinct)) == (errors.count(" succeeded in "), errors.count("seen before: "))
