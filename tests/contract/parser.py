"""AsyncAPI's own parser: installed from its lock file, and asked.

It is an npm package, like Azurite; Node comes from the same Python package. ``python -m tests.contract.parser``
installs it into ``.local/asyncapi``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from local.npm import Package

_SOURCE = Path(__file__).with_name("asyncapi")
_INSTALLED = Path(__file__).parents[2] / ".local" / "asyncapi"


class ParserUnavailable(Exception):
    """Node or the parser is not here. The text says what to run, or what npm said."""


PARSER = Package("AsyncAPI's parser", _SOURCE, _INSTALLED, ParserUnavailable, "it comes with requirements-dev.txt")


def parse(*documents: Path) -> list[dict[str, Any]]:
    """What the parser finds in each document, and what it reads of it: `diagnostics` and `document`.

    Raises:
        ParserUnavailable: it is not installed.
    """
    if not (folder := PARSER.folder).is_dir():
        raise ParserUnavailable("AsyncAPI's parser is not installed: run `python -m tests.contract.parser`")
    command = [PARSER.node, str(_SOURCE / "parse.cjs"), str(folder), *map(str, documents)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    try:
        print(f"AsyncAPI's parser is in {PARSER.install()}")  # noqa: T201  for a terminal
    except ParserUnavailable as error:
        sys.exit(str(error))
