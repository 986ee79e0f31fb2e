"""Settings: each one's default, bounds and mistakes; all mistakes at once; nothing secret in any text."""

import ast
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.storage import Storage
from shared.settings import Settings, SettingsError
from shared.storage_connection import STORAGE
from tests.docs.test_docs import settings_read

TENANT = "11111111-2222-3333-4444-555555555555"
APP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "c2VjcmV0LWtleQ=="  # base64, as a storage key is
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={SECRET};EndpointSuffix=core.windows.net"
GOOD = {
    "CheckoutStorage": CONNECTION,
    "CARTS_QUEUE": "carts",
    "OUTCOMES_QUEUE": "checkout-outcomes",
    "RECORDS_CONTAINER": "checkout-records",
    "PARTNER_CENTER_TENANT_ID": TENANT,
}
IDENTITY_BASED = {name: value for name, value in GOOD.items() if name != "CheckoutStorage"} | {
    "CheckoutStorage__queueServiceUri": "https://shop.queue.core.windows.net",
    "CheckoutStorage__blobServiceUri": "https://shop.blob.core.windows.net",
}
LOOPBACK = "http://127.0.0.1:10080"


def read(**changes: str) -> Settings:
    return Settings.from_env(GOOD | changes)


def mistakes(env: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    return caught.value.mistakes


def the_mistake(**changes: str) -> str:
    (mistake,) = mistakes(GOOD | changes)
    return mistake


# --- defaults -----------------------------------------------------------------------------------------------


def test_a_missing_setting_has_the_documented_default() -> None:
    threads = min(32, (os.cpu_count() or 1) + 4)  # the worker's own default
    assert read() == Settings(
        carts_queue="carts",
        outcomes_queue="checkout-outcomes",
        records_container="checkout-records",
        storage_connection_string=CONNECTION,
        storage_queue_uri=None,
        storage_blob_uri=None,
        storage_credential=None,
        storage_client_id=None,
        partner_center_url="https://api.partnercenter.microsoft.com",
        api_version="v1",
        auth="managed_identity",
        identity_client_id=None,
        tenant_id=TENANT,
        app_id=None,
        checkout_timeout=180.0,
        settle=600.0,
        retry_base=5.0,
        retry_cap=900.0,
        retry_max_age=86_400.0,
        threads=threads,
    )


def test_an_empty_setting_is_an_absent_one_and_spaces_around_a_value_do_not_count() -> None:
    assert read() == read(PARTNER_CENTER_URL="", PARTNER_CENTER_AUTH="  ", CARTS_QUEUE=" carts\n", SETTLE_SECONDS="")


def test_the_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"CARTS_QUEUE": "from-the-environment"}).items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().carts_queue == "from-the-environment"


def test_the_example_settings_for_a_laptop_are_good() -> None:
    example = Path(__file__).parents[2] / "local.settings.example.json"
    settings = Settings.from_env(json.loads(example.read_text())["Values"])
    assert (settings.threads, settings.settle) == (32, 5.0)


def test_the_program_uses_every_setting() -> None:
    root = Path(__file__).parents[2]
    modules = [root / "function_app.py", *(root / "shared").rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules if path.name != "settings.py"]
    used = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set() == {*Settings.__struct_fields__} - used


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        read().checkout_timeout = 10_000.0  # type: ignore[misc]


def test_the_poison_queue_and_the_scope_follow_from_the_settings() -> None:
    settings = read()
    assert (settings.poison_queue, settings.scope) == (
        "carts-poison",
        "https://api.partnercenter.microsoft.com/.default",
    )


# --- required, and all mistakes at once ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER", "PARTNER_CENTER_TENANT_ID"])
def test_a_required_setting_that_is_missing_is_the_only_mistake_and_named(name: str) -> None:
    (mistake,) = mistakes({key: value for key, value in GOOD.items() if key != name})
    assert mistake.startswith(f"{name} is missing")


