"""Roles through the administration SDK, and what they allow to a principal that has only them."""

import uuid

from azure.identity import ClientSecretCredential
from azure.keyvault.administration import KeyVaultRoleScope
from azure.keyvault.keys.crypto import SignatureAlgorithm

from support import (
    Raw, access_client, casemate, check, crypto_client, equal, finish, key_client, refused)

ROLES = {
    "Managed HSM Administrator": "a290e904-7015-4bba-90c8-60543313cdb4",
    "Managed HSM Crypto Officer": "515eb02d-2335-4d2d-92f2-b1cbdf9c3778",
    "Managed HSM Crypto User": "21dbd100-6940-42c2-9190-5d6cb909625b",
    "Managed HSM Policy Administrator": "4bd23610-cdcf-4971-bdee-bdc562cc28e4",
    "Managed HSM Crypto Auditor": "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3",
    "Managed HSM Crypto Service Encryption User": "33413926-3206-4cdd-b39a-83574fe37a17",
    "Managed HSM Crypto Service Release User": "21dbd100-6940-42c2-9190-5d6cb909625c",
    "Managed HSM Backup User": "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8",
    "Managed HSM Restore User": "6efe6056-5259-49d2-8b3d-d3d73544b20b",
    "Managed HSM ARM User": "770fd66c-6266-4643-9d4e-b616870898d5",
}
PREFIX = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
DIGEST = bytes(32)
ES256 = SignatureAlgorithm.es256

admin = access_client()
keys = key_client()
raw = Raw()


def stranger(name):
    app = casemate("dev", "identity", "add-app", name)
    return app, ClientSecretCredential("adfs", app["appId"], app["secret"])


def denied(act, what):
    error = refused(403, "AccessDenied", act, what)
    check("Not authorized to access Microsoft.KeyVault/managedHsm/" in error.error.message,
          f"the message says what was missing: {error.error.message}")


def grant(role, principal, scope=KeyVaultRoleScope.GLOBAL):
    return admin.create_role_assignment(scope, PREFIX + ROLES[role], principal)


def definitions():
    found = {one.role_name: one for one in admin.list_role_definitions(KeyVaultRoleScope.GLOBAL)}
    for name, role in ROLES.items():
        check(name in found, f"{name} is among {sorted(found)}")
        equal((found[name].name, found[name].id), (role, PREFIX + role), name)
        equal(found[name].role_type, "AKVBuiltInRole", name)


def without_a_role():
    app, who = stranger("nobody")
    denied(lambda: key_client(who).get_key("shared"), "get without a role")
    denied(lambda: key_client(who).create_ec_key("mine"), "create without a role")
    denied(lambda: list(key_client(who).list_properties_of_keys()), "list without a role")
    denied(lambda: list(access_client(who).list_role_assignments(KeyVaultRoleScope.GLOBAL)),
           "roles without a role")
    denied(lambda: access_client(who).create_role_assignment(
        KeyVaultRoleScope.GLOBAL, PREFIX + ROLES["Managed HSM Crypto User"], app["objectId"]),
        "a grant to oneself without a role")
    denied(lambda: key_client(who).get_key("not-there-at-all"), "absence is not told to strangers")


def one_key_only():
    app, who = stranger("narrow")
    made = grant("Managed HSM Crypto User", app["objectId"], "/keys/shared")
    equal(made.properties.scope, "/keys/shared", "scope")
    shared, other = keys.get_key("shared"), keys.get_key("other")
    crypto_client(shared.id, who).sign(ES256, DIGEST)
    denied(lambda: crypto_client(other.id, who).sign(ES256, DIGEST), "another key")
    denied(lambda: key_client(who).create_ec_key("third"), "another name")
    denied(lambda: key_client(who).begin_delete_key("other"), "delete another key")
    admin.delete_role_assignment("/keys/shared", made.name)
    denied(lambda: crypto_client(shared.id, who).sign(ES256, DIGEST), "right after the removal")


