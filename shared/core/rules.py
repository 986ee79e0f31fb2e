"""The record of one cart, and the three rules that say who answers a request: the record or the service. Pure.

    1  the last entry of this request answers it                      ──► publish it again, unchanged
    2  else the first entry that bought the cart, even in part         ──► a new entry with its outcome
    3  else the service must be asked                                  ──► POST, then append

Every path asks the same rules: first delivery, redelivery, deferred copy, lost race, poison queue. They compare
event ids and read the outcome from `type`, never from `data`.
"""

import msgspec

from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event


class Record(msgspec.Struct, frozen=True):
    """The entries of one cart as they were read, and the ETag they were read under (None: no record yet)."""

    entries: tuple[Event, ...] = ()
    etag: str | None = None

    def own(self, request: CheckoutRequest) -> Event | None:
        """Rule 1: the last entry of this request."""
        ids = (request.event_id, request.correction_id)
        return next((entry for entry in reversed(self.entries) if entry.id in ids), None)

    def bought(self) -> Event | None:
        """Rule 2: the first entry that bought the cart."""
        return next((entry for entry in self.entries if entry.bought), None)


class Ruling(msgspec.Struct, frozen=True):
    """What the rules say: exactly one of the two is set, or neither, and then the service decides.

    `tell`: this entry, unchanged. `borrow`: a new entry with this one's outcome. `corrects`: the id of the
    request's own entry that the new one replaces.
    """

    tell: Event | None = None
    borrow: Event | None = None
    corrects: str | None = None


def apply_rules(record: Record, request: CheckoutRequest, *, bought_in_hand: bool = False) -> Ruling:
    """Apply the three rules; `bought_in_hand`: the service has just said that the cart is bought.

    An order in hand never yields to a `failed` or `unknown` that a rival kept for the same request:

        this delivery     recall ─ POST ─────────────── 201 ─ keep: lost the race ─ correction, told
        its duplicate       recall ─ POST ─ 400 ─ keep `failed` ─ told
    """
    own, bought = record.own(request), record.bought()
    if own is not None and (own.bought or not bought_in_hand):
        return Ruling(tell=own)
    return Ruling(borrow=bought, corrects=own.id if own else None)
