"""host.json as the Functions host accepts it, and the app settings that override it.

The host parses it with Newtonsoft.Json, reads it into the configuration of .NET, where names have no case, and lets
app settings override every value. An editor adds a byte order mark, and a person a comment.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import pytest

from shared.host_json import QueueOptions, queue_options
from shared.json_files import parse
from tests.environments.conftest import FUNCTIONS, GOOD, ROOT, Machine, findings, functions, new_app

if TYPE_CHECKING:
    from pathlib import Path

OURS = (ROOT / "host.json").read_text(encoding="utf-8")
THIS_PROJECTS = QueueOptions(4, 28, 5, 30.0, 2.0, "none")
COMMENTED = OURS.replace("{", "{ // a comment\n", 1).replace('"batchSize"', '/* another, */ "batchSize"')
TRAILING_COMMAS = OURS.replace('"none"', '"none", // the last one\n')
OVERRIDE = "AzureFunctionsJobHost__extensions__queues__"
LEFT_OUT = frozenset(
    ["batchSize", "newBatchThreshold", "maxDequeueCount", "visibilityTimeout", "maxPollingInterval", "messageEncoding"]
)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "host.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def queues(**members: Any) -> str:
    return json.dumps({"version": "2.0", "extensions": {"queues": members}})


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        OURS,
        COMMENTED,
        TRAILING_COMMAS,
        OURS.upper().replace("TRUE", "true"),
        codecs.BOM_UTF8 + OURS.encode(),
        codecs.BOM_UTF16_LE + OURS.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + OURS.encode("utf-16-be"),
        OURS.replace("4,", '"4",').replace("28", '"28"'),
    ],
    ids=["ours", "comments", "trailing commas", "upper case", "BOM", "UTF-16", "UTF-16 BE", "numbers as text"],
)
def test_every_way_of_writing_the_same_options_is_understood(content: str | bytes, tmp_path: Path) -> None:
    assert THIS_PROJECTS == queue_options(written(tmp_path, content), {})


@pytest.mark.parametrize(
    "content", ["{}", '{"extensions": {}}', '{"extensions": {"queues": {}}}', "{} // nothing", None]
)
def test_what_is_left_out_has_the_hosts_default(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "host.json" if content is None else written(tmp_path, content)
    expected = QueueOptions(16, 16, 5, 0.0, 60.0, "base64", defaults=LEFT_OUT)
    assert expected == queue_options(path, {}, cores=2)


@pytest.mark.parametrize(("cores", "threshold"), [(1, 4), (2, 8), (4, 16)])
def test_the_default_threshold_is_half_a_batch_for_each_core(cores: int, threshold: int, tmp_path: Path) -> None:
    options = queue_options(written(tmp_path, queues(batchSize=9)), {}, cores)
    assert (threshold, 9 + threshold) == (options.new_batch_threshold, options.in_flight)


@pytest.mark.parametrize(
    "name",
    [
        f"{OVERRIDE}batchSize",
        f"{OVERRIDE}BatchSize",
        "AZUREFUNCTIONSJOBHOST__EXTENSIONS__QUEUES__BATCHSIZE",
        "AzureFunctionsJobHost:extensions:queues:batchSize",
        "AzureFunctionsJobHost__extensions:queues__batchSize",
    ],
)
def test_an_app_setting_overrides_the_file_however_it_is_spelled(name: str) -> None:
    assert 7 == queue_options(ROOT / "host.json", {name: "7"}).batch_size


def test_an_app_setting_is_read_without_a_file_too(tmp_path: Path) -> None:
    assert "none" == queue_options(tmp_path / "host.json", {f"{OVERRIDE}messageEncoding": "None"}).message_encoding


@pytest.mark.parametrize("spelled", [True, "true", "True"])
def test_dynamic_concurrency_is_seen(spelled: object, tmp_path: Path) -> None:
    assert queue_options(
        written(tmp_path, json.dumps({"concurrency": {"dynamicConcurrencyEnabled": spelled}})), {}
    ).dynamic_concurrency


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("00:00:30", 30.0),
        ("00:00:00.5", 0.5),
        ("0:30", 1800.0),
        ("30", 30 * 86_400.0),  # a number alone is one of days
        ("1.02:03:04", 93_784.0),
        ("1:02:03:04", 93_784.0),
    ],
)
def test_a_duration_is_a_time_span_of_dotnet(text: str, seconds: float, tmp_path: Path) -> None:
    assert seconds == queue_options(written(tmp_path, queues(visibilityTimeout=text)), {}).visibility_timeout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batchSize", 0),
        ("batchSize", 33),
        ("batchSize", "many"),
        ("batchSize", None),
        ("newBatchThreshold", -1),
        ("maxDequeueCount", 0),
        ("visibilityTimeout", "30 s"),
        ("visibilityTimeout", "-00:00:01"),
        ("maxPollingInterval", "00:00:00.05"),
        ("messageEncoding", "utf-8"),
    ],
)
def test_a_value_with_which_the_host_does_not_start_is_named(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        queue_options(written(tmp_path, queues(**{name: value})), {})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff{}", b"[" * 100_000, b'{"a": 1} b', b"/* never closed", b'{"a": "//}'],
    ids=["nothing", "half", "a list", "no encoding", "deep", "text behind it", "open comment", "open string"],
)
def test_what_is_no_host_json_is_a_value_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each parser's own text
        queue_options(written(tmp_path, content), {})


def test_what_looks_like_a_comment_in_a_text_is_none() -> None:
    text = r'{"url": "https://shop.example/*x*/", "quoted": "\" // ,}", "comma": ",]", "list": [1, /* , */ ],}'
    assert {"url": "https://shop.example/*x*/", "quoted": '" // ,}', "comma": ",]", "list": [1]} == parse(text.encode())


# --- the app -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff\xfe", b"[" * 100_000, codecs.BOM_UTF8 + COMMENTED.encode(), queues(batchSize=99), "{}"],
    ids=["no file", "empty", "half an encoding", "deep", "BOM and comments", "out of range", "nothing in it"],
)
def test_no_host_json_keeps_the_app_from_loading(content: str | bytes | None, tmp_path: Path) -> None:
    done = Machine(GOOD, app=new_app(tmp_path / "app", content)).load()
    assert FUNCTIONS == functions(done)
    assert "Traceback" not in done.stderr


def test_the_app_warns_of_too_few_threads_by_what_overrides_the_file(machine: Machine) -> None:
    done = machine.load(**GOOD, **{f"{OVERRIDE}newBatchThreshold": "60"})
    assert FUNCTIONS == functions(done)
    assert "set PYTHON_THREADPOOL_THREAD_COUNT to 64" in done.stderr


def test_the_app_warns_of_dynamic_concurrency(machine: Machine) -> None:
    done = machine.load(**GOOD, AzureFunctionsJobHost__concurrency__dynamicConcurrencyEnabled="true")
    assert FUNCTIONS == functions(done)
    assert "dynamic concurrency" in done.stderr


# --- doctor ------------------------------------------------------------------------------------------------------


def checked(machine: Machine, *arguments: str, **settings: str) -> dict[str, dict[str, Any]]:
    skipped = ("--skip", "storage", "--skip", "identity", "--skip", "service")
    return findings(machine.cli("doctor", "--json", *skipped, *arguments, **GOOD, **settings))


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("messageEncoding", "base64", "host.encoding"),  # a message in plain JSON goes to the poison queue unread
        ("visibilityTimeout", "0", "host.visibility"),
        ("newBatchThreshold", "29", "host.threads"),
        ("batchSize", "0", "host.json"),
    ],
)
def test_doctor_judges_what_overrides_the_file(setting: str, value: str, check: str, machine: Machine) -> None:
    found = checked(machine, **{f"{OVERRIDE}{setting}": value})
    assert "failed" == found[check]["status"]
    assert check == "host.threads" or "AzureFunctionsJobHost__" in found[check]["todo"] + found[check]["found"]


def test_doctor_names_dynamic_concurrency(machine: Machine) -> None:
    found = checked(machine, AzureFunctionsJobHost__concurrency__dynamicConcurrencyEnabled="True")
    assert ("failed", True) == (found["host.threads"]["status"], "dynamicConcurrency" in found["host.threads"]["found"])


def test_doctor_reads_a_file_with_a_byte_order_mark_and_comments(machine: Machine, tmp_path: Path) -> None:
    path = written(tmp_path, codecs.BOM_UTF8 + COMMENTED.encode())
    assert {"ok"} == {finding["status"] for finding in checked(machine, "--host-json", str(path)).values()}


@pytest.mark.parametrize("visibility", ["0", "00:00:00"])
def test_doctor_names_a_visibility_timeout_of_zero(visibility: str, machine: Machine, tmp_path: Path) -> None:
    text = OURS.replace("00:00:30", visibility)
    found = checked(machine, "--host-json", str(written(tmp_path, text)))
    assert "failed" == found["host.visibility"]["status"]


def test_doctor_says_that_a_count_depends_on_the_cores(machine: Machine, tmp_path: Path) -> None:
    path = written(tmp_path, queues(batchSize=4, messageEncoding="none", visibilityTimeout="00:00:30"))
    assert "newBatchThreshold is not set" in checked(machine, "--host-json", str(path))["host.threads"]["found"]


def test_doctor_names_a_dequeue_count_that_the_program_does_not_expect(machine: Machine) -> None:
    assert "warning" == checked(machine, **{f"{OVERRIDE}maxDequeueCount": "3"})["host.dequeues"]["status"]
