"""What must be refused, with which status and code, and that a refusal changes nothing."""

import datetime
import time

from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm

import material
from support import (
    API_VERSION, HSM_URL, Raw, audit_count, b64, check, crypto_client, equal, error_code, finish,
    key_client, refused)

client = key_client()
raw = Raw()
DIGEST = bytes(32)
RS256, ES256 = SignatureAlgorithm.rs256, SignatureAlgorithm.es256


def at(seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    return now + datetime.timedelta(seconds=seconds)


def operations_of_the_key():
    """Only what key_ops lists is done, and a change of the list counts at once."""
    key = client.create_rsa_key("ops", size=2048, key_operations=["sign"])
    equal(key.key_operations, ["sign"], "key_ops as asked")
    crypto_client(key).sign(RS256, DIGEST)
    for operation, body in (
            ("verify", {"alg": "RS256", "digest": b64(DIGEST), "value": b64(bytes(256))}),
            ("encrypt", {"alg": "RSA-OAEP", "value": "AAAA"}),
            ("decrypt", {"alg": "RSA-OAEP", "value": b64(bytes(256))}),
            ("wrapkey", {"alg": "RSA-OAEP", "value": "AAAA"}),
            ("unwrapkey", {"alg": "RSA-OAEP", "value": b64(bytes(256))})):
        raw.refused(403, "Forbidden", "POST", f"{key.id}/{operation}", body)
    client.update_key_properties("ops", key_operations=["verify"])
    refused(403, "Forbidden", lambda: crypto_client(key.id).sign(RS256, DIGEST), "taken away")
    oct_key = client.create_oct_key("ops-oct", size=256, key_operations=["wrapKey"],
                                    hardware_protected=True)
    crypto_client(oct_key).wrap_key(KeyWrapAlgorithm.aes_256, bytes(32))
    refused(403, "Forbidden", lambda: crypto_client(oct_key).encrypt(
        EncryptionAlgorithm.a256_gcm, b"x"), "an oct key keeps its hidden key_ops")


def enabled_and_dates():
    """A key out of its dates may still decrypt, unwrap and verify, and nothing else."""
    key = client.create_rsa_key("dates", size=2048)
    sealed = raw.operate(key.id, "encrypt", alg="RSA-OAEP", value=b"old data")["value"]
    signature = crypto_client(key).sign(RS256, DIGEST).signature
    calls = {
        "sign": {"alg": "RS256", "value": b64(DIGEST)},
        "encrypt": {"alg": "RSA-OAEP", "value": "AAAA"},
        "wrapkey": {"alg": "RSA-OAEP", "value": "AAAA"},
        "verify": {"alg": "RS256", "digest": b64(DIGEST), "value": b64(signature)},
        "decrypt": {"alg": "RSA-OAEP", "value": b64(sealed)},
        "unwrapkey": {"alg": "RSA-OAEP", "value": b64(sealed)},
    }
    new, old = ("sign", "encrypt", "wrapkey"), ("verify", "decrypt", "unwrapkey")
    for dates in ({"expires_on": at(-60)}, {"expires_on": at(7200), "not_before": at(3600)}):
        client.update_key_properties("dates", **dates)
        for operation in new:
            raw.refused(403, "Forbidden", "POST", f"{key.id}/{operation}", calls[operation],
                        f"{dates}")
        for operation in old:
            raw.ok("POST", f"/keys/dates/{operation}", calls[operation])
    client.update_key_properties("dates", enabled=False, not_before=at(-9), expires_on=at(3600))
    for operation in new + old:
        raw.refused(403, "Forbidden", "POST", f"{key.id}/{operation}", calls[operation], "disabled")
    check(client.get_key("dates").properties.enabled is False, "a disabled key can be read")
    client.update_key_properties("dates", enabled=True)
    for operation in new + old:
        raw.ok("POST", f"/keys/dates/{operation}", calls[operation])
    expires_by_itself()


def expires_by_itself():
    key = client.create_ec_key("expires", curve="P-256", expires_on=at(3))
    crypto_client(key).sign(ES256, DIGEST)
    time.sleep(4)
    refused(403, "Forbidden", lambda: crypto_client(key.id).sign(ES256, DIGEST), "expired")


CREATE_REFUSALS = [
    {}, {"kty": None}, {"kty": "DSA"}, {"kty": 7}, {"kty": "OKP", "crv": "Ed25519"}, [], "text",
    {"kty": "RSA-HSM", "key_size": 1024}, {"kty": "RSA-HSM", "key_size": 2047},
    {"kty": "RSA-HSM", "key_size": 8192}, {"kty": "RSA-HSM", "key_size": -2048},
    {"kty": "RSA-HSM", "key_size": "big"}, {"kty": "RSA-HSM", "public_exponent": 3},
    {"kty": "EC-HSM", "crv": "P-192"}, {"kty": "EC-HSM", "crv": ""},
    {"kty": "oct-HSM", "key_size": 512}, {"kty": "oct-HSM", "key_size": 0},
    {"kty": "RSA-HSM", "key_ops": ["sing"]}, {"kty": "RSA-HSM", "key_ops": "sign"},
    {"kty": "EC-HSM", "crv": "P-256", "key_ops": ["encrypt"]},
    {"kty": "RSA-HSM", "attributes": {"enabled": "yes please"}},
    {"kty": "RSA-HSM", "attributes": {"exp": -5}},
    {"kty": "RSA-HSM", "attributes": {"nbf": 2000, "exp": 1000}},
    {"kty": "RSA-HSM", "tags": {f"tag{number}": "x" for number in range(16)}},
    {"kty": "RSA-HSM", "tags": {"x" * 257: "x"}}, {"kty": "RSA-HSM", "tags": {"x": "x" * 257}},
    {"kty": "RSA-HSM", "tags": {"x": 1}}, {"kty": "RSA-HSM", "tags": "x"},
]


def malformed_creates():
    for body in CREATE_REFUSALS:
        raw.refused(400, "BadParameter", "POST", "/keys/never/create", body)
    for text in (b"", b"{", b"\xff\xfe", b'{"kty":"RSA-HSM"', b"[" * 5000, b"null"):
        answer = raw.session.post(f"{HSM_URL}/keys/never/create?api-version={API_VERSION}",
                                  data=text, headers={"Content-Type": "application/json"})
        equal((answer.status_code, error_code(answer)), (400, "BadParameter"), repr(text[:20]))
    refused(404, "KeyNotFound", lambda: client.get_key("never"), "nothing was made")


def names_and_versions():
    for name in ("a_b", "a.b", "a%20b", "ä", "x" * 128):
        answer = raw.call("POST", f"/keys/{name}/create", {"kty": "EC-HSM"})
        check(answer.status_code in (400, 404), f"{name}: {answer.status_code} {answer.text}")
    client.create_ec_key("x" * 127)
    client.create_ec_key("Case")
    equal(client.get_key("cASE").id.split("/")[-1], client.get_key("Case").id.split("/")[-1],
          "names compare without case")
    for version in ("0" * 32, "nonsense", "0" * 31):
        answer = raw.call("GET", f"/keys/Case/{version}")
        check(answer.status_code in (400, 404), f"{version}: {answer.status_code}")
    for path in ("/secrets", "/certificates", "/keys/Case/1/2/3", "/nothing", "/secrets/x"):
        answer = raw.call("GET", path)
        check(answer.status_code in (400, 404), f"{path}: {answer.status_code} {answer.text}")


def import_refusals():
    private, other = material.rsa_private(2048), material.rsa_private(2048)
    good, foreign = material.rsa_members(private), material.rsa_members(other)
    broken = [
        {"n": foreign["n"]}, {"d": foreign["d"]}, {"p": foreign["p"], "q": foreign["q"]},
        {"e": b"\x02"}, {"e": b"\x03"}, {"e": b""}, {"n": b"\0" * 256}, {"d": b"\1"},
        {"dp": foreign["dp"]}, {"dq": foreign["dq"]}, {"qi": foreign["qi"]},
        {"p": good["n"], "q": b"\1"}, {"d": None}, {"n": None},
    ]
    for change in broken:
        refuse_import("RSA-HSM", {**good, **change})
    small = material.rsa_members(material.rsa_private(1024))
    refuse_import("RSA-HSM", small)
    ec_key = material.ec_members(material.ec_private("P-256"), "P-256")
    strange = material.ec_members(material.ec_private("P-256"), "P-256")
    for change in ({"x": strange["x"]}, {"d": strange["d"]}, {"d": bytes(32)}, {"y": bytes(32)},
                   {"x": ec_key["x"] + b"\0"}, {"d": b"\xff" * 32}, {"d": None}):
        refuse_import("EC-HSM", {**ec_key, **change}, crv="P-256")
    refuse_import("EC-HSM", ec_key, crv="P-384")
    refuse_import("EC-HSM", ec_key, crv="P-256K")
    for length in (0, 15, 17, 20, 31, 33, 64):
        refuse_import("oct-HSM", {"k": bytes(range(1, length + 1))})
    raw.refused(400, "BadParameter", "PUT", "/keys/imp", {"key": {"kty": "oct-HSM", "k": "!!"}})
    raw.refused(400, "BadParameter", "PUT", "/keys/imp", {})
    refused(404, "KeyNotFound", lambda: client.get_key("imp"), "nothing was imported")


def refuse_import(kty, members, **more):
    key = {"kty": kty, **more}
    key |= {name: b64(value) for name, value in members.items() if value is not None}
    answer = raw.refused(400, "BadParameter", "PUT", "/keys/imp", {"key": key})
    for value in members.values():
        if value and len(value) >= 16:
            check(b64(value) not in answer.text, "an error must not repeat key material")


def attributes_in_updates():
    client.create_ec_key("upd", tags={"a": "1", "b": "2"})
    equal(client.update_key_properties("upd", tags={"c": "3"}).properties.tags, {"c": "3"},
          "tags are replaced as a whole")
    equal(client.update_key_properties("upd", enabled=False).properties.tags, {"c": "3"},
          "what is not given stays")
    for body in ({"attributes": {"nbf": 20, "exp": 10}}, {"key_ops": ["all"]}, {"tags": 4},
                 {"attributes": {"enabled": 1.5}}, {"attributes": "on"}):
        raw.refused(400, "BadParameter", "PATCH", "/keys/upd/", body)
    raw.refused(404, "KeyNotFound", "PATCH", "/keys/none/", {"tags": {}})
    raw.refused(404, "KeyNotFound", "DELETE", "/keys/none")
    raw.refused(404, "KeyNotFound", "DELETE", "/deletedkeys/none")
    raw.refused(404, "KeyNotFound", "POST", "/deletedkeys/none/recover")
    raw.refused(404, "KeyNotFound", "GET", "/deletedkeys/upd", message="not deleted")


def random_bytes():
    first, second = client.get_random_bytes(128), client.get_random_bytes(128)
    check(len(first) == 128 and first != second, "random bytes")
    for count in (0, 129, -1, "many", None, 1.5):
        raw.refused(400, "BadParameter", "POST", "/rng", {"count": count})


def api_versions():
    client.create_ec_key("av")
    for version in ("7.0", "7.1", "7.2", "7.3", "7.4", "7.5-preview.1", "7.5", "7.6-preview.2",
                    "7.6", "2025-06-01-preview", "2025-07-01", "2026-01-01-preview", "2026-04-01",
                    "2026-07-01-preview"):
        equal(raw.call("GET", "/keys/av", api_version=version).status_code, 200, version)
    for version in (None, "", "1999-01-01", "latest"):
        answer = raw.call("GET", "/keys/av", api_version=version)
        equal((answer.status_code, error_code(answer)), (400, "BadParameter"), f"{version}")
    for path in ("/keys/av/", "//keys/av", "/keys//av", "/keys/av//", "/keys/av?api%2Dversion=7.4"):
        version = None if "?" in path else API_VERSION
        equal(raw.call("GET", path, api_version=version).status_code, 200, path)
    equal(raw.call("POST", "/keys/av//sign", {"alg": "ES256", "value": b64(DIGEST)}).status_code,
          200, "an empty version")


def headers():
    answer = raw.call("GET", "/keys/av", headers={"x-ms-client-request-id": "me-17"})
    for name, value in (("cache-control", "no-cache"), ("x-content-type-options", "nosniff"),
                        ("content-type", "application/json; charset=utf-8"),
                        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
                        ("x-frame-options", "SAMEORIGIN"), ("x-ms-client-request-id", "me-17"),
                        ("content-security-policy", "default-src 'self'")):
        equal(answer.headers.get(name), value, name)
    check(answer.headers.get("x-ms-request-id"), "an id of the request")
    check(answer.headers.get("x-ms-keyvault-region"), "a region")
    overridden = raw.call("POST", "/keys/av", headers={"X-HTTP-METHOD": "GET"})
    equal(overridden.status_code, 200, "X-HTTP-METHOD")


def refusals_are_audited():
    before = audit_count("KeyGet")
    raw.refused(404, "KeyNotFound", "GET", "/keys/not-there")
    equal(audit_count("KeyGet") - before, 1, "a refused call is in the audit log too")


def main():
    for part in (operations_of_the_key, enabled_and_dates, malformed_creates, names_and_versions,
                 import_refusals, attributes_in_updates, random_bytes, api_versions, headers,
                 refusals_are_audited):
        part()
    finish("refusals")


main()
