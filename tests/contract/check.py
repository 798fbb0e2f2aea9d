#!/usr/bin/env python3
"""Checks the client contract of running nodes from outside, in another language and without any .proto file.

The requests are the ones of the product's documentation, character by character. They are built through server
reflection and the proto3 JSON rules, as grpcurl does; where the real grpcurl is at hand it sends them as well.
Every key is written at one node and asked for at all of them.

    check.py --node HOST:GRPC_PORT:HTTP_PORT [--node ...] [--grpcurl PATH]

One line per check, then "N passed, M failed, K skipped". Exit code 0 when nothing failed, 1 when something did,
2 when the arguments are wrong.
"""

import argparse
import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import namedtuple

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CALL_SECONDS = 10
TOTAL_SECONDS = 180
MIB = 1024 * 1024

SET_HELLO = '{"key": "test", "value": "hello"}'
GET_HELLO = '{"key": "test"}'
SET_USER = """{
  "key": "user:123",
  "value": "{\\"name\\":\\"John\\",\\"email\\":\\"john@example.com\\"}",
  "ttl": {"seconds": 3600}
}"""
GET_USER = '{"key": "user:123"}'
JOHN = '{"name":"John","email":"john@example.com"}'

Node = namedtuple("Node", "name host grpc_port http_port")


class CallFailed(Exception):
    """A call that was answered with a gRPC error."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ReflectionClient:
    """Calls methods that it learns about from the server, with requests and responses as JSON text."""

    label = "reflection"

    def __init__(self, nodes):
        self.channels = {node: grpc.insecure_channel(f"{node.host}:{node.grpc_port}") for node in nodes}
        self.pools = {}

    def connect(self, node):
        """Waits for a connection; descriptors come later, when they are needed."""
        channel = self.channels[node]
        grpc.channel_ready_future(channel).result(timeout=CALL_SECONDS)
        self.pools[node] = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def call(self, node, method, text="{}"):
        service_name, method_name = method.split("/")
        found = self.pools[node].FindServiceByName(service_name).FindMethodByName(method_name)
        request = json_format.Parse(text, message_factory.GetMessageClass(found.input_type)())
        invoke = self.channels[node].unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )
        try:
            return json_format.MessageToJson(invoke(request, timeout=CALL_SECONDS))
        except grpc.RpcError as error:
            raise CallFailed(error.code().name, error.details()) from None

    def services(self, node, version):
        """Names of the services, by reflection of that version. The messages of both versions are the same."""
        invoke = self.channels[node].stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        answer = next(invoke(iter([request]), timeout=CALL_SECONDS))
        return {service.name for service in answer.list_services_response.service}


class GrpcurlClient:
    """The real grpcurl."""

    label = "grpcurl"

    def __init__(self, path):
        self.path = path

    def call(self, node, method, text=None):
        data = ["-d", text] if text is not None else []
        done = subprocess.run(
            [self.path, "-plaintext", *data, f"{node.host}:{node.grpc_port}", method],
            capture_output=True, text=True, timeout=CALL_SECONDS, check=False,
        )
        if done.returncode == 0:
            return done.stdout
        fields = dict(line.strip().split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
        code = "".join(("_" + letter if letter.isupper() else letter) for letter in fields.get("Code", "Usage"))
        raise CallFailed(code.lstrip("_").upper(), fields.get("Message", done.stderr.strip()))


class Report:
    """Runs checks and counts them. None is ever skipped; the count is there for whoever adds up such lines."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, body, *arguments):
        try:
            body(*arguments)
        except Exception as error:  # Whatever it is, this check failed and the next one still runs.
            self.failed += 1
            reason = " ".join(str(error).split())
            print(f"not ok - {name}: {type(error).__name__}: {reason}", flush=True)
        else:
            self.passed += 1
            print(f"ok - {name}", flush=True)

    def summary(self):
        return f"{self.passed} passed, {self.failed} failed, 0 skipped"


def expect(condition, shown):
    if not condition:
        raise AssertionError(f"unexpected: {shown!r}")


def fresh(word):
    return f"contract:{word}:{uuid.uuid4().hex}"


