"""The cart's state as the metadata of its record. Pure.

    key     a number from 0
    post    {"by": event id, "at": time, "heard": bool, "delivery": text, …}; other members are for operators
    doubt   a time
    spent   "true", or absent

Members that this version does not know are passed over. State that cannot be read is lost state, which is safe:
everything before the record's Last-Modified is in doubt.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from shared.core.cart_state import CartState, Post, lost_state

_Key = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Post(msgspec.Struct):
    by: str
    at: _Instant
    heard: bool = False
    delivery: str = ""


class _Metadata(msgspec.Struct):
    key: _Key
    post: str | None = None
    doubt: _Instant | None = None
    spent: Literal["true", "false"] = "false"


def to_metadata(state: CartState, about_post: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The metadata to write. A lost state is written without `key`, so that it is read as lost again.

    Args:
        state: What to write.
        about_post: What operators want to know of the POST, as JSON values; nothing depends on it.
    """
    found = {} if state.key is None else {"key": str(state.key)}
    if state.post is not None:
        members = {**(about_post or {}), **msgspec.structs.asdict(state.post)}
        # metadata travel in HTTP headers, which carry ASCII only: this escapes everything else
        found["post"] = json.dumps(msgspec.to_builtins(members), separators=(",", ":"))
    if state.doubt is not None:
        found["doubt"] = str(msgspec.to_builtins(state.doubt))
    return {**found, "spent": "true"} if state.spent else found


def changed_metadata(state: CartState, before: CartState | None) -> dict[str, str] | None:
    """The metadata to write with an outcome, or None to keep those that were read, since they say the same.

    So a record that has lost its state keeps what it has. `before`: None where there is no record yet, which must get
    its key.
    """
    return None if state == before else to_metadata(state)


def from_metadata(metadata: Mapping[str, str], last_modified: datetime) -> CartState:
    """The state that a record carries; `last_modified` is the record's own. Never raises."""
    try:
        named = {name.lower(): text for name, text in metadata.items()}
        found = msgspec.convert(named, _Metadata)
        post = None if found.post is None else _post(found.post)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        return lost_state(last_modified)
    return CartState(int(found.key), post, found.doubt, found.spent == "true")


def _post(text: str) -> Post:
    found = msgspec.json.decode(text, type=_Post)
    return Post(found.by, found.at, found.heard, found.delivery)
