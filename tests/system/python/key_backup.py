"""Backup and restore of single keys: every version comes back and signs, judged by OpenSSL."""

import hashlib
import subprocess
import tempfile
import pathlib

from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

from support import (check, crypto_client, equal, finish, key_client, refused, server_sees)

keys = key_client()
digest = hashlib.sha256(b"told before and after").digest()
folder = pathlib.Path(tempfile.mkdtemp())


def public_pem(key):
    jwk = key.key
    if jwk.n:
        e, n = int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big")
        public = rsa.RSAPublicNumbers(e, n).public_key()
    else:
        x, y = int.from_bytes(jwk.x, "big"), int.from_bytes(jwk.y, "big")
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.PEM,
                               serialization.PublicFormat.SubjectPublicKeyInfo)


def openssl_verifies(pem, signature, options):
    (folder / "public.pem").write_bytes(pem)
    (folder / "signature").write_bytes(signature)
    (folder / "digest").write_bytes(digest)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(folder / "public.pem"),
               "-sigfile", str(folder / "signature"), "-in", str(folder / "digest"), *options]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def signs(key, algorithm, options):
    signature = crypto_client(key).sign(algorithm, digest).signature
    if algorithm == SignatureAlgorithm.es256:
        r, s = signature[:32], signature[32:]
        signature = utils.encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    return signature


PSS = ["-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss",
       "-pkeyopt", "rsa_pss_saltlen:digest"]
MADE = {
    "rsa": (lambda: keys.create_rsa_key("rsa", size=2048, hardware_protected=True),
            SignatureAlgorithm.ps256, PSS),
    "ec": (lambda: keys.create_ec_key("ec", curve="P-256", hardware_protected=True,
                                      tags={"a": "b"}), SignatureAlgorithm.es256, []),
}


def purge(name):
    keys.begin_delete_key(name).wait()
    keys.purge_deleted_key(name)


for name, (make, algorithm, options) in MADE.items():
    versions = [make() for _ in range(3)]
    publics = [public_pem(version) for version in versions]
    for version, pem in zip(versions, publics):
        check(openssl_verifies(pem, signs(version, algorithm, options), options), "before")
    with server_sees("KeyBackup", 1):
        backup = keys.backup_key(name)
    check(isinstance(backup, bytes) and len(backup) > 500, "a backup is bytes")
    refused(409, "Conflict", lambda: keys.restore_key_backup(backup), "the key is there")
    purge(name)
    with server_sees("KeyRestore", 1):
        restored = keys.restore_key_backup(backup)
    equal(restored.id, versions[-1].id, "the newest version is answered")
    for version, pem in zip(versions, publics):
        back = keys.get_key(name, version.properties.version)
        equal(public_pem(back), pem, "the public part")
        equal(back.properties.tags, version.properties.tags, "tags")
        equal(back.properties.created_on, version.properties.created_on, "date")
        signature = signs(back, algorithm, options)
        check(openssl_verifies(pem, signature, options), f"{name}: OpenSSL says no")
        check(not openssl_verifies(publics[0] if pem != publics[0] else publics[1], signature,
                                   options), "the control: another version's key")

# What was sealed before is opened after.
aes = keys.create_oct_key("aes", size=256, hardware_protected=True)
wrapped = crypto_client(aes).wrap_key(KeyWrapAlgorithm.aes_256, bytes(range(32))).encrypted_key
sealed = crypto_client(aes).encrypt(EncryptionAlgorithm.a256_gcm, b"told")
backup = keys.backup_key("aes")
purge("aes")
aes = keys.restore_key_backup(backup)
equal(crypto_client(aes).unwrap_key(KeyWrapAlgorithm.aes_256, wrapped).key, bytes(range(32)),
      "unwrapped after the restore")
opened = crypto_client(aes).decrypt(EncryptionAlgorithm.a256_gcm, sealed.ciphertext, iv=sealed.iv,
                                    authentication_tag=sealed.tag)
equal(opened.plaintext, b"told", "decrypted after the restore")
crypto_client(aes).encrypt(EncryptionAlgorithm.a256_gcm, b"and again")

# A version that is disabled comes back disabled.
keys.update_key_properties("aes", enabled=False)
backup = keys.backup_key("aes")
purge("aes")
equal(keys.restore_key_backup(backup).properties.enabled, False, "still disabled")

# What is no backup.
purge("aes")
for bad in (b"", b"x", backup[:-1], backup + b"x", backup[:50] + bytes([backup[50] ^ 1]) + backup[51:]):
    refused(400, "BadParameter", lambda: keys.restore_key_backup(bad), "no backup")
refused(404, "KeyNotFound", lambda: keys.backup_key("aes"), "no key")

finish("key_backup")
