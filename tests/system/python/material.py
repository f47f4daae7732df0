"""Keys made by a second implementation (OpenSSL through `cryptography`), as JWK and as objects."""

import os

from azure.keyvault.keys import JsonWebKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CURVE = {"P-256": ec.SECP256R1, "P-256K": ec.SECP256K1, "P-384": ec.SECP384R1,
         "P-521": ec.SECP521R1}
FIELD_BYTES = {"P-256": 32, "P-256K": 32, "P-384": 48, "P-521": 66}
CURVE_ALGORITHM = {"P-256": "ES256", "P-256K": "ES256K", "P-384": "ES384", "P-521": "ES512"}
HASH = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def hash_of(algorithm):
    """The hash of RS256, PS384, ES256K and so on."""
    return HASH[algorithm[2:5]]()


def number(value, length=None):
    length = length or (value.bit_length() + 7) // 8
    return value.to_bytes(length, "big")


def rsa_private(size):
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def ec_private(curve):
    return ec.generate_private_key(CURVE[curve]())


def oct_secret(size):
    return os.urandom(size // 8)


def rsa_members(key):
    private = key.private_numbers()
    public = private.public_numbers
    half = key.key_size // 16
    return {"n": number(public.n), "e": number(public.e), "d": number(private.d, half * 2),
            "p": number(private.p, half), "q": number(private.q, half),
            "dp": number(private.dmp1, half), "dq": number(private.dmq1, half),
            "qi": number(private.iqmp, half)}


def ec_members(key, curve):
    private = key.private_numbers()
    length = FIELD_BYTES[curve]
    return {"x": number(private.public_numbers.x, length),
            "y": number(private.public_numbers.y, length),
            "d": number(private.private_value, length)}


def rsa_jwk(key, kty="RSA-HSM"):
    return JsonWebKey(kty=kty, key_ops=RSA_OPS, **rsa_members(key))


def ec_jwk(key, curve, kty="EC-HSM"):
    return JsonWebKey(kty=kty, crv=curve, key_ops=["sign", "verify"], **ec_members(key, curve))


def oct_jwk(secret, kty="oct-HSM"):
    return JsonWebKey(kty=kty, k=secret, key_ops=OCT_OPS)


RSA_OPS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
OCT_OPS = ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"]


def public_of(jwk):
    """The public key in a bundle's JWK, as an object of the second implementation."""
    if jwk.kty.startswith("RSA"):
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big"))
        return numbers.public_key()
    x, y = int.from_bytes(jwk.x, "big"), int.from_bytes(jwk.y, "big")
    return ec.EllipticCurvePublicNumbers(x, y, CURVE[jwk.crv]()).public_key()
