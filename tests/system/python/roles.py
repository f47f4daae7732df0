"""Every method of the administration SDK's access control client; name prefixes; explanations.

The server's own log is the witness that it was asked.
"""

import uuid

from azure.core.exceptions import ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.administration import (
    KeyVaultDataAction, KeyVaultPermission, KeyVaultRoleScope)
from azure.keyvault.keys.crypto import SignatureAlgorithm

from support import (
    Raw, access_client, audit_records, casemate, check, crypto_client, equal, finish, key_client,
    refused, server_sees)

PREFIX = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
CRYPTO_USER = PREFIX + "21dbd100-6940-42c2-9190-5d6cb909625b"
POLICY_ADMINISTRATOR = PREFIX + "4bd23610-cdcf-4971-bdee-bdc562cc28e4"
OFFICER = PREFIX + "515eb02d-2335-4d2d-92f2-b1cbdf9c3778"
GLOBAL, KEYS = KeyVaultRoleScope.GLOBAL, KeyVaultRoleScope.KEYS
DIGEST = bytes(32)
ES256 = SignatureAlgorithm.es256

admin = access_client()
keys = key_client()
raw = Raw()


def stranger(name):
    app = casemate("dev", "identity", "add-app", name)
    return app, ClientSecretCredential("adfs", app["appId"], app["secret"])


def definitions():
    name = str(uuid.uuid4())
    permission = KeyVaultPermission(
        actions=[], not_actions=[],
        data_actions=[KeyVaultDataAction.READ_HSM_KEY, KeyVaultDataAction.SIGN_HSM_KEY],
        not_data_actions=[])
    with server_sees("RoleDefinitionCreateOrUpdate", 1):
        made = admin.set_role_definition(
            GLOBAL, name=name, role_name="Signer", description="signs", permissions=[permission])
    equal((made.name, made.role_name, made.description), (name, "Signer", "signs"), "as asked")
    equal((made.id, made.role_type), (PREFIX + name, "CustomRole"), "id and type")
    equal(made.assignable_scopes, [GLOBAL], "assignable scopes")
    equal(sorted(made.permissions[0].data_actions), sorted(permission.data_actions), "actions")
    with server_sees("RoleDefinitionGet", 1):
        equal(admin.get_role_definition(GLOBAL, name).role_name, "Signer", "get")
    with server_sees("RoleDefinitionList", 1):
        listed = {one.name: one for one in admin.list_role_definitions(GLOBAL)}
    equal(len(listed), 11, "the built-in ones and ours")
    equal(listed[name].role_type, "CustomRole", "list")
    for scope in (KEYS, "/keys/one", "/keys/team-*"):
        check(name in {one.name for one in admin.list_role_definitions(scope)}, f"at {scope}")

    # Everything may be left out, as in the original.
    changed = admin.set_role_definition(GLOBAL, name=name)
    equal((changed.role_name, changed.description, changed.permissions), ("", "", []), "bare")
    without_name = admin.set_role_definition(GLOBAL)
    check(uuid.UUID(without_name.name), "the client makes a name up")
    admin.delete_role_definition(GLOBAL, without_name.name)
    with server_sees("RoleDefinitionDelete", 1):
        admin.delete_role_definition(GLOBAL, name)
    try:
        admin.get_role_definition(GLOBAL, name)
        raise AssertionError("a deleted definition was found")
    except ResourceNotFoundError as error:
        equal(error.error.code, "RoleDefinitionNotFound", "a deleted definition")
    # The SDK takes 404 for done.
    admin.delete_role_definition(GLOBAL, name)


def every_action_of_the_sdk():
    """Whatever action the SDK names can be in a role here."""
    made = admin.set_role_definition(GLOBAL, role_name="All that the SDK names", permissions=[
        KeyVaultPermission(data_actions=list(KeyVaultDataAction))])
    equal(len(made.permissions[0].data_actions), len(set(KeyVaultDataAction)), "every action")
    admin.delete_role_definition(GLOBAL, made.name)


