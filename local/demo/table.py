"""The demo's table: one line for each request, coloured like `cart-checkout watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli.table import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from local.demo.shop import Order

_FRAME = 3  # lines: the header, the count, and the cursor's own


def table(orders: Sequence[Order]) -> Table:
    """The table of these orders."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=True)
    made.add_column("cart", width=8, no_wrap=True)
    made.add_column("scenario", width=24, no_wrap=True)
    made.add_column("what happens", ratio=1, no_wrap=True, style="dim")
    made.add_column("tries", width=5, justify="right", no_wrap=True)
    made.add_column("outcome", width=15, no_wrap=True)
    made.add_column("class code", width=22, no_wrap=True)
    made.add_column("time", width=6, justify="right", no_wrap=True)
    for order in orders:
        made.add_row(*_cells(order))
    return made


def live(orders: Sequence[Order], height: int) -> RenderableType:
    """The table with a count below it, in `height` lines: those answered longest ago make room for the others."""
    shown = _fitting(orders, height - _FRAME)
    answered = sum(bool(order.events) for order in orders)
    hidden = len(orders) - len(shown)
    count = f"{answered} of {len(orders)} answered" + (f", {hidden} of them not shown here" if hidden else "")
    return Group(table(shown), Text(count, style="bold"))


def _cells(order: Order) -> list[Text]:
    came = order.came
    if came is None:
        outcome = Text("" if order.sent_at is None else "waiting", style="dim")
        kind, tries, seconds = "", f"{order.posts or ''}", ""
    else:
        good = came == order.expected
        outcome = Text(came.outcome, style=COLOURS[came.outcome] if good else "bold white on red")
        kind = " ".join(filter(None, (came.error_class, came.code)))
        tries, seconds = f"{order.data.get('attempts', '')}", f"{order.seconds:.1f} s"
    cells = (order.cart_id[:8], order.name, order.about, tries, outcome, kind, seconds)
    return [cell if isinstance(cell, Text) else Text(cell) for cell in cells]


def _fitting(orders: Sequence[Order], room: int) -> list[Order]:
    answered = sorted((order for order in orders if order.events), key=lambda order: order.answered_at or 0.0)
    left_out = {order.event_id for order in answered[: max(0, len(orders) - room)]}
    return [order for order in orders if order.event_id not in left_out]
