#!/usr/bin/env python3
"""Bad clients, run by chaos/storm.sh within a node's network namespace: `storm.py KIND SECONDS` goes on for so long, bounded
in rate, and prints what it has sent.

junk   random bytes as gossip, as HTTP/2 and as HTTP/1; frames with absurd lengths; header blocks without an end
churn  connections that are opened and closed at once
idle   connections that say nothing, or one byte a second
"""

import os
import random
import socket
import struct
import sys
import time

HOST = "127.0.0.1"
GOSSIP, CLIENT, HTTP = 7946, 8080, 8081
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes(3) + b"\x04" + bytes(5)
TIMEOUT = 0.5
CONNECTIONS_MAX = 400


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def open_to(port: int) -> socket.socket | None:
    try:
        return socket.create_connection((HOST, port), timeout=TIMEOUT)
    except OSError:
        return None


def say(port: int, *parts: bytes) -> None:
    """A node may close whenever it has heard enough."""
    connection = open_to(port)
    if connection is None:
        return
    with connection:
        try:
            for part in parts:
                connection.sendall(part)
            connection.settimeout(0.02)
            connection.recv(65536)
        except OSError:
            pass


def junk(until: float) -> dict[str, int]:
    sent = {"datagrams": 0, "connections": 0}
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    greetings = [
        (CLIENT, os.urandom(4096)),
        # A frame of 16 MiB; a DATA frame for a stream that nobody opened; resets without streams.
        (CLIENT, PREFACE + SETTINGS, b"\xff\xff\xff\x00\x00" + bytes(4)),
        (CLIENT, PREFACE + SETTINGS, frame(0, 0, 1, b"x" * 100)),
        (CLIENT, PREFACE + SETTINGS, *[frame(3, 0, stream, struct.pack(">I", 8)) for stream in range(1, 99, 2)]),
        # Headers that go on and on.
        (CLIENT, PREFACE + SETTINGS, frame(1, 0, 1, b"\x82"), *[frame(9, 0, 1, b"\x00\x01a\x01b" * 200)] * 64),
        # A length in front of a message that says 4 GiB.
        (GOSSIP, b"\xff\xff\xff\xff" + os.urandom(64)),
        (GOSSIP, os.urandom(2048)),
        (HTTP, os.urandom(2048)),
        (HTTP, b"GET /v1/keys/" + b"k" * 70000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"),
        (HTTP, b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n"),
        (HTTP, b"PUT /v1/keys/k HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nabc"),
    ]
    while time.monotonic() < until:
        for _ in range(200):
            data = os.urandom(random.randrange(1, 1200))
            if random.random() < 0.5:
                data = b"shcg\x01" + data
            try:
                datagrams.sendto(data, (HOST, GOSSIP))
                sent["datagrams"] += 1
            except OSError:
                pass
        port, *parts = random.choice(greetings)
        say(port, *parts)
        sent["connections"] += 1
        time.sleep(0.01)
    return sent


def churn(until: float) -> dict[str, int]:
    sent = {"connections": 0}
    while time.monotonic() < until:
        for port in (CLIENT, HTTP, GOSSIP):
            connection = open_to(port)
            if connection is not None:
                # A reset instead of an orderly end, so that no port stays in use.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                sent["connections"] += 1
        time.sleep(0.002)
    return sent


def idle(until: float) -> dict[str, int]:
    sent = {"connections": 0, "bytes": 0}
    held: list[socket.socket] = []
    while time.monotonic() < until:
        while len(held) < CONNECTIONS_MAX:
            connection = open_to((CLIENT, HTTP, GOSSIP)[len(held) % 3])
            if connection is None:
                break
            held.append(connection)
            sent["connections"] += 1
        for connection in held[:]:
            try:
                if random.random() < 0.5:
                    sent["bytes"] += connection.send(PREFACE[:1])
            except OSError:
                connection.close()
                held.remove(connection)
        time.sleep(1)
    for connection in held:
        connection.close()
    return sent


def main() -> int:
    kinds = {"junk": junk, "churn": churn, "idle": idle}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        print(__doc__, file=sys.stderr)
        return 2
    sent = kinds[sys.argv[1]](time.monotonic() + float(sys.argv[2]))
    print(f"{sys.argv[1]}: " + ", ".join(f"{count} {what}" for what, count in sent.items()))
    return 0 if any(sent.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
