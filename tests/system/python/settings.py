"""Settings through the administration SDK: every method, and what a change does at once."""

from azure.identity import ClientSecretCredential
from azure.keyvault.administration import (
    KeyVaultRoleScope, KeyVaultSetting, KeyVaultSettingsClient, KeyVaultSettingType)

from support import (
    HSM_URL, Raw, access_client, casemate, check, credential, equal, finish, refused, server_sees)

ARM = "AllowKeyManagementOperationsThroughARM"
ESCALATION = "CasemateEscalation"
PREFIX = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
ADMINISTRATOR = PREFIX + "a290e904-7015-4bba-90c8-60543313cdb4"
OFFICER = PREFIX + "515eb02d-2335-4d2d-92f2-b1cbdf9c3778"
AUDITOR = PREFIX + "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3"

admin = access_client()
raw = Raw()


def client(who=None):
    return KeyVaultSettingsClient(HSM_URL, who or credential, verify_challenge_resource=False)


def stranger(name, role=None):
    app = casemate("dev", "identity", "add-app", name)
    if role:
        admin.create_role_assignment(KeyVaultRoleScope.GLOBAL, role, app["objectId"])
    return app, ClientSecretCredential("adfs", app["appId"], app["secret"])


def every_method():
    listed = {one.name: one for one in client().list_settings()}
    equal(listed[ARM].value, "false", "the default")
    equal(listed[ARM].setting_type, KeyVaultSettingType.BOOLEAN, "its type")
    equal(listed[ARM].getboolean(), False, "as a truth value")
    equal(listed[ESCALATION].value, "strict", "the default of ours")
    shown = client().get_setting(ARM)
    equal((shown.name, shown.value), (ARM, "false"), "get")
    with server_sees("SettingUpdate", 1):
        changed = client().update_setting(KeyVaultSetting(ARM, True, KeyVaultSettingType.BOOLEAN))
    equal((changed.name, changed.value), (ARM, "true"), "update")
    equal(client().get_setting(ARM).getboolean(), True, "get after the update")
    equal(client().update_setting(KeyVaultSetting(ARM, "false")).getboolean(), False, "and back")


def wrong_ones():
    refused(404, "SettingNotFound", lambda: client().get_setting("NoSuchSetting"), "get")
    refused(404, "SettingNotFound",
            lambda: client().update_setting(KeyVaultSetting("NoSuchSetting", "true")), "update")
    error = refused(400, "BadParameter",
                    lambda: client().update_setting(KeyVaultSetting(ESCALATION, "none")), "value")
    check("strict, azure" in error.error.message, f"the message has the values: {error}")
    for body in ({}, {"value": True}, {"value": 1}, {"value": None}):
        raw.refused(400, "BadParameter", "PATCH", f"/settings/{ARM}", body)
    raw.refused(405, "MethodNotAllowed", "PUT", f"/settings/{ARM}", {"value": "true"})
    equal(client().get_setting(ESCALATION).value, "strict", "nothing changed")


def not_for_everybody():
    for name, role in (("nobody", None), ("officer", OFFICER)):
        _, who = stranger(name, role)
        refused(403, "AccessDenied", lambda: list(client(who).list_settings()), f"list: {name}")
        refused(403, "AccessDenied",
                lambda: client(who).update_setting(KeyVaultSetting(ARM, "true")), name)
    _, auditor = stranger("auditor", AUDITOR)
    equal(client(auditor).get_setting(ARM).value, "false", "an auditor reads")
    refused(403, "AccessDenied",
            lambda: client(auditor).update_setting(KeyVaultSetting(ARM, "true")), "auditor")


def the_ladder_is_there_only_in_mode_azure():
    app, who = stranger("climber", OFFICER)

    def climb():
        return access_client(who).create_role_assignment(
            KeyVaultRoleScope.GLOBAL, ADMINISTRATOR, app["objectId"])

    refused(403, "Forbidden", climb, "strict")
    client().update_setting(KeyVaultSetting(ESCALATION, "azure"))
    made = climb()
    admin.delete_role_assignment(KeyVaultRoleScope.GLOBAL, made.name)
    client().update_setting(KeyVaultSetting(ESCALATION, "strict"))
    refused(403, "Forbidden", climb, "strict again")


def main():
    for part in (every_method, wrong_ones, not_for_everybody,
                 the_ladder_is_there_only_in_mode_azure):
        part()
    finish("settings")


main()
