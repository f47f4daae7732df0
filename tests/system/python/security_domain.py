"""The vendor's Python client of the security domain, and a second implementation of its formats.

Everything secret is done here with `cryptography` alone: officers' keys, shares over GF(257), key
derivation, encryption. The first HSM is activated, its blob taken apart by two of three officers,
wrapped anew and brought to the second HSM. Run with the packages that the Azure CLI carries, and with the newest.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.keyvault.securitydomain import SecurityDomainClient
from azure.keyvault.securitydomain.models import CertificateInfo, SecurityDomain
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding as pad
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PRIME = 257
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
checks = 0


def check(holds, message):
    global checks
    checks += 1
    if not holds:
        raise AssertionError(message)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- officers ----------------------------------------------------------------------------------


class Officer:
    def __init__(self, name):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
            .sign(self.key, hashes.SHA256()))
        self.der = certificate.public_bytes(Encoding.DER)
        self.thumbprint = b64(hashlib.sha256(self.der).digest())

    def jwk(self):
        numbers = self.key.public_key().public_numbers()
        number = lambda value: b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        return {
            "kty": "RSA", "alg": "RSA-OAEP-256", "key_ops": ["verify", "encrypt", "wrapKey"],
            "n": number(numbers.n), "e": number(numbers.e),
            "x5c": [base64.b64encode(self.der).decode()],
            "x5t": b64(hashlib.sha1(self.der).digest()), "x5t#S256": self.thumbprint,
        }


# --- the formats -------------------------------------------------------------------------------


def item_key(master, tag):
    data = b"\0\0\0\1" + tag.encode() + b"\0" + b"" + (512).to_bytes(4, "big")
    return hmac.new(master, data, hashlib.sha512).digest()


def mac(key, header, iv, ciphertext):
    bits = (8 * len(header)).to_bytes(8, "big")
    whole = hmac.new(key[:32], header.encode() + iv + ciphertext + bits, hashlib.sha512).digest()
    return whole[:32]


def open_jwe(text, alg, unwrap):
    header, wrapped, iv, ciphertext, tag = text.split(".")
    told = json.loads(unb64(header))
    check((told["alg"], told["enc"]) == (alg, "A256CBC-HS512"), f"the profile: {told}")
    iv, ciphertext, tag = unb64(iv), unb64(ciphertext), unb64(tag)
    key = unwrap(unb64(wrapped))
    check(len(key) == 64 and len(tag) == 32, "lengths")
    check(hmac.compare_digest(mac(key, header, iv, ciphertext), tag), "the tag is right")
    decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).decryptor()
    unpadder = pad.PKCS7(128).unpadder()
    text = unpadder.update(decryptor.update(ciphertext) + decryptor.finalize())
    return text + unpadder.finalize()


def seal_jwe(plaintext, alg, kid, key, wrapped=b""):
    told = {"alg": alg, "enc": "A256CBC-HS512", "kid": kid}
    header, iv = b64(json.dumps(told).encode()), os.urandom(16)
    padder = pad.PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    tag = mac(key, header, iv, ciphertext)
    return ".".join([header, b64(wrapped), b64(iv), b64(ciphertext), b64(tag)])


def combine(shares):
    """Lagrange at zero, byte by byte; the words are little-endian, the value has nine bits."""
    words = [[int.from_bytes(share[at:at + 2], "little") for at in range(0, len(share), 2)]
             for share in shares]
    places = [{word >> 9 for word in share} for share in words]
    check(all(len(place) == 1 for place in places), "a share is of one place")
    places = [place.pop() for place in places]
    secret = bytearray()
    for column in zip(*words):
        value = 0
        for own, word in zip(places, column):
            term = word & 0x1FF
            for other in places:
                if other != own:
                    term = term * other * pow(other - own, PRIME - 2, PRIME) % PRIME
            value = (value + term) % PRIME
        secret.append(value)
    return bytes(secret)


def take_apart(blob, officers):
    """The items of a blob, by tag."""
    shares = {entry["x5t_256"]: entry["enc_key"] for entry in blob["SharedKeys"]["enc_shares"]}
    own = [open_jwe(shares[officer.thumbprint], "RSA-OAEP-256",
                    lambda wrapped, key=officer.key: key.decrypt(wrapped, OAEP))
           for officer in officers]
    master = combine(own)
    check(len(master) == 32, "the master key has 32 bytes")
    items = {}
    for entry in blob["EncData"]["data"]:
        key = item_key(master, entry["tag"])
        items[entry["tag"]] = open_jwe(entry["compact_jwe"], "dir", lambda wrapped: key)
    return items


def wrap(items, exchange_der):
    master, key = os.urandom(32), os.urandom(64)
    public = x509.load_der_x509_certificate(exchange_der).public_key()
    data = [{"tag": tag, "compact_jwe": seal_jwe(item, "dir", tag, item_key(master, tag))}
            for tag, item in items.items()]
    wrapped = seal_jwe(master, "RSA-OAEP-256", "not used", key, public.encrypt(key, OAEP))
    return json.dumps({
        "EncData": {"data": data, "kdf": "sp108_kdf"},
        "WrappedKey": {"enc_key": wrapped,
                       "x5t_256": b64(hashlib.sha256(exchange_der).digest())},
    })


# --- the client --------------------------------------------------------------------------------


class Token:
    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, int(time.time()) + 600)


def client(which):
    of = lambda name: os.environ[f"TEST_{which}_{name}"]
    return SecurityDomainClient(of("URL"), Token(of("TOKEN")), verify_challenge_resource=False,
                                connection_verify=of("CA"))


def refused(act, text):
    try:
        act()
    except HttpResponseError as error:
        check(text in str(error), f"{text!r} is not in {error}")
        return
    raise AssertionError(f"it was allowed; {text!r} was expected")


def succeeds(status):
    deadline = time.monotonic() + 20
    while status()["status"] != "Success":
        check(time.monotonic() < deadline, "it succeeds in a moment")
        time.sleep(0.1)


first, second = client("FIRST"), client("SECOND")
officers = [Officer(f"officer {at}") for at in range(3)]
certificates = [officer.jwk() for officer in officers]
few = {"certificates": certificates[:2], "required": 2}
refused(lambda: first.begin_download(few), "3 to 10 certificates")

info = CertificateInfo({"certificates": certificates, "required": 2})
poller = first.begin_download(info, skip_activation_polling=True)
check(first.get_download_status()["status"] == "InProgress", "asked at once, it is in progress")
blob = json.loads(poller.result()["value"])
succeeds(first.get_download_status)
for chosen in ([0, 1], [2, 0], [1, 2, 0]):
    items = take_apart(blob, [officers[at] for at in chosen])
    check({"casemate-manifest", "casemate-identity", "casemate-epoch-1"} == set(items), "items")
manifest = items["casemate-manifest"]
digest = hashlib.sha256(items["casemate-epoch-1"]).digest()
check(digest in manifest, "the manifest vouches for the secret")

told = second.get_transfer_key()["transfer_key"]
key = json.loads(told) if isinstance(told, str) else told
exchange = base64.b64decode(key["x5c"][0])
altered = dict(items, **{"casemate-epoch-1": b"\1" + bytes(37)})
refused(lambda: second.begin_upload(SecurityDomain({"value": wrap(altered, exchange)})), "altered")
missing = {tag: item for tag, item in items.items() if tag != "casemate-identity"}
refused(lambda: second.begin_upload(SecurityDomain({"value": wrap(missing, exchange)})), "missing")
refused(lambda: second.begin_upload(SecurityDomain({"value": wrap(items, officers[0].der)})),
        "exchange key")
upload = second.begin_upload(SecurityDomain({"value": wrap(items, exchange)}))
upload.wait()
succeeds(second.get_upload_status)
refused(lambda: second.get_transfer_key(), "cannot replace")
print(f"security_domain: {checks} checks")
