"""Traces of requests at a collector that decodes them with the published protobuf definitions.

A request that comes with `traceparent` is part of its caller's trace; one that does not wish it is
not traced. A collector that hangs or is gone slows nobody down, and what it does not get is
counted. No secret, name or token is in anything that the collector was sent.
"""

import base64
import json
import os
import secrets
import signal
import statistics
import time

import requests
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from receivers import (
    DATA_DIR, HSM_URL, VERSION, Receiver, authority, call, check, courier, eventually, session,
    tell,
)

MANAGEMENT_URL = os.environ["CASEMATE_MANAGEMENT_URL"]
BEARER = "Bearer shown-nowhere-else"
NAME = "secret-name-of-a-key"
SERVER, INTERNAL = 2, 1
SIGN = "POST /keys/{name}/{version}/sign"


class Collector(Receiver):
    """Keeps the spans and the bytes that they came in."""

    def __init__(self, paths, port=0):
        self.spans, self.resources, self.bytes, self.wrong = [], [], b"", []
        super().__init__(paths, self.take, port)

    def take(self, headers, body):
        if headers["authorization"] != BEARER or headers["content-type"] != "application/x-protobuf":
            self.wrong.append("header")
            return 401, b""
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.bytes += body
        return 200, trace_service_pb2.ExportTraceServiceResponse().SerializeToString()

    def of(self, trace):
        return [span for span in self.spans if span.trace_id == trace]

    def whole(self, trace):
        """The spans of a trace once its request is among them: they come together."""
        return eventually(
            lambda: [span.kind for span in self.of(trace)].count(SERVER) and self.of(trace),
            "the spans of a request arrive",
        )


def attributes(span):
    value = lambda a: a.value.string_value or a.value.int_value
    return {a.key: value(a) for a in span.attributes}


def traced(method, path, body=None, status=200, flags="01", headers=None):
    """A call within a trace of the caller's; the ids of its trace and of its own span."""
    trace, span = secrets.token_bytes(16), secrets.token_bytes(8)
    parent = f"00-{trace.hex()}-{span.hex()}-{flags}"
    answer = session.request(
        method, f"{HSM_URL}{path}?{VERSION}", json=body, timeout=60,
        headers={"traceparent": parent, **(headers or {})},
    )
    check(answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}")
    return trace, span, answer


