"""All I/O of one message, added up from the modules' own constants: it ends well before functionTimeout.

functionTimeout (10 min) restarts the worker with every other call in flight, so nothing may come near it.
"""

import json
from pathlib import Path

import pytest

from shared import steps
from shared.adapters import identity, partner_center, storage
from shared.settings import Settings, SettingsError

LIMIT = 540.0
"""Seconds: nine minutes."""
LONGEST_POST = 200.0
"""The most that CHECKOUT_TIMEOUT_SECONDS may say. It bounds both tries of a 401 together."""


def longest_race() -> float:
    """`keep`: rounds begin for LONGEST_RACE seconds; the last one reads the record, the data of a rival's entry
    that lies in a blob of its own, and writes its own data and the record."""
    return steps.LONGEST_RACE + 2 * storage.LONGEST_READ + 2 * storage.LONGEST_OPERATION


def longest_message() -> dict[str, float]:
    """The longest way through `handle`, each step at its worst: no other way has a POST and all the rest."""
    return {
        "recall": storage.LONGEST_READ,
        "token for the POST": identity.LONGEST_REQUEST,
        "POST, its 401 retry included": LONGEST_POST,
        "a new token after its 401": identity.LONGEST_REQUEST,
        # refused in doubt, or already ordered: two questions; their tokens are within their time
        "GET cart": partner_center.GET_TIMEOUT,
        "a new token after a 401 to that": identity.LONGEST_REQUEST,
        "GET orders": partner_center.GET_TIMEOUT,
        "a new token after a 401 to those": identity.LONGEST_REQUEST,
        "keep": longest_race(),
        # then one of: publish and the note taken away; publish in vain and defer; defer and a note
        "publish": storage.LONGEST_OPERATION,
        "defer or note": storage.LONGEST_OPERATION,
        # identity-based storage: one credential for both services, whose token comes late twice at most, since
        # an operation that gets none fails, and after two that failed `handle` has ended
        "tokens for storage": 2 * storage.LONGEST_SIGN_IN,
    }


def test_all_io_of_one_message_ends_within_nine_minutes() -> None:
    added_up = longest_message()
    assert sum(added_up.values()) < LIMIT, added_up


def test_the_limits_add_up_as_listed() -> None:
    assert longest_message() == {
        "recall": 28.75,
        "token for the POST": 14.0,
        "POST, its 401 retry included": 200.0,
        "a new token after its 401": 14.0,
        "GET cart": 30.0,
        "a new token after a 401 to that": 14.0,
        "GET orders": 30.0,
        "a new token after a 401 to those": 14.0,
        "keep": 20.0 + 2 * 28.75 + 2 * 18.5,
        "publish": 18.5,
        "defer or note": 18.5,
        "tokens for storage": 2 * 21.0,
    }


def test_nine_minutes_end_before_the_host_restarts_the_worker() -> None:
    host = json.loads((Path(__file__).parents[2] / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = (int(part) for part in host["functionTimeout"].split(":"))
    assert LIMIT <= hours * 3600 + minutes * 60 + seconds - 60


def test_no_setting_can_make_the_post_longer() -> None:
    env = {
        "CheckoutStorage": "UseDevelopmentStorage=true",
        "CARTS_QUEUE": "carts",
        "OUTCOMES_QUEUE": "outcomes",
        "RECORDS_CONTAINER": "records",
        "PARTNER_CENTER_URL": "http://localhost",
    }
    longest = Settings.from_env(env | {"CHECKOUT_TIMEOUT_SECONDS": f"{LONGEST_POST}"})
    assert longest.checkout_timeout == LONGEST_POST
    with pytest.raises(SettingsError):
        Settings.from_env(env | {"CHECKOUT_TIMEOUT_SECONDS": f"{LONGEST_POST + 1}"})


def test_connecting_is_part_of_each_limit() -> None:
    assert partner_center.CONNECT_TIMEOUT < partner_center.GET_TIMEOUT < LONGEST_POST
    assert storage.CONNECT_TIMEOUT + storage.READ_TIMEOUT < storage.LONGEST_OPERATION
