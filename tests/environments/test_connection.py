"""The members of the connection `CheckoutStorage`: the host's trigger and the program use one account, one identity.

The host knows many members. Those that the program ignored made it write outcomes to another account than the one whose
carts it read, or made it sign in as another identity, and nothing said so.
"""

from __future__ import annotations

import pytest

from cli.connection import connect
from shared.settings import Settings, SettingsError
from shared.storage_connection import MEMBERS, is_connection_setting
from tests.environments.conftest import FUNCTIONS, GOOD, Machine, functions

CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
OTHER = "11111111-bbbb-cccc-dddd-eeeeeeeeeeee"
NAMES = {name: value for name, value in GOOD.items() if name != "CheckoutStorage"}
ADDRESSES = {
    "CheckoutStorage__queueServiceUri": "https://shop.queue.core.windows.net",
    "CheckoutStorage__blobServiceUri": "https://shop.blob.core.windows.net",
}


def mistakes(env: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(NAMES | env)
    return caught.value.mistakes


def test_the_account_alone_gives_both_addresses_as_it_does_for_the_host() -> None:
    settings = Settings.from_env(NAMES | {"CheckoutStorage__accountName": "shop"})
    assert [*ADDRESSES.values()] == [settings.storage_queue_uri, settings.storage_blob_uri]


@pytest.mark.parametrize("name", ADDRESSES)
def test_the_account_and_an_address_exclude_each_other(name: str) -> None:
    (mistake,) = mistakes({"CheckoutStorage__accountName": "shop", name: ADDRESSES[name]})
    assert "exclude each other" in mistake


@pytest.mark.parametrize("account", ["Shop", "sh", "shop.blob", "a" * 25, "shop/x", "shop@evil"])
def test_an_account_name_is_one_of_the_service(account: str) -> None:
    (mistake,) = mistakes({"CheckoutStorage__accountName": account})
    assert mistake.startswith("CheckoutStorage__accountName must be 3 to 24")


@pytest.mark.parametrize(
    "name",
    [
        "CheckoutStorage__clientId",
        "CheckoutStorage__clientID",
        "CHECKOUTSTORAGE__CLIENTID",
        "CheckoutStorage:clientId",
    ],
)
def test_a_member_is_read_however_its_name_is_spelled(name: str) -> None:
    settings = Settings.from_env(NAMES | ADDRESSES | {"checkoutstorage__Credential": "ManagedIdentity", name: CLIENT})
    assert (CLIENT, "ManagedIdentity") == (settings.storage_client_id, settings.storage_credential)


def test_one_member_in_two_spellings_with_two_values_is_refused() -> None:
    (mistake,) = mistakes(ADDRESSES | {"CheckoutStorage__clientId": CLIENT, "CheckoutStorage__clientID": OTHER})
    assert "set twice" in mistake


@pytest.mark.parametrize(
    ("member", "advice"),
    [
        ("serviceUri", "queueServiceUri and CheckoutStorage__blobServiceUri, or CheckoutStorage__accountName"),
        ("managedIdentityResourceId", "CheckoutStorage__clientId"),
        ("managedIdentityObjectId", "CheckoutStorage__clientId"),
        ("managedIdentityClientId", "CheckoutStorage__clientId"),
        ("tenantId", "with a managed identity"),
        ("clientSecret", "with a managed identity"),
        ("clientCertificate", "with a managed identity"),
        ("clientIdd", "Known are CheckoutStorage__queueServiceUri"),
        ("tableServiceUri", "Known are CheckoutStorage__queueServiceUri"),
        ("retry__maxRetries", "Known are CheckoutStorage__queueServiceUri"),
    ],
)
def test_a_member_that_the_program_does_not_use_is_refused_with_what_to_do(member: str, advice: str) -> None:
    name = f"CheckoutStorage__{member}"
    (mistake,) = mistakes(ADDRESSES | {name: "pl4nted"})
    assert mistake.startswith(f"{name}")
    assert advice in mistake
    assert "pl4nted" not in mistake


@pytest.mark.parametrize("member", MEMBERS)
def test_a_connection_string_and_any_member_exclude_each_other(member: str) -> None:
    value = {"accountName": "shop", "credential": "managedidentity", "clientId": CLIENT}.get(member, "https://a.b")
    found = mistakes(GOOD | {f"CheckoutStorage__{member}": value})
    assert [f"CheckoutStorage and CheckoutStorage__{member} exclude each other"] == [
        mistake.partition(":")[0] for mistake in found
    ]


@pytest.mark.parametrize(
    "name",
    [
        "AzureWebJobsCheckoutStorage",
        "AzureWebJobsCheckoutStorage__queueServiceUri",
        "AZUREWEBJOBSCHECKOUTSTORAGE__accountName",
        "ConnectionStrings__CheckoutStorage",
        "ConnectionStrings:AzureWebJobsCheckoutStorage",
        "CUSTOMCONNSTR_CheckoutStorage",
        "SQLAZURECONNSTR_CheckoutStorage",
    ],
)
def test_a_setting_that_the_host_prefers_to_ours_is_refused(name: str) -> None:
    (mistake,) = mistakes(GOOD | {name: "AccountName=other;AccountKey=c2VjcmV0"})
    assert mistake.startswith(f"{name} hides CheckoutStorage from the host's trigger")
    assert is_connection_setting(name)


@pytest.mark.parametrize("name", ["CheckoutStorageOther", "AzureWebJobsStorage", "MyCheckoutStorage__accountName"])
def test_another_connection_is_none_of_our_business(name: str) -> None:
    assert Settings.from_env(GOOD | {name: "x"}) == Settings.from_env(GOOD)
    assert not is_connection_setting(name)


def test_an_empty_member_is_an_absent_one() -> None:
    assert Settings.from_env(GOOD | {"CheckoutStorage__tenantId": " "}) == Settings.from_env(GOOD)


def test_the_command_reads_the_members_as_the_app_does() -> None:
    names = {name: NAMES[name] for name in ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")}
    connection = connect(names | {"CHECKOUTSTORAGE__ACCOUNTNAME": "shop"})
    assert ADDRESSES["CheckoutStorage__queueServiceUri"] == connection.settings.storage_queue_uri
    with pytest.raises(SettingsError, match="tenantId"):
        connect(names | ADDRESSES | {"checkoutstorage__tenantId": "x"})


def test_the_app_loads_with_an_account_and_an_identity() -> None:
    identity = {"CheckoutStorage__credential": "managedidentity", "CheckoutStorage__clientID": CLIENT}
    assert FUNCTIONS == functions(Machine(NAMES | identity | {"CheckoutStorage__accountName": "shop"}).load())
