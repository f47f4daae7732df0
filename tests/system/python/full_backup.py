"""Full backup and restore by the Python SDK: everything comes back and signs, judged by OpenSSL."""

import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import uuid

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.administration import KeyVaultBackupClient, KeyVaultRoleScope
from azure.keyvault.keys.crypto import KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from support import (HSM_URL, Raw, access_client, audit_count, casemate, check, credential,
                     crypto_client, equal, finish, key_client)

STORAGE, TOKEN = os.environ["TEST_STORAGE_URI"], os.environ["TEST_STORAGE_TOKEN"]
DIGEST = hashlib.sha256(b"told before and after").digest()
folder = pathlib.Path(tempfile.mkdtemp())
keys, access = key_client(), access_client()
backups = KeyVaultBackupClient(HSM_URL, credential, verify_challenge_resource=False)


def public_pem(key):
    x, y = int.from_bytes(key.key.x, "big"), int.from_bytes(key.key.y, "big")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.PEM,
                               serialization.PublicFormat.SubjectPublicKeyInfo)


def openssl_verifies(pem, key):
    signature = crypto_client(key).sign(SignatureAlgorithm.es256, DIGEST).signature
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    (folder / "public.pem").write_bytes(pem)
    (folder / "signature").write_bytes(utils.encode_dss_signature(r, s))
    (folder / "digest").write_bytes(DIGEST)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(folder / "public.pem"),
               "-sigfile", str(folder / "signature"), "-in", str(folder / "digest")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make_ec(name):
    return keys.create_ec_key(name, curve="P-256", hardware_protected=True)


def purge(name):
    keys.begin_delete_key(name).wait()
    keys.purge_deleted_key(name)


def gone(name):
    try:
        keys.get_key(name)
    except ResourceNotFoundError:
        return True
    return False


def backup():
    result = backups.begin_backup(STORAGE, sas_token=TOKEN).result()
    check(result.folder_url.startswith(f"{STORAGE}/mhsm-dev-"), result.folder_url)
    return result.folder_url


def assignments():
    return {one.name for one in access.list_role_assignments(KeyVaultRoleScope.GLOBAL)}


def grant():
    roles = access.list_role_definitions(KeyVaultRoleScope.GLOBAL)
    user = next(role for role in roles if role.role_name == "Managed HSM Crypto User")
    return access.create_role_assignment(KeyVaultRoleScope.GLOBAL, user.id, str(uuid.uuid4())).name


# --- everything comes back -----------------------------------------------------------------------

versions = [make_ec("kept") for _ in range(3)]
pems = [public_pem(version) for version in versions]
aes = keys.create_oct_key("aes", size=256, hardware_protected=True)
wrapped = crypto_client(aes).wrap_key(KeyWrapAlgorithm.aes_256, bytes(range(32))).encrypted_key
make_ec("deleted")
keys.begin_delete_key("deleted").wait()
removed = grant()
backups.begin_pre_backup(STORAGE, sas_token=TOKEN).wait()
where = backup()
purge("kept")
purge("aes")
make_ec("later")
access.delete_role_assignment(KeyVaultRoleScope.GLOBAL, removed)
added = grant()

backups.begin_pre_restore(where, sas_token=TOKEN).wait()
check(gone("kept"), "a check restores nothing")
before = audit_count("RoleAssignmentRestored")
backups.begin_restore(where, sas_token=TOKEN).wait()
for version, pem in zip(versions, pems):
    back = keys.get_key("kept", version.properties.version)
    equal(public_pem(back), pem, "the public part")
    check(openssl_verifies(pem, back), "OpenSSL says no")
    check(not openssl_verifies(pems[0] if pem != pems[0] else pems[1], back), "the control")
opened = crypto_client(keys.get_key("aes")).unwrap_key(KeyWrapAlgorithm.aes_256, wrapped).key
equal(opened, bytes(range(32)), "unwrapped after the restore")
check(gone("later"), "what came after the backup is gone")
keys.get_deleted_key("deleted")
check(removed in assignments() and added not in assignments(), "assignments are the backup's")
equal(audit_count("RoleAssignmentRestored") - before, 1, "what came back is told")
equal(audit_count("RestoreTakesOver"), 1, "the take-over is recorded")
make_ec("after")

# --- one key ------------------------------------------------------------------------------------

purge("kept")
backups.begin_restore(where, sas_token=TOKEN, key_name="kept").wait()
for version, pem in zip(versions, pems):
    check(openssl_verifies(pem, keys.get_key("kept", version.properties.version)), "one key")
check(not gone("after"), "nothing else is touched")

raw = Raw()
container, name = where.rsplit("/", 1)
storage = {"storageResourceUri": container, "token": TOKEN}


def job(method, path, body):
    return raw.job(method, path, body).json()


done = job("PUT", "/keys/kept/restore", {"sasTokenParameters": storage, "folder": name})
equal((done["status"], done["statusDetails"]),
      ("Succeeded", "Number of successful key versions restored: 0, "
                    "Number of key versions could not overwrite: 3"), "nothing is overwritten")

# --- what must fail, and leaves the HSM in service ------------------------------------------------

for parameters, folder_name, code in (
        (storage, "mhsm-dev-2020010100000000", "StorageAccountError"),
        ({**storage, "token": TOKEN[:-8] + "AAAAAAAA"}, name, "StorageAccountError"),
        ({**storage, "storageResourceUri": "https://127.0.0.1:1/a/c"}, name, "StorageAccountError"),
        ({**storage, "storageResourceUri": "http://192.0.2.1/a/c"}, name, "StorageAccountError")):
    done = job("PUT", "/restore", {"sasTokenParameters": parameters, "folderToRestore": folder_name})
    equal((done["status"], done["error"]["code"]), ("Failed", code), f"{parameters} {done}")
    check(TOKEN[-20:] not in json.dumps(done), "no token is repeated")
    check(not gone("after"), "still in service")
for method, path in (("begin_backup", STORAGE + "-none"),):
    try:
        getattr(backups, method)(path, sas_token=TOKEN).result()
        check(False, "a container that is not there")
    except HttpResponseError:
        pass

# --- the folder of the machine itself ---------------------------------------------------------------

local = {"storageResourceUri": "file:///nightly", "token": ""}
done = job("POST", "/backup", local)
equal(done["status"], "Succeeded", f"{done}")
home, local_name = done["azureStorageBlobContainerUri"].rsplit("/", 1)
equal(home, "file:///nightly", "where it lies")
purge("after")
done = job("PUT", "/restore", {"sasTokenParameters": local, "folderToRestore": local_name})
equal(done["status"], "Succeeded", f"{done}")
check(not gone("after"), "back from the folder")
check(openssl_verifies(pems[2], keys.get_key("kept")), "and it signs")

# --- another protocol ---------------------------------------------------------------------------------

if "TEST_S3_URI" in os.environ:
    s3 = {"storageResourceUri": os.environ["TEST_S3_URI"],
          "token": "accessKeyId=a&secretAccessKey=b&region=us-east-1"}
    done = job("POST", "/backup", s3)
    equal(done["status"], "Succeeded", f"{done}")
    s3_name = done["azureStorageBlobContainerUri"].rsplit("/", 1)[1]
    purge("after")
    done = job("PUT", "/keys/after/restore", {"sasTokenParameters": s3, "folder": s3_name})
    equal(done["statusDetails"].split(",")[0],
          "Number of successful key versions restored: 1", f"{done}")
    check(not gone("after"), "back from S3")

# --- who is no Administrator leaves rights alone -------------------------------------------------------

where = backup()
more = grant()
done = casemate("dev", "identity", "add-app", "restorer")
roles = access.list_role_definitions(KeyVaultRoleScope.GLOBAL)
restore_role = next(role for role in roles if role.role_name == "Managed HSM Restore User")
access.create_role_assignment(KeyVaultRoleScope.GLOBAL, restore_role.id, done["objectId"])
known = assignments()
from azure.identity import ClientSecretCredential  # noqa: E402
other = ClientSecretCredential("adfs", done["appId"], done["secret"],
                               authority=os.environ["AZURE_AUTHORITY_HOST"])
KeyVaultBackupClient(HSM_URL, other, verify_challenge_resource=False) \
    .begin_restore(where, sas_token=TOKEN).wait()
equal(assignments(), known, "rights are as they were")
check(more in known, "the control")

finish("full_backup")
