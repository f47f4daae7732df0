"""Tokens that must be refused, each signed by the issuer's own key but for what it is about.

The refusal is a challenge to the letter, since every SDK parses it in a way of its own.
"""

import hashlib
import hmac
import json
import time

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support import (
    API_VERSION, CA_FILE, CONTROL_URL, DATA_DIR, HSM_URL, RESOURCE, b64, check, credential, equal,
    finish)

# An address has no parent domain, so the first audience of the HSM stands in the challenge.
AUDIENCE = CONTROL_URL.replace("://", "://managedhsm.")
CHALLENGE = f'Bearer authorization="{CONTROL_URL}/adfs", resource="{AUDIENCE}"'
[key_file] = DATA_DIR.rglob("signing-key.der")
ISSUER_KEY = serialization.load_der_private_key(key_file.read_bytes(), None)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
GOOD = credential.get_token(RESOURCE + "/.default").token
HEADER = jwt.get_unverified_header(GOOD)
CLAIMS = jwt.decode(GOOD, options={"verify_signature": False})


def ask(token, method="GET", path="/keys", scheme="Bearer"):
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    return requests.request(method, f"{HSM_URL}{path}?api-version={API_VERSION}", headers=headers,
                            verify=CA_FILE, timeout=60)


def signed(changes=None, without=(), key=ISSUER_KEY, algorithm="RS256", header=None):
    claims = {**CLAIMS, **(changes or {})}
    for name in without:
        claims.pop(name)
    return jwt.encode(claims, key, algorithm, headers={**HEADER, **(header or {})})


def refuse(token, what, **how):
    answer = ask(token, **how)
    equal(answer.status_code, 401, f"{what}: {answer.text}")
    equal(answer.headers["WWW-Authenticate"], CHALLENGE, what)
    check(answer.text in ("", "OK") or "error" in answer.json(), f"{what}: {answer.text}")


def by_claims():
    now = int(time.time())
    later, sooner = {"exp": now - 1}, {"nbf": now + 600, "iat": now + 600, "exp": now + 4000}
    for what, changes in {
            "another audience": {"aud": "https://vault.azure.net.example"},
            "the control plane's audience": {"aud": "https://management.localhost"},
            "a part of the audience": {"aud": RESOURCE[:-1]},
            "no audience in a list": {"aud": []},
            "another issuer": {"iss": "https://localhost:1/adfs"},
            "an issuer that begins like ours": {"iss": CLAIMS["iss"] + ".example"},
            "another tenant": {"tid": "00000000-0000-0000-0000-000000000001"},
            "a tenant's name for its id": {"tid": "adfs"},
            "an ended token": later, "a token of the future": sooner,
            "an endless token": {"exp": "never"}, "a negative time": {"exp": -1},
    }.items():
        refuse(signed(changes), what)
    for name in ("aud", "iss", "tid", "exp"):
        refuse(signed(without=[name]), f"no {name}")


def by_signature():
    public = ISSUER_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    refuse(signed(key=OTHER_KEY), "another key under the issuer's name")
    refuse(signed(key=OTHER_KEY, header={"kid": "unknown"}), "an unknown key")
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEY.public_key()))
    refuse(signed(key=OTHER_KEY, header={"jwk": own}), "a key that the token brings itself")
    refuse(signed(key=OTHER_KEY, header={"jku": "https://localhost:1/keys"}), "keys elsewhere")
    unsigned = {name: value for name, value in HEADER.items() if name != "alg"}
    refuse(jwt.encode(CLAIMS, None, "none", headers=unsigned), "no signature")
    refuse(forged_hmac(public), "the public key as a secret")
    head, body, signature = GOOD.split(".")
    flipped = ("A" if signature[9] != "A" else "B").join((signature[:9], signature[10:]))
    for what, token in {
            "a changed signature": f"{head}.{body}.{flipped}", "a cut signature": GOOD[:-8],
            "an empty signature": f"{head}.{body}.", "two parts": f"{head}.{body}",
            "four parts": GOOD + ".AAAA", "a changed body": f"{head}.{body[:-3]}AAA.{signature}",
            "nothing": "", "nonsense": "nonsense", "dots": "..", "base64 of nothing": "e30.e30.e30",
            "a very long one": "A" * 12000, "signed text that is no JSON":
            f"{b64(b'[]')}.{b64(b'[]')}.{signature}",
    }.items():
        refuse(token, what)
    refuse(GOOD, "another scheme", scheme="Basic")
    refuse(GOOD, "another scheme", scheme="PoP")


def forged_hmac(public):
    """The old trick: HS256 with the issuer's public key as the shared secret."""
    header = b64(json.dumps({**HEADER, "alg": "HS256"}).encode())
    signed_part = f"{header}.{b64(json.dumps(CLAIMS).encode())}"
    code = hmac.digest(public, signed_part.encode(), hashlib.sha256)
    return f"{signed_part}.{b64(code)}"


def without_a_token():
    """Nothing is looked at before the token: not the path, not the body, not the method."""
    for method, path in (("GET", "/keys"), ("GET", "/keys/none"), ("POST", "/keys/k/create"),
                         ("PUT", "/keys/k"), ("DELETE", "/keys/k"), ("PATCH", "/keys/k/"),
                         ("GET", "/nothing/here"), ("POST", "/rng"), ("GET", "/"),
                         ("PUT", "/providers/Microsoft.Authorization/roleAssignments/x")):
        answer = ask(None, method, path)
        equal(answer.status_code, 401, f"{method} {path}")
        equal(answer.headers["WWW-Authenticate"], CHALLENGE, f"{method} {path}")
        equal(answer.headers["Content-Type"], "application/json; charset=utf-8", path)
        equal(answer.text, "OK" if method == "GET" else "", f"{method} {path}: body")


def between_the_planes():
    """A token for one plane opens nothing on the other."""
    metadata = requests.get(CONTROL_URL + "/metadata/endpoints?api-version=2022-09-01",
                            verify=CA_FILE, timeout=60).json()
    audience = metadata["authentication"]["audiences"][0]
    control = credential.get_token(audience + "/.default").token
    subscriptions = CONTROL_URL + "/subscriptions?api-version=2022-12-01"
    allowed = requests.get(subscriptions, headers={"Authorization": "Bearer " + control},
                           verify=CA_FILE, timeout=60)
    equal(allowed.status_code, 200, "the control plane's own token")
    refuse(control, "the control plane's token")
    for token in (GOOD, "x"):
        answer = requests.get(subscriptions, headers={"Authorization": "Bearer " + token},
                              verify=CA_FILE, timeout=60)
        equal(answer.status_code, 401, "the data plane's token")


def main():
    equal(ask(GOOD).status_code, 200, "the good token")
    equal(ask(signed()).status_code, 200, "what is changed below is all that is wrong with it")
    without_a_token()
    by_claims()
    by_signature()
    between_the_planes()
    equal(ask(GOOD).status_code, 200, "the good token after all that")
    finish("tokens")


main()
