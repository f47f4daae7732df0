"""Every sink of the audit log at once, each read by software that is not ours.

A webhook checks its signatures with `hmac`; an OTLP receiver decodes with the published protobuf
definitions; a syslog receiver counts octets; Azurite takes blobs, which Azure's own client reads.
All copies must be the log of the HSM, byte by byte. One sink hangs, one refuses for a while.
"""

import base64
import datetime
import hmac
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from receivers import (
    DATA_DIR, HOME, HSM_URL, VERSION, Receiver, authority, call, check, courier, eventually,
    session, tell,
)

AZURITE = os.environ["CASEMATE_AZURITE"]
# Azurite's own account, published with it.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
KEY = b"a key of thirty-two bytes, known"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BEARER = "Bearer shown-nowhere-else"


# --- receivers -----------------------------------------------------------------------------------


class Webhook(Receiver):
    """Keeps what is signed, fresh and new."""

    def __init__(self, paths):
        self.copy, self.ids, self.wrong = b"", set(), []
        super().__init__(paths, self.take)

    def take(self, headers, body):
        name, when = headers["webhook-id"], headers["webhook-timestamp"]
        signed = f"{name}.{when}.".encode() + body
        good = "v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        if not hmac.compare_digest(good, headers["webhook-signature"]):
            self.wrong.append("signature")
            return 401, b""
        if abs(time.time() - int(when)) > 300:
            self.wrong.append("timestamp")
            return 401, b""
        if name not in self.ids:
            self.ids.add(name)
            self.copy += body
        return 200, b""


class Otlp(Receiver):
    """Decodes with the published definitions."""

    def __init__(self, paths):
        self.lines, self.resources, self.wrong = [], [], []
        super().__init__(paths, self.take)

    def take(self, headers, body):
        if headers["authorization"] != BEARER or headers["content-type"] != "application/x-protobuf":
            self.wrong.append("header")
            return 401, b""
        request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
        for resource in request.resource_logs:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            for scope in resource.scope_logs:
                self.lines += [(record.event_name, record.body.string_value, record.time_unix_nano,
                                {a.key: a.value for a in record.attributes})
                               for record in scope.log_records]
        return 200, logs_service_pb2.ExportLogsServiceResponse().SerializeToString()


class Syslog:
    """Counts octets."""

    def __init__(self, paths):
        self.messages = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths["leaf.pem"], paths["leaf.key"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context = context
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            plain, _ = self.listener.accept()
            threading.Thread(target=self.read, args=(plain,), daemon=True).start()

    def read(self, plain):
        stream = self.context.wrap_socket(plain, server_side=True).makefile("rb")
        while True:
            length = b""
            while (digit := stream.read(1)) not in (b" ", b""):
                length += digit
            if not length:
                return
            self.messages.append(stream.read(int(length)).decode())


class Azurite:
    """The emulator, over HTTPS, and a container in it."""

    def __init__(self, paths):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["node", AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
             "--location", str(HOME / "azurite"), "--silent", "--disableTelemetry",
             "--skipApiVersionCheck",
             "--cert", str(paths["leaf.pem"]), "--key", str(paths["leaf.key"])],
            stdout=subprocess.DEVNULL,
        )
        self.url = f"https://127.0.0.1:{self.port}/{ACCOUNT}/insights-logs-auditevent"
        self.container = ContainerClient.from_container_url(
            self.url, credential=ACCOUNT_KEY, connection_verify=str(paths["root.pem"])
        )
        eventually(self.made, "Azurite takes a container")

    def made(self):
        try:
            self.container.create_container(retry_total=0)
            return True
        except Exception:
            return False

    def signature(self):
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        return generate_container_sas(
            ACCOUNT, "insights-logs-auditevent", account_key=ACCOUNT_KEY, expiry=soon,
            permission=ContainerSasPermissions(read=True, add=True, create=True),
        )

    def blobs(self):
        names = sorted(blob.name for blob in self.container.list_blobs())
        return {name: self.container.download_blob(name).readall() for name in names}


# --- the HSM -------------------------------------------------------------------------------------


