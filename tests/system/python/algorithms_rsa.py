"""Every RSA algorithm both ways between the server and OpenSSL (through `cryptography`).

What the SDK does locally (encrypt, wrap, verify) is asked of the server by raw REST as well, and
the audit log shows for each call whether the server was asked.
"""

import os

from azure.keyvault.keys.crypto import (
    EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils

import material
from support import (
    RSA_SIZES, Raw, b64, check, crypto_client, equal, finish, key_client, refused, server_sees)

client = key_client()
raw = Raw()

ENCRYPTION = {
    "RSA-OAEP-256": (padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None), 66),
    "RSA-OAEP": (padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None), 42),
    "RSA1_5": (padding.PKCS1v15(), 11),
}


def signature_padding(algorithm, hash_):
    if algorithm.startswith("PS"):
        return padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    return padding.PKCS1v15()


def signatures(private, key):
    public = private.public_key()
    for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        hash_ = material.hash_of(algorithm)
        pads, digest = signature_padding(algorithm, hash_), os.urandom(hash_.digest_size)
        with server_sees("KeySign", 1):
            made = crypto_client(key).sign(SignatureAlgorithm(algorithm), digest).signature
        public.verify(made, digest, pads, utils.Prehashed(hash_))
        foreign = private.sign(digest, pads, utils.Prehashed(hash_))
        with server_sees("KeyVerify", 3):
            for signature, told, right in (
                    (foreign, digest, True), (made, os.urandom(len(digest)), False),
                    (bytes([foreign[0] ^ 1]) + foreign[1:], digest, False)):
                answer = raw.operate(key.id, "verify", alg=algorithm, digest=told, value=signature)
                equal(answer["value"], right, f"{algorithm}: verify")
        check(crypto_client(key).verify(SignatureAlgorithm(algorithm), digest, foreign).is_valid,
              f"{algorithm}: the SDK accepts a foreign signature")
        raw_refusals(key, algorithm, digest)
    raw_signature(private, key)


def raw_refusals(key, algorithm, digest):
    for wrong in (digest[:-1], digest + b"\0", b""):
        refused(400, "BadParameter",
                lambda wrong=wrong: crypto_client(key).sign(SignatureAlgorithm(algorithm), wrong),
                f"{algorithm}: a digest of {len(wrong)} bytes")


def raw_signature(private, key):
    """RSNULL signs the given bytes with the plain type 1 padding, without naming a hash."""
    data = os.urandom(32)
    made = raw.operate(key.id, "sign", alg="RSNULL", value=data)["value"]
    private.public_key().verify(made, data, padding.PKCS1v15(), utils.NoDigestInfo())
    foreign = private.sign(data, padding.PKCS1v15(), utils.NoDigestInfo())
    equal(made, foreign, "RSNULL is deterministic")
    answer = raw.operate(key.id, "verify", alg="RSNULL", digest=data, value=foreign)
    equal(answer["value"], True, "RSNULL: verify")
    too_long = os.urandom(private.key_size // 8 - 10)
    raw.refused(400, "BadParameter", "POST", key.id + "/sign",
                {"alg": "RSNULL", "value": b64(too_long)}, "RSNULL: too long")


def encryption(private, key):
    crypto, size = crypto_client(key), private.key_size // 8
    for algorithm, (pads, overhead) in ENCRYPTION.items():
        for length in (1, 32, size - overhead):
            plain = os.urandom(length)
            with server_sees("KeyEncrypt", 1), server_sees("KeyWrap", 1):
                sealed = raw.operate(key.id, "encrypt", alg=algorithm, value=plain)["value"]
                wrapped = raw.operate(key.id, "wrapkey", alg=algorithm, value=plain)["value"]
            equal(private.decrypt(sealed, pads), plain, f"{algorithm}: encrypt")
            equal(private.decrypt(wrapped, pads), plain, f"{algorithm}: wrap")
            foreign = private.public_key().encrypt(plain, pads)
            with server_sees("KeyDecrypt", 1), server_sees("KeyUnwrap", 1):
                opened = crypto.decrypt(EncryptionAlgorithm(algorithm), foreign).plaintext
                unwrapped = crypto.unwrap_key(KeyWrapAlgorithm(algorithm), foreign).key
            equal((opened, unwrapped), (plain, plain), f"{algorithm}: decrypt and unwrap")
        encryption_refusals(private, key, algorithm, overhead)
        local_and_back(key, algorithm)


def local_and_back(key, algorithm):
    """What the SDK encrypts locally, the server decrypts; the server is asked only then."""
    with server_sees("KeyEncrypt", 0), server_sees("KeyDecrypt", 1):
        sealed = crypto_client(key).encrypt(EncryptionAlgorithm(algorithm), b"local").ciphertext
        opened = crypto_client(key).decrypt(EncryptionAlgorithm(algorithm), sealed).plaintext
    equal(opened, b"local", f"{algorithm}: local encryption")


def encryption_refusals(private, key, algorithm, overhead):
    size = private.key_size // 8
    for operation in ("encrypt", "wrapkey"):
        raw.refused(400, "BadParameter", "POST", f"{key.id}/{operation}",
                    {"alg": algorithm, "value": b64(bytes(size - overhead + 1))},
                    "one byte too many")
    # One error for every failure: length, padding and range must not be told apart.
    texts = set()
    broken = (bytes(size), b"\1" + bytes(size - 1), bytes(size - 1), bytes(size + 1),
              b"\xff" * size)
    for operation in ("decrypt", "unwrapkey"):
        for value in broken:
            answer = raw.refused(400, "BadParameter", "POST", f"{key.id}/{operation}",
                                 {"alg": algorithm, "value": b64(value)})
            texts.add(answer.json()["error"]["message"].split(" (Activity")[0])
    equal(len(texts), 1, f"{algorithm}: one message for every failure, got {texts}")
    for extra in ({"iv": "AAAAAAAAAAAAAAAAAAAAAA"}, {"aad": "AAAA"}, {"tag": "AAAA"}):
        raw.refused(400, "BadParameter", "POST", f"{key.id}/encrypt",
                    {"alg": algorithm, "value": "AAAA", **extra}, f"{algorithm} takes no {extra}")


def main():
    for size in RSA_SIZES:
        private = material.rsa_private(size)
        key = client.import_key(f"rsa-{size}", material.rsa_jwk(private), hardware_protected=True)
        signatures(private, key)
        encryption(private, key)
    finish("algorithms_rsa")


main()
