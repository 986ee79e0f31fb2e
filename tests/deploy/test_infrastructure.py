"""The snapshots agree with the program, and with the promises of docs/deployment.md. Nothing is applied here."""

import json
import re
import tomllib

from bench.competitor import OURS
from shared.adapters.identity import ASSERTION_SCOPE, ASSERTION_SCOPE_CHINA
from shared.host_json import queue_options
from shared.settings import DEFAULT_URL, MAX_AGE, Settings
from tests.deploy.bicep import CLIENT, PRINCIPAL, SUBSCRIPTION, TENANT, Deployment, Resource
from tests.deploy.conftest import APP, INFRA, MAIN, PAYER, ROOT, settings_of
from tests.docs.test_docs import settings_read, table

DEPLOYMENT_MD = ROOT / "docs" / "deployment.md"

# The built-in roles as Microsoft's list of Azure built-in roles has them.
ROLES = {
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}

LEFT_TO_THE_PROGRAM = {
    "CheckoutStorage": "a connection string holds a key; the identity-based settings take its place",
    "CheckoutStorage__accountName": "stands for the two addresses, which the deployment knows, in every cloud",
    "PARTNER_CENTER_API_VERSION": "belongs to the release, which knows what it was tested with",
    "CHECKOUT_TIMEOUT_SECONDS": "the same",
    "SETTLE_SECONDS": "the same",
    "RETRY_BASE_SECONDS": "the same",
    "RETRY_CAP_SECONDS": "the same",
    "RETRY_MAX_AGE_SECONDS": "the same",
}
READ_BY_OTHERS = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "MALLOC_ARENA_MAX",  # by the C library
}


def accounts(deployment: Deployment) -> dict[str, Resource]:
    """The two storage accounts, by the beginning of their names."""
    return {each.name[:6]: each for each in deployment.of("Microsoft.Storage/storageAccounts")}


# --- the app and its settings -----------------------------------------------------------------------------------


def test_the_program_accepts_the_settings_that_it_is_deployed_with(settings: dict[str, str]) -> None:
    read = Settings.from_env(settings)

    assert (read.auth, read.tenant_id, read.partner_center_url) == ("managed_identity", PAYER, DEFAULT_URL)
    assert (read.identity_client_id, read.storage_client_id) == (CLIENT, CLIENT)
    assert read.storage_connection_string is None
    assert (read.checkout_timeout, read.settle, read.retry_max_age) == (180.0, 600.0, 86_400.0)


def test_the_program_accepts_the_settings_of_a_federated_app(federated: Deployment) -> None:
    read = Settings.from_env(settings_of(federated))

    assert (read.auth, read.app_id, read.identity_client_id) == ("federated", APP, CLIENT)


def test_every_setting_is_deployed_or_left_to_the_program_for_a_reason(settings: dict[str, str]) -> None:
    assert settings_read() | READ_BY_OTHERS == set(settings) | set(LEFT_TO_THE_PROGRAM)
    assert not set(settings) & set(LEFT_TO_THE_PROGRAM)


def test_settings_that_flex_consumption_replaces_are_not_set(settings: dict[str, str]) -> None:
    taken_over = ("FUNCTIONS_", "ENABLE_ORYX", "SCM_DO", "WEBSITE", "PYTHON_ISOLATE", "TZ", "AzureWebJobsFeature")

    assert [name for name in settings if name.startswith(taken_over)] == []


def test_the_worker_has_a_thread_for_each_message_that_the_host_hands_over(settings: dict[str, str]) -> None:
    assert queue_options(ROOT / "host.json", {}).in_flight == int(settings["PYTHON_THREADPOOL_THREAD_COUNT"])


def test_the_benchmark_runs_the_deployed_configuration(settings: dict[str, str]) -> None:
    assert {name: settings[name] for name in OURS.settings} == dict(OURS.settings)


