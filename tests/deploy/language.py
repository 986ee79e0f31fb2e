"""Microsoft's Kusto language service: installed from its lock file, and asked to bind queries.

It is an npm package, like Azurite; Node comes from the same Python package. ``python -m tests.deploy.language``
installs it into ``.local/kusto``.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.npm import Package

_SOURCE = Path(__file__).with_name("kusto")
_INSTALLED = Path(__file__).parents[2] / ".local" / "kusto"
TABLES: dict[str, str] = json.loads((_SOURCE / "tables.json").read_text("utf-8"))
"""The tables of a workspace that queries may read, with the columns that Microsoft documents and we may use."""


class LanguageServiceUnavailable(Exception):
    """Node or the language service is not here. The text says what to run, or what npm said."""


SERVICE = Package(
    "Kusto's language service", _SOURCE, _INSTALLED, LanguageServiceUnavailable, "it comes with requirements-dev.txt"
)


@dataclass(frozen=True)
class Bound:
    """A query as the service would run it.

    Attributes:
        errors: What keeps it from running.
        warnings: What it would run in spite of.
        columns: The names of the result's columns, and their types.
    """

    errors: list[str]
    warnings: list[str]
    columns: dict[str, str]


def bind(queries: Mapping[str, str], tables: Mapping[str, str]) -> dict[str, Bound]:
    """Bind each query against a workspace that has these tables.

    Raises:
        LanguageServiceUnavailable: it is not installed.
    """
    if not (folder := SERVICE.folder).is_dir():
        raise LanguageServiceUnavailable(f"{SERVICE.name} is not installed: run `python -m tests.deploy.language`")
    done = subprocess.run(  # noqa: S603  our own script
        [SERVICE.node, str(_SOURCE / "bind.cjs"), str(folder)],
        input=json.dumps({"tables": tables, "queries": queries}),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        raise AssertionError(done.stderr)

    return {name: _read(found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}


def _read(found: dict[str, Any]) -> Bound:
    errors: list[str] = []
    warnings: list[str] = []
    for fault in found["faults"]:
        kept = errors if fault["severity"] == "Error" else warnings
        kept.append(f"{fault['code']} {fault['message']}")
    return Bound(errors, warnings, found["columns"])


if __name__ == "__main__":
    try:
        print(f"{SERVICE.name} is in {SERVICE.install()}")  # noqa: T201  for a terminal
    except LanguageServiceUnavailable as error:
        sys.exit(str(error))
