"""What .NET makes of the schemas and of the events of every outcome, and the consumer in C#.

Runs where the .NET SDK is: skipped elsewhere, and failed where DOTNET=required says that it must be there, as in a job
of the project's workflow.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.generators import SCHEMAS, Row, check, consume, exact
from tests.contract.recorded import deep, recorded

ROOT = Path(__file__).parents[2]
DOTNET = shutil.which("dotnet") or ""
READERS = ("quicktype", "NJsonSchema", "CloudNative.CloudEvents", "Azure.Messaging")


@pytest.fixture(scope="module", autouse=True)
def _sdk() -> None:
    if not DOTNET:
        (pytest.fail if os.environ.get("DOTNET") == "required" else pytest.skip)("the .NET SDK is not installed")


def dotnet(project: Path, folder: Path, *arguments: str, typed: str = "", **properties: str) -> str:
    """Run a project from a copy, so that nothing is built in the source tree. Returns what it printed."""
    copied = shutil.copytree(project, folder / project.name)
    given = [f"-p:{name}={value}" for name, value in properties.items()]
    done = subprocess.run(  # noqa: S603  our own project
        [DOTNET, "run", "--project", str(copied), *given, "--", *arguments],
        env={**os.environ, "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1"},
        input=typed,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def consumed(messages: tuple[str, ...], folder: Path) -> list[Row]:
    """What the consumer in C# says of each message."""
    said = dotnet(ROOT / "examples" / "csharp_consumer", folder, typed="".join(f"{each}\n" for each in messages))
    return [exact(line) for line in said.splitlines()]


def test_the_consumer_in_csharp_says_what_the_one_in_typescript_says_digit_for_digit(tmp_path: Path) -> None:
    messages = (*recorded(), deep())
    said = consumed(messages, tmp_path)
    check(recorded(), tmp_path)
    assert consume(messages, tmp_path) == said
    assert [exact(text) for text in messages] == [each["event"] for each in said]


def test_the_consumer_in_csharp_passes_on_what_it_does_not_know(tmp_path: Path) -> None:
    later = json.dumps(json.loads(recorded()[0]) | {"type": "partnercenter.cart.checkout.refunded"})
    (said,) = consumed((later,), tmp_path)
    assert ("pass on", "partnercenter.cart.checkout.refunded") == (said["action"], said["type"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What each library for .NET says of the recorded events."""
    folder = tmp_path_factory.mktemp("dotnet")
    projects, generated = ROOT / "tests" / "contract" / "dotnet", folder / "csharp"
    dotnet(
        projects / "generate", folder, str(SCHEMAS / "checkout-outcomes.schema.json"), str(generated / "NJsonSchema.cs")
    )
    check(recorded(), folder)  # quicktype writes beside NJsonSchema
    said = dotnet(projects / "read", folder, str(SCHEMAS), str(folder / "events.jsonl"), Generated=str(generated))
    read: dict[str, Row] = json.loads(said)
    return read


@pytest.mark.parametrize("reader", READERS)
def test_every_event_is_read(found: dict[str, Row], reader: str) -> None:
    assert {"events": len(recorded()), "faults": []} == found[reader]
