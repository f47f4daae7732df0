"""More groups than a token lists: the HSM asks the issuer that its settings name."""

from azure.identity import ClientSecretCredential
from azure.keyvault.administration import KeyVaultRoleScope

from support import access_client, casemate, check, finish, key_client, refused

CRYPTO_USER = ("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
               "21dbd100-6940-42c2-9190-5d6cb909625b")
# A token lists at most 200.
GROUPS = 201

admin = access_client()


def main():
    key_client().create_ec_key("shared")
    app = casemate("dev", "identity", "add-app", "member")
    for number in range(GROUPS):
        last = casemate("dev", "identity", "add-group", f"group-{number}")["objectId"]
        casemate("dev", "identity", "add-member", f"group-{number}", "member")
    who = ClientSecretCredential("adfs", app["appId"], app["secret"])
    refused(403, "AccessDenied", lambda: key_client(who).get_key("shared"), "no group has a role")
    made = admin.create_role_assignment(KeyVaultRoleScope.KEYS, CRYPTO_USER, last)
    check(key_client(who).get_key("shared"), "one of the groups has a role")
    admin.delete_role_assignment(KeyVaultRoleScope.KEYS, made.name)
    refused(403, "AccessDenied", lambda: key_client(who).get_key("shared"), "not any more")
    finish("groups")


main()
