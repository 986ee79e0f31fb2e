"""The deployment as Azure would see it: infra/main.bicep, worked out under azd's parameters."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.bicep import Deployment, deploy

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"
PAYER = "11111111-2222-4333-8444-555555555555"
APP = "22222222-2222-4333-8444-555555555555"
NEEDED = {"AZURE_ENV_NAME": "sandbox", "AZURE_LOCATION": "westeurope", "PARTNER_CENTER_TENANT_ID": PAYER}
"""What azd asks for: the rest has defaults."""


def parameters_under(env: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that azd makes of infra/main.parameters.json: numbers may come as text, "" as nothing."""

    def value(text: str) -> Any:
        filled = re.sub(r"\$\{(\w+)(?:=([^}]*))?\}", lambda found: env.get(found[1]) or found[2] or "", text)
        return int(filled) if filled.isdecimal() else filled

    file = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))
    return {name: value(given["value"]) for name, given in file["parameters"].items()}


def deployed(**env: str) -> Deployment:
    """What `azd provision` would create under this environment."""
    return deploy(MAIN, parameters_under({**NEEDED, **env}))


def settings_of(deployment: Deployment) -> dict[str, str]:
    """The app settings of the function app."""
    (app,) = deployment.of("Microsoft.Web/sites")
    return {each["name"]: each["value"] for each in app.properties["siteConfig"]["appSettings"]}


def run(program: str, *options: str, **env: str) -> tuple[int, str]:
    """Run a program of the virtual environment; returns its exit code and what it said."""
    done = subprocess.run(  # noqa: S603  our own requirements, pinned by hash
        [str(Path(sys.executable).parent / program), *options],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """The deployment with every default."""
    return deployed()


@pytest.fixture(scope="session")
def settings(deployment: Deployment) -> dict[str, str]:
    """Its app settings."""
    return settings_of(deployment)
