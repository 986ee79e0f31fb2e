"""What `pip install '.[cli]'` installs is what `cli` imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

from local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def imported() -> set[str]:
    """The top-level modules that the command imports, less its own and Python's."""
    found = set()
    for path in ROOT.glob("cli/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - {"cli", "shared"} - sys.stdlib_module_names


def test_the_extra_is_what_the_command_imports_beyond_the_run_time_requirements() -> None:
    distributions = packages_distributions()
    run_time = names(PROJECT["dependencies"])
    beyond = [distributions[module] for module in imported() if not run_time & {*distributions[module]}]
    assert names(EXTRAS["cli"]) == {name for found in beyond for name in found}


def test_developers_have_the_extra_too() -> None:
    assert {*EXTRAS["cli"]} <= {*EXTRAS["dev"]}