def test_without_any_setting_every_required_one_is_named() -> None:
    assert {mistake.split()[0] for mistake in mistakes({})} == {
        "CARTS_QUEUE",
        "OUTCOMES_QUEUE",
        "RECORDS_CONTAINER",
        "CheckoutStorage__queueServiceUri",
        "CheckoutStorage__blobServiceUri",
        "PARTNER_CENTER_TENANT_ID",
    }


WRONG = {
    "CheckoutStorage__queueServiceUri": "queue",
    "CheckoutStorage__blobServiceUri": "blob",
    "CheckoutStorage__accountName": "Shop.blob",
    "CheckoutStorage__credential": "clientsecret",
    "CheckoutStorage__clientId": "me",
    "CARTS_QUEUE": "Carts",
    "OUTCOMES_QUEUE": "-outcomes",
    "RECORDS_CONTAINER": "re--cords",
    "PARTNER_CENTER_URL": "https://example.org",
    "PARTNER_CENTER_API_VERSION": "../v1",
    "PARTNER_CENTER_AUTH": "secret",
    "PARTNER_CENTER_IDENTITY_CLIENT_ID": "x",
    "PARTNER_CENTER_TENANT_ID": "contoso.onmicrosoft.com",
    "PARTNER_CENTER_APP_ID": "y",
    "CHECKOUT_TIMEOUT_SECONDS": "201",
    "SETTLE_SECONDS": "ten",
    "RETRY_BASE_SECONDS": "-1",
    "RETRY_CAP_SECONDS": "nan",
    "RETRY_MAX_AGE_SECONDS": "inf",
    "PYTHON_THREADPOOL_THREAD_COUNT": "many",
}


def test_all_mistakes_are_reported_at_once_each_naming_its_setting() -> None:
    found = mistakes(dict(WRONG))
    assert sorted(WRONG) == sorted(mistake.split()[0] for mistake in found)


def test_every_setting_can_be_wrong() -> None:
    assert settings_read() == {*WRONG, STORAGE}


def test_the_error_text_lists_every_mistake() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(WRONG)
    assert all(f"  - {mistake}" in str(caught.value) for mistake in caught.value.mistakes)
    assert str(caught.value).startswith(f"{len(WRONG)} setting(s) must be corrected")


# --- secrets -------------------------------------------------------------------------------------------------


def test_the_connection_string_is_not_in_the_repr() -> None:
    assert SECRET not in repr(read())


@pytest.mark.parametrize("name", [*GOOD, *WRONG])
def test_a_wrong_value_is_not_repeated_in_the_error(name: str) -> None:
    """People paste secrets into the wrong setting."""
    planted = f"Pl4nted Secret/{SECRET}"
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(GOOD | {name: planted})
    assert "Pl4nted" not in str(caught.value)
    assert SECRET not in str(caught.value)


# --- the Partner Center URL ----------------------------------------------------------------------------------