def request(node, method, path, body=None, headers=None):
    """One HTTP request: status, headers, body."""
    connection = http.client.HTTPConnection(node.host, node.http_port, timeout=CALL_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def cache(client, node, method, **fields):
    return json.loads(client.call(node, f"cache.CacheService/{method}", json.dumps(fields)))


def refused(client, node, method, code, mention, **fields):
    try:
        answer = cache(client, node, method, **fields)
    except CallFailed as failure:
        expect(failure.code == code and mention in failure.message, str(failure))
    else:
        raise AssertionError(f"accepted: {answer}")


def at_every_node(nodes, ask):
    for node in nodes:
        try:
            ask(node)
        except Exception as error:
            raise AssertionError(f"at {node.name}: {error}") from None


def documented_text(client, writer, nodes):
    client.call(writer, "cache.CacheService/Set", SET_HELLO)

    def ask(node):
        answer = json.loads(client.call(node, "cache.CacheService/Get", GET_HELLO))
        expect(answer["found"] is True and answer["value"] == "hello", answer)

    at_every_node(nodes, ask)


def documented_ttl(client, writer, nodes):
    client.call(writer, "cache.CacheService/Set", SET_USER)

    def ask(node):
        answer = json.loads(client.call(node, "cache.CacheService/Get", GET_USER))
        expect(answer["found"] is True and answer["value"] == JOHN, answer)
        seconds = int(answer["ttl"].get("seconds", 0)) + answer["ttl"].get("nanos", 0) / 1e9
        expect(3500 < seconds <= 3600, answer["ttl"])

    at_every_node(nodes, ask)


def documented_delete(client, writer, nodes):
    client.call(nodes[-1], "cache.CacheService/Set", SET_USER)
    answer = json.loads(client.call(writer, "cache.CacheService/Delete", GET_USER))
    expect(answer["found"] is True, answer)
    at_every_node(nodes, lambda node: miss_is_printed(client, node, GET_USER))
    again = json.loads(client.call(writer, "cache.CacheService/Delete", GET_USER))
    expect(again["found"] is False, again)


def miss_is_printed(client, node, text):
    printed = client.call(node, "cache.CacheService/Get", text)
    expect('"found": false' in printed and "value" not in printed, printed)


def documented_health(client, node):
    answer = json.loads(client.call(node, "cache.CacheService/Health"))
    expect(answer["status"] in ("ok", "degraded") and answer["node"] and answer["version"], answer)


def text_stays_text(client, writer, nodes):
    key = fresh("text")
    for value in ("test", "", "Grüße \u0000 \u001b[31m"):
        cache(client, writer, "Set", key=key, value=value)
        at_every_node(nodes, lambda node: holds(client, node, key, value=value))


def bytes_stay_bytes(client, writer, nodes):
    key, value = fresh("bytes"), base64.b64encode(bytes([0, 1, 2, 255])).decode()
    cache(client, writer, "Set", key=key, value_bytes=value)
    at_every_node(nodes, lambda node: holds(client, node, key, valueBytes=value))


def holds(client, node, key, **payload):
    answer = cache(client, node, "Get", key=key)
    ((arm, value),) = payload.items()
    # An arm that was set is printed, "" too.
    expect(answer["found"] is True and answer.get(arm) == value, answer)


def short_life_ends(client, writer, nodes):
    key = fresh("ttl")
    cache(client, writer, "Set", key=key, value="v", ttl={"seconds": 1})
    begun = time.monotonic()
    left = set(nodes)
    while left and time.monotonic() - begun < CALL_SECONDS:
        left = {node for node in left if cache(client, node, "Get", key=key)["found"]}
        time.sleep(0.05)
    expect(not left and time.monotonic() - begun > 0.9, f"{time.monotonic() - begun:.2f} s, {left}")


def zero_ttl_never_ends(client, writer, nodes):
    key = fresh("forever")
    cache(client, writer, "Set", key=key, value="v", ttl={"seconds": 0})

    def ask(node):
        answer = cache(client, node, "Get", key=key)
        expect(answer["found"] is True and "ttl" not in answer, answer)

    at_every_node(nodes, ask)


def illegal_requests_are_refused(client, node):
    key, invalid = fresh("illegal"), "INVALID_ARGUMENT"
    refused(client, node, "Set", invalid, "key is empty", key="", value="v")
    refused(client, node, "Set", invalid, "1025 bytes", key="k" * 1025, value="v")
    refused(client, node, "Set", invalid, "no payload", key=key)
    refused(client, node, "Set", invalid, "negative", key=key, value="v", ttl={"seconds": -1})
    refused(client, node, "Set", invalid, "10 years", key=key, value="v", ttl={"seconds": 2**62})
    expect(cache(client, node, "Get", key=key)["found"] is False, "stored after all")


def large_values(client, writer, nodes):
    key = fresh("large")
    cache(client, writer, "Set", key=key, value="v" * MIB)
    at_every_node(nodes, lambda node: holds(client, node, key, value="v" * MIB))
    refused(client, writer, "Set", "INVALID_ARGUMENT", str(MIB + 1), key=key, value="v" * (MIB + 1))


def standard_health(client, node):
    for service in ("", "cache.CacheService"):
        answer = client.call(node, "grpc.health.v1.Health/Check", json.dumps({"service": service}))
        expect(json.loads(answer) == {"status": "SERVING"}, answer)


def reflection_lists(client, node, version):
    names = client.services(node, version)
    expect({"cache.CacheService", "shardcache.v1.Cluster", "grpc.health.v1.Health"} <= names, names)
    expect(not any("peer" in name for name in names), names)


def http_round_trip(client, writer, nodes):
    for kind, body, arm in (
        ("text/plain", "plain text".encode(), {"value": "plain text"}),
        ("application/octet-stream", bytes([0, 255]), {"valueBytes": "AP8="}),
    ):
        key = fresh("http/%C3%A4")
        path = f"/v1/keys/{key}"
        status, headers, answer = request(writer, "PUT", f"{path}?ttl=60s", body, {"Content-Type": kind})
        expect(status == 204 and headers["x-shardcache-version"], (status, answer))

        def ask(node):
            status, headers, answer = request(node, "GET", path)
            expect((status, answer) == (200, body), (status, answer))
            expect(headers["content-type"].startswith(kind), headers["content-type"])
            expect(1 <= int(headers["x-shardcache-ttl-seconds"]) <= 60, headers["x-shardcache-ttl-seconds"])
            holds(client, node, key.replace("%C3%A4", "ä"), **arm)

        at_every_node(nodes, ask)
        expect(request(writer, "DELETE", path)[0] == 204, path)
        at_every_node(nodes, lambda node: http_error(node, "GET", path, 404, "NOT_FOUND"))


def http_error(node, method, path, status, code, body=None):
    answered, headers, answer = request(node, method, path, body)
    error = json.loads(answer)["error"]
    expect(answered == status and error["code"] == code and error["message"], (answered, error))


def http_refusals(node):
    invalid = "INVALID_ARGUMENT"
    http_error(node, "PUT", f"/v1/keys/{fresh('x')}?ttl=-1", 400, invalid, b"v")
    http_error(node, "PUT", "/v1/keys/" + "k" * 1025, 400, invalid, b"v")
    http_error(node, "PUT", f"/v1/keys/{fresh('x')}", 413, invalid, b"v" * (MIB + 1))
    http_error(node, "PUT", "/v1/keys/", 400, invalid, b"v")
    http_error(node, "GET", f"/v1/keys/{fresh('x')}?consistency=most", 400, invalid)


def grpc_value_over_http(client, writer, nodes):
    key = fresh("cross")
    cache(client, writer, "Set", key=key, value="hello")

    def ask(node):
        status, headers, answer = request(node, "GET", f"/v1/keys/{key}")
        expect((status, answer) == (200, b"hello"), (status, answer))
        expect(headers["content-type"].startswith("text/plain"), headers["content-type"])

    at_every_node(nodes, ask)


def http_health(node):
    status, _, answer = request(node, "GET", "/health")
    expect(status == 200 and json.loads(answer)["status"] in ("ok", "degraded"), (status, answer))
    for path in ("/livez", "/readyz", "/startupz"):
        expect(request(node, "GET", path)[0] == 200, path)


def metrics(node):
    status, headers, answer = request(node, "GET", "/metrics")
    expect(status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4"), headers)
    lines = answer.decode().splitlines()
    expect("# TYPE shardcache_requests_total counter" in lines, lines[:3])
    for line in lines:
        if not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])
    for path, accept in (("/metrics?format=json", "*/*"), ("/metrics", "application/json")):
        answer = request(node, "GET", path, headers={"Accept": accept})[2]
        families = json.loads(answer)
        asked = [series for series in families["shardcache_requests_total"] if series["value"] > 0]
        expect(asked and families["shardcache_request_duration_seconds"][0]["buckets"], asked)
    answer = request(node, "GET", "/metrics", headers={"Accept": "application/openmetrics-text"})[2]
    expect(answer.endswith(b"# EOF\n"), answer[-40:])


def explained(client, writer, nodes):
    key = fresh("explained")
    written = cache(client, writer, "Set", key=key, value="v", explain=True)["explain"]

    def ask(node):
        read = cache(client, node, "Get", key=key, explain=True)["explain"]
        expect(read["slot"] == written["slot"] and read["configuration"] == written["configuration"], read)
        expect(sum(int(stage.get("micros", 0)) for stage in read["stages"]) == int(read["totalMicros"]), read)
        expect(len(read["owners"]) == len(written["owners"]), read)
        expect(any(asked["answer"] == "ok" for asked in read["requests"]), read)
        expect("explain" not in cache(client, node, "Get", key=key), key)

    at_every_node(nodes, ask)


def check_client(report, client, nodes):
    across = (
        ("documented Set and Get", documented_text),
        ("documented Set with ttl", documented_ttl),
        ("documented Delete", documented_delete),
        ("text stays text", text_stays_text),
        ("bytes stay bytes", bytes_stay_bytes),
        ("a short life ends", short_life_ends),
        ("a zero ttl never ends", zero_ttl_never_ends),
        ("a request is explained when that is asked for", explained),
    )
    for node in nodes:
        for name, body in across:
            report.check(f"{client.label}: {name}, written at {node.name}", body, client, node, nodes)
        for name, body in (
            ("documented Health", documented_health),
            ("illegal requests are refused", illegal_requests_are_refused),
            ("grpc.health.v1 says SERVING", standard_health),
        ):
            report.check(f"{client.label}: {name} at {node.name}", body, client, node)
        name = f"{client.label}: a missing key prints found: false at {node.name}"
        report.check(name, miss_is_printed, client, node, json.dumps({"key": fresh("missing")}))


def check_nodes(report, nodes, grpcurl):
    client = ReflectionClient(nodes)
    for node in nodes:
        report.check(f"a connection to {node.name}", client.connect, node)
    if report.failed:
        return
    for node in nodes:
        for version in ("v1", "v1alpha"):
            name = f"reflection {version} lists the client services at {node.name}"
            report.check(name, reflection_lists, client, node, version)
    check_client(report, client, nodes)
    if grpcurl:
        check_client(report, GrpcurlClient(grpcurl), nodes)
    else:
        print("# no grpcurl on the PATH: the reflection client, which follows the same rules, stands in for it")
    for node in nodes:
        # A command line cannot hold a value this large, so that only the reflection client sends one.
        report.check(f"1 MiB passes and one byte more does not at {node.name}", large_values, client, node, nodes)
        report.check(f"/v1/keys, written at {node.name}", http_round_trip, client, node, nodes)
        report.check(f"/v1/keys serves what gRPC wrote at {node.name}", grpc_value_over_http, client, node, nodes)
        report.check(f"/v1/keys refuses illegal requests at {node.name}", http_refusals, node)
        report.check(f"/health and the probes at {node.name}", http_health, node)
        report.check(f"/metrics as text, OpenMetrics and JSON at {node.name}", metrics, node)


def node(text):
    try:
        host, grpc_port, http_port = text.rsplit(":", 2)
        return Node(f"{host}:{int(grpc_port)}", host, int(grpc_port), int(http_port))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:GRPC_PORT:HTTP_PORT") from None


def out_of_time(_signal, _frame):
    print(f"not ok - everything within {TOTAL_SECONDS} s", flush=True)
    print("0 passed, 1 failed, 0 skipped", flush=True)
    # Not sys.exit: a check that hangs may be holding whatever a tidy exit would wait for.
    os._exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", type=node, action="append", required=True, metavar="HOST:GRPC_PORT:HTTP_PORT")
    parser.add_argument("--grpcurl", default=shutil.which("grpcurl"), metavar="PATH", help="default: the one on the PATH")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TOTAL_SECONDS)
    report = Report()
    check_nodes(report, arguments.node, arguments.grpcurl)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
