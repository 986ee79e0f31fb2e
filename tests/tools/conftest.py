"""The operator's command, run in this process against queues that only one test has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tools.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Storage


@pytest.fixture
def settings(storage: Storage, tmp_path: Path) -> Path:
    """A local.settings.json that names this test's queues."""
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": storage.environ}))
    return file


@pytest.fixture
def run(settings: Path) -> Callable[..., Result]:
    """Run `cart-checkout VERB --settings FILE ...`; `given` is its standard input."""

    def invoke(verb: str, *arguments: str, given: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [verb, "--settings", str(settings), *arguments], input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
