"""The table of the demo: a line for each request, coloured like that of `cart-checkout watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli.table import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from local.demo.requests import DemoRequest

_FRAME = 3  # lines: the header, the count, and the cursor's own


def table(requests: Sequence[DemoRequest]) -> Table:
    """Build the table of these requests."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=True)
    made.add_column("cart", width=8, no_wrap=True)
    made.add_column("scenario", width=24, no_wrap=True)
    made.add_column("what happens", ratio=1, no_wrap=True, style="dim")
    made.add_column("tries", width=5, justify="right", no_wrap=True)
    made.add_column("outcome", width=15, no_wrap=True)
    made.add_column("class code", width=22, no_wrap=True)
    made.add_column("time", width=6, justify="right", no_wrap=True)
    for request in requests:
        made.add_row(*_cells(request))
    return made


def live_table(requests: Sequence[DemoRequest], height: int) -> RenderableType:
    """Build the table with a count below it, in `height` lines; the requests answered first are left out."""
    shown = _fitting(requests, height - _FRAME)
    answered = sum(bool(request.events) for request in requests)
    hidden = len(requests) - len(shown)
    count = f"{answered} of {len(requests)} answered" + (f", {hidden} of them not shown here" if hidden else "")
    return Group(table(shown), Text(count, style="bold"))


def _cells(request: DemoRequest) -> list[Text]:
    received = request.received
    if received is None:
        outcome = Text("" if request.sent_at is None else "waiting", style="dim")
        kind, tries, seconds = "", f"{request.posts or ''}", ""
    else:
        good = received == request.expected
        outcome = Text(received.outcome, style=COLOURS[received.outcome] if good else "bold white on red")
        kind = " ".join(filter(None, (received.error_class, received.code)))
        tries, seconds = f"{request.data.get('attempts', '')}", f"{request.seconds:.1f} s"
    cells = (request.cart_id[:8], request.name, request.about, tries, outcome, kind, seconds)
    return [cell if isinstance(cell, Text) else Text(cell) for cell in cells]


def _fitting(requests: Sequence[DemoRequest], room: int) -> list[DemoRequest]:
    answered = sorted(
        (request for request in requests if request.events), key=lambda request: request.answered_at or 0.0
    )
    left_out = {request.event_id for request in answered[: max(0, len(requests) - room)]}
    return [request for request in requests if request.event_id not in left_out]
