"""docs/operations.md: every alert and error class has its section, and every command in it can be typed."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.core.errors import ErrorClass

if TYPE_CHECKING:
    import click

RUNBOOK = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = (
    "Carts wait too long",
    "Stuck in poison",
    "Configuration or authentication",
    "Unknown outcomes",
    "No outcomes",
)
COMMANDS = sorted({line.strip() for line in re.findall(r"cart-checkout (\w+[^`\n|#]*)", RUNBOOK)})


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", RUNBOOK, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_seen_what_it_means_and_what_to_do_and_not_to_do(alert: str) -> None:
    headings = re.findall(r"^\*\*(You see|It means|Do now|Do not|Wake somebody)\*\*", section(alert), re.MULTILINE)
    assert ["You see", "It means", "Do now", "Do not", "Wake somebody"] == headings


def test_every_error_class_has_its_section() -> None:
    assert {*ErrorClass} == {*re.findall(r"^### (\w+)$", section("Error classes"), re.MULTILINE)}


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_of_the_runbook_is_valid(typed: str) -> None:
    verb, *words = shlex.split(typed)
    command: click.Command = importlib.import_module(f"cli.commands.{verb}").command
    options = {name: option for option in command.params for name in option.opts}
    for position, word in enumerate(words):
        if not word.startswith("--"):
            continue
        option = options[word]
        if choices := getattr(option.type, "choices", None):
            assert words[position + 1] in choices
