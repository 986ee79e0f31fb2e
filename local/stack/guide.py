"""The text that `make run` prints: settings to paste, how to send a cart, how to watch, how to run the real host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from local.simulator.scenarios import BY_NAME, SCENARIOS, cart_id

if TYPE_CHECKING:
    from collections.abc import Mapping

CUSTOMER = "c0ffee00-1111-4222-8333-444444444444"
SHOWN = ("created", "pending-review", "partial", "dropped-after", "throttled", "already-ordered", "fault-403-13605")
"""The scenarios that the guide gives a cart for."""

_ROOT = Path(__file__).parents[2]
_WRITTEN = _ROOT / ".local" / "local.settings.json"


def settings_file(environment: Mapping[str, str], example: Path, *, default_ports: bool) -> Path:
    """Return a settings file for `cart-checkout`: the example, or one written for the ports of this run."""
    if default_ports:
        return example
    _WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    _WRITTEN.write_text(json.dumps({"IsEncrypted": False, "Values": dict(environment)}, indent=2), encoding="utf-8")
    return _WRITTEN


def text(environment: Mapping[str, str], settings: Path, *, host: bool) -> str:
    """Return the guide. `settings` is the file that holds the same settings. `host`: whether the function app runs."""
    file = _shown(settings)
    block = "\n".join(f"export {name}='{value}'" for name, value in environment.items() if name.isupper())
    mixed = "\n".join(f"export {name}='{value}'" for name, value in environment.items() if not name.isupper())
    carts = "\n".join(f"  {cart_id(name, 'guide')}  {name}: {BY_NAME[name].about}" for name in SHOWN)
    return f"""
The local stack is up. Ctrl-C ends it.

Settings (also in {file}); paste them into another shell:

{mixed}
{block}

Send a cart: the first eight digits of its id are the number of the scenario that the simulator plays.
  .venv/bin/cart-checkout send --settings {file} {CUSTOMER} CART_ID

{carts}

  All {len(SCENARIOS)}: local/simulator/scenarios.py, or {environment["PARTNER_CENTER_URL"]}/_simulator/scenarios

The same in Python, with the settings above:
  import os, json; from azure.storage.queue import QueueClient; from shared.settings import Settings
  carts = QueueClient.from_connection_string(Settings.from_env().storage_connection_string, os.environ["CARTS_QUEUE"])
  carts.send_message(json.dumps({{"customerId": "{CUSTOMER}",
      "cartId": "{cart_id("created", "python")}", "requestId": "order-4711"}}), time_to_live=-1)

Watch the outcomes:
  .venv/bin/cart-checkout watch --settings {file}
Who bought what, by the simulator's report:
  {environment["PARTNER_CENTER_URL"]}/_simulator/books

{_HOST if host else _NO_HOST.format(file=file)}"""


_HOST = """The function app runs on local.host, whose lines follow; it stands in for Azure Functions Core Tools. With
those installed: make run ARGS=--no-host, and `func start` in another shell.
"""
_NO_HOST = """No host runs (--no-host). In another shell: cp {file} local.settings.json && func start
Without Azure Functions Core Tools: .venv/bin/python -m local.host --settings {file}
"""


def _shown(path: Path) -> str:
    """Return the path relative to the project's folder, where it is inside."""
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)