COMMERCIAL, CHINA = "https://api.partnercenter.microsoft.com", "https://partner.partnercenterapi.microsoftonline.cn"


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        (COMMERCIAL, COMMERCIAL),
        (COMMERCIAL + "/", COMMERCIAL),
        (COMMERCIAL + ":443", COMMERCIAL),
        (COMMERCIAL + ":443/", COMMERCIAL),
        (COMMERCIAL.upper(), COMMERCIAL),
        ("HTTPS://API.PartnerCenter.Microsoft.COM/", COMMERCIAL),
        (f"  {COMMERCIAL}  ", COMMERCIAL),
        (CHINA, CHINA),
        (CHINA + "/", CHINA),
        (LOOPBACK, LOOPBACK),
        (LOOPBACK + "/", LOOPBACK),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("http://LOCALHOST:80", "http://localhost:80"),
        ("http://[::1]:10080", "http://[::1]:10080"),
        ("http://127.0.0.1:65535", "http://127.0.0.1:65535"),
    ],
)
def test_the_two_clouds_and_this_machine_are_allowed(given_url: str, used: str) -> None:
    settings = read(PARTNER_CENTER_URL=given_url)
    assert (settings.partner_center_url, settings.scope) == (used, f"{used}/.default")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.partnercenter.microsoft.com",  # the token would travel in the clear
        "api.partnercenter.microsoft.com",
        "//api.partnercenter.microsoft.com",
        "ftp://api.partnercenter.microsoft.com",
        "https:api.partnercenter.microsoft.com",
        "https:/api.partnercenter.microsoft.com",
        "https:///api.partnercenter.microsoft.com",
        "https://api.partnercenter.microsoft.com:8443",
        "https://api.partnercenter.microsoft.com:",
        "https://api.partnercenter.microsoft.com:443:443",
        "https://api.partnercenter.microsoft.com//",
        "https://api.partnercenter.microsoft.com/v1",
        "https://api.partnercenter.microsoft.com/?x",
        "https://api.partnercenter.microsoft.com?x",
        "https://api.partnercenter.microsoft.com#x",
        "https://api.partnercenter.microsoft.com.",
        "https://api.partnercenter.microsoft.com.evil.example",
        "https://evil-api.partnercenter.microsoft.com",
        "https://evil.example/api.partnercenter.microsoft.com",
        "https://apixpartnercenter.microsoft.com",
        "https://api.partnercenter.microsoft.com@evil.example",
        "https://user@api.partnercenter.microsoft.com",
        "https://user:password@api.partnercenter.microsoft.com",
        "https://evil.example\\@api.partnercenter.microsoft.com",
        "https://api.partnercenter.microsoft.com\\@evil.example",
        "https:\\\\api.partnercenter.microsoft.com",
        "https://api.partnercenter.microsoft.com\\",
        "https://api.partnercenter.micro\u017foft.com",  # a long s, which folds to s
        "https://api.partnercenter.microsoft.\u0441om",  # a Cyrillic es
        "https://xn--api-.partnercenter.microsoft.com",
        "https://api\u3002partnercenter.microsoft.com",  # an ideographic full stop, which IDNA reads as a dot
        "https://\uff41pi.partnercenter.microsoft.com",  # a full-width a
        "https://api.partnercenter\u00ad.microsoft.com",  # a soft hyphen
        "https://api.partnercenter.microsoft.com\n.evil.example",
        "https://api.partnercenter.microsoft.com https://evil.example",
        "https://partner.partnercenterapi.microsoftonline.com",
        "http://partner.partnercenterapi.microsoftonline.cn",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:80@evil.example",
        "http://127.0.0.1@evil.example",
        "http://evil.example@127.0.0.1",
        "http://localhost.evil.example",
        "http://localhost/v1",
        "http://127.1",
        "http://127.0.0.2",
        "http://0.0.0.0",
        "http://2130706433",
        "http://0x7f000001",
        "http://\uff11\uff12\uff17.0.0.1",
        "http://127.0.0.1:\u0661",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:",
        "http://127.0.0.1:-1",
        "http://[::1",
        "http://[::ffff:127.0.0.1]",
        "http://[::1%25eth0]",
        "http://::1",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    assert the_mistake(PARTNER_CENTER_URL=url).startswith("PARTNER_CENTER_URL must be")


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_url_with_text_before_or_after_the_address_is_refused(before: str, after: str) -> None:
    url = f"{before}{COMMERCIAL}{after}"
    try:
        used = read(PARTNER_CENTER_URL=url).partner_center_url
    except SettingsError:
        return
    assert used == COMMERCIAL
    assert (before.strip(), after.strip()) in (("", ""), ("", "/"))


# --- whose token ---------------------------------------------------------------------------------------------


def test_the_tenant_may_be_left_out_on_this_machine_only() -> None:
    env = {name: value for name, value in GOOD.items() if name != "PARTNER_CENTER_TENANT_ID"}
    assert Settings.from_env(env | {"PARTNER_CENTER_URL": LOOPBACK}).tenant_id is None
    assert [mistake.split()[0] for mistake in mistakes(env | {"PARTNER_CENTER_URL": CHINA})] == [
        "PARTNER_CENTER_TENANT_ID"
    ]


def test_the_tenant_is_required_even_if_the_url_is_refused() -> None:
    env = {name: value for name, value in GOOD.items() if name != "PARTNER_CENTER_TENANT_ID"}
    named = {mistake.split()[0] for mistake in mistakes(env | {"PARTNER_CENTER_URL": "http://127.0.0.1.evil.example"})}
    assert named == {"PARTNER_CENTER_URL", "PARTNER_CENTER_TENANT_ID"}


