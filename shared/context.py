"""The state of one delivery of a valid request."""

import msgspec
from msgspec.structs import replace

from shared.core.messages import CheckoutRequest, Delivery
from shared.telemetry import LogLine


class DeliveryContext(msgspec.Struct):
    """One delivery of a valid request. `sent_id`: the MS-RequestId of the POST that it has made."""

    request: CheckoutRequest
    delivery: Delivery
    line: LogLine
    sent_id: str | None = None

    @property
    def attempts(self) -> int:
        """The number of attempts that the outcome reports."""
        return self.request.retry.attempt + (self.sent_id is not None)

    def update_retry(self, **state: object) -> None:
        """Change the `retry` that a copy of this message will carry."""
        self.request = replace(self.request, retry=replace(self.request.retry, **state))
