"""The deployment as Azure would see it, and the tools that a test may need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.bicep import Deployment, deployment_of

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"
PAYER = "11111111-1111-1111-1111-111111111111"
APP = "22222222-2222-2222-2222-222222222222"
NEEDED = {"AZURE_ENV_NAME", "AZURE_LOCATION", "PARTNER_CENTER_TENANT_ID"}
"""What azd asks for: the rest has defaults."""


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
    return deployment_of("default")


@pytest.fixture(scope="session")
def settings(deployment: Deployment) -> dict[str, str]:
    """Its app settings."""
    return settings_of(deployment)


@pytest.fixture(scope="session")
def federated() -> Deployment:
    """The deployment for production, in which every choice differs from its default."""
    return deployment_of("federated")


@pytest.fixture(scope="session")
def private() -> Deployment:
    """The deployment with its storage in a private network."""
    return deployment_of("private-network")


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skip the test where no compiler is promised. One that is promised and does not run fails it."""
    if not os.environ.get("BICEP"):
        pytest.skip("BICEP does not name a Bicep compiler")
