"""A token endpoint for the storage of backups, for as long as the standard input stays open.

`identity_issuer.py FOLDER ENDPOINT ROOTS LEAF KEY` passes each request on to the development
issuer's own ENDPOINT, which judges id and credential. Azurite believes issuers by Microsoft's names
alone, so the token of a success is replaced by one that says the same under such a name. It writes
one line of JSON: its port. Each token that it gave stands in FOLDER/tokens.txt; FOLDER/mode says
how it answers, and FOLDER/asked counts the requests.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request

FOLDER, ENDPOINT, ROOTS, LEAF, KEY = sys.argv[1:]
FOLDER = pathlib.Path(FOLDER)
TRUST = ssl.create_default_context(cafile=ROOTS)
SIGNING = os.urandom(32)


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def renamed(token, ended):
    """The token under a name that Azurite believes; one that has ended, if so wished."""
    said, now = claims(token), int(time.time())
    assert said["aud"] == "https://storage.azure.com", said
    said["iss"] = f"https://sts.windows.net/{said['tid']}/"
    said["iat"] = said["nbf"] = now - 7200
    said["exp"] = now - 3600 if ended else now + 3600
    said["unique"] = encoded(os.urandom(24))
    head = encoded(json.dumps({"typ": "JWT", "alg": "HS256"}).encode())
    body = encoded(json.dumps(said).encode())
    signed = hmac.new(SIGNING, f"{head}.{body}".encode(), hashlib.sha256).digest()
    made = f"{head}.{body}.{encoded(signed)}"
    with open(FOLDER / "tokens.txt", "a", encoding="ascii") as tokens:
        tokens.write(made + "\n")
    return made


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open(FOLDER / "asked", "ab") as asked:
            asked.write(b".")
        mode = (FOLDER / "mode").read_text() if (FOLDER / "mode").exists() else ""
        if mode == "slow":
            time.sleep(30)
        if mode == "huge":
            return self.answer(200, b"{" + b" " * (1 << 20) + b"}")
        if mode == "malformed":
            return self.answer(200, b"<html>sign in</html>")
        if mode == "busy":
            return self.answer(503, b"")
        request = urllib.request.Request(ENDPOINT, body)
        try:
            with urllib.request.urlopen(request, context=TRUST, timeout=20) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            return self.answer(error.code, error.read())
        said["access_token"] = renamed(said["access_token"], mode == "ended")
        return self.answer(200, json.dumps(said).encode())

    def answer(self, status, body):
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(LEAF, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_address[1]}), flush=True)
sys.stdin.read()
server.shutdown()
