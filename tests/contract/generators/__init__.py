"""What the tools of other languages' teams make of the schemas: installed from their lock file, and run.

They are npm packages, like AsyncAPI's parser; Node comes from the same Python package.
``python -m tests.contract.generators`` runs them over the published schemas and prints a table.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.npm import Package

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCE = Path(__file__).parent
_ROOT = Path(__file__).parents[3]
SCHEMAS = _ROOT / "docs" / "schemas"
CONSUMER = "consumer"
"""Where in the scratch folder the TypeScript consumer lies, with its types."""


class GeneratorsUnavailable(Exception):
    """Node or the generators are not here. The text says what to run, or what npm said."""


GENERATORS = Package(
    "the generators",
    _SOURCE,
    _ROOT / ".local" / "generators",
    GeneratorsUnavailable,
    "it comes with requirements-dev.txt",
)

Row = dict[str, Any]


def check(events: Iterable[str], scratch: Path, schemas: Path = SCHEMAS) -> dict[str, Row]:
    """What each tool makes of the schemas and of these events. `faults` of each is empty where all is well.

    Args:
        events: The events as text.
        scratch: An empty folder for what the tools write.
        schemas: The folder of the schemas.

    Raises:
        GeneratorsUnavailable: they are not installed.
    """
    lines = scratch / "events.jsonl"
    lines.write_text("".join(f"{event}\n" for event in events), encoding="utf-8")
    *_, last = _node(str(_SOURCE / "check.cjs"), str(_folder()), str(schemas), str(lines), str(scratch)).splitlines()
    found: dict[str, Row] = json.loads(last)
    return found


def consume(messages: Iterable[str], scratch: Path) -> list[Row]:
    """What the TypeScript consumer, which `check` has put into the scratch folder, says of each message."""
    said = _node(str(scratch / CONSUMER / "consumer.ts"), typed="".join(f"{message}\n" for message in messages))
    return [exact(line) for line in said.splitlines()]


def exact(text: str) -> Row:
    """An object with the text of each number, since the digits are what counts."""
    found: Row = json.loads(text, parse_int=str, parse_float=str)
    return found


def versions() -> dict[str, str]:
    """The pinned packages by name."""
    found: dict[str, str] = json.loads((_SOURCE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return found


def _folder() -> Path:
    if not (folder := GENERATORS.folder).is_dir():
        raise GeneratorsUnavailable(
            "the generators are not installed: run `python -m tests.contract.generators --install`"
        )
    return folder


def _node(*arguments: str, typed: str = "") -> str:
    command = [GENERATORS.node, *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", input=typed, check=False, timeout=1200)  # noqa: S603
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout
