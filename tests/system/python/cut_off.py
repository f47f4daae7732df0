"""Tokens that are cut off: the SDK answers the claims challenge, an old token is of no use."""

import base64
import json
import re
import time

from azure.identity import ClientSecretCredential
from azure.keyvault.administration import KeyVaultRoleScope

from support import (
    RESOURCE, Raw, access_client, casemate, check, equal, finish, key_client, server_sees)

USER = ("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
        "21dbd100-6940-42c2-9190-5d6cb909625b")

admin = Raw()


class Watched:
    """A real credential, and the claims that it was asked for."""

    def __init__(self, credential):
        self.credential = credential
        self.claims = []

    def get_token(self, *scopes, **options):
        if options.get("claims"):
            self.claims.append(json.loads(options["claims"]))
        return self.credential.get_token(*scopes, **options)


def user(name):
    app = casemate("dev", "identity", "add-app", name)
    access_client().create_role_assignment(KeyVaultRoleScope.GLOBAL, USER, app["objectId"])
    credential = ClientSecretCredential("adfs", app["appId"], app["secret"])
    return app["objectId"], Watched(credential)


def claims_of(challenge):
    """What the challenge asks for, read as any client would."""
    found = re.search(r'error="insufficient_claims", claims="([A-Za-z0-9+/=_-]+)"', challenge)
    check(found, f"no claims challenge: {challenge}")
    return json.loads(base64.b64decode(found.group(1)))


def the_sdk_gets_a_new_token_by_itself():
    principal, watched = user("cut-off")
    client = key_client(watched)
    client.create_ec_key("cut-off", curve="P-256", hardware_protected=True)
    equal(watched.claims, [], "nothing was asked for before")
    old = watched.credential.get_token(RESOURCE + "/.default").token
    with server_sees("TokensCutOff", 1):
        cut = admin.ok("POST", f"/principals/{principal}/cutOffTokens")
    equal(cut["principalId"], principal, "whose")
    answer = admin.session.get(
        client.vault_url + "/keys", params={"api-version": "7.4"},
        headers={"Authorization": "Bearer " + old}, timeout=60)
    equal(answer.status_code, 401, "the old token")
    wanted = {"access_token": {"nbf": {"essential": True, "value": str(cut["notBefore"])}}}
    equal(claims_of(answer.headers["WWW-Authenticate"]), wanted, "the challenge")
    # A token of the second of the call itself is refused too.
    time.sleep(max(0, cut["notBefore"] - time.time()) + 0.1)
    # The refusal of the old token is recorded, and then the use.
    with server_sees("KeyGet", 2):
        client.get_key("cut-off")
    equal(watched.claims, [wanted], "the SDK asked for a new token once")


def others_cannot():
    principal, watched = user("other")
    raw = Raw(watched)
    raw.refused(403, "AccessDenied", "POST", f"/principals/{principal}/cutOffTokens")
    raw.ok("GET", "/keys")
    admin.refused(400, "BadParameter", "POST", "/principals/nobody/cutOffTokens")
    admin.refused(405, "MethodNotAllowed", "GET", f"/principals/{principal}/cutOffTokens")
    admin.refused(404, "NotFound", "POST", f"/principals/{principal}/explode")
    admin.ok("GET", "/keys")


def main():
    the_sdk_gets_a_new_token_by_itself()
    others_cannot()
    finish("cut_off")


main()
