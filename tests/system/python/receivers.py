"""What the tests of sinks and traces share: a root of trust, a receiver over HTTPS, the HSM."""

import datetime
import http.server
import ipaddress
import os
import pathlib
import ssl
import threading
import time

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HSM_URL = os.environ["CASEMATE_HSM_URL"]
CONTROL_URL = os.environ["CASEMATE_CONTROL_URL"]
CA_FILE = os.environ["CASEMATE_CA_FILE"]
DATA_DIR = pathlib.Path(os.environ["TEST_DATA_DIR"])
HOME = pathlib.Path(os.environ["HOME"])
VERSION = "api-version=2025-07-01"
PATIENCE = 60

checks = 0


def check(holds, message):
    global checks
    checks += 1
    if not holds:
        raise AssertionError(message)


def eventually(ask, message):
    end = time.monotonic() + PATIENCE
    while True:
        answer = ask()
        if answer:
            return answer
        check(time.monotonic() < end, message() if callable(message) else message)
        time.sleep(0.1)


# --- certificates --------------------------------------------------------------------------------


def authority():
    """A root and a certificate for this machine; files and the root's PEM."""
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def made(subject, key, issuer, issuer_key, extensions):
        name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = made("root", root_key, "root", root_key, [(x509.BasicConstraints(True, None), True)])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = made("leaf", key, "root", root_key, [(x509.SubjectAlternativeName(names), False)])
    pem = serialization.Encoding.PEM
    paths = {name: HOME / name for name in ("root.pem", "leaf.pem", "leaf.key")}
    paths["root.pem"].write_bytes(root.public_bytes(pem))
    paths["leaf.pem"].write_bytes(leaf.public_bytes(pem))
    paths["leaf.key"].write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths, root.public_bytes(pem).decode()


# --- receivers -----------------------------------------------------------------------------------


class Receiver:
    """An HTTPS server; `take` reads a request and returns its answer's status and body."""

    def __init__(self, paths, take, port=0):
        receiver = self
        self.manner = "takes"

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                while receiver.manner == "hangs":
                    time.sleep(0.1)
                if receiver.manner == "gone":
                    self.close_connection = True
                    return
                if receiver.manner == "refuses":
                    status, answer = 503, b""
                else:
                    status, answer = take(self.headers, body)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths["leaf.pem"], paths["leaf.key"])
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


# --- the HSM -------------------------------------------------------------------------------------


def token():
    form = {
        "grant_type": "client_credentials",
        "client_id": os.environ["AZURE_CLIENT_ID"],
        "client_secret": os.environ["AZURE_CLIENT_SECRET"],
        "scope": "https://managedhsm.azure.net/.default",
    }
    answer = requests.post(f"{CONTROL_URL}/adfs/oauth2/v2.0/token", form, verify=CA_FILE, timeout=30)
    return answer.json()["access_token"]


session = requests.Session()
session.verify = CA_FILE
session.headers["Authorization"] = f"Bearer {token()}"


def call(method, path, body=None, status=200):
    answer = session.request(method, f"{HSM_URL}{path}?{VERSION}", json=body, timeout=60)
    check(answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.text else None


def courier():
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        folder = str(DATA_DIR / "courier").encode()
        if len(words) > 2 and words[1] == b"courier" and words[2].startswith(folder):
            return int(entry.parent.name)
    return None


def tell():
    """Says how much was looked at."""
    print(f"{checks} checks")