def test_federated_needs_the_app_and_the_tenant_even_on_this_machine() -> None:
    env = {name: value for name, value in GOOD.items() if name != "PARTNER_CENTER_TENANT_ID"}
    env |= {"PARTNER_CENTER_AUTH": "federated", "PARTNER_CENTER_URL": LOOPBACK}
    named = {mistake.split()[0] for mistake in mistakes(env)}
    assert named == {"PARTNER_CENTER_TENANT_ID", "PARTNER_CENTER_APP_ID"}


def test_federated_with_both_is_accepted() -> None:
    settings = read(
        PARTNER_CENTER_AUTH="federated", PARTNER_CENTER_APP_ID=APP.upper(), PARTNER_CENTER_IDENTITY_CLIENT_ID=APP
    )
    assert (settings.auth, settings.app_id, settings.tenant_id) == ("federated", APP, TENANT)
    assert settings.identity_client_id == APP


@pytest.mark.parametrize("auth", ["Federated", "client_secret", "managed_identity,federated"])
def test_there_are_two_ways_to_sign_in(auth: str) -> None:
    assert the_mistake(PARTNER_CENTER_AUTH=auth) == "PARTNER_CENTER_AUTH must be managed_identity or federated"


@pytest.mark.parametrize(
    "name", ["PARTNER_CENTER_TENANT_ID", "PARTNER_CENTER_APP_ID", "PARTNER_CENTER_IDENTITY_CLIENT_ID"]
)
@pytest.mark.parametrize("value", ["common", f"{{{TENANT}}}", TENANT[:-1], f"{TENANT}0", TENANT.replace("1", "\u0661")])
def test_an_id_is_a_guid(name: str, value: str) -> None:
    assert the_mistake(**{name: value}).startswith(f"{name} must be a GUID")


def test_guids_are_compared_in_lower_case() -> None:
    assert read(PARTNER_CENTER_TENANT_ID=APP.upper()).tenant_id == APP


@pytest.mark.parametrize("version", ["v1", "v2", "v1.5", "v10"])
def test_another_api_version_can_be_chosen(version: str) -> None:
    assert read(PARTNER_CENTER_API_VERSION=version).api_version == version


@pytest.mark.parametrize("version", ["1", "v", "v1/", "v1/../v2", "v1?x=", "V1", "v1.", "latest", "v\u0661"])
def test_an_api_version_cannot_change_the_path(version: str) -> None:
    assert the_mistake(PARTNER_CENTER_API_VERSION=version).startswith("PARTNER_CENTER_API_VERSION")


# --- storage -------------------------------------------------------------------------------------------------

SAS = "sv=2024-01-01&ss=bq&srt=sco&sp=rwdlacup&se=2030-01-01T00:00:00Z&sig=c2VjcmV0%3D"


@pytest.mark.parametrize("text", ["UseDevelopmentStorage=true", "usedevelopmentstorage=TRUE;"])
def test_development_storage_is_expanded_since_the_sdk_does_not_know_it(text: str) -> None:
    expanded = read(CheckoutStorage=text).storage_connection_string or ""
    parts = dict(part.split("=", 1) for part in expanded.rstrip(";").split(";"))
    assert parts["AccountName"] == "devstoreaccount1"
    assert parts["BlobEndpoint"] == "http://127.0.0.1:10000/devstoreaccount1"
    assert parts["QueueEndpoint"] == "http://127.0.0.1:10001/devstoreaccount1"


@pytest.mark.parametrize(
    "text",
    [
        CONNECTION,
        CONNECTION + ";",
        f"AccountName=shop;AccountKey={SECRET}",
        f"accountname=shop;accountkey={SECRET}",  # the names have no case, here and in the host
        f"AccountName=shop;AccountKey={SECRET};BlobEndpoint=https://b.example/;QueueEndpoint=https://q.example/",
        f"AccountName=shop;SharedAccessSignature={SAS}",
        f"BlobEndpoint=https://b.example/;QueueEndpoint=https://q.example/;SharedAccessSignature={SAS}",
        "UseDevelopmentStorage=true",
    ],
)
def test_a_connection_string_that_is_accepted_is_understood_by_the_sdk_too(text: str) -> None:
    Storage(read(CheckoutStorage=text)).queue("carts")


