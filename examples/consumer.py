"""Take outcomes from their queue and keep the books of what was bought: each event once, in whatever order they come.

    python examples/consumer.py books.sqlite          until Ctrl-C
    python examples/consumer.py books.sqlite --once   what is there now, then print the sums

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
    id TEXT PRIMARY KEY, customer TEXT, cart TEXT, request TEXT, outcome TEXT NOT NULL, answered_by TEXT, event TEXT
);
CREATE VIEW IF NOT EXISTS purchases AS
    SELECT * FROM outcomes WHERE outcome IN ('completed', 'action_required', 'partial') AND answered_by IS NULL;
"""


def books(path: str) -> sqlite3.Connection:
    """The books, with the ids of events kept for 30 days at least."""
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    with db:
        db.execute("DELETE FROM seen WHERE day < date('now', '-40 days')")
    return db


def take(db: sqlite3.Connection, text: str, records: ContainerClient | None = None) -> bool:
    """Enter an event into the books; False: it was there already."""
    event = json.loads(text)
    data = event["data"] if "data" in event else load(event, records)
    with db:  # one transaction: either the effect and its event's id are kept, or neither
        # 1. an event may come again: an id that was seen has had its effect
        if not db.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", (event["id"],)).rowcount:
            return False
        # 2. a correction replaces what it names, whichever of the two comes first
        if "corrects" in data:
            db.execute("INSERT OR IGNORE INTO replaced VALUES (?)", (data["corrects"],))
            db.execute("DELETE FROM outcomes WHERE id = ?", (data["corrects"],))
        if db.execute("SELECT 1 FROM replaced WHERE id = ?", (event["id"],)).fetchone():
            return True
        # 3. `answeredBy` names the event that told of this purchase: the view `purchases` counts that one alone
        facts = (data.get(name) for name in ("customerId", "cartId", "requestId", "outcome", "answeredBy"))
        # or ignore: told again after its id was forgotten, it stands there already
        db.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", (event["id"], *facts, text))
    return True


def load(event: dict[str, Any], records: ContainerClient | None) -> dict[str, Any]:
    """The data of an event that was too large for a message."""
    # 4. they lie in a blob. Our credential goes to our own container, whatever address an event names
    home = f"{records.url.partition('?')[0]}/" if records else ""  # behind the ? would be a signature
    if records is None or not event["dataref"].startswith(home):
        raise ValueError(f"the data of {event['id']} do not lie in our container")
    return dict(json.loads(records.download_blob(event["dataref"].removeprefix(home)).readall()))


def run(db: sqlite3.Connection, queue: QueueClient, records: ContainerClient, *, once: bool) -> None:
    """Take what comes. A message is deleted only when its effect is kept; else it comes again."""
    while True:
        for message in queue.receive_messages(visibility_timeout=LEASE_SECONDS):
            text = base64.b64decode(message.content).decode()
            print("new: " if take(db, text, records) else "seen:", text[:300])
            queue.delete_message(message)
        if once:
            return
        time.sleep(1)


def main(path: str, *options: str) -> None:
    """Keep the books in this file."""
    storage, db = os.environ["CheckoutStorage"], books(path)
    with (
        QueueClient.from_connection_string(storage, os.environ["OUTCOMES_QUEUE"]) as queue,
        ContainerClient.from_connection_string(storage, os.environ["RECORDS_CONTAINER"]) as records,
    ):
        run(db, queue, records, once="--once" in options)
    (purchases,) = db.execute("SELECT count(*) FROM purchases").fetchone()
    sums = dict(db.execute("SELECT outcome, count(*) FROM outcomes GROUP BY outcome ORDER BY outcome"))
    print(json.dumps({"purchases": purchases, "outcomes": sums}))
    db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
