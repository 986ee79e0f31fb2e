"""Receive outcomes from their queue and store purchases: each event once, in whatever order they arrive.

    python examples/consumer.py purchases.sqlite          until Ctrl-C
    python examples/consumer.py purchases.sqlite --once   only what is in the queue now, then print the totals

The four rules for consumers are marked 1 to 4 below.
"""

import base64
import json
import os
import sqlite3
import sys
import time
from typing import Any

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

LEASE_SECONDS = 60
TABLES = """
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, day TEXT NOT NULL DEFAULT (date()));
CREATE TABLE IF NOT EXISTS replaced (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS outcomes (
    id TEXT PRIMARY KEY, customer TEXT, cart TEXT, request TEXT, outcome TEXT NOT NULL, answered_by TEXT,
    revision INTEGER, event TEXT  -- ORDER BY revision: the order of one cart's outcomes, however they arrived
);
CREATE VIEW IF NOT EXISTS purchases AS
    SELECT * FROM outcomes WHERE outcome IN ('completed', 'action_required', 'partial') AND answered_by IS NULL;
"""


def open_database(path: str) -> sqlite3.Connection:
    """Open the database. The ids of events are stored for at least 30 days."""
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    with db:
        db.execute("DELETE FROM seen WHERE day < date('now', '-40 days')")
    return db


def store(db: sqlite3.Connection, text: str, records: ContainerClient | None = None) -> bool:
    """Store an event. Returns whether it is new."""
    event = json.loads(text)
    data = event["data"] if "data" in event else load(event, records)
    with db:  # one transaction stores both the effect and its event's id, or neither
        # 1. an event may repeat: an id that was seen has had its effect
        if not db.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", (event["id"],)).rowcount:
            return False
        # 2. a correction replaces the event it names, whichever of the two arrives first
        if "corrects" in data:
            db.execute("INSERT OR IGNORE INTO replaced VALUES (?)", (data["corrects"],))
            db.execute("DELETE FROM outcomes WHERE id = ?", (data["corrects"],))
        if db.execute("SELECT 1 FROM replaced WHERE id = ?", (event["id"],)).fetchone():
            return True
        # 3. `answeredBy` names the event that reported this purchase: the view `purchases` counts only that one
        facts = (data.get(name) for name in ("customerId", "cartId", "requestId", "outcome", "answeredBy", "revision"))
        # OR IGNORE: if it was published again after its id was deleted from `seen`, it is stored already
        db.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (event["id"], *facts, text))
    return True


def load(event: dict[str, Any], records: ContainerClient | None) -> dict[str, Any]:
    """Load the data of an event that was too large for a message."""
    # 4. they are in a blob. Our credential goes to our own container only, whatever address an event names
    home = f"{records.url.partition('?')[0]}/" if records else ""  # after the ? there may be a signature
    if records is None or not event["dataref"].startswith(home):
        raise ValueError(f"the data of {event['id']} are not in our container")
    return dict(json.loads(records.download_blob(event["dataref"].removeprefix(home)).readall()))


def run(db: sqlite3.Connection, queue: QueueClient, records: ContainerClient, *, once: bool) -> None:
    """Store each outcome. A message is deleted only when its effect is stored, otherwise it is delivered again."""
    while True:
        for message in queue.receive_messages(visibility_timeout=LEASE_SECONDS):
            text = base64.b64decode(message.content).decode()
            print("new: " if store(db, text, records) else "seen:", text[:300])
            queue.delete_message(message)
        if once:
            return
        time.sleep(1)


def main(path: str, *options: str) -> None:
    """Store purchases in this file."""
    storage, db = os.environ["CheckoutStorage"], open_database(path)
    with (
        QueueClient.from_connection_string(storage, os.environ["OUTCOMES_QUEUE"]) as queue,
        ContainerClient.from_connection_string(storage, os.environ["RECORDS_CONTAINER"]) as records,
    ):
        run(db, queue, records, once="--once" in options)
    (purchases,) = db.execute("SELECT count(*) FROM purchases").fetchone()
    totals = dict(db.execute("SELECT outcome, count(*) FROM outcomes GROUP BY outcome ORDER BY outcome"))
    print(json.dumps({"purchases": purchases, "outcomes": totals}))
    db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