@pytest.mark.parametrize(
    "text",
    [
        "shop",
        "AccountName=shop",
        f"AccountKey={SECRET}",
        f"AccountName=shop;AccountKey={SECRET};garbage",
        f"AccountName=shop;;AccountKey={SECRET}",
        "AccountName=;AccountKey=",
        "AccountName=shop;AccountKey=",
        f"SharedAccessSignature={SAS}",
        f"QueueEndpoint=https://q.example/;SharedAccessSignature={SAS}",
        f"BlobEndpoint=https://b.example/;SharedAccessSignature={SAS}",
        "UseDevelopmentStorage=false",
        "https://shop.queue.core.windows.net",
        "%CheckoutStorage%",
    ],
)
def test_a_connection_string_that_the_sdk_cannot_use_is_refused(text: str) -> None:
    assert the_mistake(CheckoutStorage=text).startswith("CheckoutStorage is not a storage connection string")


def test_identity_based_storage_needs_both_addresses() -> None:
    settings = Settings.from_env(IDENTITY_BASED)
    assert settings.storage_connection_string is None
    assert settings.storage_queue_uri == "https://shop.queue.core.windows.net"
    assert settings.storage_blob_uri == "https://shop.blob.core.windows.net"
    for name in ("CheckoutStorage__queueServiceUri", "CheckoutStorage__blobServiceUri"):
        (mistake,) = mistakes({key: value for key, value in IDENTITY_BASED.items() if key != name})
        assert mistake.startswith(f"{name} is missing")


def test_identity_based_storage_can_name_its_identity() -> None:
    settings = Settings.from_env(
        IDENTITY_BASED | {"CheckoutStorage__credential": "managedidentity", "CheckoutStorage__clientId": APP}
    )
    assert (settings.storage_credential, settings.storage_client_id) == ("managedidentity", APP)


@pytest.mark.parametrize("name", ["CheckoutStorage__queueServiceUri", "CheckoutStorage__blobServiceUri"])
def test_a_connection_string_and_an_identity_exclude_each_other(name: str) -> None:
    assert "exclude each other" in the_mistake(**{name: IDENTITY_BASED[name]})


@pytest.mark.parametrize(
    "uri",
    [
        "http://shop.queue.core.windows.net",
        "shop.queue.core.windows.net",
        "https://user:password@shop.queue.core.windows.net",
        f"https://shop.queue.core.windows.net?{SAS}",
        "https://shop.queue.core.windows.net#x",
        "https://",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1:10001evil.example",
    ],
)
def test_a_storage_address_is_https_without_secrets_in_it(uri: str) -> None:
    (mistake,) = mistakes(IDENTITY_BASED | {"CheckoutStorage__queueServiceUri": uri})
    assert mistake.startswith("CheckoutStorage__queueServiceUri must be")


@pytest.mark.parametrize("uri", ["https://shop.example/", "http://127.0.0.1:10001/devstoreaccount1"])
def test_a_storage_address_may_have_a_path_and_be_on_this_machine(uri: str) -> None:
    settings = Settings.from_env(IDENTITY_BASED | {"CheckoutStorage__queueServiceUri": uri})
    assert settings.storage_queue_uri == uri


@pytest.mark.parametrize("name", ["CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER"])
@pytest.mark.parametrize(
    "value", ["ab", "Abc", "a_b", "-abc", "abc-", "a--b", "a/b", "a.b", "%CARTS%", "\u0661\u0661\u0661", "a" * 64]
)
def test_queues_and_containers_have_names_that_storage_accepts(name: str, value: str) -> None:
    assert the_mistake(**{name: value}).startswith(f"{name} must be 3 to ")


