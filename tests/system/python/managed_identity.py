"""Backup and restore by the HSM's managed identity: the SDK as it is, and all that must fail."""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import time

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.administration import KeyVaultBackupClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support import (CA_FILE, CONTROL_URL, HSM_URL, Raw, casemate, check, credential,
                     crypto_client, equal, finish, key_client)

STORAGE, FOLDER = os.environ["TEST_STORAGE_URI"], pathlib.Path(os.environ["TEST_IDENTITY"])
WRITTEN = pathlib.Path(os.environ["TEST_IDENTITY_FILE"])
DIGEST = hashlib.sha256(b"told before and after").digest()
keys = key_client()
backups = KeyVaultBackupClient(HSM_URL, credential, verify_challenge_resource=False)
raw = Raw()
good = WRITTEN.read_text()
secret = (FOLDER / "credential").read_text()
statuses = []


def asked():
    return len((FOLDER / "asked").read_bytes()) if (FOLDER / "asked").exists() else 0


def keep(text, mode=0o600):
    (FOLDER / "credential").write_text(text)
    (FOLDER / "credential").chmod(mode)


def gone(name):
    try:
        keys.get_key(name)
    except ResourceNotFoundError:
        return True
    return False


def purge(name):
    keys.begin_delete_key(name).wait()
    keys.purge_deleted_key(name)


# --- it works, with the SDK as it is -------------------------------------------------------------

made = keys.create_ec_key("kept", curve="P-256", hardware_protected=True)
signed = crypto_client(made).sign(SignatureAlgorithm.es256, DIGEST).signature
backups.begin_pre_backup(STORAGE, use_managed_identity=True).wait()
where = backups.begin_backup(STORAGE, use_managed_identity=True).result().folder_url
check(where.startswith(f"{STORAGE}/mhsm-dev-"), where)
purge("kept")
keys.create_ec_key("later", curve="P-256", hardware_protected=True)
backups.begin_pre_restore(where, use_managed_identity=True).wait()
backups.begin_restore(where, use_managed_identity=True).wait()
back = crypto_client(keys.get_key("kept"))
check(back.verify(SignatureAlgorithm.es256, DIGEST, signed).is_valid, "the same key")
check(gone("later"), "a full restore")
purge("kept")
backups.begin_restore(where, use_managed_identity=True, key_name="kept").wait()
check(crypto_client(keys.get_key("kept"))
      .verify(SignatureAlgorithm.es256, DIGEST, signed).is_valid, "one key")
# One for each courier: that of before the restore, and that of after it.
equal(asked(), 2, "a token is asked for once, not for each object")

# --- what begins, and must fail ------------------------------------------------------------------

container, name = where.rsplit("/", 1)


def job(method, path, body):
    done = raw.job(method, path, body)
    statuses.append(done.text)
    return done.json()


def by_identity(uri=STORAGE):
    return {"storageResourceUri": uri, "useManagedIdentity": True}


def fails(code, says, uri=STORAGE):
    done = job("POST", "/prebackup", by_identity(uri))
    equal((done["status"], (done["error"] or {}).get("code")), ("Failed", code), f"{done}")
    check(says in done["error"]["message"], f"{says}: {done}")


def works():
    equal(job("POST", "/prebackup", by_identity())["status"], "Succeeded", "the control")


def mode(name):
    """Another credential than the last one, so that no token of before is used."""
    (FOLDER / "mode").write_text(name)
    WRITTEN.write_text(good.replace("/token", f"/token/{time.monotonic_ns()}"))


count = asked()
for elsewhere in ("https://127.0.0.1:1/devstoreaccount1/backups", "https://evil.example/backups",
                  STORAGE + "/below", STORAGE.replace("https", "http"),
                  STORAGE.replace("devstoreaccount1", "devstoreaccount2")):
    fails("ManagedIdentityError", "not meant for this storage", elsewhere)
equal(asked(), count, "nobody was asked for a token that could not be shown")
for path, body in (("/restore", {"sasTokenParameters": by_identity("https://evil.example/backups"),
                                 "folderToRestore": name}),
                   ("/prerestore", {"sasTokenParameters": by_identity("https://evil.example"),
                                    "folderToRestore": "backups/" + name}),
                   ("/keys/kept/restore", {"sasTokenParameters": by_identity(
                       "https://evil.example/backups"), "folder": name})):
    done = job("PUT", path, body)
    equal((done["status"], done["error"]["code"]), ("Failed", "ManagedIdentityError"), f"{done}")
    check(not gone("kept"), "still in service")
fails("StorageAccountError", "no object", STORAGE + "-none")
works()

keep("wrong-secret-of-nobody")
fails("ManagedIdentityError", "(invalid_client)")
keep(secret + "x")
fails("ManagedIdentityError", "(invalid_client)")
keep(secret, 0o644)
fails("ManagedIdentityError", "cannot be used")
keep("")
fails("ManagedIdentityError", "cannot be used")
(FOLDER / "credential").unlink()
fails("ManagedIdentityError", "cannot be used")
keep(secret)
works()

WRITTEN.write_text("token_endpoint = 1")
fails("ManagedIdentityError", "cannot be used")
WRITTEN.unlink()
fails("ManagedIdentityError", "cannot be used")
WRITTEN.write_text(good.replace("ca = ", "# "))
works()  # the machine's own roots: those of SSL_CERT_FILE
WRITTEN.write_text(good.replace(json.dumps(os.environ["TEST_ROOT"]), json.dumps(CA_FILE)))
fails("ManagedIdentityError", "does not answer")
lines = [line for line in good.splitlines() if not line.startswith("token_endpoint")]
WRITTEN.write_text("\n".join(['token_endpoint = "https://localhost:1/token"', *lines]))
fails("ManagedIdentityError", "does not answer")
for how, says in (("slow", "took longer than 10 s"), ("huge", "no token that can be used"),
                  ("malformed", "no token that can be used"), ("busy", "answered 503")):
    mode(how)
    fails("ManagedIdentityError", says)
mode("ended")
fails("StorageAccountError", "refused the HSM's managed identity")
count = asked()
fails("StorageAccountError", "refused the HSM's managed identity")
equal(asked(), count + 1, "a token that was refused is not used again")
mode("")
works()

# --- a token of another issuer as the credential -------------------------------------------------

token_endpoint = f"{CONTROL_URL}/adfs/oauth2/v2.0/token"
pod = casemate("dev", "identity", "add-app", "pod")
given = ClientSecretCredential("adfs", pod["appId"], pod["secret"]) \
    .get_token("api://AzureADTokenExchange/.default").token


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


app = casemate("dev", "identity", "add-app", "federated", "--federated", claims(given)["iss"],
               claims(given)["sub"])
id_before = next(line for line in good.splitlines() if line.startswith("client_id"))


def federated(client_id):
    WRITTEN.write_text(good.replace("secret_file", "federated_token_file")
                       .replace(id_before, f"client_id = {json.dumps(client_id)}"))


federated(app["appId"])
keep(given, 0o644)
works()
keep(given[:-8] + "AAAAAAAA", 0o644)
fails("ManagedIdentityError", "(invalid_client)")
keep(given, 0o666)
fails("ManagedIdentityError", "cannot be used")

private = rsa.generate_private_key(65537, 2048)
subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "assertion")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
               .public_key(private.public_key()).serial_number(7)
               .not_valid_before(now - datetime.timedelta(days=1))
               .not_valid_after(now + datetime.timedelta(days=1)).sign(private, hashes.SHA256()))
(FOLDER / "assertion.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
signer = casemate("dev", "identity", "add-app", "signer", "--certificate",
                  str(FOLDER / "assertion.pem"))


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def assertion(ends):
    print_of = encoded(certificate.fingerprint(hashes.SHA256()))
    head = {"alg": "RS256", "typ": "JWT", "x5t#S256": print_of}
    at = int(time.time())
    body = {"iss": signer["appId"], "sub": signer["appId"], "aud": token_endpoint,
            "iat": at - 1200, "nbf": at - 1200, "exp": at + ends, "jti": encoded(os.urandom(16))}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (head, body))
    return f"{text}.{encoded(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


federated(signer["appId"])
keep(assertion(-600))
fails("ManagedIdentityError", "(invalid_client)")
keep(assertion(600))
works()

# --- what is refused at once ---------------------------------------------------------------------

WRITTEN.write_text(good)
keep(secret)
for body in ({"storageResourceUri": "file:///nightly", "useManagedIdentity": True},
             {"storageResourceUri": "s3+https://s3.example/b", "useManagedIdentity": True},
             {**by_identity(), "token": "sv=1&sig=x"}):
    refused = raw.call("POST", "/backup", body)
    equal((refused.status_code, refused.json()["error"]["code"]), (400, "BadParameter"),
          refused.text)
try:
    backups.begin_backup(STORAGE + "-none", use_managed_identity=True).result()
    check(False, "a container that is not there")
except HttpResponseError:
    pass
works()
(FOLDER / "statuses.json").write_text(json.dumps(statuses))
finish("managed_identity")
