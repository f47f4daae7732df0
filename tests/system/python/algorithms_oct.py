"""Every symmetric algorithm both ways between the server and OpenSSL (through `cryptography`).

The Python client would encrypt AxxxCBCPAD and wrap with AxxxKW under a made-up key if the bundle
of an oct-HSM key listed its operations. So each call is proved by the audit log.
"""

import hmac
import os

from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives import keywrap, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import material
from support import (
    OCT_SIZES, Raw, b64, check, crypto_client, equal, finish, key_client, server_sees)

client = key_client()
raw = Raw()
OTHER = {128: 256, 192: 128, 256: 192}


def cbc(secret, iv, data, encrypt):
    cipher = Cipher(algorithms.AES(secret), modes.CBC(iv))
    act = cipher.encryptor() if encrypt else cipher.decryptor()
    return act.update(data) + act.finalize()


def pkcs7(data):
    pad = padding.PKCS7(128).padder()
    return pad.update(data) + pad.finalize()


def gcm(size, secret, key):
    algorithm = getattr(EncryptionAlgorithm, f"a{size}_gcm")
    for aad in (None, b"", b"told to both"):
        for plain in (b"", b"x", os.urandom(4096)):
            with server_sees("KeyEncrypt", 1):
                sealed = crypto_client(key).encrypt(
                    algorithm, plain, additional_authenticated_data=aad)
            equal((len(sealed.iv), len(sealed.tag)), (12, 16), "GCM: iv and tag")
            opened = AESGCM(secret).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad)
            equal(opened, plain, "GCM: encrypt")
            iv = os.urandom(12)
            foreign = AESGCM(secret).encrypt(iv, plain, aad)
            with server_sees("KeyDecrypt", 1):
                opened = crypto_client(key).decrypt(
                    algorithm, foreign[:-16], iv=iv, authentication_tag=foreign[-16:],
                    additional_authenticated_data=aad).plaintext
            equal(opened, plain, "GCM: decrypt")
    gcm_refusals(size, key)


def gcm_refusals(size, key):
    name = f"A{size}GCM"
    sealed = raw.operate(key.id, "encrypt", alg=name, value=b"sealed", aad=b"aad")
    good = {"value": sealed["value"], "iv": sealed["iv"], "tag": sealed["tag"], "aad": b"aad"}
    equal(raw.operate(key.id, "decrypt", alg=name, **good)["value"], b"sealed", "GCM")
    for change in ({"value": b"seALed"}, {"iv": bytes(12)}, {"tag": bytes(16)}, {"aad": b""},
                   {"tag": sealed["tag"][:12]}, {"iv": bytes(11)}, {"tag": None}, {"iv": None}):
        members = {one: b64(value) for one, value in {**good, **change}.items()
                   if value is not None}
        raw.refused(400, "BadParameter", "POST", key.id + "/decrypt", {"alg": name, **members})
    raw.refused(400, "BadParameter", "POST", key.id + "/encrypt",
                {"alg": name, "value": "AAAA", "iv": b64(bytes(12))}, "the server makes the iv")
    ivs = {raw.operate(key.id, "encrypt", alg=name, value=b"")["iv"] for _ in range(20)}
    equal(len(ivs), 20, "every encryption has an iv of its own")


def blocks(size, secret, key):
    plain_cbc = getattr(EncryptionAlgorithm, f"a{size}_cbc")
    padded_cbc = getattr(EncryptionAlgorithm, f"a{size}_cbcpad")
    iv = os.urandom(16)
    for algorithm, datas, prepare in (
            (plain_cbc, (os.urandom(16), os.urandom(64)), bytes),
            (padded_cbc, (b"", b"odd", os.urandom(16), os.urandom(1000)), pkcs7)):
        for data in datas:
            with server_sees("KeyEncrypt", 1):
                sealed = crypto_client(key).encrypt(algorithm, data, iv=iv).ciphertext
            equal(sealed, cbc(secret, iv, prepare(data), True), f"{algorithm}: encrypt")
            with server_sees("KeyDecrypt", 1):
                opened = crypto_client(key).decrypt(algorithm, sealed, iv=iv).plaintext
            equal(opened, data, f"{algorithm}: decrypt")
    block_refusals(size, key)


def block_refusals(size, key):
    iv = b64(bytes(16))
    for body in ({"alg": f"A{size}CBC", "value": b64(bytes(15)), "iv": iv},
                 {"alg": f"A{size}CBC", "value": b64(bytes(16))},
                 {"alg": f"A{size}CBC", "value": b64(bytes(16)), "iv": b64(bytes(12))},
                 {"alg": f"A{size}CBC", "value": b64(bytes(16)), "iv": iv, "aad": "AAAA"},
                 {"alg": f"A{size}CBCPAD", "value": b64(bytes(16))},
                 {"alg": "RSA-OAEP", "value": b64(bytes(16))},
                 {"alg": f"A{OTHER[size]}CBC", "value": b64(bytes(16)), "iv": iv}):
        raw.refused(400, "BadParameter", "POST", key.id + "/encrypt", body)
    messages = set()
    for broken in (bytes(16), bytes(32), bytes(17), b""):
        answer = raw.refused(400, "BadParameter", "POST", key.id + "/decrypt",
                             {"alg": f"A{size}CBCPAD", "value": b64(broken), "iv": iv})
        messages.add(answer.json()["error"]["message"].split(" (Activity")[0])
    equal(len(messages), 1, f"one message for every failure, got {messages}")


