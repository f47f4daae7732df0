"""Every EC algorithm both ways between the server and OpenSSL (through `cryptography`)."""

import os

from azure.keyvault.keys.crypto import SignatureAlgorithm
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils

import material
from support import (
    CURVES, Raw, b64, check, crypto_client, equal, finish, key_client, refused, server_sees)

client = key_client()
raw = Raw()


def flat(der, length):
    r, s = utils.decode_dss_signature(der)
    return material.number(r, length) + material.number(s, length)


def der(signature):
    half = len(signature) // 2
    return utils.encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def both_ways(curve, private, key):
    algorithm, length = material.CURVE_ALGORITHM[curve], material.FIELD_BYTES[curve]
    scheme = ec.ECDSA(utils.Prehashed(material.hash_of(algorithm)))
    public = private.public_key()
    for _ in range(8):
        digest = os.urandom(material.hash_of(algorithm).digest_size)
        with server_sees("KeySign", 1):
            made = crypto_client(key).sign(SignatureAlgorithm(algorithm), digest).signature
        equal(len(made), 2 * length, f"{algorithm}: r and s in full length")
        public.verify(der(made), digest, scheme)
        foreign = flat(private.sign(digest, scheme), length)
        with server_sees("KeyVerify", 4):
            for signature, told, right in (
                    (foreign, digest, True), (made, digest, True),
                    (foreign, os.urandom(len(digest)), False),
                    (foreign[:-1] + bytes([foreign[-1] ^ 1]), digest, False)):
                answer = raw.operate(key.id, "verify", alg=algorithm, digest=told, value=signature)
                equal(answer["value"], right, f"{algorithm}: verify")
        check(crypto_client(key).verify(SignatureAlgorithm(algorithm), digest, foreign).is_valid,
              f"{algorithm}: the SDK accepts a foreign signature")
    return algorithm


def refusals(algorithm, private, key):
    size = material.hash_of(algorithm).digest_size
    for wrong in (b"", bytes(size - 1), bytes(size + 1)):
        refused(400, "BadParameter",
                lambda wrong=wrong: crypto_client(key).sign(SignatureAlgorithm(algorithm), wrong),
                f"{algorithm}: a digest of {len(wrong)} bytes")
    for other in set(material.CURVE_ALGORITHM.values()) - {algorithm} | {"RS256", "HS256", "ES999"}:
        raw.refused(400, "BadParameter", "POST", key.id + "/sign",
                    {"alg": other, "value": b64(bytes(32))}, "the algorithm of another type")
    for operation in ("encrypt", "wrapkey", "decrypt", "unwrapkey"):
        answer = raw.call("POST", f"{key.id}/{operation}",
                          {"alg": "RSA-OAEP-256", "value": b64(bytes(32))})
        check(answer.status_code in (400, 403), f"{operation} with an EC key: {answer.text}")
    signature = crypto_client(key).sign(SignatureAlgorithm(algorithm), bytes(size)).signature
    zero = bytes(len(signature))
    for broken in (zero, signature[:-1], signature + b"\0"):
        answer = raw.call("POST", key.id + "/verify",
                          {"alg": algorithm, "digest": b64(bytes(size)), "value": b64(broken)})
        denied = answer.status_code == 400 or answer.json().get("value") is False
        check(denied, f"{algorithm}: a broken signature of {len(broken)} bytes: {answer.text}")
    try:
        private.public_key().verify(der(signature[::-1]), bytes(size),
                                    ec.ECDSA(utils.Prehashed(material.hash_of(algorithm))))
        check(False, "the second implementation must refuse what is wrong")
    except InvalidSignature:
        pass


def main():
    for curve in CURVES:
        private = material.ec_private(curve)
        key = client.import_key(f"ec-{curve}", material.ec_jwk(private, curve),
                                hardware_protected=True)
        refusals(both_ways(curve, private, key), private, key)
    finish("algorithms_ec")


main()
