# ruff: noqa: INP001  the other scripts are no modules
"""The README's pictures of `make demo`, `cart-checkout watch` and `cart-checkout status`, taken of the real thing.

    python -m scripts.pictures   write docs/pictures: a minute or two, on a local stack of its own

Each command runs on a pseudo-terminal of a fixed size, so it prints what it prints for a person. Only the prompt
before it is put in. The size of a picture is always the same; times and ids in it are those of the run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from io import StringIO

from rich.console import Console
from rich.text import Text

from local.simulator.scenarios import cart_id
from local.stack import Stack
from scripts.terminal import ROOT, Size, Terminal, screen, until

FOLDER = ROOT / "docs" / "pictures"
LARGEST = 100_000
"""Bytes of a picture."""

# --- the picture ------------------------------------------------------------------------------------------------

_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
font-size: {char_height}px;
}}
{styles}
</style>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" class="{unique_id}-matrix">
{backgrounds}
{matrix}
</g>
</svg>
"""
"""Rich's, made light, with the fonts of the reader's system: a README must fetch nothing."""
_LIGHTER = (
    ("&#160;", "\N{NO-BREAK SPACE}"),
    (r' clip-path="url\(#[\w-]+\)"', ""),  # no line is wider than the terminal
    (r"<text [^>]*>\s*</text>", ""),
    (r"(\d\.\d)\d{6,}", r"\1"),
    (r"(?<=>)(?=<text )|\s*\n\s*", "\n"),
)


def svg(name: str, session: list[tuple[str, str]], columns: int) -> str:
    """A picture of commands and what each printed."""
    console = Console(file=StringIO(), record=True, width=columns, color_system="truecolor", force_terminal=True)
    for number, (command, printed) in enumerate(session):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        for line in screen(printed, columns):
            console.print(line, no_wrap=True, crop=False)
    made = console.export_svg(title="", unique_id=name, code_format=_SVG)
    for pattern, instead in _LIGHTER:
        made = re.sub(pattern, instead, made)
    return f"{made.strip()}\n"


# --- what is shown ----------------------------------------------------------------------------------------------

DEMO = Size(120, 64)
OPERATOR = Size(152, 48)
_PLACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:pictures")

DECIDED = (
    "created",
    "two-order-groups",
    "pending-review",
    "fault-with-data",
    "ok",
    "dropped-after",
    "partial",
    "fault-403-13605",
    "html-502",
    "already-ordered",
    "in-progress",
    "slow",
)
"""What becomes of the carts that are decided, in the order in which they are sent."""
ASKED = "already-ordered"
"""Of these, the one that is looked at alone."""
HELD = ("service-down", "in-progress-for-ever")
"""And of those that wait."""


def demo() -> list[tuple[str, str]]:
    """The whole demo; it brings a stack of its own."""
    with Terminal(DEMO, ["local.demo"], {}) as terminal:
        return [("make demo", terminal.result())]


def watch(stack: Stack) -> list[tuple[str, str]]:
    """Outcomes that come while one looks."""
    with _verb(stack, "watch") as terminal:
        for number, scenario in enumerate(DECIDED):
            _send(stack, scenario, number)
            terminal.wait_for_lines(min(2 + number, 4))  # the first three one by one, below the heading
        terminal.wait_for_lines(1 + len(DECIDED))
        terminal.interrupt()
        return [("cart-checkout watch", terminal.result())]


def status(stack: Stack) -> list[tuple[str, str]]:
    """The queues while carts wait, and one cart."""
    for number, scenario in enumerate(HELD, len(DECIDED)):
        _send(stack, scenario, number)
    until(lambda: _waiting(stack) >= len(HELD), f"{len(HELD)} carts that wait")
    cart = _cart(ASKED, DECIDED.index(ASKED))
    session = []
    for arguments in ([], [cart]):
        with _verb(stack, "status", *arguments) as terminal:
            session.append((" ".join(("cart-checkout status", *arguments)), terminal.result()))
    return session


def _verb(stack: Stack, *arguments: str) -> Terminal:
    return Terminal(OPERATOR, ["cli.main", *arguments], stack.environment)


def _cart(scenario: str, number: int) -> str:
    return cart_id(scenario, f"pictures {number}")


def _send(stack: Stack, scenario: str, number: int) -> None:
    customer = str(uuid.uuid5(_PLACE, f"customer {number % 5}"))
    request = {"customerId": customer, "cartId": _cart(scenario, number), "requestId": f"order-{4711 + number}"}
    stack.carts.send_message(json.dumps(request))


def _waiting(stack: Stack) -> int:
    command = [sys.executable, "-m", "cli.main", "status", "--json"]
    found = subprocess.run(  # noqa: S603  our own program
        command, cwd=ROOT, env={**os.environ, **stack.environment}, check=True, capture_output=True
    )
    return int(json.loads(found.stdout)["waiting"]["count"])


def main() -> int:
    """Take all the pictures, and only then write them.

    Returns:
        0, always: what fails is raised.
    """
    session = {"demo": demo()}
    with Stack() as stack:
        session |= {"watch": watch(stack), "status": status(stack)}
    FOLDER.mkdir(exist_ok=True)
    for name, commands in session.items():
        made = svg(name, commands, (DEMO if name == "demo" else OPERATOR).columns)
        if len(made.encode()) > LARGEST:
            raise ValueError(f"{name}.svg has {len(made.encode())} bytes, and may have {LARGEST}.")
        (FOLDER / f"{name}.svg").write_text(made, encoding="utf-8")
        print(f"docs/pictures/{name}.svg: {len(made.encode())} bytes")  # noqa: T201  for a terminal
    return 0


if __name__ == "__main__":
    sys.exit(main())