def wraps(size, secret, key):
    named = {f"A{size}KW": getattr(KeyWrapAlgorithm, f"aes_{size}"),
             "CKM_AES_KEY_WRAP": KeyWrapAlgorithm.ckm_aes_key_wrap}
    for name, algorithm in named.items():
        for length in (16, 24, 32, 64):
            wrapped_one = os.urandom(length)
            with server_sees("KeyWrap", 1):
                wrapped = crypto_client(key).wrap_key(algorithm, wrapped_one).encrypted_key
            equal(wrapped, keywrap.aes_key_wrap(secret, wrapped_one), f"{name}: wrap")
            with server_sees("KeyUnwrap", 1):
                opened = crypto_client(key).unwrap_key(algorithm, wrapped).key
            equal(opened, wrapped_one, f"{name}: unwrap")
    for length in (1, 8, 15, 16, 33, 200):
        wrapped_one = os.urandom(length)
        algorithm = KeyWrapAlgorithm.ckm_aes_key_wrap_pad
        with server_sees("KeyWrap", 1), server_sees("KeyUnwrap", 1):
            wrapped = crypto_client(key).wrap_key(algorithm, wrapped_one).encrypted_key
            opened = crypto_client(key).unwrap_key(algorithm, wrapped).key
        equal(wrapped, keywrap.aes_key_wrap_with_padding(secret, wrapped_one), "padded wrap")
        equal(opened, wrapped_one, "padded unwrap")
    wrap_refusals(size, key)


def wrap_refusals(size, key):
    for algorithm in (f"A{size}KW", "CKM_AES_KEY_WRAP"):
        for length in (0, 8, 17):
            raw.refused(400, "BadParameter", "POST", key.id + "/wrapkey",
                        {"alg": algorithm, "value": b64(bytes(length))})
    for algorithm in (f"A{size}KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
        for length in (0, 8, 23, 24, 40):
            raw.refused(400, "BadParameter", "POST", key.id + "/unwrapkey",
                        {"alg": algorithm, "value": b64(bytes(length))})
    for other in {128, 192, 256} - {size}:
        raw.refused(400, "BadParameter", "POST", key.id + "/wrapkey",
                    {"alg": f"A{other}KW", "value": b64(bytes(16))}, "a key of another size")


def codes(key, secret, algorithm):
    """HMAC over the bytes given as value."""
    data = os.urandom({"256": 32, "384": 48, "512": 64}[algorithm[2:]])
    wanted = hmac.digest(secret, data, "sha" + algorithm[2:])
    with server_sees("KeySign", 1):
        made = crypto_client(key).sign(SignatureAlgorithm(algorithm), data).signature
    equal(made, wanted, f"{algorithm}: sign")
    with server_sees("KeyVerify", 2):
        for value, right in ((wanted, True), (wanted[:-1] + b"\0", wanted[-1] == 0)):
            answer = crypto_client(key).verify(SignatureAlgorithm(algorithm), data, value)
            equal(answer.is_valid, right, f"{algorithm}: verify")


def no_client_side_key(key, secret):
    """Two clients must get the same wrapped bytes, since AES-KW is deterministic."""
    if len(secret) != 32:
        return
    results = {crypto_client(client.get_key(key.name)).wrap_key(
        KeyWrapAlgorithm.aes_256, bytes(32)).encrypted_key for _ in range(3)}
    equal(results, {keywrap.aes_key_wrap(secret, bytes(32))}, "wrapped by the real key")


def main():
    for size in OCT_SIZES:
        secret = material.oct_secret(size)
        key = client.import_key(f"oct-{size}", material.oct_jwk(secret))
        equal(key.key_operations or [], [], "an oct-HSM bundle lists no key_ops")
        check(key.key.k is None, "the secret is never returned")
        gcm(size, secret, key)
        blocks(size, secret, key)
        wraps(size, secret, key)
        no_client_side_key(key, secret)
        for algorithm in ("HS256", "HS384", "HS512"):
            codes(key, secret, algorithm)
        for wrong in ("RS256", "ES256", "RSNULL"):
            raw.refused(400, "BadParameter", "POST", key.id + "/sign",
                        {"alg": wrong, "value": b64(bytes(32))}, "another type's algorithm")
    finish("algorithms_oct")


main()
