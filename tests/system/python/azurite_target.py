"""Azurite with one container, for as long as the standard input stays open.

`azurite_target.py FOLDER` writes one line of JSON: the container's URL over HTTPS (by the address,
and by the account's own name as in production) and over HTTP, a shared access signature for each,
and the root of the certificate. Its own account is published. Over HTTPS it takes tokens of
identities too, and looks at their audience, issuer's name and times.
"""

import datetime
import ipaddress
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
CONTAINER = "backups"
NAMED = f"{ACCOUNT}.blob.localhost"
FOLDER = pathlib.Path(sys.argv[1])
PATIENCE = 60


def certificate():
    """A root, and a leaf of it for this machine's address and the account's name."""
    now = datetime.datetime.now(datetime.timezone.utc)
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test root")])
    leaf_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])

    def make(subject, key, is_root):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(root_name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(is_root, None), critical=True)
        if not is_root:
            names = x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"),
                 x509.DNSName(NAMED)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(root_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    key = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())
    files = {"root.pem": make(root_name, root_key, True).public_bytes(pem),
             "leaf.pem": make(leaf_name, leaf_key, False).public_bytes(pem), "leaf.key": key}
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)


def start(name, *words):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["node", os.environ["CASEMATE_AZURITE"], "--blobHost", "127.0.0.1", "--blobPort",
         str(port), "--location", str(FOLDER / name), "--silent", "--disableTelemetry",
         "--skipApiVersionCheck", *words], stdout=subprocess.DEVNULL)
    return process, port


def container(url, **options):
    client = ContainerClient.from_container_url(url, credential=ACCOUNT_KEY, **options)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            client.create_container(retry_total=0)
            break
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    allowed = ContainerSasPermissions(read=True, write=True, create=True, delete=True, list=True)
    return generate_container_sas(ACCOUNT, CONTAINER, account_key=ACCOUNT_KEY, expiry=soon,
                                  permission=allowed)


certificate()
tls, tls_port = start("tls", "--cert", str(FOLDER / "leaf.pem"), "--key", str(FOLDER / "leaf.key"),
                      "--oauth", "basic")
plain, plain_port = start("plain")
try:
    tls_url = f"https://127.0.0.1:{tls_port}/{ACCOUNT}/{CONTAINER}"
    plain_url = f"http://127.0.0.1:{plain_port}/{ACCOUNT}/{CONTAINER}"
    told = {
        "url": tls_url, "token": container(tls_url, connection_verify=str(FOLDER / "root.pem")),
        "namedUrl": f"https://{NAMED}:{tls_port}/{CONTAINER}",
        "plainUrl": plain_url, "plainToken": container(plain_url),
    }
    print(json.dumps(told), flush=True)
    sys.stdin.read()
finally:
    for process in (tls, plain):
        process.terminate()
        process.wait(30)