def wrong_definitions():
    def write(status, code, what, scope=GLOBAL, **members):
        refused(status, code, lambda: admin.set_role_definition(scope, **members), what)

    def data(*actions):
        return [KeyVaultPermission(data_actions=list(actions))]

    error = refused(400, "BadParameter", lambda: admin.set_role_definition(
        GLOBAL, name=CRYPTO_USER.rsplit("/", 1)[1], role_name="Mine"), "a built-in id")
    check(error.error.message.startswith(
        "Cannot re-use the name/GUID matching that of a built-in role. "), error.error.message)
    write(400, "BadParameter", "a built-in name", role_name="Managed HSM Crypto User")
    write(400, "BadParameter", "a wildcard", permissions=data("Microsoft.KeyVault/managedHsm/*"))
    write(400, "BadParameter", "unknown", permissions=data("Microsoft.KeyVault/managedHsm/fly"))
    write(400, "BadParameter", "not at the root", scope=KEYS, role_name="Elsewhere")
    refused(400, "BadParameter",
            lambda: admin.delete_role_definition(GLOBAL, CRYPTO_USER.rsplit("/", 1)[1]), "built-in")
    made = admin.set_role_definition(GLOBAL, role_name="Once")
    write(409, "Conflict", "a name that is taken", role_name="ONCE")
    admin.delete_role_definition(GLOBAL, made.name)


def a_definition_counts_at_once():
    app, who = stranger("signer")
    signing = [KeyVaultPermission(data_actions=[
        KeyVaultDataAction.READ_HSM_KEY, KeyVaultDataAction.SIGN_HSM_KEY])]
    reading = [KeyVaultPermission(data_actions=[KeyVaultDataAction.READ_HSM_KEY])]
    role = admin.set_role_definition(GLOBAL, role_name="Signer", permissions=signing)
    key = keys.create_ec_key("signers")
    made = admin.create_role_assignment("/keys/signers", role.id, app["objectId"])
    crypto_client(key.id, who).sign(ES256, DIGEST)
    admin.set_role_definition(GLOBAL, name=role.name, role_name="Signer", permissions=reading)
    refused(403, "AccessDenied", lambda: crypto_client(key.id, who).sign(ES256, DIGEST), "taken")
    check(key_client(who).get_key("signers"), "what is left is left")
    admin.delete_role_definition(GLOBAL, role.name)
    refused(403, "AccessDenied", lambda: key_client(who).get_key("signers"), "a defunct role")
    check(made.name in {one.name for one in admin.list_role_assignments("/keys/signers")},
          "a defunct assignment is still listed")
    refused(409, "Conflict", lambda: admin.set_role_definition(
        GLOBAL, name=role.name, role_name="Signer", permissions=signing), "it does not revive")
    admin.delete_role_assignment("/keys/signers", made.name)


def assignments():
    app, _ = stranger("listed")
    with server_sees("RoleAssignmentCreate", 1):
        made = admin.create_role_assignment(KEYS, CRYPTO_USER, app["objectId"])
    equal((made.type, made.properties.scope), ("Microsoft.Authorization/roleAssignments", KEYS),
          "shape")
    with server_sees("RoleAssignmentGet", 1):
        equal(admin.get_role_assignment(KEYS, made.name).properties.principal_id, app["objectId"],
              "get")
    with server_sees("RoleAssignmentList", 1):
        check(made.name in {one.name for one in admin.list_role_assignments(KEYS)}, "list")
    for scope in ("", "/keys"):
        path = f"{scope}//providers/Microsoft.Authorization/roleAssignments"
        wanted = f"$filter=principalId eq {app['objectId']}"
        found = raw.ok("GET", f"{path}?{wanted}")["value"]
        equal([one["name"] for one in found], [made.name], f"{wanted} at {scope}")
    found = raw.ok("GET", "/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()")
    check(made.name not in {one["name"] for one in found["value"]}, "atScope() is that scope")
    with server_sees("RoleAssignmentDelete", 1):
        admin.delete_role_assignment(KEYS, made.name)


