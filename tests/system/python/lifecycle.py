"""Each type and size from creation to purge through the SDK, and import of foreign keys."""

import hashlib
import re

from azure.core.exceptions import ResourceNotFoundError
from azure.keyvault.keys.crypto import EncryptionAlgorithm, SignatureAlgorithm

import material
from support import (
    CURVES, HSM_URL, OCT_SIZES, RSA_SIZES, Raw, b64, check, crypto_client, equal, finish,
    key_client, path_of, refused, server_sees)

client = key_client()
raw = Raw()
DIGEST = hashlib.sha256(b"what is signed").digest()


def create(kind, name, size_or_curve, **options):
    make = {"RSA": client.create_rsa_key, "EC": client.create_ec_key,
            "oct": client.create_oct_key}[kind]
    which = "curve" if kind == "EC" else "size"
    options.setdefault("hardware_protected", True)
    return make(name, **{which: size_or_curve}, **options)


def use(key):
    """Uses the key at the server in a way that shows which material it holds."""
    crypto = crypto_client(key)
    if key.key_type == "oct-HSM":
        sealed = crypto.encrypt(getattr(EncryptionAlgorithm, USED["gcm"]), b"known")
        return lambda again: crypto_client(again).decrypt(
            sealed.algorithm, sealed.ciphertext, iv=sealed.iv,
            authentication_tag=sealed.tag).plaintext == b"known"
    digest = hashlib.new(USED["hash"], b"what is signed").digest()
    signature = crypto.sign(USED["sign"], digest).signature
    return lambda again: crypto_client(again).verify(USED["sign"], digest, signature).is_valid


USED = {}


def choose(kind, size_or_curve):
    """Which algorithm shows the material of this type."""
    if kind == "RSA":
        USED.update(sign=SignatureAlgorithm.rs256, hash="sha256")
    elif kind == "EC":
        algorithm = material.CURVE_ALGORITHM[size_or_curve]
        USED.update(sign=SignatureAlgorithm(algorithm), hash="sha" + algorithm[2:5])
    else:
        USED.update(gcm=f"a{size_or_curve}_gcm")


def check_bundle(key, kind, size_or_curve, name):
    form = re.escape(f"{HSM_URL}/keys/{name}/") + "[0-9a-f]{32}"
    check(re.fullmatch(form, key.id), f"the id is {key.id}")
    equal(key.key_type, f"{kind}-HSM", f"{name}: type")
    if kind == "RSA":
        equal(len(key.key.n) * 8, size_or_curve, f"{name}: modulus")
        equal(key.key.e, b"\x01\x00\x01", f"{name}: exponent")
    elif kind == "EC":
        equal(key.key.crv, size_or_curve, f"{name}: curve")
        length = material.FIELD_BYTES[size_or_curve]
        equal((len(key.key.x), len(key.key.y)), (length, length), f"{name}: coordinates")
    for member in ("d", "p", "q", "dp", "dq", "qi", "k"):
        equal(getattr(key.key, member), None, f"{name}: {member} must never be returned")
    # With key_ops in an oct-HSM bundle the Python client would encrypt with a made-up key.
    expected = {"RSA": material.RSA_OPS, "EC": ["sign", "verify"], "oct": []}[kind]
    equal(sorted(key.key_operations or []), sorted(expected), f"{name}: key_ops")
    facts = key.properties
    equal(facts.enabled, True, f"{name}: enabled")
    equal((facts.recoverable_days, facts.recovery_level), (90, "Recoverable+Purgeable"),
          f"{name}: recovery")
    check(facts.created_on and facts.updated_on, f"{name}: times")


def life_of(kind, size_or_curve):
    name = f"life-{kind}-{size_or_curve}"
    choose(kind, size_or_curve)
    with server_sees("KeyCreate", 1):
        first = create(kind, name, size_or_curve, tags={"room": "one"})
    check_bundle(first, kind, size_or_curve, name)
    equal(first.properties.tags, {"room": "one"}, "tags")
    shows = use(first)
    check(shows(client.get_key(name)), f"{name}: works after creation")

    second = create(kind, name, size_or_curve)
    check(second.id != first.id, "creating again makes a new version")
    equal(client.get_key(name).id, second.id, "the newest version is the one without a name")
    versions = {item.version for item in client.list_properties_of_key_versions(name)}
    equal(versions, {first.properties.version, second.properties.version}, "versions")
    check(shows(client.get_key(name, first.properties.version)), f"{name}: old version works")
    check(not material_is_shared(first, second), f"{name}: versions have their own material")

    deletion(name, first, second, shows)


