"""A refusal that does not stand yet, as a deferred copy carries it. Pure.

It is told once the cart is closed, in the service's own words, as far as a copy has room for them.
"""

import msgspec

from shared.core.cart_state import Post
from shared.core.errors import BY_CODE, Error, ErrorClass, class_of, error
from shared.core.faults import Details, details_in
from shared.core.retry import Refusal

LONGEST_DESCRIPTION = 1200
"""Bytes of JSON of the description. A copy may be 3 KiB longer than its message."""
LONGEST_DATA = 600
"""Bytes of JSON of the details. Longer ones are left out, since a part of them is no JSON."""
_LONGEST_WORD = 100
_FIRST_ERROR_STATUS = 300


def to_refusal(cause: Error, ids: dict[str, str | int] | None, post: Post, key: int) -> Refusal:
    """The refusal that answered the POST `post`, sent under `key`. `ids`: as `outcomes.response_ids` returns them."""
    known = ids or {}
    return Refusal(
        status=int(known.get("status", 0)),
        key=key,
        at=post.at,
        delivery=_shortened(post.delivery),
        code=_word(cause.code),
        description=_shortened(cause.description, LONGEST_DESCRIPTION),
        source=_word(cause.source),
        data=_data(cause.data),
        request_id=_word(known.get("requestId")),
        correlation_id=_word(known.get("correlationId")),
        cv=_word(known.get("cv")),
    )


def error_of(refusal: Refusal) -> Error:
    """The error that its outcome tells."""
    if refusal.status >= _FIRST_ERROR_STATUS:
        error_class = class_of(refusal.status, refusal.code)
    else:
        error_class = BY_CODE.get(refusal.code or "", ErrorClass.REJECTED)
    data = None if refusal.data is None else details_in(refusal.data)
    return error(error_class, refusal.description, code=refusal.code, source=refusal.source, data=data)


def response_of(refusal: Refusal) -> dict[str, str | int]:
    """The ids of the exchange, as `outcomes.response_ids` returns them."""
    ids = {"requestId": refusal.request_id, "correlationId": refusal.correlation_id, "cv": refusal.cv}
    return {"status": refusal.status, **{name: value for name, value in ids.items() if value}}


def post_of(refusal: Refusal, by: str) -> Post:
    """The entry of the POST that it answered. `by`: the event id of its request."""
    return Post(by, refusal.at, delivery=refusal.delivery)


def _data(details: Details | None) -> str | None:
    """The details as the text of a JSON array, or None where there is no room for them."""
    text = msgspec.json.encode(details).decode() if details is not None else None
    return text if text is not None and len(msgspec.json.encode(text)) <= LONGEST_DATA + 2 else None


def _word(value: object) -> str | None:
    return None if value is None else _shortened(str(value))


def _shortened(text: str, longest: int = _LONGEST_WORD) -> str:
    """As much of it as fits `longest` bytes of JSON."""
    while len(msgspec.json.encode(text)) > longest + 2:
        text = text[: len(text) * 7 // 8]
    return text
