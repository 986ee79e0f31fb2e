"""The record of one cart, and the three rules that say whether the record answers a request, or the service. Pure.

    1  the last entry of this request answers it                      ──► publish it again, unchanged
    2  else the first entry that bought the cart, even in part         ──► a new entry with its outcome
    3  else the service decides                                        ──► POST, then append

Every path applies the same rules: first delivery, redelivery, deferred copy, lost race, poison queue. They compare
event ids and read the outcome from `type`, never from `data`.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event, Outcome


class Record(msgspec.Struct, frozen=True):
    """One cart's record as it was read.

    Attributes:
        entries: The outcomes, in the order in which they were decided. None yet in a record that only has metadata.
            One whose type this version does not know is rewritten as it is and counts as a place, and that is all.
        etag: What a conditional write must match; None: there is no record yet.
        metadata: The working state, as plain text under lower-case names. The three rules do not look at it.
        last_modified: When the record was written last, by storage's clock; None: there is no record yet.
        read_at: The `Date` of storage's answer; None where the record was not read.
    """

    entries: tuple[Event, ...] = ()
    etag: str | None = None
    metadata: Mapping[str, str] = {}
    last_modified: datetime | None = None
    read_at: datetime | None = None

    def own(self, request: CheckoutRequest) -> tuple[Event, ...]:
        """The entries of this request: its outcome, and each correction of the one before."""
        ids = {request.event_id, *(request.correction_id(number + 1) for number in range(len(self.entries)))}
        return tuple(entry for entry in self.entries if entry.outcome is not None and entry.id in ids)

    def bought(self) -> Event | None:
        """Rule 2: the first entry that bought the cart."""
        return next((entry for entry in self.entries if entry.bought), None)


class Replay(msgspec.Struct, frozen=True):
    """Rule 1: publish this entry again, unchanged."""

    event: Event


class CopyOf(msgspec.Struct, frozen=True):
    """Rule 2: append a new entry with the outcome of `entry`. `corrects`: the own entries, whose last it replaces."""

    entry: Event
    corrects: tuple[Event, ...] = ()


class Undecided(msgspec.Struct, frozen=True):
    """Rule 3: the service decides. `corrects`: the own entries, the last of which what is in hand replaces."""

    corrects: tuple[Event, ...] = ()


Ruling = Replay | CopyOf | Undecided


class InHand(StrEnum):
    """What this delivery has learned from the service, whatever the record says."""

    NOTHING = "nothing"
    ORDERED = "ordered"
    BOUGHT = "bought"


_CORRECTED = {
    InHand.NOTHING: frozenset[Outcome](),
    InHand.ORDERED: frozenset({Outcome.FAILED}),
    InHand.BOUGHT: frozenset({Outcome.FAILED, Outcome.UNKNOWN}),
}


def apply_rules(record: Record, request: CheckoutRequest, in_hand: InHand = InHand.NOTHING) -> Ruling:
    """Apply the three rules.

    A purchase in hand does not yield to a `failed` or `unknown` of the same request, and an ordered cart not to a
    `failed`:

        this delivery     load ─ POST ─────────────── 201 ─ append: lost the race ─ correction, published
        its duplicate       load ─ POST ─ 400 ─ append `failed` ─ published
    """
    own, bought = record.own(request), record.bought()
    if own and own[-1].outcome not in _CORRECTED[in_hand]:
        return Replay(own[-1])
    return Undecided(own) if bought is None else CopyOf(bought, own)