def log():
    """The lines of the HSM's own log."""
    files = sorted(DATA_DIR.glob("hsm/*/audit/audit-*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().split(b"\n")]
    return [line.decode() for line in lines if line.strip(b"\0")]


def lag():
    return {one["name"]: one for one in call("GET", "/audit/sinks")["status"]}


def work(count):
    for at in range(count):
        call("POST", "/rng", {"count": 16})
        if at % 10 == 0:
            session.get(f"{HSM_URL}/keys/no-such-key-{at}?{VERSION}", timeout=60)


def entries(copy):
    """The lines of a copy without its checkpoints."""
    lines = copy.decode().splitlines()
    return [line for line in lines if line.startswith('{"seq":')]


def checkpoints(copy):
    """The sizes of a copy's checkpoints."""
    lines = copy.decode().splitlines()
    notes = (json.loads(line) for line in lines if line.startswith('{"checkpoint":'))
    return [int(note["checkpoint"].split("\n")[1]) for note in notes]


def arrived(known, names):
    """Waits until these sinks have the lines that are known; later ones may be there too."""
    ready = lambda: all((lag()[name]["delivered"] or 0) >= len(known) for name in names)
    eventually(ready, lambda: f"the sinks are behind: {lag()}")


def same(copy, known, what):
    check(copy[: len(known)] == known, f"{what}: {len(copy)} lines are not the {len(known)} of the log")


def main():
    paths, root = authority()
    web, slow, pager = (Webhook(paths) for _ in range(3))
    otlp, siem, azurite = Otlp(paths), Syslog(paths), Azurite(paths)
    try:
        run(root, web, slow, pager, otlp, siem, azurite)
    finally:
        azurite.process.terminate()
        azurite.process.wait(30)
    tell()


def run(root, web, slow, pager, otlp, siem, azurite):
    at = lambda name, kind, endpoint, secret=None: {
        "name": name, "kind": kind, "endpoint": endpoint, "trustAnchors": root,
        **({"secret": secret} if secret else {}),
    }
    settings = {"sinks": [
        {"name": "archive", "kind": "file", "rotateBytes": 64 << 10},
        at("web", "webhook", f"https://localhost:{web.port}/audit", SECRET),
        at("slow", "webhook", f"https://localhost:{slow.port}/audit", SECRET),
        at("otlp", "otlp", f"https://localhost:{otlp.port}/v1/logs", BEARER),
        at("siem", "syslog", f"tls://localhost:{siem.port}"),
        at("blob", "azureBlob", azurite.url, azurite.signature()),
        at("pager", "alerts", f"https://localhost:{pager.port}/", SECRET),
    ]}
    slow.manner = "hangs"
    call("PUT", "/audit/sinks", settings)
    quick = ["archive", "web", "otlp", "siem", "blob", "pager"]
    work(50)
    known = log()
    arrived(known, quick)
    check((lag()["slow"]["delivered"] or 0) == 0, "the hanging sink has nothing")

    killed = courier()
    check(killed is not None, "there is a courier")
    os.kill(killed, signal.SIGKILL)
    web.manner = "refuses"
    work(50)
    eventually(lambda: lag()["web"]["error"], "the refusing sink says why")
    check("503" in lag()["web"]["error"], lag()["web"]["error"])
    web.manner = slow.manner = "takes"
    check(courier() not in (None, killed), "another courier is there")
    known = log()
    arrived(known, quick + ["slow"])
    compare(known, web, slow, otlp, siem, azurite)
    covered = lambda copy: max(checkpoints(copy), default=0) >= len(known)
    eventually(lambda: covered(web.copy), "a checkpoint over all comes to the webhook")
    eventually(lambda: covered(b"".join(azurite.blobs().values())), "and to the blobs")
    verified(web, azurite, siem, otlp)
    alerts(pager)
    synchronous(settings, web)
    secrets(azurite)


def compare(known, web, slow, otlp, siem, azurite):
    # After a death a sink may get lines again; each is there, and in order but for these.
    once = lambda lines: list(dict.fromkeys(lines))
    same(once(entries(web.copy)), known, "webhook")
    same(once(entries(slow.copy)), known, "the webhook that hung")
    check(not web.wrong and not slow.wrong and not otlp.wrong, "nothing was sent wrongly")
    archive = b"".join(
        file.read_bytes() for file in sorted(DATA_DIR.glob("courier/*/files/archive/*.jsonl"))
    )
    same(entries(archive), known, "files")
    blobs = azurite.blobs()
    for name in blobs:
        check(name.startswith("resourceId=/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/"), name)
        check(name.endswith("/m=00/PT1H.json"), name)
    same(once(entries(b"".join(blobs.values()))), known, "blobs")
    records = [line for name, line, *_ in otlp.lines if name == "casemate.audit.record"]
    same(once(records), known, "OTLP")
    check(otlp.resources[0]["service.name"] == "casemate", otlp.resources[0])
    check(all(when > 0 for name, _, when, _ in otlp.lines if name == "casemate.audit.record"), "time")
    messages = [text.split("] ", 1)[1] for text in siem.messages if " Checkpoint - " not in text]
    same(once(messages), known, "syslog")
    check(all(text.startswith("<1") for text in siem.messages), "each message has a priority")


def verified(web, azurite, siem, otlp):
    """The copies prove themselves, and one altered byte shows."""
    copies = HOME / "copies"
    copies.mkdir()
    (copies / "web.jsonl").write_bytes(web.copy)
    blobs = copies / "blobs"
    blobs.mkdir()
    for at, content in enumerate(azurite.blobs().values()):
        (blobs / f"{at}.jsonl").write_bytes(content)
    archive = next(DATA_DIR.glob("courier/*/files/archive"))
    key = [os.environ["TEST_CASEMATE"], "audit", "key", "--data-dir", str(DATA_DIR)]
    key = subprocess.run(key, capture_output=True, text=True, check=True).stdout
    trust = next(word for word in key.split() if "+" in word)

    def verify(copy):
        # The records of the last second have no checkpoint yet.
        words = [os.environ["TEST_CASEMATE"], "audit", "verify", "--unsigned-max", "200"]
        words += ["--from", str(copy)]
        return subprocess.run(words + ["--trust", trust], capture_output=True, text=True)

    # As receivers keep them: a message a line, and a collector's JSON.
    (copies / "syslog").write_text("".join(f"{text}\n" for text in siem.messages))
    bodies = [{"body": {"stringValue": line}} for _, line, *_ in otlp.lines]
    exported = {"resourceLogs": [{"scopeLogs": [{"logRecords": bodies}]}]}
    (copies / "otlp").write_text(json.dumps(exported, separators=(",", ":")) + "\n")
    for name in ("syslog", "otlp"):
        words = [os.environ["TEST_CASEMATE"], "audit", "unwrap", str(copies / name)]
        with (copies / f"{name}.jsonl").open("wb") as out:
            subprocess.run(words, stdout=out, check=True)
    received = (copies / "syslog.jsonl", copies / "otlp.jsonl")
    for copy in (archive, copies / "web.jsonl", blobs, *received):
        run = verify(copy)
        check(run.returncode == 0, f"{copy.name}: {run.stdout}{run.stderr}")
    files = sorted(archive.glob("*.jsonl"))
    check(len(files) > 1, "the files are rotated")
    run = verify(files[-1])
    check(run.returncode == 0, f"the newest file alone: {run.stdout}{run.stderr}")
    forged = web.copy.replace(b'"httpStatusCode":200', b'"httpStatusCode":201', 1)
    check(forged != web.copy, "something was altered")
    (copies / "web.jsonl").write_bytes(forged)
    check(verify(copies / "web.jsonl").returncode != 0, "an altered byte shows")


def alerts(pager):
    principal = "33333333-3333-3333-3333-333333333333"
    name = "44444444-4444-4444-4444-444444444444"
    path = f"/providers/Microsoft.Authorization/roleAssignments/{name}"
    role = "21dbd100-6940-42c2-9190-5d6cb909625b"
    properties = {"roleDefinitionId": role, "principalId": principal}
    call("PUT", path, {"properties": properties}, 201)
    told = lambda: [json.loads(line) for line in pager.copy.replace(b"}{", b"}\n{").splitlines()]
    rules = lambda: [one["data"]["rule"] for one in told()]
    eventually(lambda: "roleChange" in rules(), lambda: f"an alert about the role: {rules()}")
    check(not pager.wrong, "alerts are signed")


def ready():
    """What the management listener says of the HSM: status and text."""
    try:
        with urllib.request.urlopen(os.environ["CASEMATE_MANAGEMENT_URL"] + "/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def synchronous(settings, web):
    settings["synchronous"], settings["synchronousDeadlineMs"] = "web", 3000
    call("PUT", "/audit/sinks", settings)
    eventually(lambda: lag()["web"]["delivered"], "the sink has begun anew")
    for _ in range(20):
        before = len(entries(web.copy))
        call("POST", "/rng", {"count": 1})
        check(len(entries(web.copy)) > before, "the copy is there before the answer")
    web.manner = "refuses"
    refused = call("POST", "/rng", {"count": 1}, 503)
    check("'web'" in refused["error"]["message"], refused)
    eventually(lambda: ready()[0] == 503, "an HSM that refuses is not ready")
    check("synchronous sink" in ready()[1], ready())
    web.manner = "takes"
    eventually(lambda: ready()[0] == 200, "it is ready when the record has arrived, unasked")
    call("POST", "/rng", {"count": 1})
    web.manner = "refuses"
    call("POST", "/rng", {"count": 1}, 503)
    eventually(lambda: ready()[0] == 503, "it is not ready again")
    call("POST", "/keys/made-without-copy/create", {"kty": "EC"}, 503)
    # Who takes it out does not wait for it.
    settings["synchronous"] = None
    call("PUT", "/audit/sinks", settings)
    eventually(lambda: ready()[0] == 200, "nothing is waited for any more")
    call("POST", "/rng", {"count": 1})
    call("GET", "/keys/made-without-copy", None, 404)
    web.manner = "takes"


def secrets(azurite):
    shown = json.dumps(call("GET", "/audit/sinks"))
    lines = "\n".join(log())
    reports = "".join(
        path.read_text(errors="replace") for path in DATA_DIR.glob("courier/*/*.cursor")
    )
    signature = azurite.signature().rsplit("sig=", 1)[1][:20]
    for secret in (SECRET, SECRET[6:], BEARER.split()[1], signature):
        for where, text in (("API", shown), ("log", lines), ("cursors", reports)):
            check(secret not in text, f"a secret stands in the {where}")


main()