def material_is_shared(first, second):
    if first.key_type == "oct-HSM":
        sealed = crypto_client(first).encrypt(getattr(EncryptionAlgorithm, USED["gcm"]), b"x")
        refused(400, "BadParameter", lambda: crypto_client(second).decrypt(
            sealed.algorithm, sealed.ciphertext, iv=sealed.iv, authentication_tag=sealed.tag),
            "another version must not open it")
        return False
    return (first.key.n, first.key.x) == (second.key.n, second.key.x)


def deletion(name, first, second, shows):
    with server_sees("KeyDelete", 1):
        poller = client.begin_delete_key(name)
        poller.wait()
    gone = poller.result()
    equal(gone.recovery_id, f"{HSM_URL}/deletedkeys/{name}", "recovery id")
    days = (gone.scheduled_purge_date - gone.deleted_date).days
    equal(days, 90, "retention")
    refused(404, "KeyNotFound", lambda: client.get_key(name), "a deleted key")
    refused(409, "Conflict", lambda: client.create_rsa_key(name, size=2048), "a taken name")
    check(client.get_deleted_key(name).id == second.id, "the deleted key's bundle")
    check(name in {item.name for item in client.list_deleted_keys()}, "the list of deleted keys")
    check(name not in {item.name for item in client.list_properties_of_keys()}, "the list")
    raw.refused(404, "KeyNotFound", "POST", path_of(first.id) + "/sign",
                {"alg": "RS256", "value": b64(DIGEST)}, "a deleted key must not work")

    with server_sees("KeyRecover", 1):
        client.begin_recover_deleted_key(name).wait()
    equal(client.get_key(name).id, second.id, "recovered with its newest version")
    check(shows(client.get_key(name, first.properties.version)), f"{name}: works when recovered")

    client.begin_delete_key(name).wait()
    with server_sees("KeyPurge", 1):
        client.purge_deleted_key(name)
    for look in (client.get_deleted_key, client.get_key):
        refused(404, "KeyNotFound", lambda look=look: look(name), "a purged key")
    check(name not in {item.name for item in client.list_deleted_keys()}, "purged for good")


def imported(name, jwk, kind, size_or_curve, hardware):
    choose(kind, size_or_curve)
    with server_sees("KeyImport", 1):
        key = client.import_key(name, jwk, hardware_protected=hardware)
    check_bundle(key, kind, size_or_curve, name)
    if kind != "oct":
        equal(material.public_of(key.key).public_numbers(), PUBLIC[name], f"{name}: public part")
    check(use(key)(client.get_key(name)), f"{name}: works after import")
    again = client.import_key(name, jwk, hardware_protected=hardware)
    check(again.id != key.id, "importing again makes a new version")


PUBLIC = {}


def imports():
    for size in RSA_SIZES:
        private = material.rsa_private(size)
        for kty in ("RSA", "RSA-HSM"):
            name = f"import-{kty}-{size}"
            PUBLIC[name] = private.public_key().public_numbers()
            imported(name, material.rsa_jwk(private, kty), "RSA", size, kty == "RSA-HSM")
    for curve in CURVES:
        private = material.ec_private(curve)
        for kty in ("EC", "EC-HSM"):
            name = f"import-{kty}-{curve}"
            PUBLIC[name] = private.public_key().public_numbers()
            imported(name, material.ec_jwk(private, curve, kty), "EC", curve, kty == "EC-HSM")
    for size in OCT_SIZES:
        secret = material.oct_secret(size)
        for kty in ("oct", "oct-HSM"):
            imported(f"import-{kty}-{size}", material.oct_jwk(secret, kty), "oct", size, False)


def promotion():
    """A managed HSM keeps software types as HSM types."""
    for kind, size_or_curve in (("RSA", 2048), ("EC", "P-256K"), ("oct", 256)):
        key = create(kind, f"soft-{kind}", size_or_curve, hardware_protected=False)
        equal(key.key_type, f"{kind}-HSM", "promoted type")
    equal(len(client.create_rsa_key("default-rsa").key.n), 256, "default RSA size")
    equal(client.create_ec_key("default-ec").key.crv, "P-256", "default curve")


def main():
    for kind, all_of in (("RSA", RSA_SIZES), ("EC", CURVES), ("oct", OCT_SIZES)):
        for size_or_curve in all_of:
            life_of(kind, size_or_curve)
    imports()
    promotion()
    try:
        client.get_key("never-made")
    except ResourceNotFoundError as error:
        equal(error.error.code, "KeyNotFound", "unknown key")
    finish("lifecycle")


main()
