"""A local.settings.json as Core Tools accept it: an editor's byte order mark, a person's comment, and `null`.

`null` means that a setting is absent. It was read as the text "None".
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

import pytest

from shared.json_files import local_settings
from tests.environments.conftest import Machine, findings

if TYPE_CHECKING:
    from pathlib import Path

VALUES = {
    "CheckoutStorage": "AccountName=shop;AccountKey=c2VjcmV0",
    "CARTS_QUEUE": "carts",
    "OUTCOMES_QUEUE": "checkout-outcomes",
    "RECORDS_CONTAINER": "checkout-records",
}
DOCUMENT = json.dumps({"IsEncrypted": False, "Values": VALUES})
COMMENTED = "// written by hand\n" + DOCUMENT.replace("}}", ', /* last */ "CARTS_QUEUE": "carts",}, "Host": {}, }')


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "settings.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        DOCUMENT,
        COMMENTED,
        codecs.BOM_UTF8 + COMMENTED.encode(),
        codecs.BOM_UTF16_LE + DOCUMENT.encode("utf-16-le"),
        DOCUMENT.replace("Values", "values").replace("IsEncrypted", "isEncrypted"),
    ],
    ids=["plain", "comments", "BOM", "UTF-16", "camel case"],
)
def test_every_way_of_writing_the_same_values_is_understood(content: bytes | str, tmp_path: Path) -> None:
    assert VALUES == local_settings(written(tmp_path, content))


def test_null_is_absent_and_other_values_are_texts(tmp_path: Path) -> None:
    values = {"PARTNER_CENTER_APP_ID": None, "SETTLE_SECONDS": 600, "ON": True}
    assert {"SETTLE_SECONDS": "600", "ON": "True"} == local_settings(written(tmp_path, json.dumps({"Values": values})))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "it is not an object"),
        ("{}", "it has no Values"),
        ('{"Values": 1}', "it has no Values"),
        ('{"Values": {"A": {}}}', "Values.A is not a text"),
        ('{"IsEncrypted": true, "Values": {}}', "func settings decrypt"),
    ],
)
def test_what_is_no_local_settings_json_is_refused_with_the_reason(content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        local_settings(written(tmp_path, content))


def test_the_command_reads_a_file_with_a_byte_order_mark_and_null(machine: Machine, tmp_path: Path) -> None:
    values = {**VALUES, "PARTNER_CENTER_URL": "http://localhost", "PARTNER_CENTER_APP_ID": None}
    content = codecs.BOM_UTF8 + b"// by hand\n" + json.dumps({"Values": values}).encode()
    skipped = [argument for area in ("host", "storage", "identity", "service") for argument in ("--skip", area)]
    done = machine.cli("doctor", "--json", "--settings", str(written(tmp_path, content)), *skipped)
    assert "ok" == findings(done)["settings"]["status"]


def test_a_file_that_cannot_be_read_is_named_with_the_reason(machine: Machine, tmp_path: Path) -> None:
    done = machine.cli("status", "--settings", str(written(tmp_path, b"\xff\xfe{")))
    assert (2, "") == (done.returncode, done.stdout)
    assert "is not a local.settings.json" in done.stderr
