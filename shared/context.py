"""What travels with one delivery of a valid request through the story."""

import msgspec
from msgspec.structs import replace

from shared.core.messages import CheckoutRequest, Delivery
from shared.telemetry import LogLine


class DeliveryContext(msgspec.Struct):
    """One delivery of a valid request. `sent`: the MS-RequestId of the POST that this delivery has made."""

    request: CheckoutRequest
    delivery: Delivery
    line: LogLine
    sent: str | None = None

    @property
    def attempts(self) -> int:
        """The number of attempts that the outcome reports."""
        return self.request.retry.attempt + (self.sent is not None)

    def remember(self, **state: object) -> None:
        """Change what a copy of this message will carry in `retry`."""
        self.request = replace(self.request, retry=replace(self.request.retry, **state))
