from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cli.main import VERBS, main
from local.stack import ROOT

SDKS = "('azure', 'requests', 'rich', 'urllib3')"


@pytest.mark.parametrize("verb", VERBS)
def test_help_imports_no_sdk_and_describes_the_use_in_scripts(verb: str) -> None:
    program = f"import sys; from cli.main import main; main(['{verb}', '--help'], standalone_mode=False);"
    program += f"print([name for name in sys.modules if name.split('.')[0] in {SDKS}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    for word in ("Examples:", "Exit codes: 0 ", "--json", "With --json, one ", "--settings FILE"):
        assert word in done.stdout
    assert done.stdout.endswith("[]\n")
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_the_verbs_are_listed_in_their_order() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    places = [shown.index(f"\n  {verb}") for verb in VERBS]
    assert sorted(places) == places


def test_an_unknown_verb_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["buy"])
    assert result.exit_code == 2
    assert "No such command 'buy'" in result.stderr


def test_no_short_help_is_truncated() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    commands = shown.partition("Commands:\n")[2].splitlines()
    assert [*VERBS] == [line.split()[0] for line in commands], "each in one line"
    assert [] == [line for line in commands if line.endswith("...")]


def test_each_file_of_the_commands_is_a_verb() -> None:
    assert {path.stem for path in ROOT.glob("cli/commands/[a-z]*.py")} == {*VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_its_modules_name_and_is_tested_and_in_the_runbook(verb: str) -> None:
    assert verb == importlib.import_module(f"cli.commands.{verb}").command.name
    assert (ROOT / "tests" / "cli" / f"test_{verb}.py").exists()
    assert f"cart-checkout {verb}" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
