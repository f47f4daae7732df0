"""Judges a client whose work is written down: the second implementation for other languages.

`judge.py prepare FILE` makes keys and, with OpenSSL, signatures and ciphertexts for them.
`judge.py verify FILE TRANSCRIPT` checks what the client did with these keys at the server.

FILE: {"keys": [{"name", "jwk", "spec", "foreign": [{"operation", "alg", ...}]}]}; a foreign item
is what the server must accept: a signature over `digest`, or a `value` that opens to `plain`.
TRANSCRIPT: {"made": [{"name", "operation", "alg", "plain" or "digest", "value", "iv"?, ...}]}.
All binary members are base64url.
"""

import hmac
import json
import os
import sys

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

import material
from encoding import b64, unb64

RSA_SIGN = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "RSNULL")
RSA_SEAL = {
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA1_5": padding.PKCS1v15(),
}
HMAC = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


# --- keys as JSON ------------------------------------------------------------------------------


def jwk(kty, members, **more):
    return {"kty": kty, **more, **{name: b64(value) for name, value in members.items()}}


def rsa_from(members):
    whole = {name: int.from_bytes(unb64(members[name]), "big")
             for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi")}
    public = rsa.RSAPublicNumbers(whole["e"], whole["n"])
    return rsa.RSAPrivateNumbers(whole["p"], whole["q"], whole["d"], whole["dp"], whole["dq"],
                                 whole["qi"], public).private_key()


def ec_from(members):
    secret = int.from_bytes(unb64(members["d"]), "big")
    return ec.derive_private_key(secret, material.CURVE[members["crv"]]())


# --- RSA ---------------------------------------------------------------------------------------


def rsa_scheme(algorithm):
    if algorithm == "RSNULL":
        return padding.PKCS1v15(), utils.NoDigestInfo(), 32
    hash_ = material.hash_of(algorithm)
    pads = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        pads = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    return pads, utils.Prehashed(hash_), hash_.digest_size


def rsa_foreign(key):
    for algorithm in RSA_SIGN:
        pads, hash_, length = rsa_scheme(algorithm)
        digest = os.urandom(length)
        yield {"operation": "verify", "alg": algorithm, "digest": b64(digest),
               "value": b64(key.sign(digest, pads, hash_))}
    for algorithm, pads in RSA_SEAL.items():
        for operation in ("decrypt", "unwrapkey"):
            plain = os.urandom(32)
            yield {"operation": operation, "alg": algorithm, "plain": b64(plain),
                   "value": b64(key.public_key().encrypt(plain, pads))}


def rsa_judge(key, item):
    if item["operation"] == "sign":
        pads, hash_, _ = rsa_scheme(item["alg"])
        key.public_key().verify(unb64(item["value"]), unb64(item["digest"]), pads, hash_)
        return True
    return key.decrypt(unb64(item["value"]), RSA_SEAL[item["alg"]]) == unb64(item["plain"])


# --- EC ----------------------------------------------------------------------------------------


def ec_foreign(key, curve):
    algorithm, length = material.CURVE_ALGORITHM[curve], material.FIELD_BYTES[curve]
    hash_ = material.hash_of(algorithm)
    digest = os.urandom(hash_.digest_size)
    r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(hash_))))
    yield {"operation": "verify", "alg": algorithm, "digest": b64(digest),
           "value": b64(material.number(r, length) + material.number(s, length))}