def roles_that_do_less():
    app, who = stranger("auditor")
    made = grant("Managed HSM Crypto Auditor", app["objectId"], "/keys")
    check(key_client(who).get_key("shared"), "an auditor reads")
    shared = keys.get_key("shared")
    denied(lambda: crypto_client(shared.id, who).sign(ES256, DIGEST), "auditor signs")
    denied(lambda: key_client(who).update_key_properties("shared", enabled=False), "auditor writes")
    denied(lambda: key_client(who).get_random_bytes(8), "auditor draws")
    admin.delete_role_assignment("/keys", made.name)

    made = grant("Managed HSM Crypto User", app["objectId"])
    key_client(who).create_ec_key("users-own")
    key_client(who).begin_delete_key("users-own").wait()
    denied(lambda: key_client(who).purge_deleted_key("users-own"), "a user does not purge")
    denied(lambda: key_client(who).begin_recover_deleted_key("users-own"), "nor recover")
    denied(lambda: grant_as(who, app, "Managed HSM Crypto Officer"), "nor grant")
    admin.delete_role_assignment(KeyVaultRoleScope.GLOBAL, made.name)

    grant("Managed HSM Crypto Officer", app["objectId"])
    key_client(who).begin_recover_deleted_key("users-own").wait()
    denied(lambda: key_client(who).get_key("users-own"), "an officer reads no key")
    refused(403, "Forbidden", lambda: grant_as(who, app, "Managed HSM Administrator"),
            "no ladder to the top")


def grant_as(who, app, role):
    return access_client(who).create_role_assignment(
        KeyVaultRoleScope.GLOBAL, PREFIX + ROLES[role], app["objectId"])


def groups():
    casemate("dev", "identity", "add-group", "signers")
    app, who = stranger("member")
    group = casemate("dev", "identity", "add-member", "signers", "member")
    check(group, "add-member answers")
    group_id = casemate("dev", "identity", "add-group", "readers")["objectId"]
    casemate("dev", "identity", "add-member", "readers", "member")
    denied(lambda: key_client(who).get_key("shared"), "a member of a group without a role")
    grant("Managed HSM Crypto Auditor", group_id, "/keys/shared")
    # Membership counts as long as the token says, so a new token is needed.
    again = ClientSecretCredential("adfs", app["appId"], app["secret"])
    check(key_client(again).get_key("shared"), "a member of a group with a role")
    denied(lambda: key_client(again).get_key("other"), "outside the group's scope")


def assignments():
    app, _ = stranger("listed")
    name = str(uuid.uuid4())
    role = PREFIX + ROLES["Managed HSM Crypto User"]
    made = admin.create_role_assignment(
        KeyVaultRoleScope.KEYS, role, app["objectId"], name=name)
    equal((made.name, made.properties.principal_id), (name, app["objectId"]), "as asked")
    equal(made.properties.role_definition_id, role, "role")
    equal(admin.get_role_assignment(KeyVaultRoleScope.KEYS, name).role_assignment_id,
          made.role_assignment_id, "read back")
    check(name in {one.name for one in admin.list_role_assignments(KeyVaultRoleScope.KEYS)}, "list")
    refused(409, "Conflict", lambda: admin.create_role_assignment(
        KeyVaultRoleScope.KEYS, role, app["objectId"]), "the same grant twice")
    admin.delete_role_assignment(KeyVaultRoleScope.KEYS, name)
    admin.delete_role_assignment(KeyVaultRoleScope.KEYS, name)
    answer = raw.call("GET", f"/keys/providers/Microsoft.Authorization/roleAssignments/{name}")
    equal(answer.status_code, 404, "a removed assignment")
    for body in ({}, {"properties": {}}, {"properties": {"principalId": app["objectId"]}},
                 {"properties": {"principalId": app["objectId"],
                                 "roleDefinitionId": PREFIX + str(uuid.uuid4())}}):
        answer = raw.call(
            "PUT", f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", body)
        check(answer.status_code in (400, 404), f"{body}: {answer.status_code} {answer.text}")
    answer = raw.call("PUT", "/providers/Microsoft.Authorization/roleAssignments/no-guid", {
        "properties": {"principalId": app["objectId"], "roleDefinitionId": role}})
    check(answer.status_code in (400, 404), f"a name that is no GUID: {answer.status_code}")


def main():
    keys.create_ec_key("shared")
    keys.create_ec_key("other")
    for part in (definitions, without_a_role, one_key_only, roles_that_do_less, groups,
                 assignments):
        part()
    finish("access")


main()
