"""What the scripts share: clients of the running HSM, raw REST, the audit log and checks.

Every script is run with the variables of `dev.env`. `check` and its relatives count, so that a
script which checked nothing cannot pass.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import time

import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.administration import KeyVaultAccessControlClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from encoding import b64, unb64

HSM_URL = os.environ["CASEMATE_HSM_URL"]
CONTROL_URL = os.environ["CASEMATE_CONTROL_URL"]
CA_FILE = os.environ["CASEMATE_CA_FILE"]
DATA_DIR = pathlib.Path(os.environ["TEST_DATA_DIR"])
RESOURCE = "https://managedhsm.azure.net"
API_VERSION = "2025-07-01"

RSA_SIZES = (2048, 3072, 4096)
CURVES = ("P-256", "P-256K", "P-384", "P-521")
OCT_SIZES = (128, 192, 256)

_checks = 0


# --- checks ------------------------------------------------------------------------------------


def check(holds, message):
    """Ends the script with the message unless the condition holds."""
    global _checks
    _checks += 1
    if not holds:
        raise AssertionError(message)


def equal(got, wanted, message):
    check(got == wanted, f"{message}: got {got!r}, wanted {wanted!r}")


def refused(status, code, act, message):
    """The act must fail at the server with this status and error code."""
    try:
        answer = act()
    except HttpResponseError as error:
        got = (error.status_code, error.error.code if error.error else None)
        equal(got, (status, code), f"{message} ({error.message})")
        return error
    raise AssertionError(f"{message}: it was allowed and answered {answer!r}")


def finish(name):
    check(_checks > 0, "a script must check something")
    print(f"{name}: {_checks} checks")


# --- clients -----------------------------------------------------------------------------------

credential = DefaultAzureCredential()


def key_client(using=None, **options):
    options.setdefault("verify_challenge_resource", False)
    return KeyClient(HSM_URL, using or credential, **options)


def crypto_client(key, using=None):
    return CryptographyClient(key, using or credential, verify_challenge_resource=False)


def access_client(using=None):
    return KeyVaultAccessControlClient(
        HSM_URL, using or credential, verify_challenge_resource=False
    )


class Raw:
    """REST without a client library, for what the SDK does locally or refuses to send."""

    def __init__(self, using=None):
        self.session = requests.Session()
        self.session.verify = CA_FILE
        token = (using or credential).get_token(RESOURCE + "/.default").token
        self.session.headers["Authorization"] = "Bearer " + token

    def call(self, method, path, body=None, api_version=API_VERSION, **options):
        url = path if path.startswith("https://") else HSM_URL + path
        params = {} if api_version is None else {"api-version": api_version}
        return self.session.request(method, url, params=params, json=body, timeout=60, **options)

    def ok(self, method, path, body=None, status=200):
        answer = self.call(method, path, body)
        equal(answer.status_code, status, f"{method} {path} {body}: {answer.text}")
        return answer.json() if answer.content else None

    def job(self, method, path, body):
        """Begins a backup or a restore; the last answer about it."""
        started = self.call(method, path, body)
        equal(started.status_code, 202, started.text)
        url = started.headers["azure-asyncoperation"]

        def ended():
            return self.call("GET", url, api_version=None).json()["status"] != "InProgress"

        eventually(ended, f"{path} ends")
        return self.call("GET", url, api_version=None)

    def refused(self, status, code, method, path, body=None, message=None):
        answer = self.call(method, path, body)
        got = (answer.status_code, error_code(answer))
        equal(got, (status, code), f"{message or ''} {method} {path} {body}: {answer.text}")
        return answer

    def operate(self, kid, operation, **members):
        """One cryptographic operation at the server; bytes in, bytes out."""
        body = {name: b64(value) if isinstance(value, bytes) else value
                for name, value in members.items()}
        answer = self.ok("POST", f"{path_of(kid)}/{operation}", body)
        binary = ("value", "iv", "tag", "aad")
        return {name: unb64(value) if name in binary and isinstance(value, str) else value
                for name, value in answer.items()}


def error_code(answer):
    try:
        return answer.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None


def path_of(kid):
    """The path in a key id; ids must lie under the URL that was asked."""
    check(kid.startswith(HSM_URL + "/"), f"{kid} does not lie under {HSM_URL}")
    return kid.removeprefix(HSM_URL)


def token_for(app, scope):
    """A token straight from the issuer, for scopes that no key client would ask for."""
    form = {"grant_type": "client_credentials", "client_id": app["appId"],
            "client_secret": app["secret"], "scope": scope}
    answer = requests.post(CONTROL_URL + "/adfs/oauth2/token", data=form, verify=CA_FILE,
                           timeout=60)
    equal(answer.status_code, 200, f"token for {scope}: {answer.text}")
    return answer.json()["access_token"]


# --- the running program -----------------------------------------------------------------------


def casemate(*words):
    """Runs a `casemate` command against the running HSM's folder; its output is JSON."""
    command = [os.environ["TEST_CASEMATE"], *words, "--data-dir", str(DATA_DIR)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    equal(run.returncode, 0, f"{command}: {run.stdout} {run.stderr}")
    return json.loads(run.stdout)


def audit_records():
    """All whole lines; while the server runs, zeros stand ahead of where it will write next."""
    records = []
    for file in sorted(DATA_DIR.rglob("audit-*.jsonl")):
        lines = file.read_bytes().split(b"\n")
        records += [json.loads(line) for line in lines[:-1] if line]
    return records


def audit_count(operation):
    """How many calls are recorded as ended; a change has its intent recorded besides."""
    return sum(record["operationName"] == operation and record["phase"] != "intent"
               for record in audit_records())


@contextlib.contextmanager
def server_sees(operation, times):
    """The server's audit log must grow by exactly so many records of the operation."""
    before = audit_count(operation)
    yield
    seen = audit_count(operation) - before
    equal(seen, times, f"{operation}: records that the server wrote")


def eventually(ask, message, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask():
            return
        time.sleep(0.05)
    raise AssertionError(message)