def test_the_app_runs_on_flex_consumption_with_a_python_that_the_project_supports(deployment: Deployment) -> None:
    (plan,) = deployment.of("Microsoft.Web/serverfarms")
    (app,) = deployment.of("Microsoft.Web/sites")
    config = app.properties["functionAppConfig"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert plan.body["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert config["runtime"] == {"name": "python", "version": "3.13"}
    assert project["requires-python"] == ">=3.11,<3.14"
    assert config["scaleAndConcurrency"] == {"maximumInstanceCount": 2, "instanceMemoryMB": 2048, "alwaysReady": []}


def test_the_size_of_the_app_can_be_chosen(federated: Deployment) -> None:
    (plan,) = federated.of("Microsoft.Web/serverfarms")
    (app,) = federated.of("Microsoft.Web/sites")
    scale = app.properties["functionAppConfig"]["scaleAndConcurrency"]
    ((ready),) = scale.pop("alwaysReady")
    kind, _, function = ready["name"].partition(":")

    assert scale == {"maximumInstanceCount": 6, "instanceMemoryMB": 512}
    assert (kind, ready["instanceCount"]) == ("function", 2)
    assert f"def {function}(" in (ROOT / "function_app.py").read_text("utf-8")
    assert plan.properties["zoneRedundant"] is True


def test_the_default_number_of_instances_is_what_fifty_thousand_carts_an_hour_need() -> None:
    (needed,) = [row[2] for row in table(ROOT / "docs" / "capacity.md", "Instances") if row[0] == "50,000"]
    (default,) = re.findall(r"param maximumInstanceCount int = (\d+)", MAIN.read_text("utf-8"))

    assert needed == default


def test_a_deployment_lets_running_carts_finish_unless_told_otherwise(
    deployment: Deployment, federated: Deployment
) -> None:
    strategies = [
        app.properties["functionAppConfig"]["siteUpdateStrategy"]
        for each in (deployment, federated)
        for app in each.of("Microsoft.Web/sites")
    ]

    assert strategies == [{"type": "RollingUpdate"}, {"type": "Recreate"}]
    assert all(app.body["apiVersion"] >= "2024-11-01" for app in deployment.of("Microsoft.Web/sites"))


# --- storage ----------------------------------------------------------------------------------------------------


def test_the_queues_and_the_container_of_the_program_are_created(
    deployment: Deployment, settings: dict[str, str]
) -> None:
    program = Settings.from_env(settings)
    queues = deployment.of("Microsoft.Storage/storageAccounts/queueServices/queues")
    containers = deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    account = accounts(deployment)["stcart"]

    assert {program.carts_queue, program.poison_queue, program.outcomes_queue} == {each.name for each in queues}
    assert all(each.id.startswith(f"{account.id}/") for each in queues)
    assert f"{account.id}/blobServices/default/containers/{program.records_container}" in {
        each.id for each in containers
    }
    assert program.storage_queue_uri == f"https://{account.name}.queue.core.windows.net/"
    assert program.storage_blob_uri == f"https://{account.name}.blob.core.windows.net/"


def test_the_names_are_those_of_the_examples(settings: dict[str, str]) -> None:
    example = json.loads((ROOT / "local.settings.example.json").read_text("utf-8"))["Values"]

    for name in ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER"):
        assert example[name] == settings[name]


def test_no_account_allows_keys_old_tls_or_anonymous_access(deployment: Deployment) -> None:
    for account in accounts(deployment).values():
        said = account.properties
        assert said["allowSharedKeyAccess"] is False
        assert said["allowBlobPublicAccess"] is False
        assert said["supportsHttpsTrafficOnly"] is True
        assert said["minimumTlsVersion"] == "TLS1_2"
    for container in deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers"):
        assert container.properties["publicAccess"] == "None"


def test_the_host_has_its_own_storage_account(deployment: Deployment, settings: dict[str, str]) -> None:
    host = accounts(deployment)["sthost"]
    (app,) = deployment.of("Microsoft.Web/sites")
    package = app.properties["functionAppConfig"]["deployment"]["storage"]
    (identity,) = deployment.of("Microsoft.ManagedIdentity/userAssignedIdentities")
    containers = {each.id for each in deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers")}

    assert settings["AzureWebJobsStorage__blobServiceUri"] == f"https://{host.name}.blob.core.windows.net/"
    assert settings["AzureWebJobsStorage__blobServiceUri"] != settings["CheckoutStorage__blobServiceUri"]
    assert package["authentication"] == {
        "type": "UserAssignedIdentity",
        "userAssignedIdentityResourceId": identity.id,
    }
    name = package["value"].removeprefix(settings["AzureWebJobsStorage__blobServiceUri"])
    assert f"{host.id}/blobServices/default/containers/{name}" in containers


def test_records_are_retained_for_400_days_and_versions_equally_long(deployment: Deployment) -> None:
    (policy,) = deployment.of("Microsoft.Storage/storageAccounts/managementPolicies")
    (rule,) = policy.properties["policy"]["rules"]
    actions = rule["definition"]["actions"]
    days = actions["baseBlob"]["delete"]["daysAfterModificationGreaterThan"]

    assert rule["definition"]["filters"]["prefixMatch"] == ["checkout-records/"]
    assert days == 400
    assert actions == {
        "baseBlob": {"delete": {"daysAfterModificationGreaterThan": days}},
        "version": {"delete": {"daysAfterCreationGreaterThan": days}},
    }
    assert days >= 90 > MAX_AGE / 86_400


def test_how_long_records_are_retained_can_be_chosen(federated: Deployment) -> None:
    (policy,) = federated.of("Microsoft.Storage/storageAccounts/managementPolicies")

    assert "daysAfterModificationGreaterThan': 90" in str(policy.properties)


def test_overwritten_and_deleted_blobs_can_be_restored(deployment: Deployment) -> None:
    (records,) = [
        each
        for each in deployment.of("Microsoft.Storage/storageAccounts/blobServices")
        if each.id.startswith(accounts(deployment)["stcart"].id)
    ]

    assert records.properties["isVersioningEnabled"] is True
    for policy in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        assert records.properties[policy] == {"enabled": True, "days": 30}


def test_the_account_of_the_records_can_be_locked_and_only_that(deployment: Deployment, federated: Deployment) -> None:
    (lock,) = federated.of("Microsoft.Authorization/locks")

    assert lock.scope == accounts(federated)["stcart"].id
    assert lock.properties["level"] == "CanNotDelete"
    assert deployment.of("Microsoft.Authorization/locks") == []


def test_the_log_says_who_deleted_a_record(deployment: Deployment) -> None:
    (log,) = [each for each in deployment.of("Microsoft.Insights/diagnosticSettings") if each.name == "delete-log"]

    assert log.scope == f"{accounts(deployment)['stcart'].id}/blobServices/default"
    assert log.properties["logs"] == [{"category": "StorageDelete", "enabled": True}]


# --- the private network ----------------------------------------------------------------------------------------


def test_without_a_private_network_there_is_none(deployment: Deployment) -> None:
    (app,) = deployment.of("Microsoft.Web/sites")

    assert [each.type for each in deployment.resources if each.type.startswith("Microsoft.Network/")] == []
    assert app.properties.get("virtualNetworkSubnetId") is None
    for account in accounts(deployment).values():
        assert account.properties["publicNetworkAccess"] == "Enabled"
        assert account.properties["networkAcls"] == {"bypass": "None", "defaultAction": "Allow"}


def test_with_a_private_network_no_account_can_be_reached_from_elsewhere(private: Deployment) -> None:
    for account in accounts(private).values():
        assert account.properties["publicNetworkAccess"] == "Disabled"
        assert account.properties["networkAcls"] == {"bypass": "None", "defaultAction": "Deny"}


def test_the_app_is_in_a_subnet_that_is_delegated_to_flex_consumption(private: Deployment) -> None:
    (network,) = private.of("Microsoft.Network/virtualNetworks")
    (app,) = private.of("Microsoft.Web/sites")
    subnets = {each["name"]: each["properties"] for each in network.properties["subnets"]}
    subnet = app.properties["virtualNetworkSubnetId"].removeprefix(f"{network.id}/subnets/")

    assert [each["properties"]["serviceName"] for each in subnets[subnet]["delegations"]] == [
        "Microsoft.App/environments"
    ]
    assert "_" not in subnet
    assert int(subnets[subnet]["addressPrefix"].rpartition("/")[2]) <= 27


def test_blobs_and_queues_of_both_accounts_have_private_endpoints_and_addresses(private: Deployment) -> None:
    (network,) = private.of("Microsoft.Network/virtualNetworks")
    zones = {each.id: each.body["name"] for each in private.of("Microsoft.Network/privateDnsZones")}
    linked = private.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    groups = {each.id: each for each in private.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")}
    reached = set()
    for endpoint in private.of("Microsoft.Network/privateEndpoints"):
        (connection,) = endpoint.properties["privateLinkServiceConnections"]
        (service,) = connection["properties"]["groupIds"]
        reached.add((connection["properties"]["privateLinkServiceId"], service))
        (config,) = groups[f"{endpoint.id}/privateDnsZoneGroups/default"].properties["privateDnsZoneConfigs"]
        assert zones[config["properties"]["privateDnsZoneId"]] == f"privatelink.{service}.core.windows.net"
        assert endpoint.properties["subnet"]["id"] == f"{network.id}/subnets/private-endpoints"

    assert {(each.id, service) for each in accounts(private).values() for service in ("blob", "queue")} == reached
    assert [each.properties["virtualNetwork"]["id"] for each in linked] == [network.id] * len(zones)


# --- the budget -------------------------------------------------------------------------------------------------


def test_a_budget_is_made_when_there_is_an_amount(deployment: Deployment, federated: Deployment) -> None:
    (budget,) = federated.of("Microsoft.Consumption/budgets")
    (notification,) = budget.properties["notifications"].values()

    assert (budget.properties["amount"], budget.properties["timePeriod"]) == (200, {"startDate": "2026-12-01"})
    assert notification["contactEmails"] == ["operators@contoso.example"]
    assert deployment.of("Microsoft.Consumption/budgets") == []


# --- who may do what --------------------------------------------------------------------------------------------


def assigned(deployment: Deployment) -> dict[str, str]:
    """The role on each thing, by the last part of its id."""
    made = {}
    for each in deployment.of("Microsoft.Authorization/roleAssignments"):
        assert each.properties["principalId"] == PRINCIPAL
        assert each.properties["principalType"] == "ServicePrincipal"
        assert each.properties["description"]
        prefix = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/"
        made[each.scope] = ROLES[each.properties["roleDefinitionId"].removeprefix(prefix)]
    return made


def test_the_identity_has_these_roles_and_no_more(deployment: Deployment) -> None:
    both = accounts(deployment)
    queues = f"{both['stcart'].id}/queueServices/default/queues"
    (insights,) = deployment.of("Microsoft.Insights/components")

    assert {
        f"{queues}/carts": "Storage Queue Data Contributor",
        f"{queues}/carts-poison": "Storage Queue Data Contributor",
        f"{queues}/checkout-outcomes": "Storage Queue Data Message Sender",
        f"{both['stcart'].id}/blobServices/default/containers/checkout-records": "Storage Blob Data Contributor",
        both["sthost"].id: "Storage Blob Data Owner",
        insights.id: "Monitoring Metrics Publisher",
    } == assigned(deployment)


def test_a_role_is_assigned_on_a_resource_of_this_deployment(deployment: Deployment) -> None:
    created = {each.id for each in deployment.resources}

    assert set(assigned(deployment)) <= created


def test_each_role_assignment_has_a_name_of_its_own(deployment: Deployment) -> None:
    names = [each.body["name"] for each in deployment.of("Microsoft.Authorization/roleAssignments")]

    assert len(names) == len(set(names)) == 6


def test_a_comment_says_the_role_and_why_beside_each_assignment(deployment: Deployment) -> None:
    text = (INFRA / "roles.bicep").read_text("utf-8")
    commented = re.findall(r"((?:// .+\n)+)resource \w+ '.+roleAssignments@", text)

    roles = [comment.removeprefix("// ").partition(" on ")[0] for comment in commented]
    assert sorted(roles) == sorted(assigned(deployment).values())
    assert all(len(comment) > len(role) + 60 for comment, role in zip(commented, roles, strict=True))


def test_the_document_lists_the_roles(deployment: Deployment) -> None:
    listed = {row[0].strip("`"): row[1] for row in table(DEPLOYMENT_MD, "Roles")}

    assert {
        "carts": "Storage Queue Data Contributor",
        "carts-poison": "Storage Queue Data Contributor",
        "checkout-outcomes": "Storage Queue Data Message Sender",
        "checkout-records": "Storage Blob Data Contributor",
        "host storage": "Storage Blob Data Owner",
        "Application Insights": "Monitoring Metrics Publisher",
    } == listed
    assert sorted(listed.values()) == sorted(assigned(deployment).values())


def test_there_is_no_key_or_password_to_sign_in_with(deployment: Deployment, settings: dict[str, str]) -> None:
    (insights,) = deployment.of("Microsoft.Insights/components")
    (workspace,) = deployment.of("Microsoft.OperationalInsights/workspaces")
    policies = deployment.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    (app,) = deployment.of("Microsoft.Web/sites")

    assert insights.properties["DisableLocalAuth"] is True
    assert workspace.properties["features"]["disableLocalAuth"] is True
    assert {each.name: each.properties["allow"] for each in policies} == {"ftp": False, "scm": False}
    assert app.properties["httpsOnly"] is True
    assert app.properties["siteConfig"]["minTlsVersion"] == "1.2"
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == f"ClientId={CLIENT};Authorization=AAD"
    for name in ("AzureWebJobsStorage", "CheckoutStorage"):
        assert settings[f"{name}__credential"] == "managedidentity"
        assert settings[f"{name}__clientId"] == CLIENT
    text = "".join(path.read_text("utf-8") for path in INFRA.glob("*.bicep"))
    assert re.findall(r"list(?:Keys|AccountSas|ServiceSas|Secrets)|AccountKey|@secure|sig=", text) == []


def test_the_app_runs_under_the_one_identity(deployment: Deployment) -> None:
    (identity,) = deployment.of("Microsoft.ManagedIdentity/userAssignedIdentities")
    (app,) = deployment.of("Microsoft.Web/sites")

    assert app.body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}


# --- what azd and the operator are told -------------------------------------------------------------------------


def test_the_federated_credential_is_what_the_program_will_present(deployment: Deployment) -> None:
    said = {name.removeprefix("FEDERATED_CREDENTIAL_"): value for name, value in deployment.outputs.items()}

    assert said["ISSUER"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert said["SUBJECT"] == PRINCIPAL
    china, rest = (scope.removesuffix("/.default") for scope in (ASSERTION_SCOPE_CHINA, ASSERTION_SCOPE))
    assert said["AUDIENCE"] == f"[if(equals(environment().name, 'AzureChinaCloud'), '{china}', '{rest}')]"


def test_the_outputs_have_the_names_that_tools_read(deployment: Deployment, settings: dict[str, str]) -> None:
    said = deployment.outputs
    (app,) = deployment.of("Microsoft.Web/sites")

    assert said["AZURE_FUNCTION_NAME"] == app.name
    assert said["CHECKOUT_STORAGE_QUEUE_URI"] == settings["CheckoutStorage__queueServiceUri"]
    assert said["CHECKOUT_STORAGE_BLOB_URI"] == settings["CheckoutStorage__blobServiceUri"]
    assert {name: said[name] for name in ("CARTS_QUEUE", "OUTCOMES_QUEUE", "RECORDS_CONTAINER")}.items() <= (
        settings.items()
    )
    assert all(value and isinstance(value, str) for value in said.values())


def test_two_environments_share_no_name(deployment: Deployment, federated: Deployment) -> None:
    # the types of one segment; what lies in these cannot meet what lies in others
    def names(deployment: Deployment) -> set[str]:
        return {each.name for each in deployment.resources if each.type.count("/") == 1 and "location" in each.body}

    assert len(names(deployment)) == 15
    assert not names(deployment) & names(federated)


def test_everything_is_tagged_with_its_environment_and_the_tags_that_were_chosen(
    deployment: Deployment, federated: Deployment
) -> None:
    tagged = [each for each in federated.resources if "location" in each.body]

    assert len(tagged) >= 12
    assert {(each.body["tags"]["azd-env-name"], each.body["tags"]["costCenter"]) for each in tagged} == {
        ("prod", "4711")
    }
    assert {each.body["tags"]["azd-env-name"] for each in deployment.resources if "location" in each.body} == {"dev"}
