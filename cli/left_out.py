"""What a command could not look at: it says so at once and at the end, and does not end with 0."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cli import output
from shared.core.jsontext import printable

INCOMPLETE = 1
DAMAGED = "record(s) that cannot be read"
UNSEEN = "message(s) that cannot be seen"
CHANGED = "record(s) that have changed meanwhile"
UNLISTED = "list(s) of records that were cut"


class LeftOut:
    """Counts what was left out, by kind."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()

    def add(self, kind: str, says: str = "", count: int = 1) -> None:
        """Count what was left out, and print what the command says of it, unless it has said it already."""
        if says:
            output.echo(printable(says, 600), err=True)
        self._kinds[kind] += count

    def __bool__(self) -> bool:
        """Whether anything was."""
        return bool(self._kinds)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self._kinds.items())


@contextmanager
def left_out() -> Iterator[LeftOut]:
    """End the command with 1 where it would end with 0 although something was left out."""
    left = LeftOut()
    try:
        yield left
    except SystemExit as end:
        if end.code not in (None, 0) or not left:
            raise
    if left:
        output.echo(f"Not everything was looked at, left out: {left}.", err=True)
        sys.exit(INCOMPLETE)