def ec_judge(key, item):
    value, hash_ = unb64(item["value"]), material.hash_of(item["alg"])
    half = len(value) // 2
    der = utils.encode_dss_signature(
        int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
    key.public_key().verify(der, unb64(item["digest"]), ec.ECDSA(utils.Prehashed(hash_)))
    return True


# --- oct ---------------------------------------------------------------------------------------


def cbc(secret, iv, data, encrypt):
    cipher = Cipher(algorithms.AES(secret), modes.CBC(iv))
    act = cipher.encryptor() if encrypt else cipher.decryptor()
    return act.update(data) + act.finalize()


def pkcs7(data):
    pad = PKCS7(128).padder()
    return pad.update(data) + pad.finalize()


def oct_foreign(secret, size):
    iv, nonce, plain, aad = os.urandom(16), os.urandom(12), os.urandom(48), os.urandom(5)
    sealed = AESGCM(secret).encrypt(nonce, plain, aad)
    yield {"operation": "decrypt", "alg": f"A{size}GCM", "plain": b64(plain), "iv": b64(nonce),
           "aad": b64(aad), "value": b64(sealed[:-16]), "tag": b64(sealed[-16:])}
    yield {"operation": "decrypt", "alg": f"A{size}CBC", "plain": b64(plain), "iv": b64(iv),
           "value": b64(cbc(secret, iv, plain, True))}
    odd = os.urandom(21)
    yield {"operation": "decrypt", "alg": f"A{size}CBCPAD", "plain": b64(odd), "iv": b64(iv),
           "value": b64(cbc(secret, iv, pkcs7(odd), True))}
    for algorithm in (f"A{size}KW", "CKM_AES_KEY_WRAP"):
        yield {"operation": "unwrapkey", "alg": algorithm, "plain": b64(plain),
               "value": b64(keywrap.aes_key_wrap(secret, plain))}
    yield {"operation": "unwrapkey", "alg": "CKM_AES_KEY_WRAP_PAD", "plain": b64(odd),
           "value": b64(keywrap.aes_key_wrap_with_padding(secret, odd))}
    for algorithm, hash_ in HMAC.items():
        yield {"operation": "verify", "alg": algorithm, "digest": b64(plain),
               "value": b64(hmac.digest(secret, plain, hash_))}


def oct_judge(secret, item):
    algorithm, value = item["alg"], unb64(item["value"])
    if algorithm in HMAC:
        return hmac.digest(secret, unb64(item["digest"]), HMAC[algorithm]) == value
    plain = unb64(item["plain"])
    if algorithm.endswith("GCM"):
        aad = unb64(item.get("aad", "")) or None
        return AESGCM(secret).decrypt(unb64(item["iv"]), value + unb64(item["tag"]), aad) == plain
    if algorithm.endswith("CBCPAD"):
        return cbc(secret, unb64(item["iv"]), pkcs7(plain), True) == value
    if algorithm.endswith("CBC"):
        return cbc(secret, unb64(item["iv"]), plain, True) == value
    if algorithm.endswith("PAD"):
        return keywrap.aes_key_wrap_with_padding(secret, plain) == value
    return keywrap.aes_key_wrap(secret, plain) == value


# --- the two commands --------------------------------------------------------------------------


def prepare(file):
    keys = []
    for size in (2048, 3072, 4096):
        key = material.rsa_private(size)
        keys.append({"name": f"judged-rsa-{size}", "spec": f"RSA-{size}",
                     "jwk": jwk("RSA-HSM", material.rsa_members(key)),
                     "foreign": list(rsa_foreign(key))})
    for curve in material.CURVE:
        key = material.ec_private(curve)
        keys.append({"name": f"judged-ec-{curve}", "spec": curve,
                     "jwk": jwk("EC-HSM", material.ec_members(key, curve), crv=curve),
                     "foreign": list(ec_foreign(key, curve))})
    for size in (128, 192, 256):
        secret = material.oct_secret(size)
        keys.append({"name": f"judged-oct-{size}", "spec": f"oct-{size}",
                     "jwk": jwk("oct-HSM", {"k": secret}),
                     "foreign": list(oct_foreign(secret, size))})
    with open(file, "w", encoding="utf-8") as out:
        json.dump({"keys": keys}, out)


def expected(spec):
    """Each (operation, alg) that a client must have shown for a key of this kind."""
    if spec.startswith("RSA"):
        return {("sign", one) for one in RSA_SIGN} | {
            (operation, one) for one in RSA_SEAL for operation in ("encrypt", "wrapkey")}
    if spec.startswith("oct"):
        size = spec.split("-")[1]
        return {("sign", one) for one in HMAC} | {
            ("encrypt", f"A{size}{mode}") for mode in ("GCM", "CBC", "CBCPAD")} | {
            ("wrapkey", one) for one in (f"A{size}KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD")}
    return {("sign", material.CURVE_ALGORITHM[spec])}


def verify(file, transcript):
    with open(file, encoding="utf-8") as source:
        keys = {key["name"]: key for key in json.load(source)["keys"]}
    with open(transcript, encoding="utf-8") as source:
        made = json.load(source)["made"]
    shown = {name: set() for name in keys}
    for item in made:
        members = keys[item["name"]]["jwk"]
        if members["kty"] == "RSA-HSM":
            right = rsa_judge(rsa_from(members), item)
        elif members["kty"] == "EC-HSM":
            right = ec_judge(ec_from(members), item)
        else:
            right = oct_judge(unb64(members["k"]), item)
        assert right, f"OpenSSL does not agree with {item}"
        shown[item["name"]].add((item["operation"], item["alg"]))
    for name, key in keys.items():
        missing = expected(key["spec"]) - shown[name]
        assert not missing, f"{name}: never shown: {sorted(missing)}"
    print(f"judge: {len(made)} results right")


if __name__ == "__main__":
    {"prepare": prepare, "verify": verify}[sys.argv[1]](*sys.argv[2:])
