# ruff: noqa: INP001  the other scripts are no modules
"""A command on a pseudo-terminal, and what is to be seen there in the end. For `scripts.pictures`."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0

_OURS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI")
"""What a shell may say, and what would decide in the terminal's place."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    columns: int
    rows: int


class Terminal:
    """A command on a pseudo-terminal; as a context manager it is ended at the latest on the way out."""

    def __init__(self, size: Size, arguments: list[str], environ: Mapping[str, str]) -> None:
        """Start it: `python -m` and these arguments."""
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
        self._process = subprocess.Popen(  # noqa: S603  our own programs
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**kept, **environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    @property
    def printed(self) -> str:
        """All that came so far."""
        return self._printed.decode()

    def wait_for_lines(self, count: int) -> None:
        """Until it has printed so many lines."""
        until(lambda: self._printed.count(b"\n") >= count, f"{count} lines of {self._process.args!r}")

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def result(self) -> str:
        """What it printed, once it ended well.

        Raises:
            RuntimeError: It did not; what it printed is in the text.
        """
        code = self._process.wait(timeout=PATIENCE)
        self._reader.join()
        if code:
            raise RuntimeError(f"{self._process.args!r} ended with code {code}:\n{self.printed}")
        return self.printed

    def _read(self) -> None:
        with suppress(OSError):  # EIO: nobody has the other end open any more
            while chunk := os.read(self._master, 65536):
                self._printed += chunk


_TOKEN = re.compile(
    r"""(?P<line>\r?\n)
      | \r(?P<here>\x1b\[2K)?(?P<above>(\x1b\[1A\x1b\[2K)*)(?!\n)   # erase this line, and lines above it
      | (?P<cursor>\x1b\[\?25[hl])                                  # show and hide it
      | (?P<text>(\x1b\[[0-9;]*m | [^\r\n\x1b])+)""",
    re.VERBOSE,
)


def screen(printed: str, columns: int) -> list[Text]:
    """The lines that are to be seen in the end, scrolled back: what was erased is not among them.

    It knows what click and rich print, and no more.

    Raises:
        ValueError: Something else was printed.
    """
    lines, row, position = [""], 0, 0
    while position < len(printed):
        token = _TOKEN.match(printed, position)
        if token is None or token[0] == "\r":
            raise ValueError(f"This is not known to be printed on a terminal: {printed[position : position + 20]!r}")
        position = token.end()
        if token["line"]:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token["text"]:
            lines[row] += token["text"]
        elif not token["cursor"]:
            top = row - token["above"].count("A")
            lines[top : row + bool(token["here"])] = [""] * (row + bool(token["here"]) - top)
            row = top
    seen = Text.from_ansi("\n".join(lines).rstrip()).split("\n", allow_blank=True)
    # A terminal folds after its last column, wherever that is in a word.
    return [part for line in seen for part in line.divide(range(columns, len(line), columns))]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds; `what` is what is then there.

    Raises:
        TimeoutError: It did not come.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited for {what} in vain.")
        threading.Event().wait(0.1)
