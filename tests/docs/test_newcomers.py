"""The dev container and the pre-commit hooks run what is there. Neither is started here."""

import json
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_dev_container_runs_the_readmes_two_commands() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    commands = [container["updateContentCommand"], container["postCreateCommand"]]

    assert ["make demo", "make test"] == commands
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in commands:
        assert f"\n.PHONY: {command.removeprefix('make ')}\n" in MAKEFILE
        assert f"\n{command} " in readme


def test_the_hooks_are_the_linters_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]

    assert "local" == repository["repo"]
    assert {"system"} == {hook["language"] for hook in repository["hooks"]}
    assert [["ruff", "check"], ["ruff", "format"], ["mypy"]] == [
        [Path(tool).name, *arguments[:1]] for tool, *arguments in entries
    ]
    for tool, *arguments in entries:
        assert f"$(BIN)/{' '.join([Path(tool).name, *arguments[:1]])}" in MAKEFILE