def teams():
    """A team makes, uses and administers its own keys and sees no others."""
    team = "/keys/team-a-*"
    (lead, as_lead), (user, as_user) = stranger("lead"), stranger("user")
    keys.create_ec_key("team-b-1")
    admin.create_role_assignment(team, POLICY_ADMINISTRATOR, lead["objectId"])
    made = access_client(as_lead).create_role_assignment(team, CRYPTO_USER, user["objectId"])
    equal(made.properties.scope, team, "scope")
    mine = key_client(as_user).create_ec_key("Team-A-1")
    crypto_client(mine.id, as_user).sign(ES256, DIGEST)
    equal([key.name for key in key_client(as_user).list_properties_of_keys()], ["Team-A-1"],
          "the list has the team's keys alone")
    for act in (lambda: key_client(as_user).create_ec_key("team-b-2"),
                lambda: key_client(as_user).get_key("team-b-1"),
                lambda: access_client(as_lead).create_role_assignment(
                    GLOBAL, CRYPTO_USER, user["objectId"]),
                lambda: access_client(as_lead).create_role_assignment(
                    "/keys/team-b-1", CRYPTO_USER, user["objectId"])):
        refused(403, "AccessDenied", act, "outside the team")
    refused(403, "Forbidden", lambda: access_client(as_lead).create_role_assignment(
        team, CRYPTO_USER, lead["objectId"]), "a grant to oneself")
    # A purged key takes the assignments made at it along.
    own = access_client(as_lead).create_role_assignment(
        "/keys/team-a-1", CRYPTO_USER, str(uuid.uuid4()))
    key_client(as_user).begin_delete_key("team-a-1").wait()
    key_client().purge_deleted_key("team-a-1")
    equal(raw.call("GET", "/keys/team-a-1/providers/Microsoft.Authorization/roleAssignments/"
                   + own.name).status_code, 404, "gone with its key")
    check(admin.get_role_assignment(team, made.name), "the prefix stays")


def explanations():
    app, _ = stranger("asked-about")
    ask = (f"/explain?principal={app['objectId']}&action=keys/sign/action&scope=/keys/x")
    told = raw.ok("GET", ask)
    equal((told["allowed"], told["missing"]["roleName"], told["missing"]["scope"]),
          (False, "Managed HSM Crypto User", "/keys/x"), "what is missing")
    made = admin.create_role_assignment(KEYS, CRYPTO_USER, app["objectId"])
    with server_sees("RightsExplain", 1):
        told = raw.ok("GET", ask)
    equal((told["allowed"], [one["id"] for one in told["allowedBy"]]),
          (True, [f"/keys/providers/Microsoft.Authorization/roleAssignments/{made.name}"]),
          "what allows it")
    equal(raw.call("GET", ask, api_version=None).status_code, 200, "ours has no api-version")
    _, who = stranger("asker")
    raw_of = Raw(who)
    raw_of.refused(403, "AccessDenied", "GET", ask)


def separation():
    app, _ = stranger("both")
    path = "/providers/Microsoft.Authorization/roleAssignments/"
    body = {"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": app["objectId"]}}
    first = raw.call("PUT", path + str(uuid.uuid4()), body)
    equal((first.status_code, "x-casemate-warning" in first.headers), (201, False), "one duty")
    body["properties"]["roleDefinitionId"] = OFFICER
    second = raw.call("PUT", path + str(uuid.uuid4()), body)
    equal(second.status_code, 201, "a warning is no refusal")
    check("two duties together" in second.headers["x-casemate-warning"], "the warning")
    marks = [record.get("marks") for record in audit_records()]
    check(["dutiesTogether"] in marks, "the mark in the log")
    raw.ok("PATCH", "/settings/CasemateSeparation", {"value": "refuse"})
    answer = raw.refused(403, "Forbidden", "PUT", "/keys" + path + str(uuid.uuid4()), body)
    equal(answer.json()["error"]["innererror"]["code"], "SeparationOfDuties", "inner error")
    raw.ok("PATCH", "/settings/CasemateSeparation", {"value": "warn"})


def main():
    for part in (definitions, every_action_of_the_sdk, wrong_definitions,
                 a_definition_counts_at_once, assignments, teams, explanations, separation):
        part()
    finish("roles")


main()