def test_the_name_of_the_carts_queue_leaves_room_for_its_poison_queue() -> None:
    assert len(read(CARTS_QUEUE="c" * 56).poison_queue) == 63
    assert the_mistake(CARTS_QUEUE="c" * 57).startswith("CARTS_QUEUE must be 3 to 56")
    assert read(OUTCOMES_QUEUE="o" * 63).outcomes_queue == "o" * 63


@pytest.mark.parametrize("outcomes", ["carts", "carts-poison"])
def test_outcomes_are_not_published_to_a_queue_that_the_app_reads(outcomes: str) -> None:
    assert the_mistake(OUTCOMES_QUEUE=outcomes).startswith("OUTCOMES_QUEUE must be another queue")


def test_carts_are_not_read_from_a_poison_queue_since_the_host_gives_it_none() -> None:
    assert the_mistake(CARTS_QUEUE="carts-poison").startswith("CARTS_QUEUE must not end in -poison")


# --- numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field", "most"),
    [
        ("CHECKOUT_TIMEOUT_SECONDS", "checkout_timeout", 200.0),
        ("RETRY_MAX_AGE_SECONDS", "retry_max_age", 6 * 86_400.0),
    ],
)
def test_a_duration_has_its_documented_bound(name: str, field: str, most: float) -> None:
    assert getattr(read(**{name: f"{most:.0f}"}), field) == most
    assert getattr(read(**{name: "0.5"}), field) == 0.5
    assert the_mistake(**{name: f"{most + 0.5}"}).startswith(f"{name} must be a number above 0 and at most {most:g}")


@pytest.mark.parametrize(
    "name",
    [
        "CHECKOUT_TIMEOUT_SECONDS",
        "SETTLE_SECONDS",
        "RETRY_BASE_SECONDS",
        "RETRY_CAP_SECONDS",
        "RETRY_MAX_AGE_SECONDS",
        "PYTHON_THREADPOOL_THREAD_COUNT",
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e9", "ten", "1 0", "1,5", "00:03:00"])
def test_an_invalid_number_is_refused(name: str, value: str) -> None:
    assert the_mistake(**{name: value}).startswith(f"{name} must be a number above 0")


def test_the_shortest_pause_is_no_longer_than_the_longest() -> None:
    assert read(RETRY_BASE_SECONDS="9", RETRY_CAP_SECONDS="9").retry_base == 9.0
    assert the_mistake(RETRY_BASE_SECONDS="9", RETRY_CAP_SECONDS="8").startswith("RETRY_BASE_SECONDS")


def test_the_number_of_threads_is_the_workers_setting() -> None:
    assert read(PYTHON_THREADPOOL_THREAD_COUNT="7").threads == 7
    assert the_mistake(PYTHON_THREADPOOL_THREAD_COUNT="2.5").startswith("PYTHON_THREADPOOL_THREAD_COUNT")


@given(st.dictionaries(st.sampled_from([*GOOD, *WRONG]), st.text(max_size=30)))
def test_any_environment_is_read_or_refused_with_settings_errors_alone(env: dict[str, Any]) -> None:
    with suppress(SettingsError):  # and nothing else
        assert Settings.from_env(env).carts_queue


@pytest.mark.parametrize(("timeout", "least"), [("180", 420.0), ("200", 460.0), ("1", 62.0), ("30.5", 121.0)])
def test_a_post_is_settled_after_two_timeouts_and_a_minute_at_the_earliest(timeout: str, least: float) -> None:
    assert least == read(CHECKOUT_TIMEOUT_SECONDS=timeout, SETTLE_SECONDS=f"{least}").settle
    mistake = the_mistake(CHECKOUT_TIMEOUT_SECONDS=timeout, SETTLE_SECONDS=f"{least - 0.5}")
    assert mistake.startswith(f"SETTLE_SECONDS must be at least {least:g}")


def test_with_a_service_on_this_machine_a_post_may_be_settled_at_once() -> None:
    assert 5.0 == read(SETTLE_SECONDS="5", PARTNER_CENTER_URL=LOOPBACK).settle
    assert "SETTLE_SECONDS" in the_mistake(SETTLE_SECONDS="5")
