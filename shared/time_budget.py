"""How long one message may take. Nothing begins that might not end in time.

functionTimeout restarts the whole worker, and with it every other call in flight. So each message has nine minutes on
the monotonic clock, and before each step the story asks whether the step's longest time still fits, together with
what must follow whatever happens: recording and publishing, or deferring.

    load ─ token ─ GET cart ─ enter ─ POST ─ GET cart ─ list orders ─ record ─ publish │ 9:00
                                               └─ does not fit: defer, and go on in the next delivery
"""

from collections.abc import Callable

import msgspec

LONGEST_MESSAGE = 540.0
"""Seconds. host.json's functionTimeout is a minute longer."""


class TimeLimits(msgspec.Struct, frozen=True):
    """The longest time of each step, in seconds: what the adapters can take at worst."""

    post: float
    """One POST, which begins with its connection."""
    get: float
    """One GET, with its token."""
    token: float
    read: float
    """Reading the record."""
    write: float
    """One write of storage: a blob's, or a message sent to a queue."""
    sign_in: float = 0.0
    """All tokens for storage that a message can wait for."""

    @property
    def ending(self) -> float:
        """What must follow any step: data and record written, then published, deferred and renewed in vain."""
        return 5 * self.write + self.sign_in

    @property
    def entry_and_post(self) -> float:
        """One POST, entered in the record first, which is read again where the entry's response was lost."""
        return self.write + self.read + self.post


class TimeBudget:
    """What is left of one message's time."""

    def __init__(self, limits: TimeLimits, monotonic: Callable[[], float], longest: float = LONGEST_MESSAGE) -> None:
        self.limits = limits
        self._monotonic = monotonic
        self._end = monotonic() + longest

    def allows(self, longest: float) -> bool:
        """Whether a step that takes so many seconds at worst may begin."""
        return self._monotonic() + longest + self.limits.ending <= self._end