def metric(name, **labels):
    text = requests.get(f"{MANAGEMENT_URL}/metrics", timeout=30).text
    for line in text.splitlines():
        rest = line.removeprefix(name)
        if rest != line and rest[:1] in "{ " and all(f'{k}="{v}"' in rest for k, v in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return None


def settings(root, collector, ratio, *sinks):
    return {
        "sinks": [{"name": "archive", "kind": "file"}, *sinks],
        "traces": {
            "endpoint": f"https://localhost:{collector.port}/v1/traces", "trustAnchors": root,
            "secret": BEARER, "sampleRatio": ratio, "callersPerSecond": 1000,
        },
    }


def main():
    paths, root = authority()
    collector = Collector(paths)
    call("PUT", "/audit/sinks", settings(root, collector, 0))
    structure(collector)
    who_does_not_wish_it(collector)
    nothing_secret(collector)
    a_collector_that_hangs(collector, root)
    a_collector_that_is_gone(collector, paths, root)
    check(not collector.wrong, "nothing was sent wrongly")
    lag(paths, root, collector)
    tell()


def structure(collector):
    digest = base64.urlsafe_b64encode(b"d" * 32).decode().rstrip("=")
    made, _, _ = traced("POST", f"/keys/{NAME}/create", {"kty": "RSA-HSM", "key_size": 4096})
    sign = {"alg": "RS256", "value": digest}
    trace, parent, answer = traced(
        "POST", f"/keys/{NAME}/sign", sign, headers={"tracestate": "rojo=00f067aa"}
    )
    spans = collector.whole(trace)
    roots = [span for span in spans if span.kind == SERVER]
    check(len(roots) == 1, f"one span is the request: {spans}")
    root = roots[0]
    check(root.parent_span_id == parent, "its parent is the caller's span")
    check(root.name == SIGN, root.name)
    check(root.trace_state == "rojo=00f067aa", root.trace_state)
    check(root.flags == 0x301, f"sampled, of a remote parent: {root.flags:#x}")
    known = attributes(root)
    expected = {
        "http.request.method": "POST", "http.route": "/keys/{name}/{version}/sign",
        "http.response.status_code": 200, "url.scheme": "https", "network.protocol.version": "1.1",
        "casemate.operation": "KeySign", "casemate.algorithm": "RS256",
        "casemate.request_id": answer.headers["x-ms-request-id"],
    }
    for name, value in expected.items():
        check(known.get(name) == value, f"{name} is {known.get(name)}")
    check(HSM_URL.split("//")[1].startswith(f"{known['server.address']}:{known['server.port']}"), known)
    steps = [span for span in spans if span is not root]
    names = sorted(span.name for span in steps)
    wanted = ["audit_append", "authorize", "engine", "queue", "read_body", "token"]
    check(names == wanted or names == sorted(wanted + ["engine"]), f"the steps are {names}")
    for step in steps:
        check(step.kind == INTERNAL and step.parent_span_id == root.span_id, f"{step.name}: {step}")
        inside = root.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano
        check(inside and step.end_time_unix_nano <= root.end_time_unix_nano, f"{step.name} lies in it")
    check(abs(root.end_time_unix_nano / 1e9 - time.time()) < 120, "times are those of now")
    engine = [step for step in steps if attributes(step).get("casemate.engine.call") == "sign"]
    check(len(engine) == 1, "the engine signed once")
    took = engine[0].end_time_unix_nano - engine[0].start_time_unix_nano
    check(took > 200_000, f"an RSA-4096 signature takes a while: {took} ns")
    sequence = next(attributes(step)["casemate.audit.seq"] for step in steps if step.name == "audit_append")
    record = next(line for line in log() if line["seq"] == sequence)
    check(record["operationName"] == "KeySign", "the record is found by its number")
    created = sorted(span.name for span in collector.whole(made) if span.kind == INTERNAL)
    for name in ("store_commit", "queue", "engine", "token", "authorize"):
        check(name in created, f"a creation has {name}: {created}")
    check(created.count("audit_append") == 2, f"intent and outcome: {created}")
    check(collector.resources[0]["service.name"] == "casemate", collector.resources[0])
    check(collector.resources[0]["service.instance.id"] == "dev", collector.resources[0])


def log():
    files = sorted(DATA_DIR.glob("hsm/*/audit/audit-*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().split(b"\n")]
    return [json.loads(line) for line in lines if line.strip(b"\0")]


def who_does_not_wish_it(collector):
    quiet = [traced("POST", "/rng", {"count": 8}, flags="00")[0] for _ in range(20)]
    for wrong in ("", "x", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"):
        answer = session.post(
            f"{HSM_URL}/rng?{VERSION}", json={"count": 8}, headers={"traceparent": wrong}, timeout=60
        )
        check(answer.status_code == 200, "a wrong header is as if it had not been sent")
    nobody = requests.get(
        f"{HSM_URL}/keys?{VERSION}", verify=session.verify, timeout=60,
        headers={"traceparent": f"00-{'2' * 32}-{'2' * 16}-01"},
    )
    check(nobody.status_code == 401, nobody.status_code)
    call("POST", "/rng", {"count": 8})
    marker, _, _ = traced("POST", "/rng", {"count": 8})
    collector.whole(marker)
    seen = {span.trace_id for span in collector.spans}
    check(not seen & set(quiet), "who is not sampled above has no span here")
    check(bytes.fromhex("2" * 32) not in seen, "who is not known has no span")
    check(len(seen) == 3, f"nobody else has: {len(seen)}")


def nothing_secret(collector):
    plain = "the plaintext of somebody"
    body = {"alg": "RSA-OAEP-256", "value": base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")}
    agent = {"user-agent": "secret-agent", "x-ms-client-request-id": "secret-id"}
    _, _, answer = traced("POST", f"/keys/{NAME}/encrypt", body, headers=agent)
    cipher = answer.json()["value"]
    _, _, answer = traced(
        "POST", f"/keys/{NAME}/decrypt", {"alg": "RSA-OAEP-256", "value": cipher}, headers=agent
    )
    version = answer.json()["kid"].rsplit("/", 1)[1]
    traced("GET", "/keys/secret-other", status=404, headers=agent)
    last, _, _ = traced("GET", f"/keys/{NAME}", headers=agent)
    collector.whole(last)
    token = session.headers["Authorization"].split()[1]
    hidden = ["secret", plain, body["value"], cipher[:24], version, token[:24], token[-24:], "Bearer",
              os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"]]
    for text in hidden:
        check(text.encode() not in collector.bytes, f"{text} was sent to the collector")
    shown = json.dumps(call("GET", "/audit/sinks"))
    check("shown-nowhere-else" not in shown, "the API shows the collector's secret")


def pace(count):
    """The median time of a call, in seconds."""
    times = []
    for _ in range(count):
        begun = time.monotonic()
        call("POST", "/rng", {"count": 8})
        times.append(time.monotonic() - begun)
    return statistics.median(times)


def same_pace(now, before, what):
    check(now < 2 * before + 0.005, f"{what}: {now * 1e3:.2f} ms, and {before * 1e3:.2f} ms before")


def dropped():
    return metric("casemate_trace_spans_total", result="dropped")


def a_collector_that_hangs(collector, root):
    call("PUT", "/audit/sinks", settings(root, collector, 1))
    before = pace(100)
    collector.manner = "hangs"
    lost = dropped()
    # More spans than there is room for.
    same_pace(pace(1200), before, "with a collector that hangs")
    eventually(lambda: dropped() > lost, "what has no room is dropped and counted")
    check(metric("casemate_trace_spans_waiting") <= 4096, "what waits is bounded")
    archive = lambda: metric("casemate_audit_sink_lag_records", sink="archive")
    eventually(lambda: archive() == 0, "the audit's sinks go on")
    failures = lambda: call("GET", "/audit/sinks")["tracesStatus"]
    eventually(lambda: failures()["error"], "an Administrator sees why")
    check("longer than" in failures()["error"], failures())
    collector.manner = "takes"
    last = lambda: metric("casemate_trace_spans_waiting")
    eventually(lambda: last() < 100, lambda: f"what waited arrives: {last()}")
    eventually(lambda: failures()["error"] is None, "and all is well")


def a_collector_that_is_gone(collector, paths, root):
    before = pace(100)
    # Connections that are open outlive the listener.
    collector.manner = "gone"
    collector.server.shutdown()
    collector.server.server_close()
    status = lambda: call("GET", "/audit/sinks")["tracesStatus"]
    sent = metric("casemate_trace_spans_total", result="sent")
    same_pace(pace(300), before, "without a collector")
    eventually(lambda: status()["error"], "it is told that there is none")
    os.kill(courier(), signal.SIGKILL)
    same_pace(pace(300), before, "without a courier")
    again = Collector(paths, collector.port)
    marker, _, _ = traced("GET", "/keys")
    again.whole(marker)
    check(not again.wrong, "nothing was sent wrongly")
    eventually(
        lambda: (metric("casemate_trace_spans_total", result="sent") or 0) > sent, "sent is counted"
    )
    call("PUT", "/audit/sinks", {"sinks": [{"name": "archive", "kind": "file"}]})
    off, _, _ = traced("GET", "/keys")
    time.sleep(2)
    check(not again.of(off), "off is off")
    check(metric("casemate_trace_spans_waiting") == 0, "and nothing waits")


def lag(paths, root, collector):
    """The metrics of sinks: one that stands still shows by records, by time and by failures."""
    slow = Receiver(paths, lambda headers, body: (200, b""))
    slow.manner = "refuses"
    hook = {
        "name": "slow", "kind": "webhook", "endpoint": f"https://localhost:{slow.port}/",
        "trustAnchors": root, "secret": "whsec_" + base64.b64encode(b"k" * 32).decode(),
    }
    call("PUT", "/audit/sinks", {"sinks": [{"name": "archive", "kind": "file"}, hook]})
    of = lambda name, sink="slow": metric(f"casemate_audit_sink_{name}", sink=sink)
    eventually(lambda: of("failing") == 1, "a sink that refuses shows")
    check(of("lag_records") > 1000, of("lag_records"))
    check(1 < of("lag_seconds") < 3600, f"its oldest record waits {of('lag_seconds')} s")
    check(of("failures_total") >= 1, of("failures_total"))
    check(abs(of("last_failure_timestamp_seconds") - time.time()) < 60, "and when it failed")
    check(of("last_failure_timestamp_seconds", "archive") is None, "the other did not fail")
    check(of("failing", "archive") == 0, "the other does not fail")
    eventually(lambda: of("lag_records", "archive") == 0, "the other has all")
    eventually(lambda: of("lag_seconds", "archive") == 0, "and nothing waits for it")
    check(metric("casemate_audit_courier_connected") == 1, "a courier is at work")
    slow.manner = "takes"
    eventually(lambda: of("lag_records") == 0, lambda: f"it catches up: {of('lag_records')}")
    check(of("failing") == 0 and of("lag_seconds") == 0, "and all is well")


main()
