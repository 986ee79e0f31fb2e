"""`scripts/audit`: it fails on a vulnerability, and says aloud what could not be looked up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD: dict[str, str] = {}
VULNERABLE = {"VULNERABLE": "bad 2 CVE-2026-1 3"}
UNKNOWN = {"UNKNOWN": "strange: Dependency not found on PyPI"}
UNREACHABLE = {"UNREACHABLE": "ConnectionError: no such host"}
MISSING = {"MISSING": "No module named pip_audit"}
PIP_AUDIT = """
import os, sys
env, strict = os.environ, "--strict" in sys.argv
if "MISSING" in env:
    sys.exit(env["MISSING"])
if "--version" in sys.argv:
    sys.exit()
if "UNREACHABLE" in env:
    sys.exit(env["UNREACHABLE"])
if "UNKNOWN" in env and strict:
    sys.exit(env["UNKNOWN"])
print(*(env[name] for name in ("VULNERABLE", "UNKNOWN") if name in env))
sys.exit("VULNERABLE" in env)
"""


def audit(tmp_path: Path, *said: dict[str, str], required: bool = False) -> tuple[int, str]:
    """Run the script with a pip-audit that exits and prints as the real one does."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    env = {**os.environ, "VENV": str(tmp_path), "PYTHONPATH": str(tmp_path), "AUDIT": "required" if required else ""}
    for each in said:
        env |= each
    done = subprocess.run(  # noqa: S603
        [ROOT / "scripts" / "audit"], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("required", [False, True])
def test_without_a_finding_the_audit_passes(required: bool, tmp_path: Path) -> None:
    code, output = audit(tmp_path, GOOD, required=required)
    assert 0 == code
    assert "SKIPPED" not in output


@pytest.mark.parametrize("required", [False, True])
def test_a_finding_fails_and_says_which_version_fixes_it(required: bool, tmp_path: Path) -> None:
    code, output = audit(tmp_path, VULNERABLE, required=required)
    assert 1 == code
    assert "bad 2 CVE-2026-1 3" in output


@pytest.mark.parametrize("said", [UNREACHABLE, UNKNOWN], ids=["no answer", "no advice"])
def test_an_audit_that_cannot_look_up_is_skipped_and_fails_only_if_required(
    said: dict[str, str], tmp_path: Path
) -> None:
    code, printed = audit(tmp_path, said)
    assert 0 == code
    assert "SKIPPED: not every requirement could be looked up" in printed
    (folder := tmp_path / "required").mkdir()
    assert 1 == audit(folder, said, required=True)[0]


def test_an_unknown_requirement_is_named_and_the_others_are_audited(tmp_path: Path) -> None:
    code, output = audit(tmp_path, UNKNOWN, VULNERABLE)
    assert 1 == code
    assert "strange: Dependency not found" in output
    assert "bad 2 CVE-2026-1" in output


def test_a_missing_tool_is_a_failure_and_not_a_skipped_audit(tmp_path: Path) -> None:
    code, output = audit(tmp_path, MISSING)
    assert 1 == code
    assert "No module named pip_audit" in output
