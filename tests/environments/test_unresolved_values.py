"""Values that are none: a Key Vault reference that was not resolved, and the quotes of an env file.

The platform passes a reference on as it is where the app's identity may not read the secret. `docker --env-file` passes
quotes on. Both were reported as wrong values of each setting, which they are not.
"""

from __future__ import annotations

import pytest

from shared.settings import Settings, SettingsError
from tests.docs.test_docs import settings_read
from tests.environments.conftest import GOOD, Machine

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/pl4nted)"
FEDERATED = GOOD | {"PARTNER_CENTER_AUTH": "federated", "PARTNER_CENTER_APP_ID": GOOD["PARTNER_CENTER_TENANT_ID"]}
NAMES = sorted(settings_read())


def mistakes(name: str, value: str) -> list[str]:
    """The mistakes that name this setting, of all that are found."""
    members = {key: value for key, value in FEDERATED.items() if key != "CheckoutStorage" or "__" not in name}
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(members | {name: value})
    return [mistake for mistake in caught.value.mistakes if mistake.startswith(f"{name} ")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reference", [REFERENCE, REFERENCE.lower(), f"  {REFERENCE}"])
def test_a_key_vault_reference_is_named_as_one_and_once(name: str, reference: str) -> None:
    (mistake,) = mistakes(name, reference)
    assert mistake.startswith(f"{name} is a Key Vault reference that the platform has not resolved")
    assert "pl4nted" not in mistake


def test_a_reference_to_app_configuration_is_named_as_one() -> None:
    (mistake,) = mistakes("CARTS_QUEUE", "@Microsoft.AppConfiguration(Endpoint=https://x.azconfig.io; Key=y)")
    assert mistake.startswith("CARTS_QUEUE is an App Configuration reference")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quoted", ['"{}"', "'{}'", "\u201c{}\u201d"], ids=["double", "single", "typographic"])
def test_quotes_around_a_value_are_named_as_such_and_once(name: str, quoted: str) -> None:
    (mistake,) = mistakes(name, quoted.format(FEDERATED.get(name, "pl4nted")))
    assert mistake.startswith(f"{name} has quotes around its value")


def test_an_unresolved_setting_is_not_reported_as_missing_too() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(dict.fromkeys(GOOD, REFERENCE))
    assert sorted(GOOD) == sorted(mistake.split()[0] for mistake in caught.value.mistakes)


def test_the_app_and_doctor_name_all_of_them_in_one_error() -> None:
    machine = Machine(dict.fromkeys(GOOD, REFERENCE))
    loaded = machine.load()
    skipped = [argument for area in ("host", "storage") for argument in ("--skip", area)]
    checked = machine.cli("doctor", *skipped)
    for name in GOOD:
        sentence = f"{name} is a Key Vault reference"
        assert f"  - {sentence}" in loaded.stderr
        assert sentence in checked.stdout
