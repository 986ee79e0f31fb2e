"""The producer in TypeScript: its npm packages are installed from their lock file, and it is run.

``python -m tests.examples.typescript_producer`` installs them into ``.local/typescript_producer``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local.npm import Package

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "typescript_producer"


class ProducerUnavailable(Exception):
    """Node or the packages are not here. The text says what to run, or what npm said."""


PRODUCER = Package(
    "the producer in TypeScript",
    SOURCE,
    ROOT / ".local" / "typescript_producer",
    ProducerUnavailable,
    "it comes with requirements-dev.txt",
)


def run(folder: Path, *command: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script with Node, in a folder that has the example's files and its packages.

    Raises:
        ProducerUnavailable: the packages are not installed.
    """
    if not (installed := PRODUCER.folder).is_dir():
        raise ProducerUnavailable("it is not installed: run `python -m tests.examples.typescript_producer`")
    for name in ("producer.ts", "package.json", "tsconfig.json"):
        (folder / name).write_bytes((SOURCE / name).read_bytes())
    (folder / "node_modules").symlink_to(installed / "node_modules")
    return subprocess.run(  # noqa: S603  our own files
        [PRODUCER.node, *command],
        cwd=folder,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


if __name__ == "__main__":
    try:
        print(f"The TypeScript producer's packages are in {PRODUCER.install()}")  # noqa: T201  for a terminal
    except ProducerUnavailable as error:
        sys.exit(str(error))
