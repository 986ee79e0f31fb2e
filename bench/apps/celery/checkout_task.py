"""The baseline's five requests as a task on Celery, with its Azure Storage Queue transport.

    python -m bench.apps.celery.checkout_task

A pool of 32 threads and late acks, without the services of Celery that a single worker does not need. The id of the
task is also the id of the cart.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import requests
from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient, ContentSettings
from azure.storage.queue import QueueServiceClient
from celery import Celery
from requests.adapters import HTTPAdapter

from bench import process_metrics
from local.azurite import ACCOUNT_KEY

THREADS = 32
URL = os.environ["PARTNER_CENTER_URL"]
STORAGE = os.environ["CheckoutStorage"]
CREDENTIAL = ManagedIdentityCredential()
SESSION = requests.Session()
for _scheme in ("http://", "https://"):
    SESSION.mount(_scheme, HTTPAdapter(pool_maxsize=THREADS))
TRANSPORT = RequestsTransport(session=SESSION, session_owner=False)
OUTCOMES = QueueServiceClient.from_connection_string(STORAGE, transport=TRANSPORT).get_queue_client(
    os.environ["OUTCOMES_QUEUE"]
)
RECORDS = BlobServiceClient.from_connection_string(STORAGE, transport=TRANSPORT).get_container_client(
    os.environ["RECORDS_CONTAINER"]
)
JSON = ContentSettings("application/json")
ENTRY = "x" * 300
"""As long as what the function enters before each POST."""

app = Celery(broker=f"azurestoragequeues://{ACCOUNT_KEY}@{os.environ['BENCH_QUEUE_ENDPOINT']}")
app.conf.update(
    task_default_queue=os.environ["CARTS_QUEUE"],
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("BENCH_CELERY_TRANSPORT", "{}")),
)


@app.task(bind=True, name="checkout")  # type: ignore[untyped-decorator]
def checkout(task: Any, customer_id: str) -> None:  # noqa: ANN401  Celery is untyped
    """GET the record, PUT the entry, POST the checkout, PUT the record, send the outcome."""
    cart_id = task.request.id
    record = RECORDS.get_blob_client(f"{customer_id}/{cart_id}.json")
    with suppress(ResourceNotFoundError):
        record.download_blob().readall()
    entered = record.upload_blob(b"[]", content_settings=JSON, metadata={"key": "0", "post": ENTRY})  # only if absent
    token = CREDENTIAL.get_token(f"{URL}/.default").token
    answer = SESSION.post(
        f"{URL}/v1/customers/{customer_id}/carts/{cart_id}/checkout",
        headers={"Accept": "application/json", "Authorization": f"Bearer {token}", "MS-RequestId": cart_id},
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


if __name__ == "__main__":
    process_metrics.serve()
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={THREADS}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
