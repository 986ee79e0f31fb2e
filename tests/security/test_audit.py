"""`scripts/audit`: it fails on a finding, and only then; what could not be looked up is said aloud."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["3"]}]}
STRANGE = {"name": "strange", "skip_reason": "Dependency not found"}
MODULE = """
import os, sys
if "--version" in sys.argv:
    sys.exit(int(os.environ["MISSING"]))
said = os.environ["SAID"]
print(said) if said.startswith("{") else sys.exit(said)
"""


def audit(tmp_path: Path, said: object, *, required: bool = False, missing: bool = False) -> tuple[int, str]:
    """Run the script with a pip-audit that says this, and no network."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "pip_audit.py").write_text(MODULE)
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(  # noqa: S603
        [ROOT / "scripts" / "audit", "requirements.txt"],
        env={
            **os.environ,
            "VENV": str(tmp_path),
            "PYTHONPATH": str(tmp_path),
            "SAID": said if isinstance(said, str) else json.dumps({"dependencies": said}),
            "MISSING": str(int(missing)),
            "AUDIT": "required" if required else "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_no_finding_is_no_failure(tmp_path: Path) -> None:
    assert (0, "requirements.txt: 1 requirements looked up, 0 findings.\n") == audit(tmp_path, [GOOD], required=True)


def test_a_finding_fails_and_says_which_version_mends_it(tmp_path: Path) -> None:
    code, said = audit(tmp_path, [GOOD, BAD])
    assert 1 == code
    assert "bad 2: CVE-2026-1, fixed in 3" in said


@pytest.mark.parametrize("said", ["ConnectionError: no such host", [STRANGE, STRANGE]], ids=["no answer", "no advice"])
def test_where_nobody_can_be_asked_it_says_skipped_and_fails_only_if_it_must_not_be(
    said: object, tmp_path: Path
) -> None:
    for required in (False, True):
        (folder := tmp_path / str(required)).mkdir()
        code, told = audit(folder, said, required=required)
        assert int(required) == code
        assert "SKIPPED, no requirement was looked up" in told


def test_a_requirement_that_nobody_knows_is_named_and_the_others_count(tmp_path: Path) -> None:
    code, said = audit(tmp_path, [STRANGE, BAD])
    assert 1 == code
    assert "strange was NOT LOOKED UP" in said


def test_a_missing_tool_is_no_skipped_audit(tmp_path: Path) -> None:
    code, said = audit(tmp_path, [GOOD], missing=True)
    assert 1 == code
    assert "pip-audit is not installed" in said
