"""Every way to prove who one is: secret, certificate, workload identity, managed identity, IMDS.

Each identity starts without a role, so each is refused first and works after a grant.
"""

import datetime
import os
import pathlib
import tempfile

import jwt
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential, ClientSecretCredential, ManagedIdentityCredential,
    WorkloadIdentityCredential)
from azure.keyvault.administration import KeyVaultRoleScope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from support import (
    CA_FILE, CONTROL_URL, RESOURCE, access_client, casemate, check, credential, equal, finish,
    key_client, refused, token_for)

CRYPTO_USER = ("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
               "21dbd100-6940-42c2-9190-5d6cb909625b")
SCOPE = RESOURCE + "/.default"
folder = pathlib.Path(tempfile.mkdtemp(dir="."))


def claims(token):
    return jwt.decode(token, options={"verify_signature": False})


def works_only_with_a_role(who, object_id, what):
    refused(403, "AccessDenied", lambda: key_client(who).create_ec_key("made-" + what), what)
    access_client().create_role_assignment(KeyVaultRoleScope.GLOBAL, CRYPTO_USER, object_id)
    check(key_client(who).create_ec_key("made-" + what), f"{what}: works with a role")


def not_authenticated(act, what):
    try:
        act()
    except ClientAuthenticationError:
        check(True, what)
        return
    raise AssertionError(f"{what}: a token was given")


def certificate():
    """A self-signed certificate; returns the files for the program and for the client."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    stem = str(made.serial_number)
    (folder / f"{stem}.crt").write_bytes(public)
    (folder / f"{stem}.pem").write_bytes(private + public)
    return str((folder / f"{stem}.crt").resolve()), str((folder / f"{stem}.pem").resolve())


def by_certificate():
    public, both = certificate()
    app = casemate("dev", "identity", "add-app", "certified", "--certificate", public)
    who = CertificateCredential("adfs", app["appId"], both)
    works_only_with_a_role(who, app["objectId"], "certificate")
    _, other = certificate()
    not_authenticated(lambda: CertificateCredential("adfs", app["appId"], other).get_token(SCOPE),
                      "another certificate")


def by_secret():
    app = casemate("dev", "identity", "add-app", "secretive")
    works_only_with_a_role(ClientSecretCredential("adfs", app["appId"], app["secret"]),
                           app["objectId"], "secret")
    # The tenant's GUID names the same tenant; only the client's own discovery has to be off.
    tenant = claims(credential.get_token(SCOPE).token)["tid"]
    by_id = ClientSecretCredential(tenant, app["appId"], app["secret"],
                                   disable_instance_discovery=True)
    equal(claims(by_id.get_token(SCOPE).token)["oid"], app["objectId"], "the tenant's GUID")
    for wrong in ("", "x", app["secret"] + "x", app["secret"][:-1]):
        if wrong:
            not_authenticated(lambda wrong=wrong: ClientSecretCredential(
                "adfs", app["appId"], wrong).get_token(SCOPE), "a wrong secret")
    not_authenticated(lambda: ClientSecretCredential(
        "adfs", app["objectId"], app["secret"]).get_token(SCOPE), "an object id is no client id")


def by_workload():
    """Another issuer's token is the proof; the development issuer is that other issuer here."""
    pod = casemate("dev", "identity", "add-app", "pod")
    given = token_for(pod, "api://AzureADTokenExchange/.default")
    issuer, subject = claims(given)["iss"], claims(given)["sub"]
    app = casemate("dev", "identity", "add-app", "workload", "--federated", issuer, subject)
    file = folder / "token"
    file.write_text(given)
    who = WorkloadIdentityCredential(tenant_id="adfs", client_id=app["appId"],
                                     token_file_path=str(file.resolve()))
    works_only_with_a_role(who, app["objectId"], "workload")
    stranger = casemate("dev", "identity", "add-app", "not-the-pod")
    wrong_audience = token_for(pod, SCOPE)
    for text in (token_for(stranger, "api://AzureADTokenExchange/.default"), wrong_audience,
                 given[:-4] + "AAAA", "nonsense"):
        file.write_text(text)
        not_authenticated(lambda: WorkloadIdentityCredential(
            tenant_id="adfs", client_id=app["appId"], token_file_path=str(file.resolve())
        ).get_token(SCOPE), "a token that proves nothing")


def by_managed_identity():
    """The App Service endpoint, with the two variables copied as `dev.env` says."""
    endpoint = os.environ["CASEMATE_IDENTITY_ENDPOINT"]
    header = os.environ["CASEMATE_IDENTITY_HEADER"]
    os.environ.update(IDENTITY_ENDPOINT=endpoint, IDENTITY_HEADER=header)
    who = ManagedIdentityCredential()
    check(claims(who.get_token(SCOPE).token)["oid"], "a token from the endpoint")
    check(list(key_client(who).list_properties_of_keys()) is not None, "it is a principal")
    del os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]
    query = {"api-version": "2019-08-01", "resource": RESOURCE}
    for headers in ({}, {"X-IDENTITY-HEADER": "x"}, {"X-IDENTITY-HEADER": header + "x"},
                    {"Metadata": "true"}):
        answer = requests.get(endpoint, params=query, headers=headers, verify=CA_FILE, timeout=60)
        check(answer.status_code in (400, 401, 403), f"{headers}: {answer.status_code}")
        check("access_token" not in answer.text, "no token without the header")


def by_imds():
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = CONTROL_URL
    who = ManagedIdentityCredential()
    object_id = claims(who.get_token(SCOPE).token)["oid"]
    works_only_with_a_role(who, object_id, "imds")
    url = CONTROL_URL + "/metadata/identity/oauth2/token"
    query = {"api-version": "2018-02-01", "resource": RESOURCE}
    for headers in ({}, {"Metadata": "false"},
                    {"Metadata": "true", "X-Forwarded-For": "127.0.0.1"}):
        answer = requests.get(url, params=query, headers=headers, verify=CA_FILE, timeout=60)
        check(answer.status_code in (400, 401, 403), f"{headers}: {answer.status_code}")
        check("access_token" not in answer.text, "no token for a tricked proxy")


def users_and_groups():
    user = casemate("dev", "identity", "add-user", "ada")
    check(user["objectId"], "a user has an object id")
    form = {"grant_type": "password", "username": "ada", "password": user["secret"],
            "scope": SCOPE, "client_id": "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}
    answer = requests.post(CONTROL_URL + "/adfs/oauth2/v2.0/token", data=form, verify=CA_FILE,
                           timeout=60)
    equal(answer.status_code, 200, answer.text)
    equal(claims(answer.json()["access_token"])["oid"], user["objectId"], "the user's token")
    form["password"] = "wrong"
    answer = requests.post(CONTROL_URL + "/adfs/oauth2/v2.0/token", data=form, verify=CA_FILE,
                           timeout=60)
    check(answer.status_code in (400, 401) and answer.json()["error"], answer.text)


def main():
    for part in (by_certificate, by_secret, by_workload, by_managed_identity, by_imds,
                 users_and_groups):
        part()
    finish("credentials")


main()
