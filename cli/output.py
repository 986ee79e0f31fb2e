"""What the commands print. Nothing that was done goes untold because of the terminal, or of a pipe that was closed."""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

import click

ESCAPED = "cart-checkout.escaped"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what the terminal's encoding lacks as JSON does, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)), error.end


codecs.register_error(ESCAPED, _escape)


def prepare() -> None:
    """Let both streams escape what they cannot encode, and a stdout that is closed break as a pipe does."""
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if sys.stdout is None:
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = os.fdopen(writer, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line. Raises OSError where the stream is broken, which ends the command.

    click would choose UTF-8 for a terminal that is not known to read it, if the stream were not named.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, file=stream, nl=nl)
    except OSError:
        _drain(stream)
        raise


def _drain(stream: TextIO) -> None:
    """Let what a broken stream still holds go nowhere, or Python would complain of it when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def tell(text: str, *, err: bool = False) -> None:
    """Print what is or was done, which cannot be found out again: on stderr, from then on, where stdout is broken."""
    try:
        echo(text, err=err)
    except OSError as error:
        sys.stdout = sys.stderr  # what is left in stdout's buffer is not written any more
        echo(f"stdout broke ({error.strerror or type(error).__name__}): the rest is told here.", err=True)
        echo(text, err=True)
