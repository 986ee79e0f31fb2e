"""Kills worker processes by the messages that they handle, at points that are recognised in their proxies' traffic."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from local.chaos.fault_proxy import Exchange, ExchangeStage
from local.chaos.plan import CrashPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.chaos.plan import Crash, Line

_CHECKOUT = re.compile(r"/v1/customers/[^/]+/carts/([^/]+)/checkout")
_TEXT = re.compile(rb"<MessageText>(.*?)</MessageText>", re.DOTALL)
_METADATA = re.compile(r"(?:^|&)comp=metadata(?:&|$)")
_MARK = b'"nextAt"'
"""Stands in the metadata only where they note what an answer left, not where they enter a POST."""


class CrashInjector:
    """The crashes that are still planned, by cart. `counts` has those that happened, by point."""

    def __init__(self, crashes: Mapping[str, Crash], settings: Mapping[str, str]) -> None:
        self.counts: Counter[CrashPoint] = Counter()
        self._left = {cart: crash.times for cart, crash in crashes.items()}
        self._points = {cart: crash.point for cart, crash in crashes.items()}
        self._record = re.compile(rf"/[^/]+/{settings['RECORDS_CONTAINER']}/[^/]+/([^/.]+)\.json")
        self._outcomes = f"/{settings['OUTCOMES_QUEUE']}/messages"
        self._carts = f"/{settings['CARTS_QUEUE']}/messages"

    def crash_if_planned(self, line: Line, exchange: Exchange, stage: ExchangeStage, kill: Callable[[], bool]) -> bool:
        """Kill the sender of a request if its cart is to crash here. Returns whether it was killed."""
        point, cart = self._locate(line, exchange, stage)
        if point is None or self._points.get(cart) is not point or not self._left[cart] or not kill():
            return False
        self._left[cart] -= 1
        self.counts[point] += 1
        return True

    def _locate(self, line: Line, exchange: Exchange, stage: ExchangeStage) -> tuple[CrashPoint | None, str]:
        """The crash point that an exchange has reached, and its cart."""
        path = exchange.target.partition("?")[0]
        before = stage is ExchangeStage.REQUESTED
        if stage is ExchangeStage.DONE or (line != "service" and exchange.status >= HTTPStatus.BAD_REQUEST):
            return None, ""  # nothing was recorded, published or sent
        match line, exchange.method:
            case "service", "POST":
                checkout = _CHECKOUT.fullmatch(path)
                return CrashPoint.BEFORE_POST if before else CrashPoint.AFTER_POST, checkout[1] if checkout else ""
            case "blob", "PUT":
                return self._locate_write(exchange, path, before=before)
            case "queue", "POST" if path.endswith(self._outcomes):
                return CrashPoint.BEFORE_PUBLISH if before else CrashPoint.AFTER_PUBLISH, _cart_in(exchange.body)
            case "queue", "POST" if not before and path.endswith(self._carts):
                return CrashPoint.AFTER_DEFER, _cart_in(exchange.body)
        return None, ""

    def _locate_write(self, exchange: Exchange, path: str, *, before: bool) -> tuple[CrashPoint | None, str]:
        """The crash point of a write of a record.

        Put Blob with `[]`, or Set Blob Metadata       the entry of a POST
        Set Blob Metadata that says when it is next    what the answer left: no crash point
        Put Blob with outcomes                         append
        """
        record = self._record.fullmatch(path)
        if record is None:
            return None, ""
        metadata_only = _METADATA.search(exchange.target.partition("?")[2]) is not None
        if metadata_only and _MARK in exchange.head:
            return None, ""
        if metadata_only or exchange.body == b"[]":
            return CrashPoint.BEFORE_ENTRY if before else CrashPoint.AFTER_ENTRY, record[1]
        return CrashPoint.BEFORE_APPEND if before else CrashPoint.AFTER_APPEND, record[1]


def _cart_in(body: bytes) -> str:
    """The id of the cart that an outcome or a copy of a request names, or other text where it names none."""
    text = _TEXT.search(body)
    try:
        message: dict[str, Any] = json.loads(base64.b64decode(text[1] if text else b""))
    except ValueError:
        return ""
    data = message.get("data", {})
    return str(message.get("subject") or message.get("cartId") or data.get("cartId")).rpartition("/")[2]
